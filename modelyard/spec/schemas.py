"""Renders the specification for editors, as JSON Schemas, and for people, as reference pages."""

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from modelyard.spec.base import Spec
from modelyard.spec.environment import Environment
from modelyard.spec.explain import expected, json_schema, without_null
from modelyard.spec.manifest import Manifest
from modelyard.spec.team import Team

COMMAND = "modelyard schemas"
KINDS: dict[str, tuple[type[Spec], str, str]] = {
    "team": (Team, "Team file", "team-file"),
    "environment": (Environment, "Environment file", "environment-file"),
    "manifest": (Manifest, "Manifest", "manifest"),
}
Schema = dict[str, Any]


def rendered(root: FilePath) -> dict[FilePath, str]:
    """Return path -> content of all schemas, and of all reference pages where `root` has a folder `docs`."""
    files = {root / "schemas" / f"{name}.schema.json": schema_text(name) for name in KINDS}
    if (root / "docs").is_dir():
        reference = root / "docs" / "reference"
        files |= {reference / f"{page}.md": page_text(name) for name, (_, _, page) in KINDS.items()}
    return files


def schema_text(name: str) -> str:
    """Return the JSON Schema of team, environment or manifest as the text of its file."""
    return json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n"


def schema(name: str) -> Schema:
    """Return the JSON Schema, draft 2020-12, of team, environment or manifest."""
    kind, title, _ = KINDS[name]
    body = _tidied(json_schema(kind))
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Modelyard {title.lower()}",
        "description": _about(kind).partition("\n")[0],
    }
    return {**head, **{key: value for key, value in body.items() if key not in head}}


def _tidied(node: Any, *, names: bool = False) -> Any:
    """Return a schema without titles and defaults that say nothing, and closed where keys have a pattern."""
    if isinstance(node, list):
        return [_tidied(item) for item in node]
    if not isinstance(node, dict):
        return node
    if names:  # the keys of this mapping are somebody's names, not words of JSON Schema
        return {key: _tidied(value) for key, value in node.items()}
    result: Schema = {}
    for key, value in node.items():
        # The keys inside a group have their own defaults.
        says_nothing = key == "title" or (key == "default" and (value is None or isinstance(value, dict)))
        if not says_nothing:
            result[key] = _tidied(value, names=key in ("properties", "$defs", "patternProperties"))
    if "patternProperties" in result:
        result["additionalProperties"] = False
    return result


def page_text(name: str) -> str:
    """Return the reference page of team, environment or manifest as Markdown."""
    kind, title, _ = KINDS[name]
    root = json_schema(kind)
    written_by = (
        f"<!-- Written by `{COMMAND}` from the docstrings of {kind.__module__}: change them there. -->"
    )
    lines = [f"# {title}", "", written_by, "", _about(kind), "", "## Keys", "", *_table(root, root)]
    for definition in _used(root):
        inner = root["$defs"][definition]
        if "properties" in inner:
            lines += [f"## {definition}", "", inner["description"].strip(), "", *_table(inner, root)]
    return "\n".join(lines).rstrip() + "\n"


def _about(kind: type[Spec]) -> str:
    return inspect.cleandoc(kind.__doc__ or "")


def _used(root: Mapping[str, Any]) -> Iterator[str]:
    """Yield the definitions in the order in which the page mentions them."""
    seen: list[str] = []
    waiting: list[Any] = [root["properties"]]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            if isinstance(reference := node.get("$ref"), str):
                definition = reference.rpartition("/")[2]
                if definition not in seen:
                    seen.append(definition)
                    yield definition
                    waiting.append(root["$defs"][definition].get("properties", {}))
            waiting += [value for value in node.values() if isinstance(value, dict | list)]


def _table(schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[str]:
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    required = schema.get("required", [])
    for key, field in sorted(schema["properties"].items(), key=lambda item: item[0] not in required):
        default = "required" if key in required else _default(field)
        meaning = " ".join(_description(field, root).split())
        cells = [f"`{key}`", _value(field, root), default, meaning]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*lines, ""]


def _description(field: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """Return what a field means; where its words are those of its type, pydantic leaves them there."""
    definition = root.get("$defs", {}).get(without_null(field).get("$ref", "").rpartition("/")[2], {})
    return str(field.get("description") or definition.get("description", ""))


def _default(field: Mapping[str, Any]) -> str:
    default = field.get("default")
    if default is None or default == "" or isinstance(default, dict):
        return ""
    return f"`{default}`" if isinstance(default, str) else f"`{json.dumps(default, ensure_ascii=False)}`"


def _value(field: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """Return what a field takes: a link to a group of keys, or words."""
    plain = without_null(field)
    if "$ref" in plain:
        definition = plain["$ref"].rpartition("/")[2]
        inner = root["$defs"][definition]
        return f"[{definition}](#{definition.lower()})" if "properties" in inner else expected(inner)
    if plain.get("type") == "array" and "items" in plain:
        return f"list of: {_value(plain['items'], root)}"
    if "discriminator" in plain:
        return " or ".join(_value(option, root) for option in plain["oneOf"])
    if plain.get("type") == "object":
        values: Any = plain.get("additionalProperties")
        values = values or next(iter(plain.get("patternProperties", {}).values()))
        return f"name -> {_value(values, root)}"
    return expected(plain)
