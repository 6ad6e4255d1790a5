"""`make login`: the Docker client logs in as a user of the stack, with a password nobody sees."""

import subprocess

from config.plan import password_secret
from config.problems import SET_SECRET
from config.settings import PROJECT
from config.stack import Stack
from operations import stack_file
from operations.clients.pulumi import secret
from operations.errors import CommandError


def password(stack: Stack, user: str) -> str:
    """The password of `user`: the one in the stack file, else the one that was drawn.

    Raises CommandError where there is none to read, or CalledProcessError with pulumi's words.
    """
    users = stack.settings.auth.users if stack.settings.auth else {}
    if user not in users:
        known = f"it has {', '.join(sorted(users))}" if users else "it has none"
        raise CommandError(f"the stack {stack.name} has no user {user}: {known}")
    name = password_secret(user)
    if users[user].hash:
        raise CommandError(
            f"of {user} there is but a hash: `docker login --username {user} "
            f"{stack.registry.login_server}` asks for the password; or set another one "
            f"({SET_SECRET} {PROJECT}:{name})"
        )
    return secret(stack.name, name, stack.secrets)


def main(name: str, user: str) -> int:
    stack = stack_file.stack(name)
    words = [
        "docker",
        "login",
        f"--username={user}",
        "--password-stdin",
        stack.registry.login_server,
    ]
    return subprocess.run(words, input=password(stack, user), text=True, check=False).returncode
