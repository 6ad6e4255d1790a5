"""`make down` ends with this: it says where the images still are, and how to remove them."""

import os
import sys
from collections.abc import Sequence

from components.settings import SettingsError, Stack, StackSettings, load
from operations import engine
from operations.stack_file import configuration


def main(arguments: Sequence[str]) -> int:
    (name,) = arguments
    config, secrets = configuration(name)
    try:
        stack = load(name, config, secrets, os.environ)
    except SettingsError:
        stack = Stack(name, StackSettings())  # what is wrong with it keeps nothing from being seen
    volume, storage = stack.volume, stack.settings.storage
    if storage.adopt:
        print(f"The images are kept in the bucket {storage.bucket}, below {storage.prefix}/.")
    with engine.reached(config) as variables:
        # By its name alone: it may have been there before the stack.
        named = ("volume", "ls", "--quiet", "--filter", f"name=^{volume}$")
        if engine.docker(variables, *named):
            print(f"The images are kept in the volume {volume}: `make up` finds them there.")
            print(f"To remove them for good: docker volume rm {volume}")
        fetched = stack.letsencrypt_volume
        if engine.docker(variables, "volume", "ls", "--quiet", "--filter", f"name=^{fetched}$"):
            print(f"What Let's Encrypt gave is in the volume {fetched}: docker volume rm {fetched}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
