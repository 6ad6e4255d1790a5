"""Where the registry keeps its images: a Docker volume, or a bucket in OSS."""

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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

from components import access, runtime
from components.error_hints import explained
from config import credentials, releases
from config.stack import STACK_LABEL, Stack

if TYPE_CHECKING:
    from pulumi_alicloud import oss

SETTLED_SECONDS = 60
ABORT_DAYS = 7  # unfinished uploads: as long as the registry's own purging gives them

# Its calls may reach another of RAM's servers than the one that made the user or the policy.
NOT_YET = r"EntityNotExist\.(User|Policy)\b(?!\.)"
# What OSS and RAM say, and what that means to who wrote the stack file.
ERROR_HINTS = (
    (
        "BucketAlreadyExists",
        "the bucket {bucket} is another account's: choose another storage.bucket",
    ),
    (
        # The provider looks among the account's own buckets before it makes one.
        "bucket namespace is shared",
        "the bucket {bucket} is there already, and yours: set storage.adopt: true to use it as it "
        "is; if an `up` that failed has made it, it is empty: delete it, and `up` again",
    ),
    (
        r"LimitExceeded\.User\.AccessKey",
        "the RAM user {userName} has two access keys, RAM's limit: leave one label in "
        "storage.access_keys, `up`, and add the new one then; a key that no label stands for is "
        "to be deleted in RAM's console",
    ),
    (
        r"EntityAlreadyExists\.(User|Policy)\b(?!\.)",
        "{name} is in RAM already, from another stack of this name or a state that was lost: "
        "delete it there, or choose another stack name",
    ),
    (
        r"EntityAlreadyExists\.User\.Policy",
        "{policyName} is attached already: an `up` that failed has done it; `aliyun ram "
        "DetachPolicyFromUser --PolicyType Custom --PolicyName {policyName} --UserName "
        "{userName}`, and `up` again",
    ),
    (
        NOT_YET,
        "RAM does not find the user or the policy that it has just made: run `make up` again in a "
        "minute",
    ),
    (
        "InvalidTimeStamp|RequestTimeTooSkewed",
        "the clock of this machine is wrong: set it, for example by NTP",
    ),
    (
        "UserDisable",
        "the Alibaba Cloud account is disabled or has an overdue payment: check its balance and "
        "status in the Alibaba Cloud console",
    ),
    (
        r"NoSuchBucket|bucket does not exist",
        "there is no such bucket in this region: see storage.bucket and alicloud:region",
    ),
    (
        r"NoPermission|Forbidden\.RAM|AccessDenied",
        "the deployer's own access key is not allowed to do this: see docs/production.md",
    ),
    ("(?i)invalid type option", credentials.NO_KEY),
    (
        "InvalidAccessKeyId|SignatureDoesNotMatch|no valid credential|get credential failed",
        "the deployer's own access key is not right: see ALIBABA_CLOUD_ACCESS_KEY_ID and _SECRET",
    ),
)


@dataclass(frozen=True, kw_only=True)
class FilesystemStorageArgs:
    stack: str
    volume: str


class FilesystemStorage(ComponentResource):
    """A Docker volume that stays when the stack is destroyed."""

    provision: runtime.Provision

    def __init__(
        self, name: str, args: FilesystemStorageArgs, opts: ResourceOptions | None = None
    ) -> None:
        super().__init__("oss-registry:index:FilesystemStorage", name, None, opts)
        volume = runtime.volume("data", args.volume, args.stack, parent=self)
        data = runtime.Mount(volume=volume, path=releases.DATA_PATH)
        self.provision = runtime.Provision(mounts=[data], outputs={"volume": volume})
        self.register_outputs({"volume": volume})


@dataclass(frozen=True, kw_only=True)
class OssStorageArgs:
    """`user` is the RAM user's name, and its policy's; `access_keys` are labels, the last in use.

    `noncurrent_days` is given with versioning, `kms_key_id` for a key other than OSS's own.
    """

    stack: str
    oss: releases.OssFacts
    user: str
    access_keys: Sequence[str]
    adopt: bool
    noncurrent_days: int | None
    kms_key_id: str | None
    protect: bool
    force_destroy: bool


