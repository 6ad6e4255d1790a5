"""A deployment of the program on a real Docker engine, with its own names, port and state."""

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
# The files and folders of a test's project that are links to this checkout.
LINKS = (
    *("Pulumi.yaml", "components", "config", ".venv"),
    *("Makefile", "operations", "toolchain", "requirements.txt", "requirements-dev.txt"),
)

STACK_VARIABLE = "OSS_REGISTRY_TEST_STACK"  # identifies the processes of a stack's commands
# The kinds of Docker objects of a stack, in the order of their removal, with the flags of
# `docker KIND rm`.
REMOVAL_FLAGS: Mapping[str, Sequence[str]] = {
    "container": ("--force", "--volumes"),
    "network": (),
    "volume": (),
}


def run_checked(
    *words: str | Path,
    env: Mapping[str, str] | None = None,
    timeout: int = 900,
    stdin: str | None = None,
) -> str:
    """Run a command and return its output, stdout and stderr together.

    Raises AssertionError with the output if the command fails.
    """
    result = run(*words, env=env, timeout=timeout, stdin=stdin)
    assert result.returncode == 0, f"{' '.join(map(str, words))}:\n{result.stdout}"
    return result.stdout


def run(
    *words: str | Path,
    env: Mapping[str, str] | None = None,
    timeout: int = 900,
    stdin: str | None = None,
    separate_stderr: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a command with `env` added to the environment, for at most `timeout` seconds.

    The result's stdout includes stderr, unless `separate_stderr` is true.
    """
    return subprocess.run(
        words,
        env={**os.environ, **(env or {})},
        input=stdin or "",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if separate_stderr else subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


def image_id(reference: str) -> str:
    return run_checked("docker", "image", "inspect", "--format", "{{.Id}}", reference).strip()


def _ports_of_this_worker() -> Iterator[int]:
    """Yield each port of this worker once, in random order.

    Workers do not share ports, because a port that another worker has chosen may not be in use yet.
    All ports are below the range that the kernel uses for outgoing connections.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = range(20_000 + worker, 32_000, workers)
    yield from random.sample(ports, len(ports))


_PORTS = _ports_of_this_worker()


def free_port() -> int:
    """Return a port of 127.0.0.1 that is not in use and that no other test gets."""
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("this worker has no free port left")


def proc_files(name: str) -> Mapping[int, str]:
    """Return the text of the file `name` in the /proc folder of each process, by process id.

    Tests call this every few milliseconds. Without pathlib it takes a third of the CPU time.
    """
    found = {}
    for process in os.listdir("/proc"):  # noqa: PTH208
        if process.isdigit():
            with suppress(OSError), open(f"/proc/{process}/{name}", "rb") as file:  # noqa: PTH123
                found[int(process)] = file.read().decode(errors="replace")
    return found


def is_listening(port: int) -> bool:
    """Return whether a server accepts connections at `port` of 127.0.0.1."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait_until(condition: Callable[[], object], seconds: float = 300) -> None:
    """Wait until `condition` returns a true value.

    Raises AssertionError if it has not done so after `seconds`.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"the condition was not met within {seconds} s"
        time.sleep(0.2)


@functools.cache
def _stack_files() -> tuple[str, Mapping[Path, str]]:
    """Create one stack without resources, and return its name and its files (text by path)."""
    name = unique_name("test")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "Pulumi.yaml")
        project.write_text((PROJECT / "Pulumi.yaml").read_text())
        environment = {
            "PULUMI_BACKEND_URL": f"file://{folder}",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        }
        run_checked("pulumi", "--cwd", folder, "stack", "init", name, env=environment)
        project.unlink()
        files = (file for file in Path(folder).rglob("*") if file.is_file())
        return name, {file.relative_to(folder): file.read_text() for file in files}


