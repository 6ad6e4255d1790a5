"""A stack whose images are in OSS: the double's, which its processes reach as a proxy."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.aliyun.aliyun import Aliyun
from tests.integration.deployment import PROJECT, Deployment, free_port, run

REGION = "cn-hangzhou"


def stack(name: str) -> dict[str, Any]:
    """The sections of a stack file of ours, by their names."""
    content = yaml.safe_load((PROJECT / f"stacks/Pulumi.{name}.yaml").read_text())["config"]
    return {
        key.partition(":")[2]: value for key, value in content.items() if key.startswith("oss-")
    }


class CloudDeployment(Deployment):
    """A stack like that of the stack file `like`, but for its names, the proxy and its CA.

    `bucket` is its own, unless another is named in `storage`.
    """

    def __init__(
        self,
        folder: Path,
        aliyun: Aliyun,
        like: str = "prod",
        host: str | None = None,
        **settings: Mapping[str, Any],
    ) -> None:
        super().__init__(folder, host)
        self.aliyun = aliyun
        self.environment.update(aliyun.environment)
        self.bucket = f"images-{self.stack}"
        sections = stack(like)
        # Here clients are on this machine: who else gets in is the matter of the marker `secure`.
        for section in ("auth", "tls"):
            sections.pop(section, None)
        for setting in ("exposure", "external_url"):
            sections["registry"].pop(setting, None)
        self.configure(**sections)
        self.configure(
            registry={"port": free_port(), **aliyun.registry}, storage={"bucket": self.bucket}
        )
        self.write({"alicloud:region": REGION})
        self.configure(**settings)

    def as_release(self, release: str) -> "CloudDeployment":
        """Of another release; the account may still use Signature V1 where that needs it."""
        self.configure(registry={"release": release})
        if release.startswith("2."):
            self.aliyun.oss.new_take_v1 = True
            self.configure(storage={"signature_v1": True})
        return self

    def key_in_use(self) -> str:
        """The id of the access key that the registry was given."""
        envs = self.inspect("registry", ".Config.Env")
        names = ("ACCESSKEY=", "ACCESSKEYID=")
        (found,) = [e.partition("=")[2] for e in envs if any(name in e for name in names)]
        return str(json.loads(found))

    def remove(self) -> None:
        """Remove what the stack made, from the emulated cloud too."""
        super().remove()
        self.aliyun.faults.clear()
        buckets, ram = self.aliyun.oss.buckets, self.aliyun.ram
        for found in (buckets, ram.users, ram.policies):
            for name in [name for name in found if self.stack in name]:
                del found[name]

    def give_up(self) -> None:
        """Let all of it go: the bucket is the double's, and may go with what is in it."""
        self.aliyun.faults.clear()
        for bucket in self.aliyun.oss.buckets.values():
            bucket.objects.clear()
            bucket.uploads.clear()
        run(*self.command("state", "unprotect", "--all", "--yes"), env=self.environment)
