"""Values as they travel between Terraform and a provider, and paths that point into them.

A value is plain Python (None, bool, int, float, str, list, dict). Sets travel as lists. What is not known yet
is a msgpack extension. A dynamic value is the pair [type as JSON bytes, value].
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeAlias

import msgpack  # type: ignore[import-untyped]
from tf.gen import tfplugin_pb2 as pb

from plan_review.standin.bindings import Json, Type
from plan_review.standin.schema import Block

Value: TypeAlias = Any
Step: TypeAlias = str | int
UNKNOWN = msgpack.ExtType(0, b"\x00")


def decode(value: pb.DynamicValue) -> Value:
    """Return the Python form of a protocol value; None for an absent one."""
    if value.msgpack:
        return msgpack.unpackb(value.msgpack, raw=False, strict_map_key=False)
    return json.loads(value.json) if value.json else None


def encode(value: Value) -> pb.DynamicValue:
    """Return the protocol form of a Python value."""
    return pb.DynamicValue(msgpack=msgpack.packb(value, use_bin_type=True))


def is_unknown(value: Value) -> bool:
    """Whether the value itself is not known yet."""
    return isinstance(value, msgpack.ExtType)


def has_unknown(value: Value) -> bool:
    """Whether the value or anything inside it is not known yet."""
    if isinstance(value, dict):
        return any(has_unknown(inner) for inner in value.values())
    if isinstance(value, list):
        return any(has_unknown(inner) for inner in value)
    return is_unknown(value)


def path(steps: Iterable[Step]) -> pb.AttributePath:
    """Return the protocol form of a path: names of attributes and blocks, positions in lists."""
    return pb.AttributePath(
        steps=[
            pb.AttributePath.Step(attribute_name=step)
            if isinstance(step, str)
            else pb.AttributePath.Step(element_key_int=step)
            for step in steps
        ]
    )


def empty(block: Block) -> dict[str, Value]:
    """Return the value of a block in which nothing is set."""
    values: dict[str, Value] = dict.fromkeys(block.attributes)
    for name, nested in block.blocks.items():
        values[name] = [] if nested.many else None
    return values


def conform(state: Json, block: Block) -> Json:
    """Return stored state in the shape of the schema: unknown names dropped, missing ones empty.

    Returns the same object where the shape already fits.
    """
    if state.keys() == {*block.attributes, *block.blocks} and all(
        not nested.many or isinstance(state[name], list) for name, nested in block.blocks.items()
    ):
        fitted = state
    else:
        fitted = empty(block)
        fitted.update({name: state[name] for name in fitted if state.get(name) is not None})
    for name, nested in block.blocks.items():
        value = fitted[name]
        if isinstance(value, list):
            inner: Value = [conform(item, nested.block) for item in value]
            changed = any(new is not old for new, old in zip(inner, value, strict=True))
        elif isinstance(value, dict):
            inner = conform(value, nested.block)
            changed = inner is not value
        else:
            continue
        if changed:
            fitted = {**fitted, name: inner}
    return fitted


def dynamic(value: Value) -> list[Value]:
    """Return a plain value as a dynamic one, its type read off the value."""
    return [json.dumps(_type_of(value), separators=(",", ":"), sort_keys=True).encode(), value]


def _type_of(value: Value) -> Type:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, dict):
        return ["object", {name: _type_of(inner) for name, inner in value.items()}]
    if isinstance(value, list):
        return ["tuple", [_type_of(inner) for inner in value]]
    return "string"
