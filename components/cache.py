"""The redis that caches blob descriptors for the registry."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pulumi import ComponentResource, Input, ResourceOptions

from components.generated_secrets import provided_or_generated, provided_secrets
from components.runtime.workload import Bindings, File, Runtime, Workload
from config.plan import REDIS_PASSWORD
from config.resource_names import COMPONENTS, REDIS
from config.stack import Stack

CONFIGURATION = "/etc/redis.conf"


@dataclass(frozen=True, kw_only=True)
class RedisCacheArgs:
    """`host` is the name of the container and its host name. `max_memory` is in bytes.

    `provided` are the secrets that the user provides, by name.
    """

    host: str
    image: str
    max_memory: int
    provided: Mapping[str, Input[str]]
    runtime: Runtime


class RedisCache(ComponentResource):
    """A redis without persistence, on the network of the stack, with its own password."""

    bindings: Bindings

    def __init__(
        self, name: str, args: RedisCacheArgs, opts: ResourceOptions | None = None
    ) -> None:
        super().__init__(f"{COMPONENTS}RedisCache", name, None, opts)
        password = provided_or_generated(REDIS_PASSWORD.label, args.provided, parent=self)
        configuration = password.apply(lambda text: _configuration(text, args.max_memory))
        self.bindings = Bindings(values={REDIS_PASSWORD.label: password})
        args.runtime.run(
            REDIS,
            Workload(
                name=args.host,
                image=args.image,
                # The image's own entrypoint is a shell script that changes the user.
                entrypoint=["/usr/local/bin/redis-server"],
                command=[CONFIGURATION],
                user="999:999",
                files=[File(path=CONFIGURATION, content=configuration, secret=True)],
                # The check needs no password. A redis that answers NOAUTH is healthy.
                health=["/usr/local/bin/redis-cli", "ping"],
                # redis needs memory for buffers and for fragmentation, in addition to its data.
                memory=2 * args.max_memory + 64 * 2**20,
                stop_seconds=10,
            ),
            parent=self,
        )
        self.register_outputs({})


def create_cache(name: str, stack: Stack, runtime: Runtime) -> Bindings:
    """Create the redis of the stack, unless the cache is disabled or external."""
    if not stack.runs_redis:
        return Bindings()
    args = RedisCacheArgs(
        host=stack.redis_host,
        image=stack.settings.cache.image,
        max_memory=stack.settings.cache.max_memory,
        provided=provided_secrets(stack),
        runtime=runtime,
    )
    return RedisCache(name, args).bindings


def _configuration(password: str, max_memory: int) -> str:
    """Return a redis.conf without persistence.

    The registry sets no expiry on its keys. With any other policy than allkeys-lru, redis would
    refuse writes when its memory is full.
    """
    # redis reads these escapes in a quoted word.
    escaped = re.sub(r'["\\\x00-\x1f\x7f]', lambda match: f"\\x{ord(match[0]):02x}", password)
    return (
        f'requirepass "{escaped}"\n'
        f"maxmemory {max_memory}\n"
        "maxmemory-policy allkeys-lru\n"
        'save ""\n'
        "appendonly no\n"
    )
