"""`make login`: log docker in to a registry as one of its users, without showing the password."""

import subprocess
from argparse import ArgumentParser, Namespace

from config.plan import password_secret
from config.problems import SET_SECRET
from config.settings import PROJECT
from operations.context import StackContext
from operations.errors import CommandError


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--user", required=True, help="a user of the stack file")


def run(context: StackContext, arguments: Namespace) -> int:
    user, server = arguments.user, context.stack.registry.login_server
    command = ["docker", "login", f"--username={user}", "--password-stdin", server]
    password = find_password(context, user)
    return subprocess.run(command, input=password, text=True, check=False).returncode


def find_password(context: StackContext, user: str) -> str:
    """Return the password of `user`, from the stack file or else the generated one.

    Raises CommandError if only its hash is known, and CalledProcessError.
    """
    stack = context.stack
    users = stack.settings.auth.users if stack.settings.auth else {}
    if user not in users:
        known = f"it has {', '.join(sorted(users))}" if users else "it has none"
        raise CommandError(f"the stack {stack.name} has no user {user}: {known}")
    secret = password_secret(user)
    if users[user].hash:
        raise CommandError(
            f"of {user} there is but a hash: `docker login --username {user} "
            f"{stack.registry.login_server}` asks for the password; or set another one "
            f"({SET_SECRET} {PROJECT}:{secret})"
        )
    return context.secret(secret)
