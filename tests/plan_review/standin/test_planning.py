"""The rules of planning, on every resource type and on the cases that a real configuration seldom meets."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from plan_review.standin import planning, wire
from plan_review.standin.schema import Attribute, Block, Nested, Schema
from plan_review.standin.values import Filler
from plan_review.standin.wire import UNKNOWN

Values = dict[str, Any]


def _sample(kind: Any, which: int) -> Any:
    """One of two different values of a type."""
    if kind == "string":
        return ("before", "after")[which]
    if kind == "number":
        return (1, 2)[which]
    if kind == "bool":
        return (False, True)[which]
    if kind[0] in ("list", "set"):
        return [_sample(kind[1], which)]
    if kind[0] == "map":
        return {"key": _sample(kind[1], which)}
    return {name: _sample(inner, which) for name, inner in kind[1].items()}


def _state(block: Block, change: tuple[str, ...] = ()) -> Values:
    """A state with every block once; the value at the path `change` is the other one."""
    values: Values = {}
    for name, attribute in block.attributes.items():
        values[name] = (
            None if attribute.type == "dynamic" else _sample(attribute.type, int(change == (name,)))
        )
    for name, nested in block.blocks.items():
        inner = _state(nested.block, change[1:] if change[:1] == (name,) and len(change) > 1 else ())
        values[name] = inner if not nested.many else [inner, inner] if change == (name,) else [inner]
    return values


def _replacing(block: Block, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, attribute in block.attributes.items():
        if attribute.replace and attribute.type != "dynamic":
            yield (*prefix, name)
    for name, nested in block.blocks.items():
        if nested.replace:
            yield (*prefix, name)
        yield from _replacing(nested.block, (*prefix, name))


@pytest.mark.parametrize("name", ["google", "kubernetes"])
def test_every_replacing_argument_of_every_type_replaces(name: str, request: pytest.FixtureRequest) -> None:
    """Nested in blocks, lists and sets as deep as it may be; and what did not change, does not."""
    schema: Schema = request.getfixturevalue(name)
    checked, wrong = 0, []
    for type_name in schema.resource_types():
        block = schema.resource(type_name)
        prior = _state(block)
        assert planning.replacements(block, prior, prior) == [], type_name
        for path in _replacing(block):
            checked += 1
            found = planning.replacements(block, _state(block, path), prior)
            named = [[step for step in one if isinstance(step, str)] for one in found]
            if not any(tuple(one) == path[: len(one)] for one in named):
                wrong.append(".".join((type_name, *path)))
    assert wrong == []
    assert checked > (3000 if name == "google" else 200)


@pytest.mark.parametrize("name", ["google", "kubernetes"])
def test_a_second_plan_of_any_type_is_empty(name: str, request: pytest.FixtureRequest) -> None:
    """With everything given that may be given, and with only what must be."""
    schema: Schema = request.getfixturevalue(name)
    for type_name in schema.resource_types():
        block = schema.resource(type_name)
        for keep in (lambda attribute: not attribute.read_only, lambda attribute: attribute.required):
            config = _config(block, keep)
            planned = planning.plan_block(block, config, config, None)
            filler = Filler(schema.source.facts, "types", type_name, copy.deepcopy(planned), {"project": "p"})
            state = filler.fill(block)
            again = planning.plan_block(block, config, _merged(block, config, state), state)
            assert again == state, type_name


def _config(block: Block, keep: Any) -> Values:
    values: Values = {
        name: _sample(attribute.type, 0) if keep(attribute) and attribute.type != "dynamic" else None
        for name, attribute in block.attributes.items()
    }
    for name, nested in block.blocks.items():
        inner = _config(nested.block, keep)
        empty = all(value in (None, [], {}) for value in inner.values())
        values[name] = ([] if empty else [inner]) if nested.many else (None if empty else inner)
    return values


def _merged(block: Block, config: Values, prior: Values) -> Values:
    """Terraform's merge: what is computed and not configured stays as it was."""
    merged = {
        name: prior[name] if config[name] is None and attribute.computed else config[name]
        for name, attribute in block.attributes.items()
    }
    for name, nested in block.blocks.items():
        ours, theirs = config[name], prior[name]
        if nested.mode == "list" and isinstance(theirs, list):
            pairs = zip(ours, theirs, strict=False)
            merged[name] = [_merged(nested.block, one, other) for one, other in pairs]
        elif isinstance(ours, dict) and isinstance(theirs, dict):
            merged[name] = _merged(nested.block, ours, theirs)
        else:
            merged[name] = ours
    return merged


RULES = Block(
    {
        "action": Attribute("string", required=True),
        "rank": Attribute("number", optional=True, default=1),
        "status": Attribute("string", computed=True),
    },
    {},
    [],
)
IN_SET = Block({}, {"rule": Nested("set", RULES)}, [])


def test_an_element_of_a_set_keeps_its_computed_values_when_another_comes() -> None:
    """Terraform cannot pair the elements itself, because of the default."""
    first = {"action": "allow", "rank": 1, "status": "ok"}
    config = {"rule": [{"action": action, "rank": None, "status": None} for action in ("deny", "allow")]}

    planned = planning.plan_block(IN_SET, config, config, {"rule": [first]})

    assert first in planned["rule"]
    assert {"action": "deny", "rank": 1, "status": UNKNOWN} in planned["rule"]


def test_a_set_with_a_replacing_element_replaces_when_one_leaves() -> None:
    inner = Block({"name": Attribute("string", required=True, replace=True)}, {}, [])
    block = Block({}, {"disk": Nested("set", inner)}, [])
    before = {"disk": [{"name": "a"}, {"name": "b"}]}

    assert planning.replacements(block, {"disk": [{"name": "b"}, {"name": "a"}]}, before) == []
    assert planning.replacements(block, {"disk": [{"name": "b"}]}, before) == [["disk"]]


@pytest.mark.parametrize(("after", "before"), [(None, ""), ("", None), (None, []), ({}, None)])
def test_unset_is_the_same_as_empty(after: Any, before: Any) -> None:
    block = Block({"x": Attribute("string", optional=True, replace=True)}, {}, [])

    assert planning.replacements(block, {"x": after}, {"x": before}) == []


@pytest.mark.parametrize(("after", "before"), [(0, None), (False, None), ("a", ""), (UNKNOWN, "a")])
def test_a_value_is_not_the_same_as_nothing(after: Any, before: Any) -> None:
    block = Block({"x": Attribute("string", optional=True, replace=True)}, {}, [])

    assert planning.replacements(block, {"x": after}, {"x": before}) == [["x"]]


def test_a_secret_that_is_only_written_is_never_stored(google: Schema) -> None:
    block = google.resource("google_secret_manager_secret_version")
    assert block.attributes["secret_data_wo"].write_only
    config = {**wire.empty(block), "secret": "s", "secret_data_wo": "hidden"}

    assert planning.plan_block(block, config, config, None)["secret_data_wo"] is None


def test_stored_state_is_fitted_to_the_schema() -> None:
    block = Block({"a": Attribute("string", optional=True)}, {"rule": Nested("set", RULES)}, [])
    fitting = {"a": "x", "rule": [{"action": "deny", "rank": 1, "status": None}]}

    assert wire.conform(fitting, block) is fitting
    assert wire.conform({"gone": 1, "rule": [{"action": "deny"}]}, block) == {
        "a": None,
        "rule": [{"action": "deny", "rank": None, "status": None}],
    }
    assert wire.conform({"a": "x", "rule": None}, block) == {"a": "x", "rule": []}
