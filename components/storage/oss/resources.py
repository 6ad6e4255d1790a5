"""The resources of `storage.kind: oss`. Only this module imports pulumi_alicloud."""

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pulumi import (
    ComponentResource,
    Output,
    Resource,
    ResourceHook,
    ResourceHookArgs,
    ResourceHookBinding,
    ResourceOptions,
    RunError,
    log,
)
from pulumi_alicloud import oss, ram

from components.error_hints import with_hints
from components.runtime.workload import Bindings
from components.storage.oss.driver import Bucket
from components.storage.oss.error_hints import ERROR_HINTS, NOT_YET
from components.storage.oss.policy import registry_policy, tls_only_policy
from config.resource_names import ACCESS_KEY_PREFIX, COMPONENTS
from config.stack import STACK_LABEL

SETTLED_SECONDS = 60  # until OSS accepts a new access key
ABORT_DAYS = 7  # for unfinished uploads, as in the registry's own purging


@dataclass(frozen=True, kw_only=True)
class OssStorageArgs:
    """`user` is the name of the RAM user and its policy. `access_keys` are labels of its keys.

    The last key is in use. `noncurrent_days` switches versioning on. `kms_key_id` replaces the key
    of OSS for encryption.
    """

    stack: str
    bucket: Bucket
    user: str
    access_keys: Sequence[str]
    adopt: bool
    noncurrent_days: int | None
    kms_key_id: str | None
    protect: bool
    force_destroy: bool


class OssStorage(ComponentResource):
    """A bucket, and a RAM user with only the permissions that the registry needs in it."""

    bindings: Bindings

    def __init__(
        self, name: str, args: OssStorageArgs, opts: ResourceOptions | None = None
    ) -> None:
        super().__init__(f"{COMPONENTS}OssStorage", name, None, opts)
        bucket = self._adopt_bucket(args) if args.adopt else self._create_bucket(args)
        values, user = self._create_user(args, bucket)
        self.bindings = Bindings(
            values=values,
            outputs={
                "bucket": bucket.id,
                "storage_endpoint": f"https://{args.bucket.host}",
                "ram_user": user,
                "access_key": args.access_keys[-1],
            },
        )
        self.register_outputs(dict(self.bindings.outputs))

    def _adopt_bucket(self, args: OssStorageArgs) -> oss.Bucket:
        """Read an existing bucket, so that a wrong name fails at once."""
        return oss.Bucket.get("bucket", args.bucket.name, opts=ResourceOptions(parent=self))

    def _create_bucket(self, args: OssStorageArgs) -> oss.Bucket:
        days = args.noncurrent_days
        rule = oss.BucketLifecycleRuleArgs(
            # OSS refuses rules that overlap, so one rule has everything for the prefix.
            id=STACK_LABEL,
            prefix=args.bucket.object_prefix,
            enabled=True,
            abort_multipart_uploads=[
                oss.BucketLifecycleRuleAbortMultipartUploadArgs(days=ABORT_DAYS)
            ],
            noncurrent_version_expirations=[
                oss.BucketLifecycleRuleNoncurrentVersionExpirationArgs(days=days)
            ]
            if days
            else [],
            expirations=[oss.BucketLifecycleRuleExpirationArgs(expired_object_delete_marker=True)]
            if days
            else [],
        )
        bucket = oss.Bucket(
            "bucket",
            bucket=args.bucket.name,
            lifecycle_rules=[rule],
            tags={STACK_LABEL: args.stack},
            force_destroy=args.force_destroy,
            opts=ResourceOptions(
                parent=self,
                protect=args.protect,
                # Separate resources manage these, and the bucket would reset them (provider issue
                # 9331).
                ignore_changes=["acl", "policy", "serverSideEncryptionRule", "versioning"],
                hooks=with_hints("bucket", ERROR_HINTS),
            ),
        )

        def opts(name: str, *after: Resource) -> ResourceOptions:
            return ResourceOptions(
                # The bucket as the parent would protect them as well.
                parent=self,
                deleted_with=bucket,
                depends_on=after,
                hooks=with_hints(name, ERROR_HINTS),
            )

        name = bucket.bucket
        blocked = oss.BucketPublicAccessBlock(
            "public-access-block",
            bucket=name,
            block_public_access=True,
            opts=opts("public-access-block"),
        )
        oss.BucketAcl("acl", bucket=name, acl="private", opts=opts("acl"))
        oss.BucketServerSideEncryption(
            "encryption",
            bucket=name,
            sse_algorithm="KMS" if args.kms_key_id else "AES256",
            kms_master_key_id=args.kms_key_id,
            opts=opts("encryption"),
        )
        oss.BucketHttpsConfig(
            "https-config",
            bucket=name,
            enable=True,
            tls_versions=["TLSv1.2", "TLSv1.3"],
            opts=opts("https-config"),
        )
        oss.BucketPolicy(
            "bucket-policy",
            bucket=name,
            policy=tls_only_policy(args.bucket.name),
            opts=opts("bucket-policy", blocked),
        )
        if days:
            oss.BucketVersioning(
                "versioning", bucket=name, status="Enabled", opts=opts("versioning")
            )
        return bucket

    def _create_user(
        self, args: OssStorageArgs, bucket: Resource
    ) -> tuple[Mapping[str, Output[str]], Output[str]]:
        """Return the values of the placeholders for the access key, and the user's name."""

        def opts(name: str, *after: Resource) -> ResourceOptions:
            hooks = with_hints(name, ERROR_HINTS, transient=NOT_YET)
            return ResourceOptions(parent=self, depends_on=after, hooks=hooks)

        user = ram.User(
            "ram-user",
            name=args.user,
            comments=f"The registry of the stack {args.stack}",
            force=True,
            opts=opts("ram-user"),
        )
        policy = ram.Policy(
            "ram-policy",
            policy_name=args.user,
            policy_document=registry_policy(args.bucket, args.kms_key_id),
            # RAM keeps at most five versions of a policy, and would refuse another one.
            rotate_strategy="DeleteOldestNonDefaultVersionWhenLimitExceeded",
            force=True,
            opts=opts("ram-policy"),
        )
        attachment = ram.UserPolicyAttachment(
            "ram-policy-attachment",
            user_name=user.name,
            policy_name=policy.policy_name,
            policy_type="Custom",
            opts=opts("ram-policy-attachment"),
        )
        keys = {
            label: ram.AccessKey(
                f"{ACCESS_KEY_PREFIX}{label}",
                user_name=user.name,
                opts=ResourceOptions.merge(
                    # The registry depends on its key, and so on the policy and the bucket.
                    opts(f"{ACCESS_KEY_PREFIX}{label}", attachment, bucket),
                    ResourceOptions(hooks=_wait_until_accepted(label, args.bucket)),
                ),
            )
            for label in args.access_keys
        }
        in_use = keys[args.access_keys[-1]]
        values = {
            args.bucket.key_id.label: in_use.id,
            args.bucket.key_secret.label: in_use.secret.apply(_require_secret),
        }
        return values, user.name


