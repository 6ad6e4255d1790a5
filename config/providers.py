"""The keys that the Docker and Alibaba Cloud providers accept in a stack file.

Pulumi ignores a key that a provider does not know, so it does not report a typo. With docker:hots,
for example, it would create the stack on this machine. tests/unit/test_providers.py compares the
table with the pinned packages.
"""

from collections.abc import Iterator, Mapping, Set

from config.problems import Problem, unknown_key

# The accepted keys by namespace. A set lists the keys of a section, or of each section in a list.
# None means that the value is not checked.
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
        "endpoints": None,  # a section with a key for each of 160 services
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
    """Yield a problem if `key` (NAMESPACE:NAME), or a key inside of its `value`, is unknown."""
    namespace, _, name = key.partition(":")
    rule, keys = f"is not a key of the {namespace} provider", KEYS[namespace]
    if name not in keys:
        yield unknown_key(key, name, rule, keys)
        return
    known = keys[name]
    if known is None:
        return
    sections = {key: value}
    if isinstance(value, list):
        sections = {f"{key}[{number}]": item for number, item in enumerate(value)}
    for path, section in sections.items():
        # A section that is encrypted as a whole has the single key `secure`.
        if not isinstance(section, Mapping) or section.keys() == {"secure"}:
            continue
        for below in sorted(map(str, section.keys() - known)):
            yield unknown_key(f"{path}.{below}", below, rule, known)
