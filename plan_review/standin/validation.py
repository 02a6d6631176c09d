"""Refusals that Terraform leaves to the provider: each a diagnostic with the path of the argument at fault.

Terraform itself refuses unknown arguments, missing required ones, wrong types, too many blocks, unknown
resource types and dangling references, by the schema it gets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from plan_review.standin import special
from plan_review.standin.schema import Attribute, Block, Check
from plan_review.standin.wire import Step, Value, is_unknown

JSON_LISTS = {("google_bigquery_table", "schema")}
JSON_TEXTS = {
    ("google_monitoring_dashboard", "dashboard_json"),
    ("google_bigquery_data_transfer_config", "params.query_json"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal: what, why, and where."""

    summary: str
    detail: str
    path: list[Step]


def check(type_name: str, block: Block, config: dict[str, Value]) -> list[Problem]:
    """Return everything that is wrong with a resource's configuration."""
    problems = list(_block(type_name, block, config, [], ""))
    if type_name == "kubernetes_manifest":
        problems += [
            Problem(
                'Attribute key missing from "manifest" value',
                f"'{key}' attribute key is missing from manifest configuration",
                ["manifest"],
            )
            for key in special.missing_in_manifest(config)
        ]
    return problems


def _block(
    type_name: str, block: Block, config: dict[str, Value], at: list[Step], prefix: str
) -> Iterator[Problem]:
    for name, attribute in block.attributes.items():
        value = config.get(name)
        if value is not None:
            yield from _attribute(type_name, prefix + name, attribute, value, [*at, name])
    for one in block.checks:
        yield from _relation(one, block, config, at, prefix)
    for name, nested in block.blocks.items():
        inner = config.get(name)
        if isinstance(inner, dict):
            yield from _block(type_name, nested.block, inner, [*at, name], f"{prefix}{name}.")
        for index, item in enumerate(inner if isinstance(inner, list) else ()):
            step: list[Step] = [name, index] if nested.mode == "list" else [name]
            if isinstance(item, dict):
                yield from _block(type_name, nested.block, item, [*at, *step], f"{prefix}{name}.")


def _attribute(
    type_name: str, path: str, attribute: Attribute, value: Value, at: list[Step]
) -> Iterator[Problem]:
    if attribute.read_only:
        yield Problem(
            "Value for unconfigurable attribute",
            f"Can't configure a value for {path!r}: its value is decided by the provider.",
            at,
        )
    if attribute.one_of:
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and item not in attribute.one_of:
                allowed = ", ".join(repr(choice) for choice in attribute.one_of if choice)
                yield Problem(f"{path} must be one of {allowed}", f"{item!r} is none of them.", at)
    if attribute.matches and isinstance(value, str) and not re.fullmatch(attribute.matches, value):
        yield Problem(f"{path} must match {attribute.matches}", f"{value!r} does not.", at)
    if isinstance(value, str) and (type_name, path) in JSON_LISTS | JSON_TEXTS:
        yield from _json(path, value, (type_name, path) in JSON_LISTS, at)


def _json(path: str, text: str, must_be_list: bool, at: list[Step]) -> Iterator[Problem]:
    try:
        parsed = json.loads(text)
    except ValueError as error:
        yield Problem(f"{path} contains an invalid JSON", str(error), at)
        return
    if must_be_list and not isinstance(parsed, list):
        yield Problem(f"{path} is not a JSON array", f"It is a JSON {type(parsed).__name__}.", at)


def _relation(
    one: Check, block: Block, config: dict[str, Value], at: list[Step], prefix: str
) -> Iterator[Problem]:
    if one.kind in ("conflicts", "requires"):
        yield from _pair(one, block, config, at, prefix)
        return
    if not any(_reachable(config, path) for path in one.paths):
        return
    values = {path: _find(block, config, path) for path in one.paths}
    given = [path for path, value in values.items() if value is True]
    open_ = any(value is None for value in values.values())
    names = ", ".join(prefix + path for path in one.paths)
    if not given and not open_:
        wanted = "exactly one" if one.kind == "exactly_one" else "at least one"
        yield Problem("Missing required argument", f"{wanted} of {names} must be specified", at)
    if len(given) > 1 and one.kind == "exactly_one":
        chosen = ", ".join(prefix + path for path in given)
        yield Problem(
            "Invalid combination of arguments",
            f"only one of {names} can be specified, but {chosen} were specified",
            [*at, given[1].split(".")[0]],
        )


def _pair(
    one: Check, block: Block, config: dict[str, Value], at: list[Step], prefix: str
) -> Iterator[Problem]:
    if _find(block, config, one.path) is not True:
        return
    for other in one.paths:
        state = _find(block, config, other)
        where = [*at, one.path.split(".")[0]]
        if one.kind == "conflicts" and state is True:
            yield Problem(
                "Conflicting configuration arguments",
                f"{prefix}{one.path} conflicts with {prefix}{other}",
                where,
            )
        if one.kind == "requires" and state is False:
            yield Problem("Missing required argument", f"{prefix}{one.path} needs {prefix}{other} too", where)


def _find(block: Block, config: Value, path: str) -> bool | None:
    """Whether something is configured at a path: True, False, or None while it is not known."""
    values: list[Value] = [config]
    for name in path.split("."):
        nested = block.blocks.get(name)
        inner = [value.get(name) for value in values if isinstance(value, dict)]
        if nested is not None and nested.many:
            inner = [item for items in inner for item in (items if isinstance(items, list) else [items])]
        if any(is_unknown(value) for value in inner):
            return None
        values, block = inner, nested.block if nested else block
    return any(value is not None for value in values)


def _reachable(config: dict[str, Value], path: str) -> bool:
    """Whether the block that holds the path's last step is configured at all."""
    value: Value = config
    for name in path.split(".")[:-1]:
        value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, list):
            value = value[0] if value else None
        if value is None or is_unknown(value):
            return False
    return True
