"""The bucket of a registry, and the driver section of the registry's configuration for it."""

from collections.abc import Mapping
from dataclasses import dataclass

from config.releases import Release
from config.tree import Placeholder, Section

CHUNK_SIZE = 32 * 2**20


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A bucket in OSS, as a registry uses it.

    Objects are below `prefix`. `host` is the host of OSS, without the bucket. `access_key` is the
    label of the key in use. `cname` is an address of the bucket to which clients are redirected.
    `memory` is the registry's memory limit in bytes, if it has one.
    """

    region: str
    host: str
    name: str
    prefix: str
    access_key: str
    cname: str | None = None
    memory: int | None = None

    @property
    def object_prefix(self) -> str:
        """The beginning of the names of all objects."""
        return f"{self.prefix}/" if self.prefix else ""

    @property
    def s3_endpoint(self) -> str:
        """The URL of the S3-compatible API."""
        return f"https://s3.{self.host}"

    @property
    def key_id(self) -> Placeholder:
        return Placeholder(f"access key id {self.access_key}", secret=False)

    @property
    def key_secret(self) -> Placeholder:
        return Placeholder(f"access key {self.access_key}")

    def section(self, release: Release) -> Section:
        """Return the keys of the registry's section `storage` for this bucket."""
        driver = _DRIVERS[release.oss_driver](self)
        return {release.oss_driver: driver, "redirect": {"disable": self.cname is None}}


def describe(location: Mapping[str, str]) -> str:
    """Return the bucket, prefix and region of `location`, which is that of an OssBackend."""
    below = f" below {location['prefix']}/" if location["prefix"] else ""
    return f"the bucket {location['bucket']}{below} in {location['region']}"


def _native_driver(bucket: Bucket) -> Section:
    """Return the keys for OSS's own API, with Signature V1."""
    return {
        "accesskeyid": bucket.key_id,
        "accesskeysecret": bucket.key_secret,
        "region": f"oss-{bucket.region}",
        "bucket": bucket.name,
        # The driver expects the whole host here, with the bucket.
        "endpoint": f"{bucket.name}.{bucket.host}",
        "internal": "-internal." in bucket.host,
        **_common(bucket),
    }


def _s3_driver(bucket: Bucket) -> Section:
    """Return the keys for the S3-compatible API, with Signature V4."""
    redirect: Section = {}
    if bucket.cname:
        # The driver prepends the bucket to this host, as it does to `regionendpoint`.
        redirect = {"redirectendpoint": bucket.cname.replace(f"{bucket.name}.", "", 1)}
    return {
        "accesskey": bucket.key_id,
        "secretkey": bucket.key_secret,
        "region": bucket.region,
        "regionendpoint": bucket.s3_endpoint,
        "bucket": bucket.name,
        # OSS does not accept the bucket in the path.
        "forcepathstyle": False,
        **_common(bucket),
        **redirect,
    }


def _common(bucket: Bucket) -> Section:
    root: Section = {"rootdirectory": bucket.prefix} if bucket.prefix else {}
    if bucket.memory is not None and bucket.memory < 2**30:
        return root
    # Each call takes time, so 32 MiB make a push faster than the 10 MiB of the drivers. With larger
    # chunks, layers that are pushed at the same time get slower (docs/benchmarks.md).
    return {"chunksize": CHUNK_SIZE, **root}


_DRIVERS = {"oss": _native_driver, "s3": _s3_driver}
