"""The Pulumi program: create the registries of a stack."""

import os

import pulumi

from components.cache import create_cache
from components.generated_secrets import provided_secrets
from components.registry import Registry, RegistryArgs
from components.runtime import create_runtime
from components.storage import BACKENDS, storage_backend
from components.tls import create_certificate
from components.users import create_users
from config.load import load_stack, warnings
from config.plan import drain_seconds
from config.problems import SettingsError

try:
    stack = load_stack(
        pulumi.get_stack(),
        pulumi.runtime.get_config_env(),
        set(pulumi.runtime.get_config_secret_keys_env()),
        os.environ,
        BACKENDS,
    )
except SettingsError as error:
    # Pulumi prints the text of this error without a traceback.
    raise pulumi.RunError(str(error)) from None
for warning in warnings(stack):
    pulumi.log.warn(warning)

runtime = create_runtime(stack)
for registry in stack.registries:
    bindings = [
        storage_backend(registry).create("storage"),
        create_cache("cache", stack, runtime),
        create_users("users", stack),
        create_certificate("tls", registry),
    ]
    Registry(
        registry.name,
        RegistryArgs(
            name=registry.container,
            image=registry.image,
            address=registry.address,
            port=registry.settings.port,
            memory=registry.settings.limits.memory,
            cpus=registry.settings.limits.cpus,
            replicas=registry.settings.replicas,
            drain_seconds=drain_seconds(registry.tree),
            tls=stack.settings.tls is not None,
            labels=registry.labels,
            environment=registry.environment,
            files=registry.files,
            provided=provided_secrets(stack),
            bindings=bindings,
            runtime=runtime,
        ),
    )
    pulumi.export("endpoint", registry.endpoint)
    pulumi.export("login_server", registry.login_server)
    pulumi.export("release", registry.release.version)
    pulumi.export("images", registry.storage.location)
    for part in bindings:
        for name, value in part.outputs.items():
            pulumi.export(name, value)
    pulumi.export("environment", registry.redacted)
