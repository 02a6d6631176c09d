"""Checks and encodings: rows one by one and Arrow batches give the same flags and the same numbers."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_images.runtime import tables
from serving_images.runtime.config import Config, Feature
from serving_images.runtime.encoding import ColumnsEncoder, MatrixEncoder
from serving_images.runtime.inputs import InputError, Inputs, logged, parse
from tests.serving_images import sample

DISTANCES = st.floats(-1e38, 1e38) | st.floats(0, 5000)
ROWS = st.fixed_dictionaries(
    {
        "distance": DISTANCES,
        "carrier": st.sampled_from(["AA", "B6", "UA"]) | st.text(max_size=5),
        "stops": st.integers(0, 5) | st.integers(-(2**63), 2**63 - 1),
        "holiday": st.booleans(),
        "departure": st.datetimes(datetime(1980, 1, 1), datetime(2060, 1, 1)).map(
            lambda time: time.isoformat() + "Z"
        ),
    },
    optional={"wind": st.none() | st.floats(0, 60) | st.floats(-1e30, 1e30)},
)


def config(features: list[dict[str, Any]] = sample.FEATURES, **serving: Any) -> Config:
    artifact = {"uri": "x", "digest": "sha256:" + "0" * 64, "format": "onnx", "size_bytes": 1}
    document = {
        "format": "modelyard.container/1",
        "team": "flights",
        "model": "delay",
        "version": 1,
        "pattern": "rest",
        "registry": "/",
        "artifact": artifact,
        "signature": {"features": features, "prediction": {"name": "y", "type": "float64"}},
        "log": {"table": "p.d.t"},
        "serving": serving,
    }
    return msgspec.convert(document, Config)


SETTINGS = config()
FEATURES = SETTINGS.signature.features
INPUTS = Inputs(SETTINGS)


@given(st.lists(ROWS, min_size=1, max_size=5))
def test_rows_and_batches_agree(rows: list[dict[str, Any]]) -> None:
    read = INPUTS.read(json.dumps({"instances": rows}).encode())
    data = [row | {"departure": datetime.fromisoformat(row["departure"])} for row in rows]
    columns = {feature.name: [row.get(feature.name) for row in data] for feature in FEATURES}
    batch = tables.typed(pa.RecordBatch.from_pydict(columns), FEATURES)
    matrix = MatrixEncoder(FEATURES)(read.values)
    np.testing.assert_array_equal(matrix, tables.matrix(batch, FEATURES))
    by_column = ColumnsEncoder(FEATURES)(read.values)
    for name, values in tables.columns(batch, FEATURES).items():
        np.testing.assert_array_equal(by_column[name], values)
    flags = [set(each) for each in read.flags] if read.flags else [set[str]()] * len(rows)
    found = tables.listed(tables.flags(batch, FEATURES), len(rows)).to_pylist()
    assert flags == [set(each) for each in found]
    assert not tables.unfit(batch, FEATURES).any()


@given(st.lists(ROWS, min_size=1, max_size=3))
def test_the_quick_way_and_the_thorough_one_agree(rows: list[dict[str, Any]]) -> None:
    quick = INPUTS.read(json.dumps({"instances": rows}).encode())
    values, flags = INPUTS.check(parse(json.dumps(rows)))
    assert quick.values == values
    assert quick.flags == flags
    for row, expected in zip(rows, values, strict=True):
        assert INPUTS.read(json.dumps(row).encode()).values == [expected]


def test_the_encoding() -> None:
    row = (812.5, "UA", 3, True, None, datetime(1970, 1, 2, tzinfo=UTC))
    expected = [812.5, 2, 3, 1, math.nan, 86_400]
    np.testing.assert_array_equal(MatrixEncoder(FEATURES)([row])[0], np.array(expected, np.float32))
    assert math.isnan(MatrixEncoder(FEATURES)([(1.0, "ZZ", *row[2:])])[0][1])
    columns = ColumnsEncoder(FEATURES)([row])
    assert columns["carrier"].tolist() == [["UA"]] and columns["holiday"].tolist() == [[1.0]]
    assert logged([row, row], FEATURES) == [*row[:5], 86_400_000_000] * 2


def test_features_may_have_any_name_that_a_column_may_have() -> None:
    names = ["class", "__init__", "instances", "self", "None_", "_", "f0"]
    inputs = Inputs(config([{"name": name, "type": "float64"} for name in names]))
    row = {name: float(place) for place, name in enumerate(names)}
    body = json.dumps(row).encode()
    assert inputs.read(body).values == [tuple(row.values())]
    assert inputs.read(body).single


def test_a_range_that_holds_no_whole_number() -> None:
    inputs = Inputs(config([{"name": "n", "type": "int64", "range": [0.2, 0.8]}]))
    assert inputs.read(b'{"n": 0}').flags == [("out_of_range:n",)]


def test_a_thousand_features() -> None:
    names = [f"x{n}" for n in range(1000)]
    inputs = Inputs(config([{"name": name, "type": "float64"} for name in names]))
    assert inputs.read(json.dumps(dict.fromkeys(names, 1)).encode()).values == [(1.0,) * 1000]
    with pytest.raises(InputError) as refused:
        inputs.read(b"{}")
    assert len(refused.value.faults) == 20


@pytest.mark.parametrize(
    "column, told",
    [
        (pa.array(["x"]), "column distance is string"),
        (pa.array([[1.0]]), "column distance is list"),
    ],
)
def test_columns_of_the_wrong_type(column: pa.Array, told: str) -> None:
    from serving_images.runtime.errors import Refused

    features = [Feature("distance", "float64")]
    with pytest.raises(Refused, match=told):
        tables.typed(pa.RecordBatch.from_arrays([column], ["distance"]), features)
    with pytest.raises(Refused, match="no column distance"):
        tables.typed(pa.RecordBatch.from_arrays([column], ["distnce"]), features)


def test_rows_that_no_model_can_score() -> None:
    features = [Feature("a", "float64"), Feature("b", "float64", nullable=True)]
    batch = pa.RecordBatch.from_pydict({"a": [1.0, None, math.nan, 1e300], "b": [None, 1.0, 1.0, 1.0]})
    assert tables.unfit(tables.typed(batch, features), features).tolist() == [False, True, True, True]
