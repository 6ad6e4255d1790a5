"""The users of the registry: a bcrypt hash for each."""

from collections.abc import Mapping

import bcrypt
from pulumi import ComponentResource, Input, Output, ResourceOptions

from components.generated_secrets import persist, provided_or_generated, provided_secrets
from components.runtime.workload import Bindings
from config.plan import password_hash, password_secret
from config.resource_names import COMPONENTS
from config.stack import Stack

# The registry computes the hash for each request. A generated password (256 bits) cannot be guessed
# at any cost. Guesses of a password that a person chose must be expensive.
GENERATED_COST = 5
PROVIDED_COST = 10


class Users(ComponentResource):
    """The password hashes of the users. A change of one user keeps the hashes of the others.

    `hashes` has the configured hash of each user, or None for a user with a password. The password
    is one of the `provided` secrets, or a generated one.
    """

    bindings: Bindings

    def __init__(
        self,
        name: str,
        hashes: Mapping[str, str | None],
        provided: Mapping[str, Input[str]],
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__(f"{COMPONENTS}Users", name, None, opts)
        values: dict[str, Input[str]] = {}
        for user, given in sorted(hashes.items()):
            hashed = Output.secret(given) if given else self._hash_password(user, provided)
            values[password_hash(user).label] = hashed
        self.bindings = Bindings(values=values)
        self.register_outputs({})

    def _hash_password(self, user: str, provided: Mapping[str, Input[str]]) -> Output[str]:
        secret = password_secret(user)
        cost = PROVIDED_COST if secret in provided else GENERATED_COST
        salt = persist(f"salt-{user}", bcrypt.gensalt(cost).decode(), self, trigger=str(cost))
        password = provided_or_generated(secret, provided, parent=self)
        return Output.all(password, salt).apply(
            lambda both: bcrypt.hashpw(both[0].encode(), both[1].encode()).decode()
        )


def create_users(name: str, stack: Stack) -> Bindings:
    """Create the users of the stack, if it has any."""
    auth = stack.settings.auth
    if auth is None:
        return Bindings()
    hashes = {user: settings.hash for user, settings in auth.users.items()}
    return Users(name, hashes, provided_secrets(stack)).bindings
