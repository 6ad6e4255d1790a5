"""The stack that a command works on: its file, its state, and its Docker engine."""

import os
from contextlib import ExitStack
from functools import cached_property

from components.storage import storage_backend
from components.storage.backend import AccessKey, StorageBackend
from config.problems import SettingsError
from config.resource_names import ACCESS_KEY, ACCESS_KEY_PREFIX
from config.stack import Stack, prefix_of
from operations import stack_file
from operations.clients import docker
from operations.clients.docker import Docker
from operations.clients.pulumi import Pulumi, plain_text
from operations.clients.redis import Redis
from operations.errors import CommandError
from operations.stack_file import Configuration


class StackContext:
    """A stack. Each part is read when a command first needs it, and cached until `reload`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pulumi = Pulumi(name)
        self._exits = ExitStack()

    def __enter__(self) -> "StackContext":
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def reload(self) -> None:
        """Drop all cached parts. A command calls this when the stack file may have changed."""
        self._exits.close()
        for name in ("configuration", "stack", "docker"):
            self.__dict__.pop(name, None)
        self.pulumi.drop_state()

    def select_engine(self) -> None:
        """Set the variables that select the stack's engine, also for Pulumi's Docker provider.

        If the stack file is invalid, nothing is set, and the command reports the problems. Raises
        CommandError.
        """
        try:
            configuration = self.configuration
        except SettingsError:
            return
        docker.select_engine(configuration.texts, os.environ)

    @property
    def prefix(self) -> str:
        """The beginning of the names of all resources that the stack creates."""
        return prefix_of(self.name)

    @cached_property
    def configuration(self) -> Configuration:
        """The configuration of the stack. Raises SettingsError."""
        return stack_file.read_configuration(self.name)

    @cached_property
    def stack(self) -> Stack:
        """The stack as its file describes it. Raises SettingsError."""
        return stack_file.load_configuration(self.name, self.configuration)

    @property
    def storage(self) -> StorageBackend:
        """The storage of the registry. Raises SettingsError."""
        return storage_backend(self.stack.registry)

    @cached_property
    def docker(self) -> Docker:
        """The docker command for the engine of the stack. Raises SettingsError, CommandError."""
        return self._exits.enter_context(docker.connect(self.configuration.texts))

    @property
    def redis(self) -> Redis:
        return Redis(self.stack.registry, self.docker, self.secret)

    def secret(self, name: str) -> str:
        """Return the secret `name` of the stack. Raises the errors of `Pulumi.secret`."""
        return self.pulumi.secret(name, self.stack.secrets)

    def access_key(self, label: str) -> AccessKey:
        """Return the access key with a label from the state.

        Raises the errors of `Pulumi.decrypted_resource`.
        """
        key = self.pulumi.decrypted_resource(ACCESS_KEY, f"{ACCESS_KEY_PREFIX}{label}")
        return AccessKey(key["id"], plain_text(key["outputs"]["secret"]))

    def find_access_key(self, label: str | None) -> AccessKey | None:
        """Return the access key with a label, or None if the state does not have it."""
        try:
            return self.access_key(str(label))
        except (CommandError, LookupError):
            return None

    def access_problem(self) -> str | None:
        """Return why the storage refuses the registry, or None.

        See `StorageBackend.access_problem`.
        """
        return self.storage.access_problem(self.access_key, self.docker.run)

    def require_deployed(self) -> Stack:
        """Return the stack. Raises CommandError if it is not deployed, and SettingsError."""
        stack = self.stack
        if "endpoint" not in self.pulumi.outputs:
            raise CommandError(f"the stack {self.name} is not up: make up STACK={self.name}")
        return stack
