"""`make emulator`: run the emulator until Ctrl-C, and configure the stack `trial` for it."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.emulator.emulator import Emulator

PORT = 8790
STACK_FILE = Path(__file__).parent.parent.parent / "stacks" / "Pulumi.trial.yaml"
# The account's access key. It is valid only for the emulator.
KEY = ("LTAI5tTrial", "a-secret-of-the-emulator-alone")
HEAD = """\
# yaml-language-server: $schema=schema.json
# Written by `make emulator`, which is the cloud of this stack: change what you like, or delete it.
# To use the native OSS API, set release: "2.8.3", and signature_v1: true below storage.
"""


def main(folder: Path) -> None:
    """Run the emulator. `folder` stores its CA and a Makefile fragment for the trial stack."""
    emulator = Emulator(folder, PORT, KEY)
    emulator.oss.new_buckets_accept_v1 = True
    assignments = " ".join(f'{name}="{value}"' for name, value in emulator.environment.items())
    (folder / "trial.mk").write_text(f"CLOUD := {assignments}\n")
    if not STACK_FILE.exists():
        STACK_FILE.write_text(HEAD + yaml.safe_dump({"config": config(emulator.registry_settings)}))
    settings = yaml.safe_load(STACK_FILE.read_text())["config"]["oss-registry:registry"]
    if any(settings.get(key) != value for key, value in emulator.registry_settings.items()):
        sys.exit(f"{STACK_FILE} is for another emulator than this one: delete it, and again")
    print(
        f"An emulator of Alibaba Cloud runs here until Ctrl-C: see http://{emulator.addresses[0]}"
    )
    print("In another terminal: make up STACK=trial")
    sys.stdout.flush()
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        emulator.close()


def config(registry: Mapping[str, object]) -> dict[str, object]:
    """The configuration of the trial stack. `registry` has further settings of its registry."""
    return {
        "alicloud:region": "cn-hangzhou",
        "oss-registry:registry": {"release": "3.1.2", "port": 5001, **registry},
        "oss-registry:storage": {
            "kind": "oss",
            "bucket": "trial-images",
            "protect": False,
            "force_destroy": True,
        },
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
