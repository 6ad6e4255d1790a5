"""The Pulumi resources of a stack: registry, redis, storage, users, certificates and the network.

`runtime` runs a workload as a container or as a Swarm service, and `storage` has the backends.
`generated_secrets` generates secrets. `config` computes everything that needs no resource.
"""
