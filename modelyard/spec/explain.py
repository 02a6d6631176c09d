"""Turns pydantic's validation errors into problems that say what was expected and the nearest valid name."""

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from modelyard.spec.base import Finding, Spec
from modelyard.spec.errors import Path, Problem, nearest, shown
from modelyard.spec.source import Document

S = TypeVar("S", bound=Spec)
_KEY = "[key]"  # pydantic's word for a key that is wrong by itself
Schema = Mapping[str, Any]
Details = Mapping[str, Any]


def validated(
    kind: type[S],
    data: Any,
    document: Document,
    place: Callable[[Path], Path] = lambda path: path,
    *,
    partial: bool = False,
) -> tuple[S | None, list[Problem]]:
    """Return `data` as a `kind`, or the problems it has.

    Args:
        kind: the part of the specification that `data` must be.
        data: plain values, as read from a file.
        document: the file.
        place: maps a path in `data` to the path in the file.
        partial: whether settings are given that others will be merged with.
    """
    try:
        text = json.dumps(data, ensure_ascii=False)
        # Strict: text is not taken for a number, nor a number for text; the editor's schema says the same.
        return kind.model_validate_json(text, strict=True, context={"partial": partial}), []
    except ValidationError as error:
        return None, list(_problems(kind, data, error, document, place))


def _problems(
    kind: type[Spec], data: Any, error: ValidationError, document: Document, place: Callable[[Path], Path]
) -> Iterator[Problem]:
    details = error.errors(include_url=False)
    unknown = {tuple(d["loc"]) for d in details if d["type"] == "extra_forbidden"}
    for detail in details:
        path, at_key = _in_data(tuple(detail["loc"]), data, missing=detail["type"] == "missing")
        if detail["type"] == "findings":
            yield from _findings(detail["ctx"]["findings"], path, document, place)
            continue
        if detail["type"] == "missing" and _is_misspelt(kind, path, unknown):
            continue  # the unknown key's message names it
        message = message_of(kind, (*path[:-1], _KEY) if at_key else path, detail, document, place)
        yield document.problem(place(path), message, key=at_key or detail["type"] == "extra_forbidden")


def _findings(
    findings: list[Finding], path: Path, document: Document, place: Callable[[Path], Path]
) -> Iterator[Problem]:
    """Yield a problem for each message, at the first of its places that is written in the file."""
    for message in dict.fromkeys(finding.message for finding in findings):
        places = [place((*path, *finding.path)) for finding in findings if finding.message == message]
        # The most specific one: a model's own setting before the team's defaults.
        written = sorted(filter(document.has, places), key=lambda place: place[:1] == ("defaults",))
        yield document.problem((written or places)[0], message)


