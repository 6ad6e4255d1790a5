"""The emulated RAM: users, policies, their attachments, and access keys.

Each call behaves as described on its page of the vendor's API reference.
"""

import itertools
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_KEYS_PER_USER = 2
MAX_VERSIONS_PER_POLICY = 5
Parameters = Mapping[str, str]
Content = dict[str, Any]


class ApiError(Exception):
    """An error response of RAM or OSS."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message or code


@dataclass
class AccessKey:
    """An access key of a RAM user."""

    id: str
    secret: str
    user: str
    created: float
    usable_from: float  # OSS refuses the key before this time.
    active: bool = True

    @property
    def content(self) -> Content:
        """Its fields in RAM's responses."""
        status = "Active" if self.active else "Inactive"
        return {"AccessKeyId": self.id, "Status": status, "CreateDate": _date(self.created)}


@dataclass
class User:
    """A RAM user. `parameters` are those of the call that created it."""

    name: str
    id: str
    created: float
    parameters: dict[str, str]
    policies: list[tuple[str, str]] = field(default_factory=list)  # type and name
    keys: dict[str, AccessKey] = field(default_factory=dict)

    @property
    def content(self) -> Content:
        """Its fields in RAM's responses."""
        return {
            "UserName": self.name,
            "UserId": self.id,
            "CreateDate": _date(self.created),
            "UpdateDate": _date(self.created),
            **{name: self.parameters.get(name, "") for name in ("DisplayName", "Comments")},
        }


@dataclass
class Policy:
    """A custom policy with its versions."""

    name: str
    created: float
    description: str
    versions: dict[str, str]  # documents by version ID
    current: str  # the ID of the version in force
    version_numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(2))

    @property
    def content(self) -> Content:
        """Its fields in RAM's responses."""
        return {
            "PolicyName": self.name,
            "PolicyType": "Custom",
            "Description": self.description,
            "DefaultVersion": self.current,
            "CreateDate": _date(self.created),
            "UpdateDate": _date(self.created),
        }

    def version(self, number: str) -> Content:
        return {
            "VersionId": number,
            "IsDefaultVersion": number == self.current,
            "PolicyDocument": self.versions[number],
            "CreateDate": _date(self.created),
        }


