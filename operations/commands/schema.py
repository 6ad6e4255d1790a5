"""`make schema`: print the JSON schema of stack files for editors, or docs/settings.md."""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo

from config.releases import DEFAULT_RELEASE, RELEASES
from config.schema import Kinds
from config.settings import PROJECT, StackSettings, model_in
from config.tree import ANY


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--page", action="store_true", help="print the page docs/settings.md")


def run(arguments: Namespace) -> int:
    print(settings_page() if arguments.page else json.dumps(json_schema(), indent=1))
    return 0


def _single_key_schema(key: str, description: str) -> dict[str, Any]:
    """Return the schema of a mapping with one key, whose value is text."""
    return {
        "description": description,
        "type": "object",
        "required": [key],
        "additionalProperties": False,
        "properties": {key: {"type": "string"}},
    }


SECRET = _single_key_schema("secure", "A secret: pulumi config set --secret")
FROM_SECRET = _single_key_schema(
    "from_secret", "What a secret of this stack file holds, by its name."
)
# The schema of each kind of value. Null removes a default of this program.
KINDS: Mapping[str, Any] = {
    "string": {"anyOf": [{"type": ["string", "integer", "null"]}, FROM_SECRET]},
    "bool": {"type": ["boolean", "null"]},
    "int": {"type": ["integer", "null"]},
    "duration": {"description": "Such as 10s, 1m30s or 168h.", "type": ["string", "null"]},
    "any": True,
}


def json_schema() -> dict[str, Any]:
    """Return the schema with which editors complete and check a stack file.

    The schema of `config` depends on the release.
    """
    settings = StackSettings.model_json_schema()
    definitions, sections = settings["$defs"], settings["properties"]
    definitions |= KINDS
    for section in sections.values():
        section.pop("default", None)
    branches = definitions["RegistrySettings"]["allOf"] = []
    for version, release in RELEASES.items():
        definitions[f"Config {version}"] = _schema_of(release.schema.keys)
        here = {"properties": {"release": {"const": version}}}
        if version != DEFAULT_RELEASE:  # which also applies if the stack file names none
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


def _schema_of(kinds: Kinds) -> dict[str, Any]:
    """Return the schema of a part of the registry's configuration."""
    if isinstance(kinds, Mapping):
        free = _schema_of(kinds[ANY]) if ANY in kinds else False
        keys = {key: _schema_of(below) for key, below in kinds.items() if key != ANY}
        return {"type": ["object", "null"], "additionalProperties": free, "properties": keys}
    if not isinstance(kinds, str):
        return {"type": ["array", "null"], "items": _schema_of(kinds[0])}
    kind, _, span = kinds.partition(" ")
    if kind == "anycase":
        return {"enum": [*span.split("|"), *span.lower().split("|"), None]}
    if kind not in KINDS:
        return {"enum": [*kind.split("|"), None]}
    least, _, most = span.partition("..")
    bounds = {"minimum": int(least), "maximum": int(most)} if most else {}
    return {"$ref": f"#/$defs/{kind}", **bounds}


