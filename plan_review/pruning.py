"""Leaves out of two synthesized stacks what neither changes nor bears on a change.

A resource whose arguments are the same in both, and that refers to nothing that changes, is planned as
unchanged. So are all that are left out here; what refers to a change, or is referred to by one, stays in.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from plan_review.synthesis import Stack

_REFERENCE = re.compile(r"\b(data\.)?([a-z][a-z0-9]*_[a-z0-9_]+)\.([A-Za-z_][\w-]*)")
# Sections that bear on every resource: if one differs, nothing is left out.
_GLOBAL = ("provider", "locals", "variable", "module", "import", "check")


def _nodes(stack: Stack) -> dict[str, Mapping[str, Any]]:
    """Return resources and data sources by address."""
    found = {}
    for section, prefix in (("resource", ""), ("data", "data.")):
        for type_, group in (stack.get(section) or {}).items():
            for name, body in group.items():
                found[f"{prefix}{type_}.{name}"] = body
    return found


def _plain(body: Mapping[str, Any], depends: bool) -> dict[str, Any]:
    """Return the arguments of a resource, without what says nothing of its values."""
    skipped = {"//"} if depends else {"//", "depends_on"}
    return {key: value for key, value in body.items() if key not in skipped}


def references(address: str, body: Mapping[str, Any], known: Iterable[str]) -> set[str]:
    """Return the addresses among `known` that a resource's values refer to.

    The order of deployment alone bears on no value; only a data source is read later for it.
    """
    text = json.dumps(_plain(body, depends=address.startswith("data.")))
    there = known if isinstance(known, (set, dict)) else set(known)
    found = {f"{data}{type_}.{name}" for data, type_, name in _REFERENCE.findall(text)}
    return {other for other in found if other in there and other != address}


def prune(base: Stack, head: Stack) -> tuple[dict[str, Any], dict[str, Any], frozenset[str]]:
    """Return both stacks with only what a plan of the difference needs, and the addresses left out."""
    old, new = _nodes(base), _nodes(head)
    if any(base.get(section) != head.get(section) for section in _GLOBAL):
        return dict(base), dict(head), frozenset()
    changed = {
        address
        for address in {**old, **new}
        if address not in old
        or address not in new
        or _plain(old[address], True) != _plain(new[address], True)
    }
    both = {**old, **new}
    uses = {
        address: references(address, old.get(address, {}), both)
        | references(address, new.get(address, {}), both)
        for address in both
    }
    used_by: dict[str, set[str]] = {}
    for address, others in uses.items():
        for other in others:
            used_by.setdefault(other, set()).add(address)
    kept = _reach(_reach(changed, used_by), uses)
    left_out = frozenset(both) - kept
    return _without(base, left_out), _without(head, left_out), left_out


def _reach(start: set[str], edges: Mapping[str, set[str]]) -> set[str]:
    seen, todo = set(start), list(start)
    while todo:
        for other in edges.get(todo.pop(), ()):
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return seen


def _without(stack: Stack, left_out: frozenset[str]) -> dict[str, Any]:
    pruned = {key: value for key, value in stack.items() if key not in ("resource", "data", "output")}
    for section, prefix in (("resource", ""), ("data", "data.")):
        groups: dict[str, dict[str, Any]] = {}
        for type_, group in (stack.get(section) or {}).items():
            for name, body in group.items():
                if f"{prefix}{type_}.{name}" not in left_out:
                    groups.setdefault(type_, {})[name] = _independent(body, left_out)
        if groups:
            pruned[section] = groups
    outputs = {
        name: body for name, body in (stack.get("output") or {}).items() if not references("", body, left_out)
    }
    if outputs:
        pruned["output"] = outputs
    return pruned


def _independent(body: Mapping[str, Any], left_out: frozenset[str]) -> dict[str, Any]:
    """Return a resource that waits only for what is there."""
    waits = body.get("depends_on")
    if not waits:
        return dict(body)
    rest = [address for address in waits if address not in left_out]
    plain = {key: value for key, value in body.items() if key != "depends_on"}
    return {**plain, "depends_on": rest} if rest else plain
