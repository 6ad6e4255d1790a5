"""Images in a bucket of Alibaba Cloud OSS."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from components.storage.oss.bucket import Bucket
from config.releases import Release
from config.stack import RegistryConfig
from config.tree import Section

if TYPE_CHECKING:
    from components.runtime.workload import Bindings


class OssBackend:
    """The backend for `storage.kind: oss`."""

    volumes: Sequence[str] = ()

    def __init__(self, registry: RegistryConfig) -> None:
        self._registry = registry

    @cached_property
    def bucket(self) -> Bucket:
        stack = self._registry.stack
        settings = stack.settings.storage
        internal = "-internal" if settings.internal else ""
        return Bucket(
            region=stack.region,
            host=settings.endpoint or f"oss-{stack.region}{internal}.aliyuncs.com",
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

    def section(self, release: Release) -> Section:
        return self.bucket.section(release)

    def purges_uploads(self, release: Release) -> bool:
        return release.purges_object_storage

    def create(self, name: str) -> "Bindings":
        # Imported here, because it takes 0.3 s, and stacks without OSS do not need it.
        from components.storage.oss.resources import OssStorage, OssStorageArgs

        stack = self._registry.stack
        settings = stack.settings.storage
        versioning, encryption = settings.versioning, settings.encryption
        args = OssStorageArgs(
            stack=stack.name,
            bucket=self.bucket,
            user=stack.prefix,
            access_keys=settings.access_keys,
            adopt=settings.adopt,
            noncurrent_days=versioning.noncurrent_days if versioning else None,
            kms_key_id=encryption.kms_key_id if encryption else None,
            protect=settings.protect,
            force_destroy=settings.force_destroy,
        )
        return OssStorage(name, args).bindings
