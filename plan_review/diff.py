"""What really differs between two values of a resource: order and formatting are folded away.

JSON texts were parsed before. Lists are compared element by element: blocks are matched by what names them
(such as name, role or member), plain values as sets. Only lists whose order means something, such as a
command's arguments, are compared as they stand.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import msgspec

from plan_review.changes import Action, Change
from plan_review.masking import UNKNOWN, Masked, Unknown

# Lists whose order means something.
ORDERED = frozenset(("args", "command", "entrypoint", "init_container"))
# What may name a block, the best first. All of a tuple's names count together.
_KEYS: tuple[tuple[str, ...], ...] = (
    ("name",),
    ("key",),
    ("id",),
    ("role", "member"),
    ("role",),
    ("member",),
    ("kind", "name"),
    ("range_name",),
    ("cidr_block",),
    ("display_name",),
    ("type",),
    ("protocol",),
    ("log_type",),
    ("title",),
)
# Set by providers, following other attributes: a difference in them says nothing of its own.
COMPUTED = frozenset(
    (
        "effective_labels",
        "effective_annotations",
        "terraform_labels",
        "etag",
        "fingerprint",
        "label_fingerprint",
        "metadata_fingerprint",
        "generation",
        "resource_version",
        "update_time",
        "last_modified_time",
        "last_updated",
    )
)
# Pairing what has no name costs the product of both lengths.
_MAX_PAIRING = 40
_MAX_DEPTH = 64


class Kind(StrEnum):
    """How a value differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, eq=False)
class Difference:
    """One value that differs, at a path such as `spec.template.spec.container[model].image`."""

    path: str
    kind: Kind
    before: Any
    after: Any

    @property
    def key(self) -> bytes:
        """What is equal for equal differences of different resources."""
        return frozen((self.path, self.kind, self.before, self.after))


def frozen(value: Any) -> bytes:
    """Return `value` as bytes that are equal for equal values, whatever the order of their keys."""
    return msgspec.json.encode(value, enc_hook=_hook, order="deterministic")


def _hook(value: Any) -> Any:
    if isinstance(value, Masked):
        return ["masked", hash(value)]
    if isinstance(value, Unknown):
        return ["unknown"]
    raise NotImplementedError(type(value))


def differences(before: Any, after: Any) -> list[Difference]:
    """Return what differs between two values of a resource."""
    return list(_compare("", "", before, after, 0))


def of_change(change: Change) -> list[Difference]:
    """Return what differs in an update or replacement, without what the provider computes.

    A new resource gets new computed values; of a replacement those are left out.
    """
    if not change.kept:
        return []
    # `object` is the server's copy of the manifest.
    skipped = COMPUTED | ({"object"} if change.type == "kubernetes_manifest" else set())
    before = {key: value for key, value in change.before.items() if key not in skipped}
    after = {key: value for key, value in change.after.items() if key not in skipped}
    found = differences(before, after)
    if change.action is Action.REPLACE:
        found = [d for d in found if not isinstance(d.after, Unknown)]
    return found


def _compare(path: str, name: str, before: Any, after: Any, depth: int) -> Iterator[Difference]:
    if before is after or same(before, after):
        return
    if depth > _MAX_DEPTH:
        yield Difference(path, Kind.CHANGED, before, after)
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            if key in COMPUTED:
                continue
            inner = f"{path}.{key}" if path else key
            yield from _compare(inner, key, before.get(key), after.get(key), depth + 1)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _compare_lists(path, name, before, after, depth + 1)
    elif _nothing(before) and isinstance(after, Mapping | list):
        yield from _one_sided(path, name, after, Kind.ADDED)
    elif _nothing(after) and isinstance(before, Mapping | list):
        yield from _one_sided(path, name, before, Kind.REMOVED)
    else:
        kind = Kind.ADDED if before is None else Kind.REMOVED if after is None else Kind.CHANGED
        yield Difference(path, kind, before, after)


