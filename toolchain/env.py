"""`python -m toolchain.env NAME …` prints variables as shell commands, for `make env`."""

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence

from config import docker_engine


def exports(names: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    """Yield an `export` command for each variable that has a value.

    These are `names`, and the variables that select the engine of Docker's current context.

    Pulumi's Docker provider uses DOCKER_HOST and DOCKER_CONTEXT, but not the current context.
    """
    values = {name: environment.get(name) for name in names}
    try:
        engine = docker_engine.select_engine({}, environment)
    except docker_engine.EngineError as error:
        print(f"env: {error}", file=sys.stderr)
    else:
        if engine.setting.startswith(docker_engine.CURRENT):
            variables = engine.variables({})
            values |= {name: variables.get(name) for name in docker_engine.PLUGIN_VARIABLES}
    return (f"export {name}={shlex.quote(value)}" for name, value in values.items() if value)


if __name__ == "__main__":
    print("\n".join(exports(sys.argv[1:], os.environ)))