def message_of(
    kind: type[Spec], path: Path, detail: Details, document: Document, place: Callable[[Path], Path]
) -> str:
    """Return what to tell people about one of pydantic's errors."""
    context = detail.get("ctx", {})
    value = detail["input"]
    schema = _schema_at(kind, path)
    match detail["type"]:
        case "missing":
            name = path[-1]
            if isinstance(name, int):
                return f"Missing entry {name + 1}; expected {expected(schema)}"
            return f"Missing key '{name}'; expected {expected(schema)}"
        case "extra_forbidden":
            return _unknown_key(kind, path)
        case "string_pattern_mismatch":
            mended = _mended(value, context["pattern"])
            return f"{shown(value)} is not {expected(schema)}.{mended}".removesuffix(".")
        case "string_too_short" | "string_too_long":
            bound = (
                f"at least {context['min_length']}"
                if "min_length" in context
                else f"at most {context['max_length']}"
            )
            return f"{shown(value)} has {_many(len(value), 'character')}; expected {bound}"
        case "too_short" | "too_long":
            bound = (
                f"at least {context['min_length']}"
                if "min_length" in context
                else f"at most {context['max_length']}"
            )
            entries = _many(context["actual_length"] or len(value), "entry", "entries")
            return f"Has {entries}; expected {bound}"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal" | "int_parsing_size":
            return f"{shown(value)} is out of range; expected {expected(schema)}"
        case "enum" | "literal_error" | "union_tag_invalid":
            choices = [str(choice) for choice in _choices(schema, context)]
            value = context.get("tag", value)
            near = nearest(value, choices) if isinstance(value, str) else ""
            if len(choices) == 1:
                return f"{shown(value)} is not {choices[0]}"
            return f"{shown(value)} is not one of {', '.join(choices)}.{near}".removesuffix(".")
        case "union_tag_not_found":
            return "Missing key 'kind'; expected one of " + ", ".join(map(str, _choices(schema, context)))
        case "value_error":
            return str(context["error"])
        case "string_type" | "string_sub_type":
            return _not_text(value, schema, document, place(path))
        case "int_type" | "int_from_float" | "float_type" | "int_parsing" | "float_parsing":
            if isinstance(value, str) and value.lstrip("+-").replace(".", "", 1).isdigit():
                return f'"{value}" in quotes is text; expected {expected(schema)}, without quotes'
            here = place(path)
            as_written = document.written(here) if isinstance(value, float) and document.has(here) else None
            return f"{as_written or shown(value)} is not {expected(schema)}"
        case "bool_type" | "bool_parsing":
            return f"{shown(value)} is not true or false"
        case kind_of if kind_of in _SHAPES or kind_of.startswith(("datetime", "timezone")):
            return f"Expected {expected(schema)}; found {shown(value)}"
        case _:
            return unexplained(detail)


_SHAPES = {"list_type", "tuple_type", "dict_type", "model_type", "model_attributes_type", "finite_number"}


def unexplained(detail: Details) -> str:
    """Return pydantic's own words, for an error nobody thought of."""
    return str(detail["msg"])


def _unknown_key(kind: type[Spec], path: Path) -> str:
    name = str(path[-1])
    known = _known(_schema_at(kind, path[:-1]))
    if near := nearest(name, known):
        return f"Unknown key {shown(name)}.{near}"
    for group in known:
        inner = _properties(_schema_at(kind, (*path[:-1], group)))
        if name in inner:
            return f"Unknown key {shown(name)}. It belongs under '{group}'"
    return f"Unknown key {shown(name)}; known here: {', '.join(known)}"


def _is_misspelt(kind: type[Spec], path: Path, unknown: set[Path]) -> bool:
    """Return whether an unknown key next to the missing one is most like it."""
    known = list(_properties(_schema_at(kind, path[:-1])))
    hint = f" Did you mean '{path[-1]}'?"
    return any(other[:-1] == path[:-1] and nearest(str(other[-1]), known) == hint for other in unknown)


def _not_text(value: Any, schema: Schema, document: Document, path: Path) -> str:
    if isinstance(value, bool | int | float) and document.has(path):
        kind = "true or false" if isinstance(value, bool) else "a number"
        written = document.written(path)
        return f'{written} is read as {kind}; write it as text in quotes: "{written}"'
    return f"Expected {expected(schema)}; found {shown(value)}"


def _mended(value: str, pattern: str) -> str:
    """Return the suggestion of a name in lower case with hyphens, where that is what the pattern takes."""
    candidate = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")
    if candidate != value and candidate and "[a-z0-9" in pattern and re.search(pattern, candidate):
        return f" Did you mean '{candidate[:60]}'?"
    return ""


def _in_data(loc: Path, data: Any, *, missing: bool) -> tuple[Path, bool]:
    """Return pydantic's place as a path in the data, without union members, and whether a key is wrong.

    Args:
        loc: pydantic's place.
        data: what was validated.
        missing: whether the last part of the place is what is missing in the data.
    """
    at_key = bool(loc) and loc[-1] == _KEY
    parts = loc[:-1] if at_key else loc
    path: list[str | int] = []
    for index, part in enumerate(parts):
        if part in data if isinstance(data, dict) else isinstance(data, list) and part in range(len(data)):
            data = data[part]
        elif not (missing and index == len(parts) - 1):
            continue
        path.append(part)
    return tuple(path), at_key