def _one_sided(path: str, name: str, value: Any, kind: Kind) -> Iterator[Difference]:
    """Yield the parts of a block that is only on one side: maps by key, lists by element."""
    if isinstance(value, list) and name not in ORDERED and not _is_block(value):
        parts: Iterable[tuple[str, Any]] = ((f"{path}[]", element) for element in value)
    elif (
        isinstance(value, Mapping)
        and value
        and all(not isinstance(v, Mapping | list) for v in value.values())
    ):
        parts = ((f"{path}.{key}", element) for key, element in value.items())
    else:
        parts = ((path, value),)
    for where, part in parts:
        if not _nothing(part):
            yield Difference(
                where, kind, part if kind is Kind.REMOVED else None, part if kind is Kind.ADDED else None
            )


def same(before: Any, after: Any) -> bool:
    """Return whether two values mean the same: so do empty and absent, "1" and 1, and outer white space."""
    if _nothing(before) and _nothing(after):
        return True
    if type(before) is type(after) and not isinstance(before, str):
        return bool(before == after)
    if isinstance(before, str) and isinstance(after, str):
        return before == after or _lines(before) == _lines(after)
    if isinstance(before, bool) or isinstance(after, bool):
        return str(before).lower() == str(after).lower()
    if isinstance(before, int | float | str) and isinstance(after, int | float | str):
        left, right = _as_number(before), _as_number(after)
        return left is not None and left == right
    return bool(before == after)


def _nothing(value: Any) -> bool:
    return value is None or value == "" or value == [] or value == {}


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def _as_number(value: int | float | str) -> float | None:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _is_block(value: Sequence[Any]) -> bool:
    """Return whether a list is how Terraform writes a block that may stand once."""
    return len(value) == 1 and isinstance(value[0], Mapping)


def _compare_lists(
    path: str, name: str, before: list[Any], after: list[Any], depth: int
) -> Iterator[Difference]:
    if name in ORDERED:
        if before != after:
            yield Difference(path, Kind.CHANGED, before, after)
        return
    if _is_block(before) and _is_block(after) and not _named_differently(before[0], after[0]):
        yield from _compare(path, name, before[0], after[0], depth)
        return
    maps = all(isinstance(element, Mapping) for element in (*before, *after))
    key = _key(before, after) if maps else None
    if key:
        yield from _compare_named(path, key, before, after, depth)
    else:
        yield from _compare_unnamed(path, name, before, after, depth)


