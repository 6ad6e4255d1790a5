"""The registry's own users: a bcrypt hash for each."""

from collections.abc import Mapping
from dataclasses import dataclass

import bcrypt
from pulumi import ComponentResource, Input, Output, ResourceOptions

from components.persisted import kept, provided, secret
from components.runtime import Provision
from config import releases
from config.stack import Stack

# The registry computes the hash for each request. A password that was drawn here (256 bits) can't
# be guessed at any cost; one that a person chose must be dear to try.
COST_DRAWN = 5
COST_BROUGHT = 10


@dataclass(frozen=True, kw_only=True)
class UsersArgs:
    """`hashes` are by user, None where there is a password: one of `brought`, or one to draw."""

    hashes: Mapping[str, str | None]
    brought: Mapping[str, Input[str]]


class Users(ComponentResource):
    """What the registry's htpasswd file says of each user: others' lines stay when one changes."""

    provision: Provision

    def __init__(self, name: str, args: UsersArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("oss-registry:index:Users", name, None, opts)
        holes = {
            releases.hash_of(user).label: Output.secret(given)
            if given
            else self._hashed(user, args.brought)
            for user, given in sorted(args.hashes.items())
        }
        self.provision = Provision(holes=holes)
        self.register_outputs({})

    def _hashed(self, user: str, brought: Mapping[str, Input[str]]) -> Output[str]:
        label = releases.password_of(user)
        cost = COST_BROUGHT if label in brought else COST_DRAWN
        salt = kept(f"salt-{user}", bcrypt.gensalt(cost).decode(), self, trigger=str(cost))
        password = secret(label, brought, parent=self)
        return Output.all(password, salt).apply(
            lambda both: bcrypt.hashpw(both[0].encode(), both[1].encode()).decode()
        )


def users(name: str, stack: Stack) -> Provision:
    """The stack's users; none where it leaves logins to `registry.config.auth`, or has none."""
    auth = stack.settings.auth
    if auth is None:
        return Provision()
    hashes = {user: settings.hash for user, settings in auth.users.items()}
    return Users(name, UsersArgs(hashes=hashes, brought=provided(stack))).provision