class Ram:
    """One account's RAM."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.policies: dict[str, Policy] = {}
        self.settling_seconds = 0.0  # how long OSS refuses a new access key

    def key(self, key_id: str) -> AccessKey | None:
        """The access key `key_id` of any user, or None if there is no such key."""
        for user in self.users.values():
            if key_id in user.keys:
                return user.keys[key_id]
        return None

    def documents(self, user: str) -> list[Mapping[str, Any]]:
        """The policies in force for `user`."""
        attached = self.users[user].policies
        policies = [self.policies[name] for _, name in attached if name in self.policies]
        return [json.loads(policy.versions[policy.current]) for policy in policies]

    @staticmethod
    def resources(parameters: Parameters) -> list[str]:
        """The resources on which a call acts, in the notation of policies (acs:ram:…)."""
        kinds = (("user", "UserName"), ("policy", "PolicyName"))
        named = [f"{kind}/{parameters[name]}" for kind, name in kinds if name in parameters]
        return [f"acs:ram:*:*:{resource}" for resource in named or ["*"]]

    def call(self, action: str, parameters: Parameters) -> Content:
        """Execute the API `action`, and return the response's content. Raises ApiError."""
        handle: Callable[[Parameters], Content] | None = getattr(self, f"_{action}", None)
        if handle is None:
            raise ApiError(400, "InvalidAction", f"the emulator knows no {action}")
        return handle(parameters)

    def _require_user(self, parameters: Parameters) -> User:
        name = parameters.get("UserName", "")
        if name not in self.users:
            message = f"The user does not exist. User: {name}"
            raise ApiError(404, "EntityNotExist.User", message)
        return self.users[name]

    def _require_policy(self, parameters: Parameters) -> Policy:
        name = parameters.get("PolicyName", "")
        if name not in self.policies:
            raise ApiError(404, "EntityNotExist.Policy", f"The policy does not exist: {name}")
        return self.policies[name]

    def _CreateUser(self, parameters: Parameters) -> Content:
        name = parameters["UserName"]
        if name in self.users:
            raise ApiError(409, "EntityAlreadyExists.User", f"The user does already exist: {name}")
        number = str(secrets.randbelow(10**18))
        self.users[name] = User(name, number, time.time(), dict(parameters))
        return {"User": self.users[name].content}

    def _GetUser(self, parameters: Parameters) -> Content:
        return {"User": self._require_user(parameters).content}

    def _ListUsers(self, _: Parameters) -> Content:
        users = [user.content for user in self.users.values()]
        return {"IsTruncated": False, "Users": {"User": users}}

    def _ListGroupsForUser(self, parameters: Parameters) -> Content:
        self._require_user(parameters)
        return {"Groups": {"Group": []}}

    def _DeleteLoginProfile(self, parameters: Parameters) -> Content:
        self._require_user(parameters)
        raise ApiError(404, "EntityNotExist.User.LoginProfile", "The login policy does not exist.")

    def _UnbindMFADevice(self, parameters: Parameters) -> Content:
        self._require_user(parameters)
        raise ApiError(404, "EntityNotExist.User.MFADevice", "The MFA device does not exist.")

    def _DeleteUser(self, parameters: Parameters) -> Content:
        user = self._require_user(parameters)
        if user.keys:
            raise ApiError(409, "DeleteConflict.User.AccessKey", "The user has access keys.")
        if user.policies:
            raise ApiError(409, "DeleteConflict.User.Policy", "The user has attached policies.")
        del self.users[user.name]
        return {}

    def _ListTagResources(self, _: Parameters) -> Content:
        return {"IsTruncated": False, "TagResources": {"TagResource": []}}

    def _CreatePolicy(self, parameters: Parameters) -> Content:
        name = parameters["PolicyName"]
        if name in self.policies:
            raise ApiError(409, "EntityAlreadyExists.Policy", f"The policy does exist: {name}")
        documents = {"v1": _policy_document(parameters)}
        description = parameters.get("Description", "")
        self.policies[name] = Policy(name, time.time(), description, documents, "v1")
        return {"Policy": self.policies[name].content}

    def _GetPolicy(self, parameters: Parameters) -> Content:
        policy = self._require_policy(parameters)
        version = policy.version(policy.current)
        return {
            "Policy": {**policy.content, "PolicyDocument": version["PolicyDocument"]},
            "DefaultPolicyVersion": version,
        }

    def _ListPolicyVersions(self, parameters: Parameters) -> Content:
        policy = self._require_policy(parameters)
        versions = [policy.version(number) for number in policy.versions]
        return {"PolicyVersions": {"PolicyVersion": versions}}

    def _CreatePolicyVersion(self, parameters: Parameters) -> Content:
        policy = self._require_policy(parameters)
        if len(policy.versions) >= MAX_VERSIONS_PER_POLICY:
            if "RotateStrategy" not in parameters or parameters["RotateStrategy"] == "None":
                raise ApiError(409, "LimitExceeded.Policy.Version", "The policy has 5 versions.")
            del policy.versions[next(v for v in policy.versions if v != policy.current)]
        number = f"v{next(policy.version_numbers)}"
        policy.versions[number] = _policy_document(parameters)
        if parameters.get("SetAsDefault") == "true":
            policy.current = number
        return {"PolicyVersion": policy.version(number)}

    def _DeletePolicyVersion(self, parameters: Parameters) -> Content:
        policy = self._require_policy(parameters)
        if parameters["VersionId"] == policy.current:
            message = "It is the default version."
            raise ApiError(409, "DeleteConflict.PolicyVersion.Default", message)
        policy.versions.pop(parameters["VersionId"], None)
        return {}

    def _DeletePolicy(self, parameters: Parameters) -> Content:
        policy = self._require_policy(parameters)
        if any(("Custom", policy.name) in user.policies for user in self.users.values()):
            raise ApiError(409, "DeleteConflict.Policy.User", "The policy is attached.")
        if len(policy.versions) > 1:
            raise ApiError(409, "DeleteConflict.Policy.Version", "The policy has versions.")
        del self.policies[policy.name]
        return {}

    def _ListEntitiesForPolicy(self, parameters: Parameters) -> Content:
        name = self._require_policy(parameters).name
        users = [u.content for u in self.users.values() if ("Custom", name) in u.policies]
        return {"Users": {"User": users}, "Groups": {"Group": []}, "Roles": {"Role": []}}

    def _AttachPolicyToUser(self, parameters: Parameters) -> Content:
        user, attached = self._require_user(parameters), _policy_type_and_name(parameters)
        self._require_policy(parameters)
        if attached in user.policies:
            raise ApiError(409, "EntityAlreadyExists.User.Policy", "It is attached already.")
        user.policies.append(attached)
        return {}

    def _DetachPolicyFromUser(self, parameters: Parameters) -> Content:
        user, attached = self._require_user(parameters), _policy_type_and_name(parameters)
        if attached not in user.policies:
            raise ApiError(404, "EntityNotExist.User.Policy", "It is not attached.")
        user.policies.remove(attached)
        return {}

    def _ListPoliciesForUser(self, parameters: Parameters) -> Content:
        attached = self._require_user(parameters).policies
        policies = [
            {**self.policies[name].content, "AttachDate": _date(time.time())}
            for _, name in attached
            if name in self.policies
        ]
        return {"Policies": {"Policy": policies}}

    def _CreateAccessKey(self, parameters: Parameters) -> Content:
        user = self._require_user(parameters)
        if len(user.keys) >= MAX_KEYS_PER_USER:
            message = f"The count of access keys is beyond the current limits: {MAX_KEYS_PER_USER}"
            raise ApiError(409, "LimitExceeded.User.AccessKey", message)
        key_id = f"LTAI5t{secrets.token_hex(9)}"
        secret = secrets.token_urlsafe(24)[:30]
        now = time.time()
        key = AccessKey(key_id, secret, user.name, now, now + self.settling_seconds)
        user.keys[key_id] = key
        return {"AccessKey": {**key.content, "AccessKeySecret": key.secret}}

    def _ListAccessKeys(self, parameters: Parameters) -> Content:
        keys = [key.content for key in self._require_user(parameters).keys.values()]
        return {"AccessKeys": {"AccessKey": keys}}

    def _UpdateAccessKey(self, parameters: Parameters) -> Content:
        self._require_key(parameters).active = parameters["Status"] == "Active"
        return {}

    def _DeleteAccessKey(self, parameters: Parameters) -> Content:
        key = self._require_key(parameters)
        del self.users[key.user].keys[key.id]
        return {}

    def _require_key(self, parameters: Parameters) -> AccessKey:
        key = self._require_user(parameters).keys.get(parameters.get("UserAccessKeyId", ""))
        if key is None:
            raise ApiError(404, "EntityNotExist.User.AccessKey", "The access key does not exist.")
        return key


def _policy_type_and_name(parameters: Parameters) -> tuple[str, str]:
    return parameters["PolicyType"], parameters["PolicyName"]


def _policy_document(parameters: Parameters) -> str:
    """The policy document in `parameters`. Raises ApiError if it is invalid or too long."""
    document = parameters["PolicyDocument"]
    try:
        valid = bool(json.loads(document)["Statement"])
    except (ValueError, LookupError):
        valid = False
    if not valid or len(document) > 6144:
        raise ApiError(400, "MalformedPolicyDocument", "The policy document is malformed.")
    return document


def _date(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))
