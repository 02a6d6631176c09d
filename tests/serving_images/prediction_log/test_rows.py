"""Entries become the rows of the table that Terraform makes, and no row is lost over a value."""

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard import tables
from serving_images.prediction_log import Entry, LogSchema, decode, encode
from serving_images.prediction_log.rows import arrow_schema, from_entries, log_table, sound
from tests.modelyard.sample import deployed
from tests.serving_images.prediction_log.samples import IDS, SCHEMA, entry, ids

ALL_TYPES = LogSchema(
    table="p.d.t",
    team="t",
    model="m",
    version=1,
    pattern="rest",
    features=tuple((f"a_{kind}", kind) for kind in ("bool", "int64", "float64", "string", "timestamp")),
    prediction="float64",
)
NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
NOON_US = int(NOON.timestamp() * 1_000_000)


def rows(schema: LogSchema, *entries: Entry) -> list[dict[str, Any]]:
    assert all(sound(schema, one) for one in entries)
    table = from_entries(schema, decode(encode(entries)))
    assert table.schema == arrow_schema(schema)
    table.validate(full=True)
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def test_entry_is_rows() -> None:
    given_ids = IDS.take(2)
    first, second = rows(
        SCHEMA,
        entry(
            ids=given_ids,
            features=[500.5, "UA", 1, True, None, None, None, None],
            predictions=[12.5, None],
            flags=[[], ["out_of_range:distance"]],
            time_us=NOON_US,
            trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        ),
    )
    assert first == {
        "prediction_id": given_ids[0],
        "time": NOON,
        "team": "flight-ops",
        "model": "arrival-delay",
        "version": 3,
        "pattern": "rest",
        "caller": "web",
        "features": {"distance": 500.5, "carrier": "UA", "stops": 1, "night": True},
        "prediction": 12.5,
        "latency_ms": 1.5,
        "flags": [],
        "image_digest": "sha256:" + "1" * 64,
        "code_digest": None,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }
    assert second["features"] == dict.fromkeys(first["features"])
    assert (second["prediction"], second["flags"]) == (None, ["out_of_range:distance"])


def test_schema_is_the_tables() -> None:
    _, model, names = deployed()
    signature = model.manifest.signature
    schema = LogSchema(
        table="p.d.t",
        team="flights",
        model=model.name,
        version=model.manifest.version,
        pattern="rest",
        features=tuple((feature.name, feature.type.value) for feature in signature.features),
        prediction=signature.prediction.type.value,
    )
    assert arrow_schema(schema) == tables.arrow_schema(tables.prediction_log(model, names))


def test_columns_of_other_versions_are_null() -> None:
    schema = LogSchema(
        table="p.d.t",
        team="t",
        model="m",
        version=2,
        pattern="rest",
        features=(("new", "float64"), ("kept", "string")),
        prediction="float64",
        columns=(("old", "int64"), ("kept", "string"), ("new", "float64")),
    )
    (row,) = rows(schema, entry(features=[1.5, "x"]))
    assert row["features"] == {"old": None, "kept": "x", "new": 1.5}


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_matrices_are_rows_too(dtype: str) -> None:
    schema = LogSchema(
        table="p.d.t",
        team="t",
        model="m",
        version=1,
        pattern="rest",
        features=(("x", "float64"), ("n", "int64"), ("b", "bool"), ("t", "timestamp")),
        prediction="float64",
    )
    matrix = np.array([[0.5, 3, 1, 7], [np.nan, np.nan, np.nan, np.nan]], dtype)
    packed = entry(2, features=matrix.tobytes(), predictions=np.array([1.5, np.nan], dtype).tobytes())
    listed = entry(1, features=[2.5, None, False, 9], predictions=[4.5])
    found = rows(schema, packed, listed)
    assert [list(row["features"].values())[:3] for row in found] == [
        [2.5, None, False],
        [0.5, 3, True],
        [None, None, None],
    ]
    assert [row["prediction"] for row in found] == [4.5, 1.5, None]
    assert found[1]["features"]["t"] == dt.datetime(1970, 1, 1, 0, 0, 0, 7, dt.UTC)


