"""`make comment`: what `make preview` wrote goes below a pull request, in place of what was there.

By `gh`, GitHub's own command, as whoever GH_TOKEN is; GITHUB_REPOSITORY says where.
"""

import json
import os
import subprocess
from pathlib import Path

from operations.errors import CommandError


def main(pull_request: str, file: str) -> int:
    body = Path(file).read_text()
    marker, _, rest = body.partition("\n")
    if not rest:
        raise CommandError(f"{file} holds no preview")
    repository = f"repos/{os.environ['GITHUB_REPOSITORY']}/issues"
    # Whatever others write, only a program's own comment is overwritten.
    mine = '.[] | select(.user.type == "Bot") | {id, body}'
    listed = _gh("--paginate", f"{repository}/{pull_request}/comments", "--jq", mine)
    comments = map(json.loads, listed.splitlines())
    earlier = [comment["id"] for comment in comments if comment["body"].startswith(marker)]
    where = f"comments/{earlier[0]}" if earlier else f"{pull_request}/comments"
    method = "PATCH" if earlier else "POST"
    _gh("--method", method, f"{repository}/{where}", "--field", f"body=@{file}")
    return 0


def _gh(*words: str) -> str:
    """What GitHub answered. Raises CalledProcessError with its errors."""
    return subprocess.run(["gh", "api", *words], capture_output=True, text=True, check=True).stdout
