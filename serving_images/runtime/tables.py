"""Checks and encodes Arrow batches, column by column, by the rules of `inputs` and `encoding` for rows."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from serving_images.runtime.config import NUMBERS, Feature
from serving_images.runtime.encoding import NAN, Matrix
from serving_images.runtime.errors import Refused
from serving_images.runtime.inputs import FLOAT32, INT64

if TYPE_CHECKING:
    import pandas as pd

_STRETCH = 2048
# Whole numbers up to here are the same as 32-bit floating-point numbers.
_EXACT = 1 << 24
_FLAGS = pa.list_(pa.field("item", pa.string(), nullable=False))
_TYPES = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}
# What a feature of a type may be stored as. Nothing is guessed: a text is no number, and a number no boolean,
# just as in a request.
_STORED: dict[str, tuple[Callable[[pa.DataType], bool], ...]] = {
    "bool": (pat.is_boolean,),
    "int64": (pat.is_integer, pat.is_floating, pat.is_decimal),
    "float64": (pat.is_integer, pat.is_floating, pat.is_decimal),
    "string": (pat.is_string, pat.is_large_string),
    "timestamp": (pat.is_timestamp, pat.is_date),
}


def typed(batch: pa.RecordBatch, features: Sequence[Feature]) -> pa.RecordBatch:
    """Return the columns of `features`, in their order and of their types; NaN becomes null.

    Raises:
        Refused: a column is missing or holds values of another type.
    """
    missing = [feature.name for feature in features if feature.name not in batch.schema.names]
    if missing:
        raise Refused(
            f"the rows have no column {', '.join(missing)}; they have {', '.join(batch.schema.names)}"
        )
    columns = []
    for feature in features:
        column = batch.column(feature.name)
        try:
            columns.append(_typed(column, feature.type))
        except pa.ArrowException as error:
            raise Refused(
                f"column {feature.name} is {column.type}, and its values are no {feature.type}: {error}"
            ) from None
    return pa.record_batch(columns, names=[feature.name for feature in features])


def _typed(column: pa.Array, wanted: str) -> pa.Array:
    if pat.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if not pat.is_null(kind) and not any(fits(kind) for fits in _STORED[wanted]):
        raise pa.ArrowTypeError("convert the column, as a request would be refused too")
    if pat.is_floating(kind) and not _within(column, -math.inf, math.inf):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
    # A request's times have microseconds; finer ones are cut, as there.
    return column.cast(_TYPES[wanted], safe=not (pat.is_timestamp(kind) and kind.unit == "ns"))


def matrix(batch: pa.RecordBatch, features: Sequence[Feature]) -> Matrix:
    """Return a typed batch as one float32 matrix `[rows, features]`."""
    numbers = [_numbers(batch.column(feature.name), feature) for feature in features]
    result = np.empty((batch.num_rows, len(features)), np.float32)
    # In stretches that stay in the processor's cache: each column touches every row of one.
    for start in range(0, batch.num_rows, _STRETCH):
        stretch = slice(start, start + _STRETCH)
        for index, column in enumerate(numbers):
            result[stretch, index] = column[stretch]
    return result


def columns(batch: pa.RecordBatch, features: Sequence[Feature]) -> dict[str, npt.NDArray[Any]]:
    """Return a typed batch as one array `[rows, 1]` per feature: texts as they are, all else as float32."""
    result: dict[str, npt.NDArray[Any]] = {}
    for feature in features:
        column = batch.column(feature.name)
        if feature.type == "string":
            values = pc.fill_null(column, "").to_numpy(zero_copy_only=False).astype(object)
        else:
            values = _numbers(column, feature).astype(np.float32)
        result[feature.name] = values.reshape(-1, 1)
    return result


def frame(batch: pa.RecordBatch, features: Sequence[Feature]) -> "pd.DataFrame":
    """Return a typed batch as a pandas frame, as scikit-learn's estimators take it.

    It holds what `columns` gives to the ONNX form of the same model, and what publishing compared the two on:
    numbers as 32 bits hold them, texts as they are, those too that training never saw, and NaN for what is
    missing.
    """
    import pandas as pd

    data = {}
    for feature in features:
        column = batch.column(feature.name)
        data[feature.name] = _texts(column, feature) if feature.type == "string" else _rounded(column)
    return pd.DataFrame(data)


def _texts(column: pa.Array, feature: Feature) -> npt.NDArray[Any]:
    """Return texts as objects, each different one made once."""
    encoded = column.dictionary_encode()
    known = [*encoded.dictionary.to_pylist(), NAN]
    if feature.nullable:  # an empty text is what the ONNX form has in the place of a missing one
        known = [NAN if text == "" else text for text in known]
    texts = np.array(known, object)
    result: npt.NDArray[Any] = texts[pc.fill_null(encoded.indices, len(known) - 1).to_numpy()]
    return result


def _rounded(column: pa.Array) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = column.to_pandas().to_numpy()
    wide = values.dtype.kind == "i" and not _within(column, -_EXACT, _EXACT)
    return values.astype(np.float32).astype(np.float64) if wide or values.dtype.kind == "f" else values


Hits = dict[str, npt.NDArray[np.bool_]]
"""Flag -> the rows that have it."""


def flags(batch: pa.RecordBatch, features: Sequence[Feature]) -> Hits:
    """Return the flags that rows of a typed batch have.

    `missing:<feature>`, `out_of_range:<feature>` and `unknown_category:<feature>`, as `inputs` gives them.
    """
    return {
        f"{word}:{feature.name}": hits
        for feature in features
        for word, hits in _unusual(batch.column(feature.name), feature)
        if hits.any()
    }


def listed(hits: Hits, rows: int) -> pa.ListArray:
    """Return the flags of each row as a list."""
    if not hits:
        offsets = pa.array(np.zeros(rows + 1, np.int32))
        return pa.ListArray.from_arrays(offsets, pa.array([], pa.string()), type=_FLAGS)
    having = np.stack(list(hits.values()), axis=1)
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(having.sum(axis=1), out=offsets[1:])
    words = pa.array(list(hits), pa.string()).take(pa.array(np.nonzero(having)[1]))
    return pa.ListArray.from_arrays(pa.array(offsets), words, type=_FLAGS)


def unfit(batch: pa.RecordBatch, features: Sequence[Feature]) -> npt.NDArray[np.bool_]:
    """Return which rows of a typed batch cannot be scored: null where a value must be, or too large."""
    result = np.zeros(batch.num_rows, bool)
    for feature in features:
        column = batch.column(feature.name)
        if not feature.nullable and column.null_count:
            result |= _true(pc.is_null(column))
        if feature.type == "float64" and not _within(column, -FLOAT32, FLOAT32):
            result |= _true(pc.greater(pc.abs(column), FLOAT32))
    return result


def _unusual(column: pa.Array, feature: Feature) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    found = []
    if column.null_count:
        found.append(("missing", _true(pc.is_null(column))))
    if feature.range and feature.type in NUMBERS:
        low, high = feature.range
        if feature.type == "int64":  # Arrow compares no large whole number with a fraction
            low, high = max(math.ceil(low), -INT64), min(math.floor(high), INT64 - 1)
        if not _within(column, low, high):
            outside = pc.or_(pc.less(column, low), pc.greater(column, high))
            found.append(("out_of_range", _true(outside)))
    if feature.categories:
        known = pc.is_in(column, value_set=pa.array(feature.categories, pa.string()))
        found.append(("unknown_category", _true(pc.and_(pc.invert(known), pc.is_valid(column)))))
    return found


def _within(column: pa.Array, low: float, high: float) -> bool:
    """Return whether it is plain that all values are there, and numbers from `low` to `high`."""
    if column.null_count or not len(column):
        return False
    values = column.to_numpy()
    return bool(low <= values.min() and values.max() <= high)  # both are NaN where any value is


def _true(condition: pa.Array) -> npt.NDArray[np.bool_]:
    """Return where `condition` holds; where it is unknown, it does not."""
    result: npt.NDArray[np.bool_] = pc.fill_null(condition, False).to_numpy(zero_copy_only=False)
    return result


def _numbers(column: pa.Array, feature: Feature) -> npt.NDArray[Any]:
    """Return a column as floats, NaN where missing or unknown."""
    if feature.type == "string":
        column = pc.index_in(column, value_set=pa.array(feature.categories or (), pa.string()))
    elif feature.type == "bool":
        column = column.cast(pa.uint8())
    elif feature.type == "timestamp":
        # Microseconds of years before 1684 and after 2255 are more than floats count exactly.
        column = pc.divide(column.cast(pa.int64()).cast(pa.float64(), safe=False), 1e6)
    result: npt.NDArray[Any] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return result