def _require_secret(secret: str | None) -> str:
    if not secret:
        raise RunError("RAM gave no secret for the access key: add a new label for another one")
    return secret


def _wait_until_accepted(label: str, bucket: Bucket) -> ResourceHookBinding:
    """Return a hook that waits until OSS accepts a new key, which takes some seconds."""

    async def wait(created: ResourceHookArgs) -> None:
        secret = await Output.from_input((created.new_outputs or {})["secret"]).future()
        url = _presigned_url(bucket, created.id, str(secret))
        started = time.monotonic()
        failure = await asyncio.to_thread(_request, url)
        while failure and time.monotonic() < started + SETTLED_SECONDS:
            await asyncio.sleep(1)
            failure = await asyncio.to_thread(_request, url)
        if failure == "InvalidAccessKeyId":
            raise RuntimeError(f"OSS does not take the new access key {label}: `up` again later")
        if failure:
            log.warn(f"whether OSS takes the new access key {label} is not known: {failure}")

    return ResourceHookBinding(after_create=[ResourceHook(f"settled-{label}", wait)])


def _presigned_url(bucket: Bucket, key_id: str, secret: str) -> str:
    """Return the URL of an object that does not exist, signed with the key."""
    import alibabacloud_oss_v2 as client

    config = client.config.load_default()
    config.region = bucket.region
    config.credentials_provider = client.credentials.StaticCredentialsProvider(key_id, secret)
    name = f"{bucket.object_prefix}{STACK_LABEL}"
    request = client.GetObjectRequest(bucket=bucket.name, key=name)
    return str(client.Client(config).presign(request).url)


def _request(url: str) -> str:
    """Return why OSS refuses the key or does not answer, or "" if OSS accepts the key."""
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except urllib.error.HTTPError as answer:
        text = answer.read().decode(errors="replace")
        if "InvalidAccessKeyId" in text:
            return "InvalidAccessKeyId"
        return f"OSS answers {answer.code}" if answer.code >= 500 else ""
    except OSError as error:
        return str(error)
    return ""