@functools.cache
def json_schema(kind: type[Spec]) -> dict[str, Any]:
    """Return pydantic's JSON Schema of a part of the specification."""
    return TypeAdapter(kind).json_schema()


def _schema_at(kind: type[Spec], path: Path) -> Schema:
    root = json_schema(kind)
    found = [_resolved(root, root)]
    for part in path:
        options = [_resolved(option, root) for schema in found for option in schema.get("oneOf") or [schema]]
        found = [_resolved(inner, root) for option in options if (inner := _step(option, part))]
    return found[0] if found else {}


def _step(schema: Schema, part: str | int) -> Schema:
    """Return the schema of a key or an entry; empty if a schema has none."""
    found: Any
    if isinstance(part, int):
        prefix = schema.get("prefixItems", [])
        found = prefix[part] if part < len(prefix) else schema.get("items")
    elif part == _KEY:
        found = schema.get("propertyNames")
    else:
        found = schema.get("properties", {}).get(part)
        found = found or next(iter(schema.get("patternProperties", {}).values()), None)
        found = found or schema.get("additionalProperties")
    return found if isinstance(found, dict) else {}


def _resolved(schema: Schema, root: Schema) -> Schema:
    """Return a schema with its reference followed and `or null` taken away."""
    while True:
        if "$ref" in schema:
            schema = {**root["$defs"][schema["$ref"].rpartition("/")[2]], **_without(schema, "$ref")}
        elif "anyOf" in schema:
            schema = without_null(schema)
        else:
            return schema


def without_null(schema: Schema) -> Schema:
    """Return the schema of an optional value as that of the value."""
    if "anyOf" not in schema:
        return schema
    options = [option for option in schema["anyOf"] if option.get("type") != "null"]
    if len(options) > 1:
        return schema
    (option,) = options
    return {**option, **_without(schema, "anyOf")}


def _without(schema: Schema, key: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != key}


def _properties(schema: Schema) -> Mapping[str, Schema]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    return properties


def _known(schema: Schema) -> list[str]:
    """Return the keys of a group, the required ones first."""
    required = schema.get("required", [])
    return sorted(_properties(schema), key=lambda key: key not in required)


def _choices(schema: Schema, context: Mapping[str, Any]) -> list[Any]:
    if "enum" in schema:
        return list(schema["enum"])
    if "const" in schema:
        return [schema["const"]]
    if "discriminator" in schema:
        return list(schema["discriminator"]["mapping"])
    return [context.get("expected", "")]


def expected(schema: Schema) -> str:
    """Return in words what a schema takes."""
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "patternErrorMessage" in schema:
        return str(schema["patternErrorMessage"]).removeprefix("Expected ").removesuffix(".")
    match schema.get("type"):
        case "integer" | "number" as kind:
            return ("a whole number" if kind == "integer" else "a number") + _range(schema)
        case "boolean":
            return "true or false"
        case "string":
            if schema.get("format") == "date-time":
                return "a date and time with time zone, such as 2025-01-31T09:30:00Z"
            return "text"
        case "array":
            return "a list such as [a, b]" if "prefixItems" not in schema else "a list of fixed length"
        case "object":
            if known := _known(schema):
                return "a group of keys: " + ", ".join(known)
            return "a group of keys"
    if "discriminator" in schema:
        return "a group of keys with the key kind"
    if "anyOf" in schema:
        return ", or ".join(expected(option) for option in schema["anyOf"])
    return "a value"


def _range(schema: Schema) -> str:
    low = f"{schema['minimum']:,.15g}" if "minimum" in schema else None
    above = f"{schema['exclusiveMinimum']:,.15g}" if "exclusiveMinimum" in schema else None
    high = f"{schema['maximum']:,.15g}" if "maximum" in schema else None
    if low and high:
        return f" from {low} to {high}"
    if above and high:
        return f" above {above} and up to {high}"
    if low:
        return f" from {low}"
    return f" above {above}" if above else ""


def _many(count: int, one: str, several: str | None = None) -> str:
    return f"{count} {one if count == 1 else several or one + 's'}"
