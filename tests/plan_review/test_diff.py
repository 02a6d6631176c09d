"""Differences are told by meaning: order and formatting are none."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plan_review.changes import stack_plan
from plan_review.diff import Kind, aggregate, differences, of_change
from plan_review.masking import UNKNOWN
from plan_review.render import parts
from tests.plan_review import plans

SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abcdxyz", min_size=1, max_size=3), inner, max_size=4)
    ),
    max_leaves=25,
)


def shuffled(value: Any, chance: random.Random) -> Any:
    """Return the same value with its lists and keys in another order."""
    if isinstance(value, list):
        inner = [shuffled(element, chance) for element in value]
        chance.shuffle(inner)
        return inner
    if isinstance(value, dict):
        pairs = [(key, shuffled(element, chance)) for key, element in value.items()]
        chance.shuffle(pairs)
        return dict(pairs)
    return value


def paths(before: Any, after: Any) -> list[str]:
    return sorted(f"{found.kind}:{found.path}" for found in differences(before, after))


@given(VALUES)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    assert differences(value, json.loads(json.dumps(value))) == []


@given(
    st.dictionaries(st.text("abcd", min_size=1, max_size=3), st.lists(SCALARS, max_size=5)),
    st.randoms(use_true_random=False),
)
def test_order_is_no_difference(value: Any, chance: random.Random) -> None:
    assert differences(value, shuffled(value, chance)) == []


@given(VALUES, VALUES)
def test_any_two_values_can_be_compared(before: Any, after: Any) -> None:
    for found in differences(before, after):
        assert parts.difference(found)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": "1"}, {"a": 1}),
        ({"a": "true"}, {"a": True}),
        ({"a": None}, {"a": []}),
        ({"a": ""}, {}),
        ({"a": "x\n"}, {"a": "x"}),
        ({"a": "one  \ntwo"}, {"a": "one\ntwo\n"}),
        ({"etag": "a", "x": 1}, {"etag": "b", "x": 1}),
        ({"effective_labels": {"a": "b"}}, {"effective_labels": {"a": "c"}}),
        (
            {"blocks": [{"name": "a", "v": 1}, {"name": "b"}]},
            {"blocks": [{"name": "b"}, {"name": "a", "v": 1}]},
        ),
    ],
)
def test_what_is_folded_away(before: Any, after: Any) -> None:
    assert differences(before, after) == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 2}, ["changed:a"]),
        ({"a": [1, 2]}, {"a": [2, 3]}, ["added:a[]", "removed:a[]"]),
        ({"l": {"x": "1"}}, {"l": {"x": "1", "y": "2"}}, ["added:l.y"]),
        ({"args": ["a", "b"]}, {"args": ["b", "a"]}, ["changed:args"]),
        (
            {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]},
            ["added:env[C]", "changed:env[B].value", "removed:env[A]"],
        ),
        ({"spec": [{"a": 1}]}, {"spec": [{"a": 2}]}, ["changed:spec.a"]),
        (
            {"rules": [{"weight": 1, "path": "/a"}, {"weight": 2, "path": "/b"}]},
            {"rules": [{"weight": 2, "path": "/b"}, {"weight": 5, "path": "/a"}]},
            ["changed:rules[0].weight"],
        ),
        ({"flag": False}, {"flag": None}, ["removed:flag"]),
    ],
)
def test_what_differs(before: Any, after: Any, expected: list[str]) -> None:
    assert paths(before, after) == expected


def test_json_texts_are_compared_by_element() -> None:
    before = {"schema": '[{"name":"a","type":"STRING"},{"name":"b","type":"STRING"}]'}
    after = {"schema": '[\n {"type": "STRING", "name": "b"}, {"name": "a", "type": "INT64"}\n]'}
    stack = stack_plan(plans.plan(plans.change("google_bigquery_table.t", before, after)))
    assert [found.path for found in of_change(stack.changes[0])] == ["schema[a].type"]


def test_unknown_is_shown_as_unknown() -> None:
    found = differences({"a": "x"}, {"a": UNKNOWN})
    assert parts.difference(found[0]) == 'a: "x" -> (known after apply)'


def test_long_texts_are_shown_where_they_differ() -> None:
    found = differences({"a": "x" * 500 + "1"}, {"a": "x" * 500 + "2"})
    shown = parts.difference(found[0])
    assert len(shown) < 300
    assert '1"' in shown
    assert '2"' in shown


def test_a_change_on_many_resources_is_told_once() -> None:
    changes = [
        plans.change(
            f"google_thing.t{i}",
            {"labels": {}, "size": i},
            {"labels": {"programme": "x"}, "size": i + (i == 3)},
        )
        for i in range(214)
    ]
    repeated, rest = aggregate(stack_plan(plans.plan(*changes)).changes)
    assert [(entry.difference.path, len(entry.changes)) for entry in repeated] == [("labels.programme", 214)]
    assert "on 214 resources" in parts.repeated(repeated[0])
    assert [[d.path for d in diff.differences] for diff in rest if diff.differences] == [["size"]]


def test_what_is_equal_in_several_stacks_is_told_once() -> None:
    plan = [
        plans.plan(plans.change("google_thing.t", {"a": 1}, {"a": 2}), stack=f"{environment}-catalog")
        for environment in ("dev", "prod")
    ]
    changes = [change for file in plan for change in stack_plan(file).changes]
    _, rest = aggregate(changes)
    assert [(diff.change.stack, diff.elsewhere) for diff in rest] == [("dev-catalog", ("prod-catalog",))]


def test_kinds() -> None:
    kinds = {found.path: found.kind for found in differences({"a": 1, "b": 1}, {"a": 2, "c": 1})}
    assert kinds == {"a": Kind.CHANGED, "b": Kind.REMOVED, "c": Kind.ADDED}
