"""The access key that the alicloud provider and this program's own clients use for their calls.

The provider (pulumi-alicloud 4.0.0) looks for each part of a key in several variables and uses the
first one that is set. See alicloud/provider.go of the Terraform provider 1.285.0. The vendor's
Python clients read only the ALIBABA_CLOUD_* variables.
"""

import re
from collections.abc import Mapping, MutableMapping
from typing import NamedTuple


class Part(NamedTuple):
    """A part of an access key: its setting and its variables, in the order of precedence."""

    setting: str
    variables: tuple[str, ...]

    @property
    def vendor_variable(self) -> str:
        """The variable that the vendor's own clients also read."""
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
# Settings and variables for other sources of a key: a profile, the role of an ECS instance, a
# credentials URI, and OIDC.
OTHER_KEY_SOURCES = frozenset(
    {
        *("alicloud:profile", "ALICLOUD_PROFILE", "ALIBABA_CLOUD_PROFILE"),
        *("alicloud:ecsRoleName", "ALICLOUD_ECS_ROLE_NAME", "ALIBABA_CLOUD_ECS_METADATA"),
        *("alicloud:credentialsUri", "ALICLOUD_CREDENTIALS_URI", "ALIBABA_CLOUD_CREDENTIALS_URI"),
        "alicloud:assumeRoleWithOidc",
    }
)
_KEY_VARIABLES = frozenset((*ID.variables, *SECRET.variables))
_LIKE_A_KEY = re.compile(r"(ALI(BABA)?_?CLOUD|ALIYUN)_\w*(KEY|SECRET)\w*")
NO_KEY = (
    f"the deployer's access key is missing or incomplete: set {ID.vendor_variable} and "
    f"{SECRET.vendor_variable}, or ALIBABA_CLOUD_PROFILE"
)


def problem(config: Mapping[str, str], environment: Mapping[str, str]) -> str | None:
    """Return why the provider would not find a complete access key, or None if it would.

    The text names settings and variables, without their values.
    """
    for part in (ID, SECRET, TOKEN):
        source = _source(part, config, environment)
        value = environment.get(source, "") if source else ""
        if value != value.strip():
            end = "line feed" if value.endswith("\n") else "blank"
            return f"{source} begins or ends with a {end}. Set it without the {end}."
    id_source = _source(ID, config, environment)
    secret_source = _source(SECRET, config, environment)
    if id_source and secret_source:
        return _mixed_keys(id_source, secret_source, environment)
    if any(config.get(name) or environment.get(name) for name in OTHER_KEY_SOURCES):
        return None
    missing = SECRET if id_source else ID
    to_set = missing.vendor_variable
    if id_source or secret_source:
        cause = f"{id_source or secret_source} is set without the other half of the access key"
    else:
        cause = "No access key of the deployer is set"
        to_set = f"{to_set}, and {SECRET.vendor_variable}"
    similar = sorted(
        name for name in environment.keys() - _KEY_VARIABLES if _LIKE_A_KEY.fullmatch(name)
    )
    ignored = f" Not read: {', '.join(similar)}." if similar else ""
    names = f"{', '.join(missing.variables[:-1])} or {missing.variables[-1]}"
    return f"{cause}.{ignored} Set {to_set} (read is the first of {names})."


def _mixed_keys(id_source: str, secret_source: str, environment: Mapping[str, str]) -> str | None:
    """Return why the provider would combine the id of one key with the secret of another, or None.

    This happens if a variable with a higher precedence is set for one half only.
    """
    if id_source not in ID.variables or secret_source not in SECRET.variables:
        return None
    id_rank = ID.variables.index(id_source)
    secret_rank = SECRET.variables.index(secret_source)
    if id_rank == secret_rank:
        return None
    if id_rank < secret_rank:
        used, shadowed = id_source, ID.variables[secret_rank]
    else:
        used, shadowed = secret_source, SECRET.variables[id_rank]
    if not environment.get(shadowed) or environment[shadowed] == environment[used]:
        return None
    return (
        f"{used} is read in place of {shadowed}, the other half of whose key is set. Unset {used}."
    )


def set_client_variables(environment: MutableMapping[str, str]) -> None:
    """Copy the access key that the provider reads to the variables that the vendor's clients read.

    An incomplete key is not copied.
    """
    if problem({}, environment):
        return
    for part in (ID, SECRET, TOKEN):
        if source := _source(part, {}, environment):
            environment[part.vendor_variable] = environment[source]


def _source(part: Part, config: Mapping[str, str], environment: Mapping[str, str]) -> str | None:
    """Return the setting or variable from which the provider reads `part`."""
    if config.get(part.setting):
        return part.setting
    return next((name for name in part.variables if environment.get(name)), None)
