"""What a change would do: which values stay, which are not known yet, and what cannot change in place.

Follows the rules of Terraform's plugin SDK, which Google's and the Kubernetes provider are built on.
"""

from __future__ import annotations

from typing import Any

from plan_review.standin.schema import Attribute, Block, Nested
from plan_review.standin.wire import UNKNOWN, Step, Value, has_unknown, is_unknown

Path = list[Step]
Values = dict[str, Value]


def plan_block(block: Block, config: Values | None, proposed: Values, prior: Values | None) -> Values:
    """Return the planned values: the configuration, else a default, else what was there, else unknown.

    `proposed` is Terraform's own merge of configuration and prior state; `prior` is None for what is new.
    """
    planned = dict(proposed)
    for name, attribute in block.attributes.items():
        if attribute.write_only:
            planned[name] = None
        elif config is None or config.get(name) is None:
            if attribute.default is not None:
                planned[name] = attribute.default
            elif attribute.computed and prior is None:
                planned[name] = UNKNOWN
            elif not attribute.computed:
                planned[name] = None
    for name, nested in block.blocks.items():
        planned[name] = _plan_nested(
            nested,
            (config or {}).get(name),
            proposed.get(name),
            prior.get(name) if prior else None,
            prior is None,
        )
    return planned


def _plan_nested(nested: Nested, config: Value, proposed: Value, prior: Value, new: bool) -> Value:
    if is_unknown(proposed):
        return proposed
    if not nested.many:
        return plan_block(nested.block, config, proposed, prior) if isinstance(proposed, dict) else proposed
    if not proposed and nested.computed and not config:
        return UNKNOWN if new else (prior or [])
    if nested.mode == "set":
        return [_plan_element(nested.block, item, prior or []) for item in proposed or []]
    return [
        plan_block(nested.block, _at(config, index), item, _at(prior, index))
        for index, item in enumerate(proposed or [])
    ]


def _at(items: Value, index: int) -> Any:
    return items[index] if isinstance(items, list) and index < len(items) else None


def _plan_element(block: Block, item: Values, prior: list[Values]) -> Values:
    """An element of a set is what it was before, if filling in what is left out makes it equal to that."""
    for before in prior:
        if plan_block(block, item, _carried(block, item, before), before) == before:
            return before
    return plan_block(block, item, item, None)


def _carried(block: Block, item: Values, before: Values) -> Values:
    """Terraform's merge of configuration and prior state, for an element of a set."""
    carried = dict(item)
    for name, attribute in block.attributes.items():
        if attribute.computed and carried.get(name) is None:
            carried[name] = before.get(name)
    for name, nested in block.blocks.items():
        ours, theirs = carried.get(name), before.get(name)
        if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
            carried[name] = [
                _carried(nested.block, one, other) for one, other in zip(ours, theirs, strict=True)
            ]
    return carried


def replacements(block: Block, planned: Values, prior: Values, imported: bool = False) -> list[Path]:
    """Return the paths whose change forces a replacement.

    After an import nothing is known of the real resource but its identifier; what the state does not hold is
    then taken to be as configured.
    """
    paths: list[Path] = []
    _compare(block, planned, prior, [], paths, imported)
    return paths


def _compare(
    block: Block, planned: Values | None, prior: Values | None, at: Path, paths: list[Path], imported: bool
) -> None:
    for name, attribute in block.attributes.items():
        if not attribute.replace:
            continue
        after, before = (planned or {}).get(name), (prior or {}).get(name)
        if imported and before is None:
            continue
        if _differs(name, attribute, after, before, removed=planned is None):
            paths.append([*at, name])
    for name, nested in block.blocks.items():
        after, before = (planned or {}).get(name), (prior or {}).get(name)
        if after == before or (imported and not before):
            continue
        if is_unknown(after):
            if nested.replace:
                paths.append([*at, name])
        elif nested.mode == "set":
            if _set_forces(nested, after or [], before or []):
                paths.append([*at, name])
        elif nested.many:
            _compare_list(nested, after or [], before or [], [*at, name], paths, imported)
        else:
            _compare(nested.block, after, before, [*at, name], paths, imported)


def _compare_list(
    nested: Nested, after: list[Values], before: list[Values], at: Path, paths: list[Path], imported: bool
) -> None:
    if nested.replace and len(after) != len(before):
        paths.append(at)
    for index in range(max(len(after), len(before))):
        _compare(nested.block, _at(after, index), _at(before, index), [*at, index], paths, imported)


def _set_forces(nested: Nested, after: list[Values], before: list[Values]) -> bool:
    """In a set there is no "same" element: what came or went counts as new or removed."""
    if nested.replace and len(after) != len(before):
        return True
    came = [item for item in after if item not in before]
    went = [item for item in before if item not in after]
    found: list[Path] = []
    for item in came:
        _compare(nested.block, item, None, [], found, imported=False)
    for item in went:
        _compare(nested.block, None, item, [], found, imported=False)
    return bool(found)


def _differs(name: str, attribute: Attribute, after: Value, before: Value, removed: bool) -> bool:
    """Whether a value really changed: unset is the same as empty, and a computed one may be left out."""
    if after == before:
        return False
    if has_unknown(after):
        return not (attribute.computed and is_unknown(after) and before is None)
    if after is None and removed and attribute.computed:
        return False
    if not after and not before and not isinstance(after, bool | int) and not isinstance(before, bool | int):
        return False
    if name == "location" and isinstance(after, str) and isinstance(before, str):
        return after.casefold() != before.casefold()
    return True
