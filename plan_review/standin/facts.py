"""Add to a derived schema what the bindings do not carry, from the tables in `tables/*.json`.

Keys of a table entry, each a list of dotted argument paths or a map from path to value: replace, computed,
sensitive, write_only, default, one_of, matches, conflicts, requires, exactly_one, at_least_one. A path that
ends in `.**` stands for the block and everything in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from plan_review.standin.bindings import Json

TABLES = Path(__file__).parent / "tables"
FLAGS = ("replace", "computed", "sensitive", "write_only")
VALUES = ("default", "one_of", "matches")
GROUPS = ("exactly_one", "at_least_one")
PAIRS = ("conflicts", "requires")


def read(table: str) -> bytes:
    """Return the committed table as it lies on disk."""
    return (TABLES / f"{table}.json").read_bytes()


@cache
def load(table: str) -> Json:
    """Return the committed table, parsed."""
    parsed: Json = json.loads(read(table))
    return parsed


def add(type_name: str, block: Json, table: Json) -> None:
    """Add the facts known of a resource type to its derived block."""
    slots = dict(_slots(block, ""))
    _set_types(type_name, block, table)
    if type_name in table.get("complete", {}):
        _enter(slots, block, table["complete"][type_name])
    else:
        for rule in table.get("rules", []):
            _apply_rule(type_name, slots, rule)
        _enter(slots, block, _entry(type_name, table.get("added", {})))
    identifier = block.get("attributes", {}).get("id", {})
    if identifier.get("optional"):
        identifier["computed"] = True


def add_to_data_source(type_name: str, block: Json, table: Json) -> None:
    """Mark every optional argument of a data source as filled in by the provider when left out."""
    _set_types(type_name, block, table)
    for attribute in block.get("attributes", {}).values():
        if attribute.get("optional"):
            attribute["computed"] = True


def _entry(type_name: str, added: Json) -> Json:
    entry: Json = added.get(type_name) or added.get(type_name.removesuffix("_v1"), {})
    return entry


def _set_types(type_name: str, block: Json, table: Json) -> None:
    for path, real in table.get("types", {}).items():
        owner, _, name = path.rpartition(".")
        if owner == type_name and name in block.get("attributes", {}):
            block["attributes"][name]["type"] = real


def _slots(block: Json, prefix: str) -> Iterator[tuple[str, Json]]:
    """Yield (path, argument) of all attributes and nested blocks; what only the provider sets included."""
    for name, attribute in block.get("attributes", {}).items():
        yield prefix + name, attribute
    for name, nested in block.get("block_types", {}).items():
        if name != "timeouts":
            yield prefix + name, nested
            yield from _slots(nested["block"], prefix + name + ".")


def _is_argument(slot: Json) -> bool:
    return "block" in slot or bool(slot.get("required") or slot.get("optional"))


@cache
def _pattern(path: str) -> re.Pattern[str]:
    """`*` matches within one step of a path, `**` across steps; `x.**` matches x itself too."""
    below = path.endswith(".**")
    text = re.escape(path.removesuffix(".**") if below else path)
    text = text.replace(r"\*\*", ".*").replace(r"\*", "[^.]*")
    return re.compile(text + (r"(\..*)?" if below else "") + r"\Z")


def _matching(slots: Json, patterns: Iterable[str]) -> Iterator[str]:
    for pattern in patterns:
        if "*" not in pattern:
            if pattern in slots:
                yield pattern
            continue
        match = _pattern(pattern).match
        yield from (path for path in slots if match(path))


def _apply_rule(type_name: str, slots: Json, rule: Json) -> None:
    if not _pattern(rule["types"]).match(type_name):
        return
    excepted = rule.get("except", ())
    for path in _matching(slots, rule["paths"]):
        slot = slots[path]
        needed = rule.get("required")
        if (
            path in excepted
            or not _is_argument(slot)
            or (needed is not None and needed != slot.get("required", False))
        ):
            continue
        for flag, value in rule["facts"].items():
            _set(slot, flag, value)


def _set(slot: Json, flag: str, value: object) -> None:
    """What must be given is neither computed nor has a default."""
    if not (slot.get("required") and flag in ("computed", "default")):
        slot[flag] = value


def _enter(slots: Json, block: Json, entry: Json) -> None:
    for flag in FLAGS:
        for path in _matching(slots, entry.get(flag, ())):
            if _is_argument(slots[path]) or flag == "sensitive":
                _set(slots[path], flag, True)
    for key in VALUES:
        for path, value in entry.get(key, {}).items():
            if path in slots and _is_argument(slots[path]):
                _set(slots[path], key, value)
    for kind in GROUPS:
        for paths in entry.get(kind, ()):
            _add_check(block, {"kind": kind, "paths": paths})
    for kind in PAIRS:
        for path, others in entry.get(kind, {}).items():
            _add_check(block, {"kind": kind, "path": path, "paths": others})


def _add_check(block: Json, check: Json) -> None:
    """Hang a check between arguments on the innermost block that holds them all, with paths from there."""
    everything = [
        path.split(".") for path in [*check["paths"], *([check["path"]] if "path" in check else [])]
    ]
    depth = 0
    while (
        all(len(steps) > depth + 1 for steps in everything)
        and len({steps[depth] for steps in everything}) == 1
    ):
        nested = block.get("block_types", {}).get(everything[0][depth])
        if nested is None:
            break
        block, depth = nested["block"], depth + 1
    local = {key: value for key, value in check.items() if key != "path"}
    local["paths"] = [".".join(path.split(".")[depth:]) for path in check["paths"]]
    if "path" in check:
        local["path"] = ".".join(check["path"].split(".")[depth:])
    checks = block.setdefault("checks", [])
    if local not in checks:
        checks.append(local)
