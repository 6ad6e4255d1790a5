"""The redis that holds the registry's blob descriptors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pulumi import ComponentResource, Input, ResourceOptions

from components import runtime
from components.persisted import provided, secret
from config import releases
from config.stack import Stack

CONFIGURATION = "/etc/redis.conf"


@dataclass(frozen=True, kw_only=True)
class RedisCacheArgs:
    """`host` is its name, also on the network; `max_memory` is in bytes.

    `brought` are the secrets that the user brings, by name.
    """

    host: str
    image: str
    max_memory: int
    brought: Mapping[str, Input[str]]
    runtime: runtime.Runtime


class RedisCache(ComponentResource):
    """A redis without persistence, reachable on the stack's network with a password of its own."""

    provision: runtime.Provision

    def __init__(
        self, name: str, args: RedisCacheArgs, opts: ResourceOptions | None = None
    ) -> None:
        super().__init__("oss-registry:index:RedisCache", name, None, opts)
        label = releases.REDIS_PASSWORD.label
        password = secret(label, args.brought, parent=self)
        self.provision = runtime.Provision(holes={label: password})
        args.runtime.run(
            "redis",
            runtime.Workload(
                name=args.host,
                image=args.image,
                # Absolute and without the image's own entrypoint: no shell, no change of user.
                entrypoint=["/usr/local/bin/redis-server"],
                command=[CONFIGURATION],
                user="999:999",
                files=[
                    runtime.File(
                        path=CONFIGURATION,
                        content=password.apply(lambda text: _configuration(text, args.max_memory)),
                        secret=True,
                    )
                ],
                # Without the password: a redis that answers NOAUTH is alive.
                health=["/usr/local/bin/redis-cli", "ping"],
                # Beside what it holds it needs buffers, and what allocation wastes.
                memory=2 * args.max_memory + 64 * 2**20,
                stop_seconds=10,
            ),
            parent=self,
        )
        self.register_outputs({})


def redis_cache(name: str, stack: Stack, engine: runtime.Runtime) -> runtime.Provision:
    """The stack's redis; none where it is the user's own, or there is none."""
    if not stack.runs_redis:
        return runtime.Provision()
    args = RedisCacheArgs(
        host=stack.redis_host,
        image=stack.settings.cache.image,
        max_memory=stack.settings.cache.max_memory,
        brought=provided(stack),
        runtime=engine,
    )
    return RedisCache(name, args).provision


def _configuration(password: str, max_memory: int) -> str:
    """redis.conf: nothing is kept on disk, and when memory is full the least used entries go.

    The registry sets no expiry on its keys, so any policy but allkeys-lru ends in refused writes.
    """
    # As redis reads a quoted word of its configuration, which ends with the line.
    escaped = re.sub(r'["\\\x00-\x1f\x7f]', lambda match: f"\\x{ord(match[0]):02x}", password)
    return (
        f'requirepass "{escaped}"\n'
        f"maxmemory {max_memory}\n"
        "maxmemory-policy allkeys-lru\n"
        'save ""\n'
        "appendonly no\n"
    )
