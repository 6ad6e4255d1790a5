"""`make login`: the Docker client logs in as a user of the stack, with a password nobody sees."""

import subprocess

from config.plan import password_secret
from config.problems import SET_SECRET
from config.settings import PROJECT
from config.stack import Stack
from operations import Blocked, stack_file
from operations.state import secret


def password(stack: Stack, user: str) -> str:
    """The password of `user`: the one in the stack file, else the one that was drawn.

    Raises Blocked where there is none to read, or CalledProcessError with pulumi's words.
    """
    users = stack.settings.auth.users if stack.settings.auth else {}
    if user not in users:
        known = f"it has {', '.join(sorted(users))}" if users else "it has none"
        raise Blocked(f"the stack {stack.name} has no user {user}: {known}")
    name = password_secret(user)
    if users[user].hash:
        raise Blocked(
            f"of {user} there is but a hash: `docker login --username {user} {stack.registry.login_server}` "
            f"asks for the password; or set another one ({SET_SECRET} {PROJECT}:{name})"
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
