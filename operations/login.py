"""`make login`: the Docker client logs in as a user of the stack, with a password nobody sees."""

import os
import subprocess
import sys
from collections.abc import Sequence

from components.distribution import SET_SECRET, password_of
from components.settings import PROJECT, SettingsError, Stack, load
from operations.stack_file import configuration
from operations.state import plain, resource

STASH = "pulumi:index:Stash"


def password(stack: Stack, user: str) -> str:
    """The password of `user`: the one in the stack file, else the one that was drawn.

    Raises LookupError where there is none to read, or CalledProcessError with pulumi's words.
    """
    users = stack.settings.auth.users if stack.settings.auth else {}
    if user not in users:
        known = f"it has {', '.join(sorted(users))}" if users else "it has none"
        raise LookupError(f"the stack {stack.name} has no user {user}: {known}")
    secret = password_of(user)
    if users[user].hash:
        raise LookupError(
            f"of {user} there is but a hash: `docker login --username {user} {stack.login_server}` "
            f"asks for the password; or set another one ({SET_SECRET} {PROJECT}:{secret})"
        )
    if secret not in stack.secrets:
        return plain(resource(stack.name, STASH, secret)["outputs"]["output"])
    words = ["pulumi", "config", "get", "--stack", stack.name, f"{PROJECT}:{secret}"]
    # It ends with a line feed of pulumi's own.
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout[:-1]


def main(arguments: Sequence[str]) -> int:
    name, user = arguments
    try:
        stack = load(name, *configuration(name), os.environ)
        words = ["docker", "login", f"--username={user}", "--password-stdin", stack.login_server]
        return subprocess.run(words, input=password(stack, user), text=True, check=False).returncode
    except (SettingsError, LookupError) as error:
        print(f"login: {error.args[0]}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"login: {error.stderr.strip()}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
