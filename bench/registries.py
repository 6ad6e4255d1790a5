"""The registries that are compared, each with its redis, side by side on one engine.

The tutorial's is made by hand, of plain docker commands; ours by `pulumi up`. The images of all but
the floor are in one emulator of OSS.
"""

import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.emulator.emulator import Emulator
from tests.integration.api import Api, RequestError
from tests.integration.cloud import REGION, CloudDeployment
from tests.integration.deployment import free_port, run_checked, wait_until

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Usage:
    """Of the registry's process: seconds of CPU, and the most memory that it had, in bytes."""

    cpu: float = 0.0
    memory: int = 0


@dataclass
class Registry:
    """A registry that runs: containers by their part, and the bucket of the emulator, if in one."""

    server: str
    containers: Mapping[str, str]
    emulator: Emulator
    bucket: str = ""
    remake: Callable[[], object] | None = field(default=None, repr=False)

    def forget(self) -> None:
        """As if nothing had ever been pushed."""
        if self.remake:
            self.remake()
        else:
            bucket = self.emulator.oss.buckets[self.bucket]
            bucket.objects.clear()
            bucket.uploads.clear()
        self.restart()

    def restart(self) -> None:
        """What is kept in memory is gone."""
        run_checked("docker", "restart", "--time", "5", *self.containers.values())
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return Api(f"http://{self.server}").call("GET", "/v2/", [200]).status == 200
        except RequestError:
            return False

    @contextmanager
    def used(self) -> Iterator[Usage]:
        """What the registry uses meanwhile; complete at the end."""
        name = self.containers["registry"]
        found = run_checked("docker", "container", "inspect", "--format", "{{.State.Pid}}", name)
        process = Path("/proc", found.strip())
        usage, over = Usage(), threading.Event()

        def watch() -> None:
            while not over.wait(0.05):
                usage.memory = max(usage.memory, resident(process))

        watcher = threading.Thread(target=watch)
        before = cpu(process)
        watcher.start()
        try:
            yield usage
        finally:
            over.set()
            watcher.join()
            usage.cpu = cpu(process) - before


def _name() -> str:
    return f"oss-registry-bench-{secrets.token_hex(4)}"


def cpu(process: Path) -> float:
    """The seconds of CPU that it has had."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS  # utime and stime, proc(5)


def resident(process: Path) -> int:
    """The memory that it has now, in bytes."""
    lines = (process / "status").read_text().splitlines()
    (found,) = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(found) * 1024


class Hall:
    """Where registries are put up for a comparison; all goes at the end."""

    def __init__(self) -> None:
        self._exits = ExitStack()
        self.folder = Path(self._exits.enter_context(tempfile.TemporaryDirectory()))
        self.emulator = Emulator(self.folder / "emulator")
        self._exits.callback(self.emulator.close)

    def __enter__(self) -> "Hall":
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def tutorial(self, **storage: str) -> Registry:
        """By hand, with the tutorial's settings and `storage`, variables without their prefix."""
        name, port, password = _name(), free_port(), "pa55-word"
        bucket = self.emulator.add_bucket(name, REGION).name
        run_checked("docker", "network", "create", name)
        self._exits.callback(run_checked, "docker", "network", "rm", name)
        parts = {part: f"{name}-{part}" for part in ("redis", "registry")}
        run = ("docker", "run", "--detach", "--network", name, "--name")
        redis = ["--network-alias", "redis"]
        # It would save all to its disk when it ends: a cold registry needs one that forgets.
        redis += ["--tmpfs", "/data", "--workdir", "/data", "redis:7.0.15"]
        self._exits.callback(run_checked, "docker", "rm", "--force", "--volumes", parts["redis"])
        run_checked(*run, parts["redis"], *redis, "redis-server", "--requirepass", password)
        variables = {
            "REGISTRY_STORAGE": "oss",
            "REGISTRY_STORAGE_OSS_ACCESSKEYID": self.emulator.key_id,
            "REGISTRY_STORAGE_OSS_ACCESSKEYSECRET": self.emulator.key_secret,
            "REGISTRY_STORAGE_OSS_REGION": f"oss-{REGION}",
            "REGISTRY_STORAGE_OSS_BUCKET": bucket,
            "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR": "redis",
            "REGISTRY_REDIS_ADDR": "redis:6379",
            "REGISTRY_REDIS_PASSWORD": password,
            "REGISTRY_REDIS_DB": "0",
            "REGISTRY_REDIS_POOL_MAXIDLE": "16",
            "REGISTRY_REDIS_POOL_MAXACTIVE": "64",
            "REGISTRY_REDIS_POOL_IDLETIMEOUT": "300s",
            **{f"REGISTRY_STORAGE_{key}": value for key, value in storage.items()},
            # How it finds the emulator.
            **self.emulator.registry_settings["environment"],
            "SSL_CERT_FILE": "/emulator.pem",
        }
        words = [word for item in variables.items() for word in ("--env", "=".join(item))]
        words += ["--volume", f"{self.emulator.ca}:/emulator.pem:ro"]
        words += ["--publish", f"127.0.0.1:{port}:5000"]
        self._exits.callback(run_checked, "docker", "rm", "--force", "--volumes", parts["registry"])
        run_checked(*run, parts["registry"], *words, "registry:2.8.3")
        return self._up(Registry(f"127.0.0.1:{port}", parts, self.emulator, bucket))

    def ours(
        self,
        config: Mapping[str, Any] | None = None,
        release: str = "",
        **settings: Mapping[str, Any],
    ) -> Registry:
        """A stack of ours with a bucket, with `config` (the registry's own) and `settings`."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        stack = CloudDeployment(folder, self.emulator, like="staging")
        # What that stack file sets beside the bucket.
        for key in ("limits", "log_level"):
            stack.remove_setting("registry", key)
        stack.remove_setting("cache", "max_memory")
        stack.configure(**settings)
        if release:
            stack.use_release(release)
        if config:
            stack.configure(registry={"config": config})
        self._exits.callback(stack.remove)
        stack.up()
        parts = ("registry", *(["redis"] if settings.get("cache", {}).get("enabled", True) else []))
        containers = {part: f"{stack.prefix}-{part}" for part in parts}
        return self._up(
            Registry(stack.outputs()["login_server"], containers, self.emulator, stack.bucket)
        )

    def disk(self) -> Registry:
        """On this machine's disk."""
        name, port = _name(), free_port()
        remove = ("docker", "rm", "--force", "--volumes", name)

        def make() -> None:
            run_checked(*remove)
            publish = ("--publish", f"127.0.0.1:{port}:5000")
            quiet = ("--env", "OTEL_TRACES_EXPORTER=none")
            run_checked(
                "docker", "run", "--detach", "--name", name, *publish, *quiet, "registry:3.1.2"
            )

        self._exits.callback(run_checked, *remove)
        make()
        return self._up(
            Registry(f"127.0.0.1:{port}", {"registry": name}, self.emulator, remake=make)
        )

    def _up(self, registry: Registry) -> Registry:
        wait_until(registry._answers)
        return registry