@pytest.mark.parametrize(
    ("values", "expected", "mistyped"),
    [
        ([None] * 4 + [2**62], [None] * 5, ["timestamp"]),
        ([None] * 4 + ["0001-01-01T00:00:00+05:00"], [None] * 5, ["timestamp"]),
        ([True, 5, 1.5, "x", NOON_US], [True, 5, 1.5, "x", NOON], []),
        ([1, 5.0, 3, "x", "2026-11-23T12:00:00Z"], [True, 5, 3.0, "x", NOON], []),
        ([False, -(2**63), float("nan"), "", "2026-11-23T12:00:00"], [False, -(2**63), None, "", NOON], []),
        (["yes", 5.5, "1", 7, "noon"], [None] * 5, ["bool", "int64", "float64", "string", "timestamp"]),
        ([2, 2**63, [], {}, [1]], [None] * 5, ["bool", "int64", "float64", "string", "timestamp"]),
        ([None, float("inf"), 1e300, None, None], [None, None, 1e300, None, None], ["int64"]),
    ],
)
def test_value_of_another_type_costs_the_value_not_the_row(
    values: list[Any], expected: list[Any], mistyped: list[str]
) -> None:
    row, plain = rows(
        ALL_TYPES,
        entry(features=values, flags=[["late"]]),
        entry(features=[True, 1, 1.0, "y", NOON_US]),
    )
    assert list(row["features"].values()) == expected
    assert row["flags"] == ["late", *[f"mistyped:a_{kind}" for kind in mistyped]]
    assert plain["features"] == {
        "a_bool": True,
        "a_int64": 1,
        "a_float64": 1.0,
        "a_string": "y",
        "a_timestamp": NOON,
    }
    assert plain["flags"] == []


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@given(st.lists(st.lists(anything, min_size=6, max_size=6), min_size=1, max_size=4))
def test_whatever_the_values_each_row_is_there_once(values: list[list[Any]]) -> None:
    entries = [entry(features=one[:5], predictions=one[5:]) for one in values]
    try:
        decoded = decode(encode(entries))
    except UnicodeEncodeError:  # a lone surrogate, which no request can bring
        return
    table = from_entries(ALL_TYPES, decoded)
    table.validate(full=True)
    table.to_pylist()
    assert ids(table) == [one for each in entries for one in each.ids]


@pytest.mark.parametrize(
    "changes",
    [
        {"ids": []},
        {"features": [1.0]},
        {"predictions": []},
        {"predictions": b"abc"},
        {"features": b"abc"},
        {"flags": []},
    ],
)
def test_unsound_entries_are_known(changes: dict[str, Any]) -> None:
    assert sound(SCHEMA, entry())
    assert not sound(SCHEMA, entry(**changes))


def test_jobs_make_rows_of_arrow_columns() -> None:
    schema = LogSchema(
        table="p.d.t",
        team="t",
        model="m",
        version=1,
        pattern="batch",
        features=(("x", "float64"), ("s", "string")),
        prediction="float64",
        columns=(("s", "string"), ("x", "float64"), ("old", "bool")),
    )
    batch = pa.record_batch({"x": pa.array([1, 2], pa.int32()), "s": ["a", None], "key": [7, 8]})
    table = log_table(
        schema,
        ids=pa.array(["a", "b"]),
        time_us=NOON_US,
        features=batch,
        predictions=pa.array([0.5, 1.5], pa.float32()),
        flags=[[], ["late"]],
    )
    assert table.schema == arrow_schema(schema)
    table.validate(full=True)
    assert table.column("features").to_pylist() == [
        {"s": "a", "x": 1.0, "old": None},
        {"s": None, "x": 2.0, "old": None},
    ]
    assert table.column("time").to_pylist() == [NOON, NOON]
    assert table.column("flags").to_pylist() == [[], ["late"]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": (("x", "decimal"),)}, "x has type 'decimal'; it must be one of bool, int64"),
        ({"features": (("x", "bool"), ("x", "bool"))}, "a feature is listed twice"),
        ({"columns": (("y", "bool"),)}, r"feature x \(bool\) is not a column of p.d.t"),
    ],
)
def test_schema_that_could_not_be_shipped_is_refused(changes: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {
        "table": "p.d.t",
        "team": "t",
        "model": "m",
        "version": 1,
        "pattern": "rest",
        "features": (("x", "bool"),),
        "prediction": "bool",
    }
    with pytest.raises(ValueError, match=message):
        LogSchema(**values | changes)
