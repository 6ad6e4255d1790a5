"""A stack of the real program on the real engine, with names, a port and a state of its own."""

import functools
import json
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

import yaml

from tests.integration.leftovers import processes_of, unique_name

PROJECT = Path(__file__).parent.parent.parent
PASSPHRASE = "only for tests"
# What a project is made of, each a link into this checkout.
SHARED = (
    *("Pulumi.yaml", "components", "config", ".venv"),
    *("Makefile", "operations", "toolchain", "requirements.txt", "requirements-dev.txt"),
)

VARIABLE = "OSS_REGISTRY_TEST_STACK"  # by which the processes of a stack's commands are found
# How what a stack made is removed from its engine, in this order.
REMOVALS: Mapping[str, Sequence[str]] = {
    "container": ("--force", "--volumes"),
    "network": (),
    "volume": (),
}


def command(
    *words: str | Path,
    env: Mapping[str, str] | None = None,
    timeout: int = 900,
    given: str | None = None,
) -> str:
    """What the command printed, both streams. Raises AssertionError with that when it fails."""
    done = run(*words, env=env, timeout=timeout, given=given)
    assert done.returncode == 0, f"{' '.join(map(str, words))}:\n{done.stdout}"
    return done.stdout


def run(
    *words: str | Path,
    env: Mapping[str, str] | None = None,
    timeout: int = 900,
    given: str | None = None,
    apart: bool = False,
) -> subprocess.CompletedProcess[str]:
    """The command, done; it reads what is `given`. Its errors are in what it printed, or apart."""
    return subprocess.run(
        words,
        env={**os.environ, **(env or {})},
        input=given or "",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if apart else subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


def image_id(reference: str) -> str:
    return command("docker", "image", "inspect", "--format", "{{.Id}}", reference).strip()


def _own_ports() -> Iterator[int]:
    """Each port once that is this worker's: another's may be given away, and not be in use yet.

    They are below those that the kernel gives to outgoing connections, which would take them.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = range(20_000 + worker, 32_000, workers)
    yield from random.sample(ports, len(ports))


_OWN_PORTS = _own_ports()


def free_port() -> int:
    """A port of 127.0.0.1 that nothing has, and that no other test is given."""
    for port in _OWN_PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("each port of this worker was given away")


def processes(what: str) -> Mapping[int, str]:
    """Return the text of the file `what` in /proc of each process, by process id.

    Tests call this every few milliseconds. Without pathlib it takes a third of the CPU time.
    """
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/{what}", "rb") as file:  # noqa: PTH123
                found[int(name)] = file.read().decode(errors="replace")
    return found


def listens(port: int) -> bool:
    """Whether something answers on that port of 127.0.0.1."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def eventually(happens: Callable[[], object], seconds: float = 300) -> None:
    """Wait until it `happens`. Raises AssertionError when it has not by then."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, f"it did not happen within {seconds} s"
        time.sleep(0.2)


@functools.cache
def _created_stack() -> tuple[str, Mapping[Path, str]]:
    """Return the name of a stack without resources, and its files: text by path."""
    name = unique_name("test")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "Pulumi.yaml")
        project.write_text((PROJECT / "Pulumi.yaml").read_text())
        environment = {
            "PULUMI_BACKEND_URL": f"file://{folder}",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        }
        command("pulumi", "--cwd", folder, "stack", "init", name, env=environment)
        project.unlink()
        files = (file for file in Path(folder).rglob("*") if file.is_file())
        return name, {file.relative_to(folder): file.read_text() for file in files}


class Deployment:
    """One stack in the folder `folder`: a project whose program is `program` of this checkout.

    It is on the engine at `host`, else on the one that the tests have.
    """

    def __init__(
        self,
        folder: Path,
        host: str | None = None,
        program: str = "__main__.py",
        **settings: Mapping[str, Any],
    ) -> None:
        self.folder = folder
        self.stack = unique_name("test")
        self.prefix = f"oss-registry-{self.stack}"
        self._engine = {"DOCKER_HOST": host} if host else {}
        self.environment = {
            "PULUMI_BACKEND_URL": f"file://{folder}",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            VARIABLE: self.stack,
            **self._engine,
        }
        for shared in SHARED:
            (folder / shared).symlink_to(PROJECT / shared)
        (folder / "__main__.py").symlink_to(PROJECT / program)
        (folder / "stacks").mkdir()
        self._create()
        self.settings: dict[str, dict[str, Any]] = {"registry": {"port": free_port()}}
        self.configure(**settings)

    def _create(self) -> None:
        """Create the stack: a copy of one that Pulumi created, as that takes most of a second."""
        name, files = _created_stack()
        for path, text in files.items():
            file = self.folder / str(path).replace(name, self.stack)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace(name, self.stack))

    @property
    def file(self) -> Path:
        """The stack file."""
        return self.folder / "stacks" / f"Pulumi.{self.stack}.yaml"

    def configure(self, **settings: Mapping[str, Any]) -> None:
        """Change the stack file by `settings`, section by section."""
        for section, values in settings.items():
            self.settings.setdefault(section, {}).update(values)
        self.write({f"oss-registry:{key}": value for key, value in self.settings.items()})

    def forget(self, section: str, key: str) -> None:
        """Remove a setting from the stack file."""
        self.settings[section].pop(key, None)
        self.configure()

    def drop(self, section: str) -> None:
        """Remove a section from the stack file."""
        del self.settings[section]
        self.write({f"oss-registry:{section}": None})

    def write(self, keys: Mapping[str, Any]) -> None:
        """Set `keys`, in full, in the stack file; None removes one."""
        file = self.file
        content = yaml.safe_load(file.read_text())
        config = {**content.get("config", {}), **keys}
        content["config"] = {key: value for key, value in config.items() if value is not None}
        # JSON: what PyYAML leaves without quotes, such as 0899, is a number to Pulumi.
        file.write_text(json.dumps(content, indent=2))

    def secret(self, name: str, value: str, *flags: str) -> None:
        """Bring a secret along, as a user does; a name with a colon is a whole key."""
        key = name if ":" in name else f"oss-registry:{name}"
        words = self.command("config", "set", "--secret", *flags, key)
        command(*words, env=self.environment, given=value)

    def pulumi(self, *words: str) -> str:
        return command(*self.command(*words), env=self.environment)

    def refused(self, *words: str) -> str:
        """What pulumi printed when it failed, as it must."""
        done = run(*self.command(*words), env=self.environment)
        assert done.returncode != 0, done.stdout
        return done.stdout

    def command(self, *words: str) -> list[str | Path]:
        """The pulumi command of `words` for this stack."""
        stack = ["--stack", self.stack, "--non-interactive", "--color", "never"]
        return ["pulumi", "--cwd", self.folder, *words, *stack]

    def up(self) -> str:
        return self.pulumi("up", "--yes", "--skip-preview")

    def started(
        self, *words: str, output: int | IO[str] = subprocess.DEVNULL, own_group: bool = False
    ) -> "subprocess.Popen[bytes]":
        """Pulumi with `words`, while it runs; in a group of its own with all that it starts."""
        return subprocess.Popen(
            self.command(*words),
            env={**os.environ, **self.environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=own_group,
        )

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Up, and removed afterwards, also where that failed."""
        try:
            self.up()
            yield self
        finally:
            self.remove()

    @contextmanager
    def deployed(self) -> Iterator[Self]:
        """Deploy by `make up`, as users do. Remove the stack afterwards, also after a failure."""
        try:
            done = self.make("up")
            assert done.returncode == 0, done.stdout
            yield self
        finally:
            self.remove()

    def watched(self, *words: str) -> tuple[str, set[str]]:
        """What pulumi with `words` prints, and the command lines of all processes meanwhile."""
        log = self.folder / "printed.log"
        command_lines: set[str] = set()
        with log.open("w") as output, self.started(*words, output=output) as running:
            while running.poll() is None:
                command_lines |= set(processes("cmdline").values())
                time.sleep(0.02)
        printed = log.read_text()
        # Hundreds of lines, of which a report may leave out the middle: what matters comes last.
        errors = [line for line in printed.splitlines() if "error" in line.lower()]
        assert running.returncode == 0, "\n".join((printed, *errors))
        return printed, command_lines

    def stashed(self) -> Mapping[str, str]:
        """What was drawn for the stack, by the names of its stashes."""
        exported = json.loads(self.pulumi("stack", "export", "--show-secrets"))
        return {
            resource["urn"].rpartition("::")[2]: json.loads(
                resource["outputs"]["output"]["plaintext"]
            )
            for resource in exported["deployment"]["resources"]
            if resource["type"] == "pulumi:index:Stash"
        }

    def make(
        self,
        *targets: str,
        env: Mapping[str, str] | None = None,
        consent: str = "1",
        apart: bool = False,
    ) -> "subprocess.CompletedProcess[str]":
        """Run make as a user does, who has said yes beforehand."""
        words = [f"STACK={self.stack}", f"YES={consent}"]
        environment = env or self.environment
        return run("make", "-C", self.folder, *targets, *words, env=environment, apart=apart)

    @contextmanager
    def making(
        self, *words: str, output: int = subprocess.DEVNULL
    ) -> Iterator["subprocess.Popen[str]"]:
        """Make with `words`, while it runs, in a group of its own with all that it starts."""
        with subprocess.Popen(
            ["make", "-C", self.folder, *words, f"STACK={self.stack}", "YES=1"],
            env={**os.environ, **self.environment},
            stdout=output,
            stderr=output if output == subprocess.DEVNULL else subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as made:
            yield made

    def docker(self, *words: str | Path) -> str:
        """What docker printed, on the stack's engine."""
        return command("docker", *words, env=self._engine)

    def inspect(self, part: str, template: str) -> Any:  # noqa: ANN401
        """What the engine says of the container `part` (registry or redis)."""
        name = f"{self.prefix}-{part}"
        found = self.docker("container", "inspect", "--format", f"{{{{json {template}}}}}", name)
        return json.loads(found)

    def log(self, part: str) -> str:
        """What the container `part` has written."""
        return self.docker("container", "logs", f"{self.prefix}-{part}")

    def healthy(self, part: str) -> bool:
        """Whether the container `part` runs and answers, as the engine sees it."""
        state = self.inspect(part, ".State")
        return bool(state["Running"]) and state["Health"]["Status"] == "healthy"

    def outputs(self) -> Mapping[str, Any]:
        """The stack's outputs, none of which is a secret."""
        # `pulumi stack output` shows the same, but takes a third of a second of CPU.
        resources = json.loads(self.state())["checkpoint"]["latest"].get("resources", ())
        found = (each["outputs"] for each in resources if each["type"] == "pulumi:pulumi:Stack")
        outputs: Mapping[str, Any] = next(found, {})
        return outputs

    def state(self) -> str:
        """The state file, secrets as they are on disk."""
        return (self.folder / f".pulumi/stacks/oss-registry/{self.stack}.json").read_text()

    def remove(self) -> None:
        """Remove what the stack made, whatever state it is in.

        Pulumi would take seconds, and refuses the state that a killed run leaves.
        """
        self.end_processes()
        for kind, flags in REMOVALS.items():
            if found := self.made(kind):
                self.docker(kind, "rm", *flags, *found)

    def end_processes(self) -> None:
        """End what commands of this stack left running that a test killed, such as plugins."""
        for process in processes_of(VARIABLE, self.stack):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def made(self, kind: str) -> list[str]:
        """What the engine has of `kind` (container, network or volume) with the stack's label."""
        every = ["--all"] if kind == "container" else []
        label = f"label=oss-registry.stack={self.stack}"
        return self.docker(kind, "ls", *every, "--quiet", "--filter", label).split()
