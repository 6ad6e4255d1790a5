"""The registries that are compared, each with its own redis, on one engine.

Docker commands start the tutorial's registry, and `pulumi up` starts ours. Both store images in one
emulator of OSS. A third registry stores them on this machine's disk.
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
    """The use of resources by a registry's process."""

    cpu: float = 0.0  # seconds
    memory: int = 0  # bytes, at most


@dataclass
class Registry:
    """A running registry, with its containers by part.

    Its images are in `bucket`. If they are on a disk instead, `recreate` replaces its container and
    so deletes them.
    """

    server: str
    containers: Mapping[str, str]
    emulator: Emulator
    bucket: str = ""
    recreate: Callable[[], object] | None = field(default=None, repr=False)

    def reset(self) -> None:
        """Delete all images, and restart."""
        if self.recreate:
            self.recreate()
        else:
            bucket = self.emulator.oss.buckets[self.bucket]
            bucket.objects.clear()
            bucket.uploads.clear()
        self.restart()

    def restart(self) -> None:
        """Restart the containers, which clears the caches."""
        run_checked("docker", "restart", "--time", "5", *self.containers.values())
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return Api(f"http://{self.server}").call("GET", "/v2/", [200]).status == 200
        except RequestError:
            return False

    @contextmanager
    def measure_usage(self) -> Iterator[Usage]:
        """Measure the registry's use of resources. The result is complete after the `with`."""
        name = self.containers["registry"]
        pid = run_checked("docker", "container", "inspect", "--format", "{{.State.Pid}}", name)
        process = Path("/proc", pid.strip())
        usage, stopped = Usage(), threading.Event()

        def watch() -> None:
            while not stopped.wait(0.05):
                usage.memory = max(usage.memory, resident_bytes(process))

        watcher = threading.Thread(target=watch)
        before = cpu_seconds(process)
        watcher.start()
        try:
            yield usage
        finally:
            stopped.set()
            watcher.join()
            usage.cpu = cpu_seconds(process) - before


def _unique_name() -> str:
    return f"oss-registry-bench-{secrets.token_hex(4)}"


def cpu_seconds(process: Path) -> float:
    """The CPU time of a process, in seconds. `process` is its folder in /proc."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS  # utime and stime, proc(5)


def resident_bytes(process: Path) -> int:
    """The resident memory of a process, in bytes. `process` is its folder in /proc."""
    lines = (process / "status").read_text().splitlines()
    (kibibytes,) = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(kibibytes) * 1024


class Testbed:
    """Starts an emulator and registries for a comparison, and removes them at the end."""

    def __init__(self) -> None:
        self._exits = ExitStack()
        self.folder = Path(self._exits.enter_context(tempfile.TemporaryDirectory()))
        self.emulator = Emulator(self.folder / "emulator")
        self._exits.callback(self.emulator.close)

    def __enter__(self) -> "Testbed":
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def start_tutorial(self, **storage: str) -> Registry:
        """Start a registry with the tutorial's settings.

        `storage` are variables without their prefix REGISTRY_STORAGE_.
        """
        name, port, password = _unique_name(), free_port(), "pa55-word"
        bucket = self.emulator.add_bucket(name, REGION).name
        run_checked("docker", "network", "create", name)
        self._exits.callback(run_checked, "docker", "network", "rm", name)
        parts = {part: f"{name}-{part}" for part in ("redis", "registry")}
        run = ("docker", "run", "--detach", "--network", name, "--name")
        redis = ["--network-alias", "redis"]
        # On a volume, redis would save its data when it stops, so a restart would not clear it.
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
            # These let it use the emulator.
            **self.emulator.registry_settings["environment"],
            "SSL_CERT_FILE": "/emulator.pem",
        }
        options = [f"--env={name}={value}" for name, value in variables.items()]
        options += ["--volume", f"{self.emulator.ca}:/emulator.pem:ro"]
        options += ["--publish", f"127.0.0.1:{port}:5000"]
        self._exits.callback(run_checked, "docker", "rm", "--force", "--volumes", parts["registry"])
        run_checked(*run, parts["registry"], *options, "registry:2.8.3")
        return self._wait_until_ready(Registry(f"127.0.0.1:{port}", parts, self.emulator, bucket))

    def start_ours(
        self,
        config: Mapping[str, Any] | None = None,
        release: str = "",
        **settings: Mapping[str, Any],
    ) -> Registry:
        """Start a stack of this project with a bucket.

        `config` is the registry's own configuration, and `settings` are sections of the stack file.
        """
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        stack = CloudDeployment(folder, self.emulator, like="staging")
        # The other registries do not have these settings of the stack `staging`.
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
        parts = ["registry"]
        if settings.get("cache", {}).get("enabled", True):
            parts.append("redis")
        containers = {part: f"{stack.prefix}-{part}" for part in parts}
        return self._wait_until_ready(
            Registry(stack.outputs()["login_server"], containers, self.emulator, stack.bucket)
        )

    def start_disk(self) -> Registry:
        """Start a registry with its images on this machine's disk."""
        name, port = _unique_name(), free_port()
        remove = ("docker", "rm", "--force", "--volumes", name)

        def create() -> None:
            run_checked(*remove)
            publish = ("--publish", f"127.0.0.1:{port}:5000")
            quiet = ("--env", "OTEL_TRACES_EXPORTER=none")
            run_checked(
                "docker", "run", "--detach", "--name", name, *publish, *quiet, "registry:3.1.2"
            )

        self._exits.callback(run_checked, *remove)
        create()
        return self._wait_until_ready(
            Registry(f"127.0.0.1:{port}", {"registry": name}, self.emulator, recreate=create)
        )

    def _wait_until_ready(self, registry: Registry) -> Registry:
        wait_until(registry._answers)
        return registry
