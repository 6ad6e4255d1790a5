"""The redis of a stack, asked with the registry's own login and from where the registry is."""

import re
import secrets
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from config.stack import STACK_LABEL, Stack
from config.tree import Placeholder, Section, lookup
from operations.clients import docker as engine
from operations.clients.pulumi import secret
from operations.errors import CommandError, NotChecked

SECONDS = 10  # for an answer
PAGE = 100_000  # keys that one SCAN looks at
BATCH = 500  # keys of one DEL
# What the registry names its entries (distribution, registry/storage/cache/redis), alike in all
# releases; what else is in its database is not its own.
ENTRY = re.compile(r"(repository::[a-z0-9._/-]+::)?blobs(::[a-z0-9+._-]+:[0-9a-f]+)?")
AUTHORITIES = "/authorities.pem"  # in the container of redis-cli
# A pattern of redis' error, and the next step.
_HINTS = (
    ("NOAUTH", "set the secret oss-registry:redis-password"),
    (
        "WRONGPASS|invalid password",
        "correct the secret oss-registry:redis-password, or registry.config.redis.username",
    ),
    (
        "wrong number of arguments for 'auth'",
        "remove registry.config.redis.username: redis knows users from version 6 on",
    ),
    ("without any password", "remove the secret oss-registry:redis-password: redis has none"),
    ("NOPERM", "allow the registry's redis user the commands PING, SELECT, SCAN and DEL"),
    ("DB index", "choose another cache.db"),
)


@dataclass(frozen=True)
class _Server:
    host: str
    port: int
    user: str
    password: str = field(repr=False)


def used(stack: Stack) -> bool:
    """Whether the registry keeps blob descriptors in redis."""
    return bool(lookup(stack.registry.tree, "storage.cache.blobdescriptor") == "redis")


def address(stack: Stack) -> str:
    """As host:port."""
    section = _section(stack)
    addresses = section.get("addrs") or [section.get("addr")]
    return str(addresses[0])


def said(stack: Stack, variables: Mapping[str, str], *commands: str) -> Sequence[str]:
    """The lines that redis answers to `commands`; none where it does not within ten seconds.

    Where it refuses the login, they are what it answers to that. Raises NotChecked where nothing
    but the registry can ask it, CalledProcessError with docker's errors.
    """
    section = _section(stack)
    if len(section.get("addrs") or ()) > 1 and not section.get("mastername"):
        raise NotChecked("registry.config.redis.addrs names a cluster")
    server = _server(stack, address(stack), section, "")
    if master := section.get("mastername"):
        sentinel = _server(stack, address(stack), section, "sentinel")
        answer = _asked(stack, variables, sentinel, f"SENTINEL GET-MASTER-ADDR-BY-NAME {master}")
        if len(answer) != 2:
            return answer
        server = _server(stack, "{}:{}".format(*answer), section, "")
    return _asked(stack, variables, server, *commands)


def explained(answer: Sequence[str]) -> str:
    """Return the lines of an answer as one, with the next step where that is known."""
    text = " ".join([line for line in answer if line != "OK"][:3]) or "nothing"
    hints = [f"; {hint}" for pattern, hint in _HINTS if re.search(pattern, text)]
    return text + "".join(hints[:1])


def forget(stack: Stack, variables: Mapping[str, str]) -> None:
    """Have redis know of no blob any more; nothing else in it goes.

    Raises CommandError where it does not, CalledProcessError with docker's errors.
    """
    if stack.settings.registry.runtime == "swarm" and stack.runs_redis:
        # It keeps nothing on disk, and none but services reach it.
        engine.docker(variables, "service", "update", "--quiet", "--force", stack.redis_host)
    elif used(stack):
        try:
            entries = [*_entries(stack, variables)]
            for start in range(0, len(entries), PAGE):
                _delete(stack, variables, entries[start : start + PAGE])
        except NotChecked as reason:
            raise CommandError(
                f"redis at {address(stack)} cannot be asked to forget the registry's entries: "
                f"{reason}. Set cache.enabled: false, `make up STACK={stack.name}`, and collect "
                "garbage then."
            ) from None


def _entries(stack: Stack, variables: Mapping[str, str]) -> Iterator[str]:
    """The registry's keys. Raises CommandError, NotChecked."""
    # Neither a script nor UNLINK: older servers, proxies and narrow ACLs refuse them.
    cursor = None
    while cursor != "0":
        scan = f"SCAN {cursor or 0} MATCH *blobs* COUNT {PAGE}"
        cursor, *keys = _answered(stack, variables, scan)
        yield from filter(ENTRY.fullmatch, keys)


