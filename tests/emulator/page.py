"""The page for browsers at the emulator's address: buckets, objects, users and recent calls."""

import time
from collections.abc import Iterable, Sequence
from html import escape
from itertools import islice
from typing import TYPE_CHECKING

from tests.emulator.http import Content, Request, Response
from tests.emulator.oss import API_REFERENCE

if TYPE_CHECKING:
    from tests.emulator.emulator import Emulator

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
  color: #1b1f24; background: #fff }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100%; font-size: .87rem }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #d8dee4;
  overflow-wrap: anywhere; vertical-align: top }
th { white-space: nowrap } td.number, th.number { text-align: right; white-space: nowrap }
.refused { color: #b42318 } a { color: inherit } .none { color: #59636e }
@media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117 }
  th, td { border-color: #30363d } .refused { color: #ff7b72 } .none { color: #9198a1 } }
"""


def answer(emulator: "Emulator", request: Request) -> Response:
    """Answer a request that is not for one of the cloud's hosts."""
    if request.path != "/":
        return Response(status=404, body=Content(b"the emulator has one page: /\n"))
    text = "".join(_page(emulator))
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    return Response(headers=headers, body=Content(text.encode()))


def _page(emulator: "Emulator") -> Iterable[str]:
    """Yield the HTML of the page in parts. It shows no secret."""
    yield '<!doctype html><html lang="en"><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width"><title>The emulator</title>'
    yield f"<style>{_STYLE}</style><h1>An emulator of Alibaba Cloud, on this machine</h1>"
    yield "<p>Kept in memory: what is here is gone when it ends. Reload to see what is new.</p>"
    for bucket in emulator.oss.buckets.values():
        names = bucket.names()
        sizes = {}
        for name in names:
            version = bucket.current(name)
            if version:
                sizes[name] = len(version.content or ())
        facts = f"{len(names)} objects, {_size(sum(sizes.values()))}; {bucket.region}, {bucket.acl}"
        yield f"<h2>Bucket {escape(bucket.name)}</h2><p>{escape(facts)}; set on it: "
        yield f"{escape(', '.join(sorted(bucket.settings)) or 'nothing')}.</p>"
        rows = [(name, _size(size)) for name, size in islice(sizes.items(), 500)]
        yield from _table(("Object", "Size"), rows)
    yield "<h2>RAM users</h2>"
    users = emulator.ram.users.values()
    yield from _table(
        ("User", "Access keys", "Policies"),
        [
            (
                user.name,
                ", ".join(f"{k.id}{'' if k.active else ' (inactive)'}" for k in user.keys.values()),
                ", ".join(name for _, name in user.policies),
            )
            for user in users
        ],
    )
    yield "<h2>Calls to OSS by kind</h2>"
    rows = [(name, str(count)) for name, count in emulator.count_oss_calls().most_common()]
    yield from _table(("API", "Calls"), rows, API_REFERENCE)
    yield "<h2>Last calls</h2>"
    yield from _table(
        ("Time", "Service", "API", "On", "User", "Policy", "Answer"),
        [
            (
                time.strftime("%H:%M:%S", time.localtime(call.at)),
                call.service,
                call.api,
                f"{call.bucket}/{call.key}".strip("/"),
                call.user,
                call.decision,
                f"{call.status} {call.code}".strip(),
            )
            for call in islice(reversed(emulator.calls), 100)
        ],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], base_url: str = "") -> Iterable[str]:
    """Yield an HTML table. With `base_url`, the first cell of a row links to a page below it."""
    if not rows:
        yield '<p class="none">None yet.</p>'
        return
    numeric = [name in ("Size", "Calls") for name in head]
    yield "<table><tr>"
    for name, is_number in zip(head, numeric, strict=True):
        yield f"<th class=number>{name}</th>" if is_number else f"<th>{name}</th>"
    yield "</tr>"
    for row in rows:
        if any("refused" in cell for cell in row):
            yield '<tr class="refused">'
        else:
            yield "<tr>"
        for index, cell in enumerate(row):
            text = escape(cell)
            if base_url and index == 0:
                text = f'<a href="{base_url}{cell.lower()}">{text}</a>'
            yield f"<td class=number>{text}</td>" if numeric[index] else f"<td>{text}</td>"
        yield "</tr>"
    yield "</table>"


def _size(size: float) -> str:
    """A number of bytes as text."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
