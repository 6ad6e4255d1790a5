"""The JSON schema of a stack file, for editors: `python -m operations.stack_file` prints it."""

import json
from collections.abc import Mapping
from typing import Any

from components.distribution import DEFAULT_RELEASE, RELEASES
from components.environment import ANY, Kinds
from components.settings import PROJECT, StackSettings


def _only(key: str, description: str) -> dict[str, Any]:
    """A map with the one key `key`, whose value is text."""
    return {
        "description": description,
        "type": "object",
        "required": [key],
        "additionalProperties": False,
        "properties": {key: {"type": "string"}},
    }


SECRET = _only("secure", "A secret: pulumi config set --secret")
FROM_SECRET = _only("from_secret", "What a secret of this stack file holds, by its name.")
# Null takes one of our defaults away.
KINDS: Mapping[str, Any] = {
    "string": {"anyOf": [{"type": ["string", "integer", "null"]}, FROM_SECRET]},
    "bool": {"type": ["boolean", "null"]},
    "int": {"type": ["integer", "null"]},
    "duration": {"description": "Such as 10s, 1m30s or 168h.", "type": ["string", "null"]},
    "any": True,
}


def schema() -> dict[str, Any]:
    """What an editor completes and marks; `config:` by the release that stands beside it."""
    settings = StackSettings.model_json_schema()
    definitions, sections = settings["$defs"], settings["properties"]
    definitions |= KINDS
    for section in sections.values():
        section.pop("default", None)
    branches = definitions["RegistrySettings"]["allOf"] = []
    for version, release in RELEASES.items():
        definitions[f"Config {version}"] = _of(release.schema.keys)
        here = {"properties": {"release": {"const": version}}}
        if version != DEFAULT_RELEASE:  # which is the one where none is given
            here["required"] = ["release"]  # type: ignore[assignment]
        then = {"properties": {"config": {"$ref": f"#/$defs/Config {version}"}}}
        branches.append({"if": here, "then": then})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A stack file of oss-registry",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "properties": {f"{PROJECT}:{name}": sections[name] for name in sections},
                "patternProperties": {f"^{PROJECT}:(?!(?:{'|'.join(sections)})$)": SECRET},
            }
        },
        "$defs": definitions,
    }


def _of(kinds: Kinds) -> dict[str, Any]:
    if isinstance(kinds, Mapping):
        free = _of(kinds[ANY]) if ANY in kinds else False
        keys = {key: _of(below) for key, below in kinds.items() if key != ANY}
        return {"type": ["object", "null"], "additionalProperties": free, "properties": keys}
    if not isinstance(kinds, str):
        return {"type": ["array", "null"], "items": _of(kinds[0])}
    kind, _, span = kinds.partition(" ")
    if kind not in KINDS:
        return {"enum": [*kind.split("|"), None]}
    least, _, most = span.partition("..")
    bounds = {"minimum": int(least), "maximum": int(most)} if span else {}
    return {"$ref": f"#/$defs/{kind}", **bounds}


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1))
