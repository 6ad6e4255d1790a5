"""Images in a bucket of Alibaba Cloud OSS."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from components.storage.backend import (
    FindAccessKey,
    ListFiles,
    Loss,
    ReadAccessKey,
    ResourceChange,
    RunDocker,
    RunInRegistry,
)
from components.storage.oss import losses, objects
from components.storage.oss.access import access_problem
from components.storage.oss.driver import Bucket, describe
from config import credentials
from config.releases import Release
from config.resource_names import BUCKET, RAM_POLICY, RAM_POLICY_ATTACHMENT, RAM_USER
from config.stack import RegistryConfig
from config.tree import Section

if TYPE_CHECKING:
    from components.runtime.workload import Bindings


class OssBackend:
    """The backend for `storage.kind: oss`."""

    import_ids: Mapping[str, str] = {
        BUCKET: "{bucket}",
        RAM_USER: "{name}",
        RAM_POLICY: "{policyName}",
        RAM_POLICY_ATTACHMENT: "user:{policyName}:{policyType}:{userName}",
    }
    volumes: Sequence[str] = ()

    def __init__(self, registry: RegistryConfig) -> None:
        self._registry = registry
        self._stack = registry.stack
        self._settings = registry.stack.settings.storage

    @cached_property
    def bucket(self) -> Bucket:
        settings, region = self._settings, self._stack.region
        internal = "-internal" if settings.internal else ""
        return Bucket(
            region=region,
            host=settings.endpoint or f"oss-{region}{internal}.aliyuncs.com",
            name=settings.bucket or "",
            prefix=settings.prefix,
            access_key=settings.access_keys[-1],
            cname=settings.cname and settings.cname.rstrip("/"),
            memory=self._registry.settings.limits.memory,
        )

    @property
    def location(self) -> Mapping[str, str]:
        # The host oss-accelerate is global, so it does not contain the region of the bucket.
        host = re.fullmatch(r"oss-(?!accelerate)([a-z0-9-]+?)(-internal)?\..*", self.bucket.host)
        region = host[1] if host else self.bucket.region
        return {"bucket": self.bucket.name, "region": region, "prefix": self.bucket.prefix}

    @property
    def description(self) -> str:
        return describe(self.location)

    @property
    def access_keys(self) -> Sequence[str]:
        return self._settings.access_keys

    def section(self, release: Release) -> Section:
        return self.bucket.section(release)

    def purges_uploads(self, release: Release) -> bool:
        return release.purges_object_storage

    def create(self, name: str) -> "Bindings":
        # Imported here, because it takes 0.3 s, and stacks without OSS do not need it.
        from components.storage.oss.resources import OssStorage, OssStorageArgs

        settings = self._settings
        versioning, encryption = settings.versioning, settings.encryption
        args = OssStorageArgs(
            stack=self._stack.name,
            bucket=self.bucket,
            user=self._stack.prefix,
            access_keys=settings.access_keys,
            adopt=settings.adopt,
            noncurrent_days=versioning.noncurrent_days if versioning else None,
            kms_key_id=encryption.kms_key_id if encryption else None,
            protect=settings.protect,
            force_destroy=settings.force_destroy,
        )
        return OssStorage(name, args).bindings

    def deployer_problem(
        self, config: Mapping[str, str], environment: Mapping[str, str]
    ) -> str | None:
        return credentials.problem(config, environment)

    def access_problem(self, access_key: ReadAccessKey, docker: RunDocker) -> str | None:
        return self._problem_with(self.bucket.access_key, access_key, docker)

    def _problem_with(self, label: str, access_key: ReadAccessKey, docker: RunDocker) -> str | None:
        names = {"label": label, "stack": self._stack.name, "user": self._stack.prefix}
        return access_problem(self.bucket, access_key(label), docker, names)

    def status(
        self, outputs: Mapping[str, Any], access_key: ReadAccessKey, docker: RunDocker
    ) -> tuple[bool, str]:
        label, bucket = outputs.get("access_key"), self.bucket.name
        if label is None:
            return False, (
                f"The registry does not use the bucket {bucket} yet. Run "
                f"`make up STACK={self._stack.name}` to apply the stack file."
            )
        problem = self._problem_with(str(label), access_key, docker)
        if problem:
            return False, f"the registry has no access to the bucket {bucket}: {problem}"
        return True, f"the bucket {bucket} takes the access key {label}"

    def file_list(self, access_key: ReadAccessKey, _: RunInRegistry) -> ListFiles:
        bucket, key = self.bucket, access_key(self.bucket.access_key)

        def files(folder: str, name: str) -> Iterator[tuple[str, int]]:
            prefix = f"{bucket.object_prefix}{folder}/"
            for path, size in objects.list_objects(bucket, prefix, key):
                if path.endswith(f"/{name}"):
                    yield path.removeprefix(bucket.object_prefix), size

        return files

    def locate(self, path: str) -> str:
        return f"{self.bucket.object_prefix}{path} in the bucket {self.bucket.name}"

    def losses(
        self,
        changes: Sequence[ResourceChange],
        outputs: Mapping[str, Any],
        access_key: FindAccessKey,
    ) -> Iterator[Loss]:
        return losses.of_changes(self._registry, changes, outputs, access_key)

    def losses_of_destroy(
        self,
        resources: Sequence[Mapping[str, Any]],
        outputs: Mapping[str, Any],
        access_key: FindAccessKey,
    ) -> Iterator[Loss]:
        return losses.of_destroy(self._stack.name, resources, outputs, access_key)

    def remaining_images(self, _: RunDocker) -> Iterator[str]:
        if self._settings.adopt:
            prefix = self.bucket.object_prefix
            below = f", below {prefix}" if prefix else ""
            yield f"The images are kept in the bucket {self.bucket.name}{below}."
