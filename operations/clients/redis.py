"""A client for the redis of a registry, which connects as the registry does."""

import re
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from config.stack import STACK_LABEL, RegistryConfig
from config.tree import Placeholder, Section, lookup
from operations.clients.docker import Docker
from operations.errors import CommandError, NotChecked

TIMEOUT = 10  # seconds for an answer
PAGE = 100_000  # keys that one SCAN looks at
BATCH = 500  # keys of one DEL
# The keys of the registry's entries, in all releases (distribution, registry/storage/cache/redis).
# Its database may have other keys, which belong to other programs.
ENTRY = re.compile(r"(repository::[a-z0-9._/-]+::)?blobs(::[a-z0-9+._-]+:[0-9a-f]+)?")
CA_FILE = "/authorities.pem"  # in the container of redis-cli
# Pairs of a pattern in redis's error text, and the next step.
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


class Redis:
    """The redis of `registry`. `secret` returns a secret of the stack by its name.

    Commands run in a container of redis-cli on the network of the registry. They raise NotChecked
    if only the registry can reach redis, and what `Docker.run` raises.
    """

    def __init__(
        self, registry: RegistryConfig, docker: Docker, secret: Callable[[str], str]
    ) -> None:
        self._registry, self._stack = registry, registry.stack
        self._docker, self._secret = docker, secret
        section = registry.tree.get("redis")
        self._section: Mapping[str, Any] = section if isinstance(section, Mapping) else {}

    @property
    def is_used(self) -> bool:
        """Whether the registry caches blob descriptors in redis."""
        return bool(lookup(self._registry.tree, "storage.cache.blobdescriptor") == "redis")

    @property
    def address(self) -> str:
        """The first `host:port` that the registry connects to."""
        addresses = self._section.get("addrs") or [self._section.get("addr")]
        return str(addresses[0])

    def ask(self, *commands: str) -> Sequence[str]:
        """Return the lines with which redis answers `commands`.

        If redis refuses the login, the lines start with that error. If it does not answer within
        TIMEOUT, there are none.
        """
        master = self._section.get("mastername")
        if len(self._section.get("addrs") or ()) > 1 and not master:
            raise NotChecked("registry.config.redis.addrs names a cluster")
        address = self.address
        if master:
            sentinel = self._server(address, "sentinel")
            answer = self._run(sentinel, f"SENTINEL GET-MASTER-ADDR-BY-NAME {master}")
            if len(answer) != 2:
                return answer
            address = "{}:{}".format(*answer)
        return self._run(self._server(address), *commands)

    def flush_cache(self) -> None:
        """Delete the registry's entries and no other keys. Raises CommandError if redis refuses."""
        if self._registry.settings.runtime == "swarm" and self._stack.runs_redis:
            # Only services reach it. Restart it, which clears it because it stores nothing on disk.
            self._docker.run("service", "update", "--quiet", "--force", self._stack.redis_host)
        elif self.is_used:
            try:
                entries = [*self._entries()]
                for start in range(0, len(entries), PAGE):
                    self._delete(entries[start : start + PAGE])
            except NotChecked as reason:
                raise CommandError(
                    f"redis at {self.address} cannot be asked to forget the registry's entries: "
                    f"{reason}. Set cache.enabled: false, `make up STACK={self._stack.name}`, and "
                    "collect garbage then."
                ) from None

    def _entries(self) -> Iterator[str]:
        """Yield the keys of the registry's entries."""
        # SCAN and DEL, because older servers, proxies and narrow ACLs refuse scripts and UNLINK.
        cursor = None
        while cursor != "0":
            scan = f"SCAN {cursor or 0} MATCH *blobs* COUNT {PAGE}"
            cursor, *keys = self._numbers(scan)
            yield from filter(ENTRY.fullmatch, keys)

    def _delete(self, keys: Sequence[str]) -> None:
        batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
        self._numbers(*(f"DEL {' '.join(batch)}" for batch in batches))

    def _numbers(self, *commands: str) -> Sequence[str]:
        """Run `commands` in the registry's database, and return the lines of the answer.

        Raises CommandError unless the first lines are a number for each command.
        """
        database = lookup(self._registry.tree, "redis.db") or 0
        # Some proxies refuse SELECT, so the registry does not send it for database 0 either.
        select = [f"SELECT {database}"] if database else []
        answer = self.ask(*select, *commands)
        selected, lines = answer[: len(select)], answer[len(select) :]
        numbers = [line for line in lines[: len(commands)] if line.isdigit()]
        if selected == ["OK"] * len(select) and len(numbers) == len(commands):
            return lines
        raise CommandError(
            f"redis at {self.address} does not forget what it knows: {describe_answer(answer)}"
        )

    def _server(self, address: str, prefix: str = "") -> _Server:
        """Return the server at `address` with its login. `prefix` starts the keys of that login."""
        server = urlsplit(f"//{address}")
        return _Server(
            server.hostname or "",
            server.port or 6379,
            self._value(f"{prefix}username"),
            self._value(f"{prefix}password"),
        )

    def _value(self, key: str) -> str:
        """Return a value of the section `redis` as text, with the secret of a placeholder."""
        value = self._section.get(key)
        if isinstance(value, Placeholder):
            return self._secret(value.label)
        return str(value or "")

    def _run(self, server: _Server, *commands: str) -> Sequence[str]:
        """Return what redis-cli prints for `commands`, without empty lines. See `ask`."""
        stdin = "".join(f"{line}\n" for line in commands)
        if server.password:
            # The registry's clients log in only with a password. It is passed by standard input, so
            # that no command line and no variable contains it.
            login = [_quote(word) for word in (server.user, server.password) if word]
            stdin = f"AUTH {' '.join(login)}\n{stdin}"
        name = f"{self._stack.prefix}-redis-cli-{secrets.token_hex(4)}"
        # Only services can join the network of a Swarm stack.
        is_swarm = self._registry.settings.runtime == "swarm"
        network = "bridge" if is_swarm else self._stack.prefix
        options = ["--rm", "--interactive", "--network", network, "--name", name]
        options += ["--label", f"{STACK_LABEL}={self._stack.name}", "--entrypoint", "redis-cli"]
        options += [self._stack.settings.cache.image, "-h", server.host, "-p", str(server.port)]
        command = ["run", *options]
        try:
            if tls := self._section.get("tls"):
                certificates = self._ca_certificates(tls)
                verify = ["--cacert", CA_FILE] if certificates else ["--insecure"]
                self._docker.run("create", *options, "--tls", "--sni", server.host, *verify)
                self._copy(certificates, f"{name}:{CA_FILE}")
                command = ["start", "--attach", "--interactive", name]
            output = self._docker.run(*command, stdin=stdin, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self._docker.run("container", "rm", "--force", "--volumes", name)
            return []
        lines = [line for line in output.splitlines() if line]
        return lines[1:] if server.password and lines[:1] == ["OK"] else lines

    def _copy(self, text: str, target: str) -> None:
        """Write `text` to `target`, CONTAINER:PATH. This works without a shell in the image."""
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(text)
            file.flush()
            self._docker.run("cp", file.name, target)

    def _ca_certificates(self, tls: Section) -> str:
        """Return the CA certificates for redis, or the empty string if only the registry has them.

        Raises NotChecked if redis requires a client certificate, because only the registry has its
        key.
        """
        if tls.get("key"):
            raise NotChecked("registry.config.redis.tls.key is a file that only the registry has")
        paths = tls.get("rootcas")
        if not isinstance(paths, list):
            return ""
        files = [self._registry.files.get(str(path)) for path in paths]
        if not all(files):
            return ""
        return "\n".join(str(piece) for file in files if file for piece in file)


def describe_answer(answer: Sequence[str]) -> str:
    """Return the first lines of an answer as one line, with the next step if it is known."""
    text = " ".join([line for line in answer if line != "OK"][:3]) or "nothing"
    hints = [f"; {hint}" for pattern, hint in _HINTS if re.search(pattern, text)]
    return text + "".join(hints[:1])


def _quote(text: str) -> str:
    """Return `text` as a quoted word for redis-cli, with each byte escaped."""
    return '"{}"'.format("".join(f"\\x{byte:02x}" for byte in text.encode()))