class OssStorage(ComponentResource):
    """A bucket, and a RAM user that may do in it what the registry does, and nothing else."""

    provision: runtime.Provision

    def __init__(
        self, name: str, args: OssStorageArgs, opts: ResourceOptions | None = None
    ) -> None:
        super().__init__("oss-registry:index:OssStorage", name, None, opts)
        bucket = self._adopted(args) if args.adopt else self._made(args)
        holes, user = self._access(args, bucket)
        self.provision = runtime.Provision(
            holes=holes,
            outputs={
                "bucket": bucket.id,
                "storage_endpoint": f"https://{args.oss.host}",
                "ram_user": user,
                "access_key": args.access_keys[-1],
            },
        )
        self.register_outputs(dict(self.provision.outputs))

    def _adopted(self, args: OssStorageArgs) -> "oss.Bucket":
        """A bucket that is there, as it is: it is read, so that a wrong name is known at once."""
        from pulumi_alicloud import oss

        return oss.Bucket.get("bucket", args.oss.bucket, opts=ResourceOptions(parent=self))

    def _made(self, args: OssStorageArgs) -> "oss.Bucket":
        # Here, as it takes 0.3 s that a stack without a cloud need not wait for.
        from pulumi_alicloud import oss

        days = args.noncurrent_days
        rule = oss.BucketLifecycleRuleArgs(
            # OSS refuses two rules that overlap, so one holds all that happens below the prefix.
            id=STACK_LABEL,
            prefix=args.oss.below,
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
            bucket=args.oss.bucket,
            lifecycle_rules=[rule],
            tags={STACK_LABEL: args.stack},
            force_destroy=args.force_destroy,
            opts=ResourceOptions(
                parent=self,
                protect=args.protect,
                # They have resources of their own below, which the bucket would undo (provider
                # issue 9331).
                ignore_changes=["acl", "policy", "serverSideEncryptionRule", "versioning"],
                hooks=explained("bucket", ERROR_HINTS),
            ),
        )

        def opts(name: str, *after: Resource) -> ResourceOptions:
            return ResourceOptions(
                # Not of the bucket, as they would be protected with it.
                parent=self,
                deleted_with=bucket,
                depends_on=after,
                hooks=explained(name, ERROR_HINTS),
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
            policy=access.encrypted_only(args.oss.bucket),
            opts=opts("bucket-policy", blocked),
        )
        if days:
            oss.BucketVersioning(
                "versioning", bucket=name, status="Enabled", opts=opts("versioning")
            )
        return bucket

    def _access(
        self, args: OssStorageArgs, bucket: Resource
    ) -> tuple[Mapping[str, Output[str]], Output[str]]:
        """The values of the key's holes, once it is of use; and the user's name."""
        from pulumi_alicloud import ram

        def opts(name: str, *after: Resource) -> ResourceOptions:
            hooks = explained(name, ERROR_HINTS, transient=NOT_YET)
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
            policy_document=access.registry_policy(args.oss, args.kms_key_id),
            # RAM keeps five versions of a policy, and would refuse the sixth.
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
                f"access-key-{label}",
                user_name=user.name,
                opts=ResourceOptions.merge(
                    # The registry waits for its key, and so for all that makes the key useful.
                    opts(f"access-key-{label}", attachment, bucket),
                    ResourceOptions(hooks=_settled(label, args.oss)),
                ),
            )
            for label in args.access_keys
        }
        in_use = keys[args.access_keys[-1]]
        key_id, secret = args.oss.access_key
        return {key_id.label: in_use.id, secret.label: in_use.secret.apply(_present)}, user.name


def _present(secret: str | None) -> str:
    if not secret:
        raise RunError("RAM gave no secret for the access key: add a new label for another one")
    return secret


def _settled(label: str, oss: releases.OssFacts) -> ResourceHookBinding:
    """Has a new key waited for until OSS takes it: for some seconds it may refuse one."""

    async def wait(made: ResourceHookArgs) -> None:
        secret = await Output.from_input((made.new_outputs or {})["secret"]).future()
        address = _signed(oss, made.id, str(secret))
        begun = time.monotonic()
        while (state := await asyncio.to_thread(_asked, address)) and (
            time.monotonic() < begun + SETTLED_SECONDS
        ):
            await asyncio.sleep(1)
        if state == "InvalidAccessKeyId":
            raise RuntimeError(f"OSS does not take the new access key {label}: `up` again later")
        if state:
            log.warn(f"whether OSS takes the new access key {label} is not known: {state}")

    hook = ResourceHook(f"settled-{label}", wait)
    return ResourceHookBinding(after_create=[hook])


def _signed(oss: releases.OssFacts, key_id: str, secret: str) -> str:
    """The address of an object that is not there, signed with a key."""
    import alibabacloud_oss_v2 as client

    config = client.config.load_default()
    config.region = oss.region
    config.credentials_provider = client.credentials.StaticCredentialsProvider(key_id, secret)
    request = client.GetObjectRequest(bucket=oss.bucket, key=f"{oss.below}{STACK_LABEL}")
    return str(client.Client(config).presign(request).url)


def _asked(address: str) -> str:
    """Why OSS did not answer whether it takes the key, or that it does not; empty if it does."""
    try:
        urllib.request.urlopen(address, timeout=10).close()
    except urllib.error.HTTPError as answer:
        text = answer.read().decode(errors="replace")
        if "InvalidAccessKeyId" in text:
            return "InvalidAccessKeyId"
        return f"OSS answers {answer.code}" if answer.code >= 500 else ""
    except OSError as error:
        return str(error)
    return ""


def _volume(name: str, stack: Stack) -> runtime.Provision:
    args = FilesystemStorageArgs(stack=stack.name, volume=stack.volume)
    return FilesystemStorage(name, args).provision


def _bucket(name: str, stack: Stack) -> runtime.Provision:
    its = stack.settings.storage
    args = OssStorageArgs(
        stack=stack.name,
        oss=stack.oss,
        user=stack.prefix,
        access_keys=its.access_keys,
        adopt=its.adopt,
        noncurrent_days=its.versioning.noncurrent_days if its.versioning else None,
        kms_key_id=its.encryption.kms_key_id if its.encryption else None,
        protect=its.protect,
        force_destroy=its.force_destroy,
    )
    return OssStorage(name, args).provision


_KINDS: Mapping[str, Callable[[str, Stack], runtime.Provision]] = {
    "filesystem": _volume,
    "oss": _bucket,
}


def storage(name: str, stack: Stack) -> runtime.Provision:
    """The storage that the stack file asks for."""
    return _KINDS[stack.settings.storage.kind](name, stack)
