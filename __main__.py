"""The composition root: a stack file becomes storage, cache and registry."""

import pulumi

from components import runtime, settings
from components.cache import RedisCache, RedisCacheArgs
from components.registry import Registry, RegistryArgs
from components.storage import FilesystemStorage, FilesystemStorageArgs

stack = settings.load(
    pulumi.get_stack(),
    pulumi.runtime.get_config_env(),
    set(pulumi.runtime.get_config_secret_keys_env()),
)
network = runtime.network(stack.prefix, stack.name)
storage = FilesystemStorage(
    "storage", FilesystemStorageArgs(stack=stack.name, volume=f"{stack.prefix}-data")
)
cache = RedisCache(
    "cache",
    RedisCacheArgs(
        stack=stack.name,
        host=stack.redis_host,
        image=stack.settings.cache.image,
        max_memory=stack.settings.cache.max_memory,
        network=network,
    ),
)
registry = Registry(
    "registry",
    RegistryArgs(
        stack=stack.name,
        name=f"{stack.prefix}-registry",
        image=stack.release.image,
        port=stack.settings.registry.port,
        drain_seconds=settings.DRAIN_SECONDS,
        environment=stack.environment,
        holes=cache.holes,
        mounts=storage.mounts,
        network=network,
    ),
)

pulumi.export("endpoint", registry.endpoint)
pulumi.export("login_server", registry.login_server)
pulumi.export("release", stack.release.version)
pulumi.export("environment", stack.redacted)
