"""The composition root: a stack file becomes storage, cache and registry."""

import os

import pulumi

from components import distribution, runtime, settings
from components.cache import RedisCacheArgs, redis_cache
from components.registry import Registry, RegistryArgs
from components.storage import storage

stack = settings.load(
    pulumi.get_stack(),
    pulumi.runtime.get_config_env(),
    set(pulumi.runtime.get_config_secret_keys_env()),
    os.environ,
)
for warning in stack.warnings:
    pulumi.log.warn(warning)
network = runtime.network(stack.prefix, stack.name)
images = storage("storage", stack)
cache = redis_cache(
    "cache",
    RedisCacheArgs(
        stack=stack.name,
        host=stack.redis_host,
        image=stack.settings.cache.image,
        max_memory=stack.settings.cache.max_memory,
        brought=stack.holes,
        network=network,
    ),
    needed=stack.runs_redis,
)
registry = Registry(
    "registry",
    RegistryArgs(
        stack=stack.name,
        name=f"{stack.prefix}-registry",
        image=stack.image,
        address=stack.address,
        port=stack.settings.registry.port,
        memory=stack.settings.registry.limits.memory,
        cpus=stack.settings.registry.limits.cpus,
        drain_seconds=distribution.drain_seconds(stack.tree),
        environment=stack.environment,
        files=stack.files,
        brought=stack.holes,
        provisions=[images, cache],
        network=network,
    ),
)

pulumi.export("endpoint", registry.endpoint)
pulumi.export("login_server", registry.login_server)
pulumi.export("release", stack.release.version)
for name, value in images.outputs.items():
    pulumi.export(name, value)
pulumi.export("environment", stack.redacted)
