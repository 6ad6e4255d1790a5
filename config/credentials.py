"""The access key by which Pulumi's alicloud provider and our own clients make calls.

The provider (4.0.0) reads the first of several variables for each half of a key, see
alicloud/provider.go of the Terraform provider 1.285.0. The vendor's Python clients read the
ALIBABA_CLOUD_* ones only.
"""

import re
from collections.abc import Mapping, MutableMapping
from typing import NamedTuple


class Part(NamedTuple):
    """A part of an access key: its setting, and its variables, the first of which wins."""

    setting: str
    variables: tuple[str, ...]

    @property
    def vendor_variable(self) -> str:
        """The variable that the vendor's other clients read, too."""
        return self.variables[1]


ID = Part(
    "alicloud:accessKey",
    ("ALICLOUD_ACCESS_KEY", "ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABACLOUD_ACCESS_KEY_ID"),
)
SECRET = Part(
    "alicloud:secretKey",
    ("ALICLOUD_SECRET_KEY", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "ALIBABACLOUD_ACCESS_KEY_SECRET"),
)
TOKEN = Part(
    "alicloud:securityToken",
    ("ALICLOUD_SECURITY_TOKEN", "ALIBABA_CLOUD_SECURITY_TOKEN", "ALIBABACLOUD_SECURITY_TOKEN"),
)
# Where the provider finds a key without these: a profile, a machine's role, a service, OIDC.
OTHER_SOURCES = frozenset(
    {
        *("alicloud:profile", "ALICLOUD_PROFILE", "ALIBABA_CLOUD_PROFILE"),
        *("alicloud:ecsRoleName", "ALICLOUD_ECS_ROLE_NAME", "ALIBABA_CLOUD_ECS_METADATA"),
        *("alicloud:credentialsUri", "ALICLOUD_CREDENTIALS_URI", "ALIBABA_CLOUD_CREDENTIALS_URI"),
        "alicloud:assumeRoleWithOidc",
    }
)
_READ = frozenset((*ID.variables, *SECRET.variables))
_LIKE_A_KEY = re.compile(r"(ALI(BABA)?_?CLOUD|ALIYUN)_\w*(KEY|SECRET)\w*")
NO_KEY = (
    f"the deployer's access key is missing or incomplete: set {ID.vendor_variable} and "
    f"{SECRET.vendor_variable}, or ALIBABA_CLOUD_PROFILE"
)


def problem(config: Mapping[str, str], environment: Mapping[str, str]) -> str | None:
    """Why the provider would find no whole access key, as a sentence without any value."""
    for half in (ID, SECRET, TOKEN):
        name = _found(half, config, environment)
        value = environment.get(name or "", "")
        if name and value != value.strip():
            end = "line feed" if value.endswith("\n") else "blank"
            return f"{name} begins or ends with a {end}. Set it without the {end}."
    access_key, secret = (_found(half, config, environment) for half in (ID, SECRET))
    if access_key and secret:
        return _mixed(access_key, secret, environment)
    if any(config.get(name) or environment.get(name) for name in OTHER_SOURCES):
        return None
    missing = SECRET if access_key else ID
    if access_key or secret:
        begun = f"{access_key or secret} is set without the other half of the access key"
    else:
        begun = "No access key of the deployer is set"
    alike = sorted(name for name in environment.keys() - _READ if _LIKE_A_KEY.fullmatch(name))
    ignored = f" Not read: {', '.join(alike)}." if alike else ""
    names = f"{', '.join(missing.variables[:-1])} or {missing.variables[-1]}"
    also = "" if access_key or secret else f", and {SECRET.vendor_variable}"
    return f"{begun}.{ignored} Set {missing.vendor_variable}{also} (read is the first of {names})."


def _mixed(access_key: str, secret: str, environment: Mapping[str, str]) -> str | None:
    """Why the provider would make a key of the halves of two keys, if it would."""
    if access_key not in ID.variables or secret not in SECRET.variables:
        return None
    own, other = ID.variables.index(access_key), SECRET.variables.index(secret)
    first, hidden = (
        (access_key, ID.variables[other]) if own < other else (secret, SECRET.variables[own])
    )
    if own == other or not environment.get(hidden) or environment[hidden] == environment[first]:
        return None
    return (
        f"{first} is read in place of {hidden}, the other half of whose key is set. Unset {first}."
    )


def set_client_variables(environment: MutableMapping[str, str]) -> None:
    """Have the vendor's Python clients read the access key that the provider reads, if any."""
    if problem({}, environment):
        return
    for half in (ID, SECRET, TOKEN):
        if name := _found(half, {}, environment):
            environment[half.vendor_variable] = environment[name]


def _found(half: Part, config: Mapping[str, str], environment: Mapping[str, str]) -> str | None:
    """The setting or variable that the provider reads `half` from."""
    if config.get(half.setting):
        return half.setting
    return next((name for name in half.variables if environment.get(name)), None)
