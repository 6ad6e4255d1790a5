"""`make comment`: post a preview to a pull request, in place of an earlier preview.

It runs `gh`, GitHub's own command, with the token in GH_TOKEN, on the repository in
GITHUB_REPOSITORY.
"""

import json
import os
import subprocess
from argparse import ArgumentParser, Namespace
from pathlib import Path

from operations.errors import CommandError


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("pull_request", help="the number of the pull request")
    parser.add_argument("file", help="a file with the output of `make preview`")


def run(arguments: Namespace) -> int:
    pull_request, file = arguments.pull_request, arguments.file
    marker, _, rest = Path(file).read_text().partition("\n")
    if not rest:
        raise CommandError(f"{file} holds no preview")
    repository = f"repos/{os.environ['GITHUB_REPOSITORY']}/issues"
    # Comments of people are never replaced, whatever they contain.
    bots = '.[] | select(.user.type == "Bot") | {id, body}'
    listed = _call("--paginate", f"{repository}/{pull_request}/comments", "--jq", bots)
    comments = map(json.loads, listed.splitlines())
    earlier = [comment["id"] for comment in comments if comment["body"].startswith(marker)]
    if earlier:
        method, endpoint = "PATCH", f"comments/{earlier[0]}"
    else:
        method, endpoint = "POST", f"{pull_request}/comments"
    _call("--method", method, f"{repository}/{endpoint}", "--field", f"body=@{file}")
    return 0


def _call(*words: str) -> str:
    """Return the response of GitHub's API. Raises CalledProcessError with its error text."""
    return subprocess.run(["gh", "api", *words], capture_output=True, text=True, check=True).stdout
