"""`python -m toolchain.env NAME …`, for `make env`: print these variables as shell commands."""

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence

from config import docker_engine


def exports(names: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    """A command for each of `names` that has a value, and one for Docker's current context.

    Pulumi's docker plugin follows DOCKER_HOST and DOCKER_CONTEXT, but not the current context.
    """
    values = {name: environment.get(name) for name in names}
    try:
        found = docker_engine.engine({}, environment)
    except docker_engine.EngineError as error:
        print(f"env: {error}", file=sys.stderr)
    else:
        if found.setting.startswith(docker_engine.CURRENT):
            variables = found.variables({})
            values |= {name: variables.get(name) for name in docker_engine.PLUGIN_VARIABLES}
    return (f"export {name}={shlex.quote(value)}" for name, value in values.items() if value)


if __name__ == "__main__":
    print("\n".join(exports(sys.argv[1:], os.environ)))