def _delete(stack: Stack, variables: Mapping[str, str], keys: Sequence[str]) -> None:
    batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
    commands = [f"DEL {' '.join(batch)}" for batch in batches]
    _answered(stack, variables, *commands)


def _answered(stack: Stack, variables: Mapping[str, str], *commands: str) -> Sequence[str]:
    """The lines of an answer that begins with a number for each of `commands`.

    They are about the registry's database. Raises CommandError at another answer, NotChecked.
    """
    database = lookup(stack.registry.tree, "redis.db") or 0
    # As the registry does: some proxies refuse SELECT.
    select = [f"SELECT {database}"] if database else []
    answer = said(stack, variables, *select, *commands)
    selected, lines = answer[: len(select)], answer[len(select) :]
    numbers = [line for line in lines[: len(commands)] if line.isdigit()]
    if selected == ["OK"] * len(select) and len(numbers) == len(commands):
        return lines
    raise CommandError(
        f"redis at {address(stack)} does not forget what it knows: {explained(answer)}"
    )


def _section(stack: Stack) -> Mapping[str, Any]:
    """The registry's section `redis`."""
    section = stack.registry.tree.get("redis")
    return section if isinstance(section, Mapping) else {}


def _server(stack: Stack, host_port: str, section: Mapping[str, Any], whose: str) -> _Server:
    """A server with its login: `whose` is "" for redis, or "sentinel"."""
    server = urlsplit(f"//{host_port}")
    user, password = (
        _text(stack, section.get(f"{whose}{key}")) for key in ("username", "password")
    )
    return _Server(server.hostname or "", server.port or 6379, user, password)


def _text(stack: Stack, value: object) -> str:
    if isinstance(value, Placeholder):
        return secret(stack.name, value.label, stack.secrets)
    return str(value or "")


def _asked(
    stack: Stack, variables: Mapping[str, str], server: _Server, *commands: str
) -> Sequence[str]:
    """What redis-cli prints for `commands`, without empty lines; see `said`."""
    given = "".join(f"{line}\n" for line in commands)
    if server.password:
        # As the registry's clients do: without a password they are the default user. By standard
        # input: neither a command line nor the container's variables have it.
        login = [_quoted(word) for word in (server.user, server.password) if word]
        given = f"AUTH {' '.join(login)}\n{given}"
    name = f"{stack.prefix}-redis-cli-{secrets.token_hex(4)}"
    # The network of a swarm's stack takes none but services.
    network = "bridge" if stack.settings.registry.runtime == "swarm" else stack.prefix
    made = ["--rm", "--interactive", "--network", network, "--name", name]
    made += ["--label", f"{STACK_LABEL}={stack.name}", "--entrypoint", "redis-cli"]
    made += [stack.settings.cache.image, "-h", server.host, "-p", str(server.port)]
    run = ["run", *made]
    try:
        if tls := _section(stack).get("tls"):
            authorities = _authorities(stack, tls)
            verified = ["--cacert", AUTHORITIES] if authorities else ["--insecure"]
            engine.docker(variables, "create", *made, "--tls", "--sni", server.host, *verified)
            _copy(authorities, f"{name}:{AUTHORITIES}", variables)
            run = ["start", "--attach", "--interactive", name]
        printed = engine.docker(variables, *run, seconds=SECONDS, given=given)
    except subprocess.TimeoutExpired:
        engine.docker(variables, "container", "rm", "--force", "--volumes", name)
        return []
    lines = [line for line in printed.splitlines() if line]
    return lines[1:] if server.password and lines[:1] == ["OK"] else lines


def _copy(text: str, where: str, variables: Mapping[str, str]) -> None:
    """Put a file of `text` into a container. An image of redis need not have a shell."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(text)
        file.flush()
        engine.docker(variables, "cp", file.name, where)


def _quoted(text: str) -> str:
    """`text` as redis-cli reads any bytes."""
    return '"{}"'.format("".join(f"\\x{byte:02x}" for byte in text.encode()))


def _authorities(stack: Stack, tls: Section) -> str:
    """The certificates that redis' one is verified by; empty where only the registry has them.

    Raises NotChecked where redis asks for a client certificate, as only the registry has its key.
    """
    if tls.get("key"):
        raise NotChecked("registry.config.redis.tls.key is a file that only the registry has")
    paths = tls.get("rootcas")
    files = (
        [stack.registry.files.get(str(path)) for path in paths] if isinstance(paths, list) else []
    )
    if not all(files):
        return ""
    return "\n".join(str(piece) for file in files if file for piece in file)