def _named_differently(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return any(
        isinstance(before.get(key), str) and isinstance(after.get(key), str) and before[key] != after[key]
        for key in ("name", "role", "member")
    )


def _key(before: list[Any], after: list[Any]) -> Callable[[Mapping[str, Any]], str] | None:
    """Return what names the elements of both lists: names that all of them have, and none shares."""
    for names in _KEYS:

        def key(element: Mapping[str, Any], names: tuple[str, ...] = names) -> str:
            return " ".join(element[name] for name in names)

        if all(
            isinstance(element.get(name), str) and element[name]
            for element in (*before, *after)
            for name in names
        ):
            sides = [[key(element) for element in side] for side in (before, after)]
            if all(len(set(side)) == len(side) for side in sides):
                return key
    return None


def _compare_named(
    path: str, key: Callable[[Mapping[str, Any]], str], before: list[Any], after: list[Any], depth: int
) -> Iterator[Difference]:
    old = {key(element): element for element in before}
    new = {key(element): element for element in after}
    for name in {**old, **new}:
        where = f"{path}[{name}]"
        if name not in new:
            yield Difference(where, Kind.REMOVED, old[name], None)
        elif name not in old:
            yield Difference(where, Kind.ADDED, None, new[name])
        else:
            yield from _compare(where, "", old[name], new[name], depth)


def _compare_unnamed(
    path: str, name: str, before: list[Any], after: list[Any], depth: int
) -> Iterator[Difference]:
    """Take equal elements out, pair the rest by likeness, and compare the pairs."""
    left = _without(before, after)
    right = _without(after, before)
    if len(left) * len(right) <= _MAX_PAIRING**2:
        for old, new in _pairs(left, right):
            left.remove(old)
            right.remove(new)
            yield from _compare(f"{path}[{before.index(old)}]", "", old, new, depth)
    for element in left:
        yield Difference(f"{path}[]", Kind.REMOVED, element, None)
    for element in right:
        yield Difference(f"{path}[]", Kind.ADDED, None, element)


def _without(elements: list[Any], others: list[Any]) -> list[Any]:
    """Return `elements` less those that are also in `others`, each counted once."""
    counts: dict[bytes, int] = {}
    for other in others:
        form = frozen(other)
        counts[form] = counts.get(form, 0) + 1
    rest = []
    for element in elements:
        form = frozen(element)
        if counts.get(form):
            counts[form] -= 1
        else:
            rest.append(element)
    return rest


def _pairs(left: list[Any], right: list[Any]) -> list[tuple[Any, Any]]:
    """Return pairs of blocks that are alike in at least half of their attributes, each block in one pair."""
    scored = []
    for i, old in enumerate(left):
        for j, new in enumerate(right):
            if isinstance(old, Mapping) and isinstance(new, Mapping):
                names = {**old, **new}
                alike = sum(same(old.get(name), new.get(name)) for name in names) / max(len(names), 1)
                if alike >= 0.5 or len(left) == len(right) == 1:
                    scored.append((-alike, i, j))
    used_left: set[int] = set()
    used_right: set[int] = set()
    pairs = []
    for _, i, j in sorted(scored):
        if i not in used_left and j not in used_right:
            used_left.add(i)
            used_right.add(j)
            pairs.append((left[i], right[j]))
    return pairs


@dataclass(frozen=True)
class Repeated:
    """The same difference on several resources."""

    difference: Difference
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class ResourceDiff:
    """What differs in one resource, less what is told once for many."""

    change: Change
    differences: tuple[Difference, ...]
    shared: int
    """Number of its differences that are among the repeated ones."""
    elsewhere: tuple[str, ...] = ()
    """Other stacks in which a resource of the same address differs in the same way."""


def aggregate(changes: Iterable[Change], least: int = 5) -> tuple[list[Repeated], list[ResourceDiff]]:
    """Return the differences that at least `least` resources share, and the rest per resource."""
    found = [(change, of_change(change)) for change in changes if change.kept]
    groups: dict[bytes, list[Change]] = {}
    first: dict[bytes, Difference] = {}
    keyed = []
    for change, diffs in found:
        with_keys = [(difference.key, difference) for difference in diffs]
        keyed.append((change, with_keys))
        for key, difference in with_keys:
            groups.setdefault(key, []).append(change)
            first.setdefault(key, difference)
    repeated = {key for key, group in groups.items() if len(group) >= least}
    rest = []
    for change, with_keys in keyed:
        own = tuple(difference for key, difference in with_keys if key not in repeated)
        rest.append(ResourceDiff(change, own, len(with_keys) - len(own)))
    rest = _merged(rest)
    many = [Repeated(first[key], tuple(groups[key])) for key in groups if key in repeated]
    many.sort(key=lambda entry: (-len(entry.changes), entry.difference.path))
    return many, rest


def _merged(diffs: list[ResourceDiff]) -> list[ResourceDiff]:
    """Return the diffs with those told once that are the same in several stacks."""
    alike: dict[tuple[Any, ...], list[ResourceDiff]] = {}
    for diff in diffs:
        change = diff.change
        key = (change.address, change.action, diff.shared, *(found.key for found in diff.differences))
        alike.setdefault(key, []).append(diff)
    return [
        replace(group[0], elsewhere=tuple(sorted(other.change.stack for other in group[1:])))
        for group in alike.values()
    ]


def unknown(value: Any) -> bool:
    """Return whether a value is known only after apply."""
    return value is UNKNOWN
