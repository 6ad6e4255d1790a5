"""A deployment that stores its images in the emulator's OSS.

The emulator is an HTTPS proxy for the processes of the deployment.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.emulator.emulator import Emulator
from tests.integration.deployment import PROJECT, Deployment, free_port, run

REGION = "cn-hangzhou"


def _stack_file_sections(name: str) -> dict[str, Any]:
    """Return the sections of `stacks/Pulumi.NAME.yaml` by name."""
    content = yaml.safe_load((PROJECT / f"stacks/Pulumi.{name}.yaml").read_text())["config"]
    return {
        key.partition(":")[2]: value for key, value in content.items() if key.startswith("oss-")
    }


class CloudDeployment(Deployment):
    """A stack with the settings of the stack file `like`, except names, proxy, login and TLS.

    `bucket` is the name of the stack's own bucket. Settings of `storage` may name another one.
    """

    def __init__(
        self,
        folder: Path,
        emulator: Emulator,
        like: str = "prod",
        host: str | None = None,
        **settings: Mapping[str, Any],
    ) -> None:
        super().__init__(folder, host)
        self.emulator = emulator
        self.environment.update(emulator.environment)
        self.bucket = f"images-{self.stack}"
        sections = _stack_file_sections(like)
        # Clients on this machine need no login and no TLS. Tests with the marker `secure` use them.
        for section in ("auth", "tls"):
            sections.pop(section, None)
        for setting in ("exposure", "external_url"):
            sections["registry"].pop(setting, None)
        self.configure(**sections)
        self.configure(
            registry={"port": free_port(), **emulator.registry_settings},
            storage={"bucket": self.bucket},
        )
        self.write_config({"alicloud:region": REGION})
        self.configure(**settings)

    def use_release(self, release: str) -> "CloudDeployment":
        """Set the release in the stack file, and return this deployment.

        Release 2 needs Signature V1, so the new buckets of the emulator accept it.
        """
        self.configure(registry={"release": release})
        if release.startswith("2."):
            self.emulator.oss.new_buckets_accept_v1 = True
            self.configure(storage={"signature_v1": True})
        return self

    def key_in_use(self) -> str:
        """Return the id of the access key that the registry uses."""
        envs = self.inspect("registry", ".Config.Env")
        names = ("ACCESSKEY=", "ACCESSKEYID=")
        (found,) = [e.partition("=")[2] for e in envs if any(name in e for name in names)]
        return str(json.loads(found))

    def remove(self) -> None:
        """Remove the stack's objects from the engine and from the emulated cloud."""
        super().remove()
        self.emulator.faults.clear()
        buckets, ram = self.emulator.oss.buckets, self.emulator.ram
        for found in (buckets, ram.users, ram.policies):
            for name in [name for name in found if self.stack in name]:
                del found[name]

    def allow_destroy(self) -> None:
        """Empty all buckets and unprotect all resources, so that `pulumi destroy` succeeds."""
        self.emulator.faults.clear()
        for bucket in self.emulator.oss.buckets.values():
            bucket.objects.clear()
            bucket.uploads.clear()
        run(*self.pulumi_command("state", "unprotect", "--all", "--yes"), env=self.environment)
