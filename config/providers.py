"""The keys that a stack file may have for the providers of Docker and Alibaba Cloud.

Pulumi ignores a key that a provider does not know, so a typo would go unnoticed: with docker:hots
the stack would be created on this machine. tests/unit/test_providers.py compares the table with the
pinned packages.
"""

from collections.abc import Iterator, Mapping, Set

from config.problems import Problem, suggestion

# By namespace and key; a set has the keys of a section, or of each section in a list.
KEYS: Mapping[str, Mapping[str, Set[str] | None]] = {
    "alicloud": {
        "accessKey": None,
        "accountId": None,
        "accountType": None,
        "assumeRole": {"externalId", "policy", "roleArn", "sessionExpiration", "sessionName"},
        "assumeRoleWithOidc": {
            "oidcProviderArn",
            "oidcToken",
            "oidcTokenFile",
            "policy",
            "roleArn",
            "roleSessionName",
            "sessionExpiration",
        },
        "clientConnectTimeout": None,
        "clientReadTimeout": None,
        "configurationSource": None,
        "credentialsUri": None,
        "ecsRoleName": None,
        "endpoints": None,  # one for each of 160 services
        "fc": None,
        "features": {"ecsInstance"},
        "logEndpoint": None,
        "maxRetryTimeout": None,
        "mnsEndpoint": None,
        "otsInstanceName": None,
        "profile": None,
        "protocol": None,
        "region": None,
        "secretKey": None,
        "secureTransport": None,
        "securityToken": None,
        "securityTransport": None,
        "sharedCredentialsFile": None,
        "signVersion": {"oss", "sls"},
        "skipRegionValidation": None,
        "sourceIp": None,
    },
    "docker": {
        "caMaterial": None,
        "certMaterial": None,
        "certPath": None,
        "context": None,
        "disableDockerDaemonCheck": None,
        "host": None,
        "keyMaterial": None,
        "registryAuth": {
            "address",
            "authDisabled",
            "configFile",
            "configFileContent",
            "password",
            "username",
        },
        "sshOpts": None,
    },
}


def unknown_keys(key: str, value: object) -> Iterator[Problem]:
    """Yield a problem for each key in `key` (NAMESPACE:NAME) and its `value` that is not known."""
    namespace, _, name = key.partition(":")
    rule, keys = f"is not a key of the {namespace} provider", KEYS[namespace]
    if name not in keys:
        yield Problem(key, rule, suggestion(name, keys))
        return
    sections = enumerate(value) if isinstance(value, list) else [(None, value)]
    for number, section in sections:
        known = keys[name]
        # A value that is encrypted as a whole is a section with the one key secure.
        if known is None or not isinstance(section, Mapping) or section.keys() == {"secure"}:
            continue
        path = key if number is None else f"{key}[{number}]"
        for below in sorted(map(str, section.keys() - known)):
            yield Problem(f"{path}.{below}", rule, suggestion(below, known))