class Deployment:
    """A stack whose project is in `folder` and runs the file `program` of this checkout.

    `host` is the address of the stack's Docker engine, by default the engine of the tests. Other
    keyword arguments are sections of the stack file.
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
            STACK_VARIABLE: self.stack,
            **self._engine,
        }
        for link in LINKS:
            (folder / link).symlink_to(PROJECT / link)
        (folder / "__main__.py").symlink_to(PROJECT / program)
        (folder / "stacks").mkdir()
        self._create()
        self.settings: dict[str, dict[str, Any]] = {"registry": {"port": free_port()}}
        self.configure(**settings)

    def _create(self) -> None:
        """Create the stack as a copy of a stack that Pulumi created once.

        Creating each stack with Pulumi would take most of a second.
        """
        name, files = _stack_files()
        for path, text in files.items():
            file = self.folder / str(path).replace(name, self.stack)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace(name, self.stack))

    @property
    def file(self) -> Path:
        """The path of the stack file."""
        return self.folder / "stacks" / f"Pulumi.{self.stack}.yaml"

    def configure(self, **settings: Mapping[str, Any]) -> None:
        """Update sections of the stack file, for example `configure(registry={"port": 5000})`."""
        for section, values in settings.items():
            self.settings.setdefault(section, {}).update(values)
        self.write_config({f"oss-registry:{key}": value for key, value in self.settings.items()})

    def remove_setting(self, section: str, key: str) -> None:
        """Remove a setting from the stack file."""
        self.settings[section].pop(key, None)
        self.configure()

    def remove_section(self, section: str) -> None:
        """Remove a section from the stack file."""
        del self.settings[section]
        self.write_config({f"oss-registry:{section}": None})

    def write_config(self, keys: Mapping[str, Any]) -> None:
        """Set configuration keys in the stack file; a value of None removes its key."""
        file = self.file
        content = yaml.safe_load(file.read_text())
        config = {**content.get("config", {}), **keys}
        content["config"] = {key: value for key, value in config.items() if value is not None}
        # PyYAML writes the string 0899 without quotes, and Pulumi would read it as a number. So the
        # file is JSON, which both read in the same way.
        file.write_text(json.dumps(content, indent=2))

    def set_secret(self, name: str, value: str, *flags: str) -> None:
        """Set a secret with `pulumi config set`, and pass `flags` on to that command.

        A `name` without a colon gets the prefix `oss-registry:`.
        """
        key = name if ":" in name else f"oss-registry:{name}"
        words = self.pulumi_command("config", "set", "--secret", *flags, key)
        run_checked(*words, env=self.environment, stdin=value)

    def pulumi(self, *words: str) -> str:
        """Run pulumi, assert that it succeeded, and return its output."""
        return run_checked(*self.pulumi_command(*words), env=self.environment)

    def pulumi_fails(self, *words: str) -> str:
        """Run pulumi, assert that it failed, and return its output."""
        result = run(*self.pulumi_command(*words), env=self.environment)
        assert result.returncode != 0, result.stdout
        return result.stdout

    def pulumi_command(self, *words: str) -> list[str | Path]:
        """Return the command line that runs pulumi with `words` for this stack."""
        stack = ["--stack", self.stack, "--non-interactive", "--color", "never"]
        return ["pulumi", "--cwd", self.folder, *words, *stack]

    def up(self) -> str:
        """Run `pulumi up` and return its output."""
        return self.pulumi("up", "--yes", "--skip-preview")

    def start_pulumi(
        self, *words: str, output: int | IO[str] = subprocess.DEVNULL, own_group: bool = False
    ) -> "subprocess.Popen[bytes]":
        """Start pulumi with `words`.

        With `own_group`, the process and its children are in a new process group.
        """
        return subprocess.Popen(
            self.pulumi_command(*words),
            env={**os.environ, **self.environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=own_group,
        )

    @contextmanager
    def deployed(self) -> Iterator[Self]:
        """Deploy with `pulumi up`. Remove the stack afterwards, also after a failure."""
        try:
            self.up()
            yield self
        finally:
            self.remove()

    @contextmanager
    def deployed_with_make(self) -> Iterator[Self]:
        """Deploy with `make up`, as users do. Remove the stack afterwards, also after a failure."""
        try:
            self.make_succeeds("up")
            yield self
        finally:
            self.remove()

    def watch_pulumi(self, *words: str) -> tuple[str, set[str]]:
        """Run pulumi; return its output and the command lines of all processes during the run."""
        log = self.folder / "printed.log"
        command_lines: set[str] = set()
        with log.open("w") as output, self.start_pulumi(*words, output=output) as running:
            while running.poll() is None:
                command_lines |= set(proc_files("cmdline").values())
                time.sleep(0.02)
        printed = log.read_text()
        # A test report may omit the middle of a long output, so the errors are repeated at the end.
        errors = [line for line in printed.splitlines() if "error" in line.lower()]
        assert running.returncode == 0, "\n".join((printed, *errors))
        return printed, command_lines

    def generated_values(self) -> Mapping[str, str]:
        """Return the values that the program generated and persisted in the state, by name."""
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
        yes: str = "1",
        separate_stderr: bool = False,
    ) -> "subprocess.CompletedProcess[str]":
        """Run make for this stack.

        `env` replaces the stack's environment. `yes` is the value of YES; 1 confirms all changes.
        """
        command = ["make", "-C", str(self.folder), *targets, f"STACK={self.stack}", f"YES={yes}"]
        return run(*command, env=env or self.environment, separate_stderr=separate_stderr)

    def make_succeeds(
        self,
        *targets: str,
        env: Mapping[str, str] | None = None,
        yes: str = "1",
        separate_stderr: bool = False,
    ) -> str:
        """Run make as `make` does, assert that it succeeded, and return its output."""
        result = self.make(*targets, env=env, yes=yes, separate_stderr=separate_stderr)
        assert result.returncode == 0, result.stdout
        return result.stdout

    def make_fails(
        self,
        *targets: str,
        env: Mapping[str, str] | None = None,
        yes: str = "1",
        separate_stderr: bool = False,
    ) -> str:
        """Run make as `make` does, assert that it failed, and return its output."""
        result = self.make(*targets, env=env, yes=yes, separate_stderr=separate_stderr)
        assert result.returncode != 0, result.stdout
        return result.stdout

    @contextmanager
    def start_make(
        self, *words: str, output: int = subprocess.DEVNULL
    ) -> Iterator["subprocess.Popen[str]"]:
        """Start make in a new process group, and wait for it at the end of the block."""
        with subprocess.Popen(
            ["make", "-C", self.folder, *words, f"STACK={self.stack}", "YES=1"],
            env={**os.environ, **self.environment},
            stdout=output,
            stderr=output if output == subprocess.DEVNULL else subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            yield process

    def docker(self, *words: str | Path) -> str:
        """Run docker on the stack's engine and return its output."""
        return run_checked("docker", *words, env=self._engine)

    def inspect(self, part: str, template: str) -> Any:  # noqa: ANN401
        """Return the part of `docker inspect` that `template` selects, for the container `part`.

        `part` is `registry` or `redis`.
        """
        name = f"{self.prefix}-{part}"
        found = self.docker("container", "inspect", "--format", f"{{{{json {template}}}}}", name)
        return json.loads(found)

    def log(self, part: str) -> str:
        """Return the log of the container `part`."""
        return self.docker("container", "logs", f"{self.prefix}-{part}")

    def is_healthy(self, part: str) -> bool:
        """Return whether the engine reports the container `part` as running and healthy."""
        state = self.inspect(part, ".State")
        return bool(state["Running"]) and state["Health"]["Status"] == "healthy"

    def outputs(self) -> Mapping[str, Any]:
        """Return the stack's outputs. No output is a secret."""
        # `pulumi stack output` shows the same, but takes a third of a second of CPU.
        resources = json.loads(self.state())["checkpoint"]["latest"].get("resources", ())
        found = (each["outputs"] for each in resources if each["type"] == "pulumi:pulumi:Stack")
        outputs: Mapping[str, Any] = next(found, {})
        return outputs

    def state(self) -> str:
        """Return the text of the state file, in which secrets are encrypted."""
        return (self.folder / f".pulumi/stacks/oss-registry/{self.stack}.json").read_text()

    def remove(self) -> None:
        """Remove the stack's Docker objects, even after a killed run.

        `pulumi destroy` would take seconds, and it refuses the state that a killed run leaves.
        """
        self.kill_processes()
        for kind, flags in REMOVAL_FLAGS.items():
            if found := self.docker_objects(kind):
                self.docker(kind, "rm", *flags, *found)

    def kill_processes(self) -> None:
        """Kill processes that a killed command of this stack has left, such as Pulumi plugins."""
        for process in processes_of(STACK_VARIABLE, self.stack):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def docker_objects(self, kind: str) -> list[str]:
        """Return the ids of the objects of `kind` that have the stack's label.

        `kind` is a noun of the docker command, such as `container` or `volume`. A volume's id is
        its name.
        """
        every = ["--all"] if kind == "container" else []
        label = f"label=oss-registry.stack={self.stack}"
        return self.docker(kind, "ls", *every, "--quiet", "--filter", label).split()
