"""Checks and encodes Arrow batches, column by column, by the rules of `inputs` and `encoding` for rows."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from serving_images.runtime.config import NUMBERS, Feature
from serving_images.runtime.encoding import Matrix
from serving_images.runtime.errors import Refused
from serving_images.runtime.inputs import FLOAT32, INT64

if TYPE_CHECKING:
    import pandas as pd

_TYPES = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
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
            column = column.cast(_TYPES[feature.type])
        except pa.ArrowException as error:
            raise Refused(
                f"column {feature.name} is {column.type}, and its values are no {feature.type}: {error}"
            ) from None
        if feature.type == "float64":
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
        columns.append(column)
    return pa.record_batch(columns, names=[feature.name for feature in features])


def matrix(batch: pa.RecordBatch, features: Sequence[Feature]) -> Matrix:
    """Return a typed batch as one float32 matrix `[rows, features]`."""
    result = np.empty((batch.num_rows, len(features)), np.float32)
    for index, feature in enumerate(features):
        result[:, index] = _numbers(batch.column(feature.name), feature)
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
    """Return a typed batch as a pandas frame, as scikit-learn's estimators take it; texts are categories."""
    import pandas as pd

    data = {}
    for feature in features:
        values = batch.column(feature.name).to_pandas()
        if feature.type == "string" and feature.categories:
            values = pd.Series(pd.Categorical(values, feature.categories))
        data[feature.name] = values
    return pd.DataFrame(data)


def flags(batch: pa.RecordBatch, features: Sequence[Feature]) -> list[list[str]] | None:
    """Return the flags of each row of a typed batch; None where no row has any.

    `missing:<feature>`, `out_of_range:<feature>` and `unknown_category:<feature>`, as `inputs` gives them.
    """
    found: dict[int, list[str]] = {}
    for feature in features:
        column = batch.column(feature.name)
        for word, hits in _unusual(column, feature):
            for row in np.flatnonzero(hits).tolist():
                found.setdefault(row, []).append(f"{word}:{feature.name}")
    if not found:
        return None
    return [found.get(row, []) for row in range(batch.num_rows)]


def unfit(batch: pa.RecordBatch, features: Sequence[Feature]) -> npt.NDArray[np.bool_]:
    """Return which rows of a typed batch cannot be scored: null where a value must be, or too large."""
    result = np.zeros(batch.num_rows, bool)
    for feature in features:
        column = batch.column(feature.name)
        if not feature.nullable and column.null_count:
            result |= _true(pc.is_null(column))
        if feature.type == "float64":
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
        found.append(("out_of_range", _true(pc.or_(pc.less(column, low), pc.greater(column, high)))))
    if feature.categories:
        known = pc.is_in(column, value_set=pa.array(feature.categories, pa.string()))
        found.append(("unknown_category", _true(pc.and_(pc.invert(known), pc.is_valid(column)))))
    return found


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
        column = pc.divide(column.cast(pa.int64()).cast(pa.float64()), 1e6)
    result: npt.NDArray[Any] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return result