_TABLE_HEAD = (
    "| key | what it is | default | what it does | example |\n| --- | --- | --- | --- | --- |"
)
_INTRODUCTION = """# Settings

Each key of a stack file, by its section; `make schema` writes this page from the models in
`config/settings.py`. All are optional, unless they are said to be required.
[stack-file.md](stack-file.md) has what goes beyond single keys: secrets, config, the engine."""
# Examples for settings whose values are not a fixed set. See `_example`.
_EXAMPLES: Mapping[str, object] = {
    "registry.release": "3.0.0",
    "registry.image": "registry.example.com/library/registry:3.1.2",
    "registry.port": 443,
    "registry.bind": "192.0.2.10",
    "registry.replicas": 3,
    "registry.swarm.constraints": ["node.labels.registry==true"],
    "registry.external_url": "https://registry.example.com",
    "registry.environment": {"HTTP_PROXY": "http://proxy.example.com:3128"},
    "registry.ca_certificates": "-----BEGIN CERTIFICATE-----…",
    "registry.files": {"/etc/token/issuer.pem": "-----BEGIN CERTIFICATE-----…"},
    "registry.limits.memory": "512MiB",
    "registry.limits.cpus": 1.5,
    "registry.config": {"health": {"storagedriver": {"interval": "30s"}}},
    "storage.volume": "registry_data",
    "storage.bucket": "example-registry-prod",
    "storage.prefix": "team/registry",
    "storage.access_keys": ["2026-11", "2027-02"],
    "storage.endpoint": "oss-cn-hangzhou-internal.aliyuncs.com",
    "storage.cname": "https://example-registry-prod.images.example.com",
    "storage.versioning.noncurrent_days": 30,
    "storage.encryption.kms_key_id": "0a1b2c3d-0000-0000-0000-000000000000",
    "cache.image": "registry.example.com/library/redis:7.0.15",
    "cache.address": "redis.example.com:6379",
    "cache.max_memory": "1GiB",
    "cache.db": 1,
    "cache.pool.max_idle": 32,
    "cache.pool.max_active": 128,
    "cache.pool.idle_timeout": "1m30s",
    "auth.realm": "Team",
    "auth.users.NAME.hash": f"$2y$10${53 * 'x'}",
    "tls.certificate": "-----BEGIN CERTIFICATE-----…",
    "tls.letsencrypt.hosts": ["registry.example.com"],
    "tls.letsencrypt.email": "ops@example.com",
    "tls.letsencrypt.directory_url": "https://acme.example.com/directory",
}
_TYPE_NAMES = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    ByteSize: "size",
}


def settings_page() -> str:
    """Return docs/settings.md: each key with its type, default, description and an example."""
    parts = [_INTRODUCTION]
    for name, field in StackSettings.model_fields.items():
        model = model_in(field.annotation)
        assert model
        rows = "\n".join(_rows(model, name, ""))
        parts.append(f"## `{PROJECT}:{name}`\n\n{_line(model.__doc__)}\n\n{_TABLE_HEAD}\n{rows}")
    return "\n\n".join(parts)


def _rows(model: type[BaseModel], section: str, path: str) -> Iterator[str]:
    """Yield a table row for each setting of `model`, which is at `path` in `section`."""
    for name, field in model.model_fields.items():
        place = path + name
        if below := model_in(field.annotation):
            by_name = get_origin(field.annotation) is Mapping
            type_name = "section by name" if by_name else "section"
            yield f"| `{place}` | {type_name} | | {_line(field.description)} | |"
            yield from _rows(below, section, f"{place}.NAME." if by_name else f"{place}.")
            continue
        cells = (
            _type_name(field.annotation),
            _default(field),
            _line(field.description),
            _example(f"{section}.{place}", field),
        )
        yield f"| `{place}` | {' | '.join(cells)} |"


def _line(text: str | None) -> str:
    """Return `text` as one line for a table cell."""
    return " ".join((text or "").split()).replace("|", "\\|")


def _type_name(annotation: Any) -> str:  # noqa: ANN401
    """Return the type of a setting in words."""
    if annotation in _TYPE_NAMES:
        return _TYPE_NAMES[annotation]
    inner = [each for each in get_args(annotation) if each is not type(None)]
    origin = get_origin(annotation)
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in inner)
    if origin is Annotated:
        return _type_name(inner[0])
    if origin is Sequence:
        return f"list of {_type_name(inner[0])}"
    return "section" if origin is Mapping else _type_name(inner[0])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None or value == {} or value == ():
        return ""
    return f"`{_literal(value)}`"


def _literal(value: object) -> str:
    if isinstance(value, ByteSize):
        return value.human_readable().replace(".0", "")
    return json.dumps(value, ensure_ascii=False)


def _example(path: str, field: FieldInfo) -> str:
    """Return an example of a setting, with a value other than the default if possible."""
    inner = [each for each in get_args(field.annotation) if each is not type(None)]
    choices: Sequence[object] = inner if get_origin(field.annotation) is Literal else ()
    if len(inner) == 1 and get_origin(inner[0]) is Literal:
        choices = get_args(inner[0])
    if field.annotation is bool:
        choices = (True, False)
    others = [choice for choice in choices if choice != field.default]
    value = others[0] if others else _EXAMPLES[path]
    return f"`{path.rpartition('.')[2]}: {_literal(value)}`"
