"""A stack's redis, by the registry's own password and from where the registry is."""

import secrets
import subprocess
from collections.abc import Mapping, Sequence

from components import addresses, distribution
from components.stack import STACK_LABEL, Stack
from operations import Blocked, engine
from operations.state import secret

SECONDS = 10  # for an answer
# What the registry names its entries (distribution, registry/storage/cache/redis), alike in all
# releases; what else is in its database is not its own.
ENTRIES = ("blobs::*", "repository::*::blobs*")
FORGET = (
    "local at, gone = '0', 0 repeat "
    "local page = redis.call('SCAN', at, 'MATCH', ARGV[1], 'COUNT', 1000) "
    "for _, key in ipairs(page[2]) do gone = gone + redis.call('UNLINK', key) end "
    "at = page[1] until at == '0' return gone"
)


def address(stack: Stack) -> str:
    """As host:port."""
    return stack.settings.cache.address or f"{stack.redis_host}:6379"


def said(stack: Stack, variables: Mapping[str, str], *commands: str) -> Sequence[str]:
    """The lines that redis answers to `commands`; none where it does not within ten seconds.

    Raises CalledProcessError with docker's errors.
    """
    label, given = distribution.REDIS_PASSWORD.label, "".join(f"{line}\n" for line in commands)
    if stack.runs_redis or label in stack.secrets:
        # By standard input: neither a command line nor the container's variables have it.
        password = secret(stack.name, label, stack.secrets).encode()
        quoted = "".join(f"\\x{byte:02x}" for byte in password)
        given = f'AUTH "{quoted}"\n{given}'
    name = f"{stack.prefix}-redis-cli-{secrets.token_hex(4)}"
    # The network of a swarm's stack takes none but services.
    network = "bridge" if stack.settings.registry.runtime == "swarm" else stack.prefix
    host, port = addresses.split(address(stack))
    words = ["run", "--rm", "--interactive", "--network", network, "--name", name]
    words += ["--label", f"{STACK_LABEL}={stack.name}", "--entrypoint", "redis-cli"]
    words += [stack.settings.cache.image, "-h", host, "-p", port]
    redis = stack.tree.get("redis")
    tls = ["--tls", "--insecure"] if isinstance(redis, Mapping) and redis.get("tls") else []
    try:
        answer = engine.docker(variables, *words, *tls, seconds=SECONDS, given=given)
    except subprocess.TimeoutExpired:
        engine.docker(variables, "container", "rm", "--force", "--volumes", name)
        return []
    return answer.strip().removeprefix("OK\n").splitlines()


def forget(stack: Stack, variables: Mapping[str, str]) -> None:
    """Have redis know of no blob any more; nothing else in it goes.

    Raises Blocked where it does not, CalledProcessError with docker's errors.
    """
    if stack.settings.registry.runtime == "swarm" and stack.runs_redis:
        # It keeps nothing on disk, and none but services reach it.
        engine.docker(variables, "service", "update", "--quiet", "--force", stack.redis_host)
    elif stack.settings.cache.enabled:
        gone = [f'EVAL "{FORGET}" 0 {pattern}' for pattern in ENTRIES]
        answer = said(stack, variables, f"SELECT {stack.settings.cache.db}", *gone)
        if not (answer[:1] == ["OK"] and all(line.isdigit() for line in answer[1:])):
            why = " ".join(answer) or "nothing"
            raise Blocked(f"redis at {address(stack)} does not forget what it knows: {why}")
