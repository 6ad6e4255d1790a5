"""The composition root: a stack file becomes storage, cache and registry."""

import os

import pulumi

from components import persisted, runtime
from components.cache import redis_cache
from components.registry import Registry, RegistryArgs
from components.storage import storage
from components.tls import tls
from components.users import users
from config.load import load, warnings
from config.plan import drain_seconds
from config.problems import SettingsError

try:
    stack = load(
        pulumi.get_stack(),
        pulumi.runtime.get_config_env(),
        set(pulumi.runtime.get_config_secret_keys_env()),
        os.environ,
    )
except SettingsError as error:
    # Pulumi prints the text of this one without a traceback.
    raise pulumi.RunError(str(error)) from None
for warning in warnings(stack):
    pulumi.log.warn(warning)
engine = runtime.runtime(stack)
parts = [
    storage("storage", stack),
    redis_cache("cache", stack, engine),
    users("users", stack),
    tls("tls", stack),
]
Registry(
    "registry",
    RegistryArgs(
        name=f"{stack.prefix}-registry",
        image=stack.image,
        address=stack.address,
        port=stack.settings.registry.port,
        memory=stack.settings.registry.limits.memory,
        cpus=stack.settings.registry.limits.cpus,
        replicas=stack.settings.registry.replicas,
        drain_seconds=drain_seconds(stack.tree),
        tls=stack.settings.tls is not None,
        labels=stack.labels,
        environment=stack.environment,
        files=stack.files,
        brought=persisted.provided(stack),
        provisions=parts,
        runtime=engine,
    ),
)

pulumi.export("endpoint", stack.endpoint)
pulumi.export("login_server", stack.login_server)
pulumi.export("release", stack.release.version)
pulumi.export("images", stack.images)
for name, value in [output for part in parts for output in part.outputs.items()]:
    pulumi.export(name, value)
pulumi.export("environment", stack.redacted)
