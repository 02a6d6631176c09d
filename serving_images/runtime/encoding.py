"""From rows of checked values to what a model takes.

A row is a sequence of values in the signature's order: bool, int, float, str or datetime, None where missing.
As numbers, booleans are 0 and 1, a text is its place in `categories`, a time its seconds since 1970 in UTC;
what is missing or unknown is NaN.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_images.runtime.config import Feature

Matrix = npt.NDArray[np.float32]
Row = Sequence[Any]
NAN = float("nan")


class MatrixEncoder:
    """Rows as one float32 matrix, `[rows, features]`, as tree models take them."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._texts = [
            (index, {text: place for place, text in enumerate(feature.categories or ())})
            for index, feature in enumerate(features)
            if feature.type == "string"
        ]
        self._times = [index for index, feature in enumerate(features) if feature.type == "timestamp"]
        self._plain = not self._texts and not self._times

    def __call__(self, rows: Sequence[Row]) -> Matrix:
        """Return the matrix of `rows`."""
        # numpy takes None for NaN.
        return np.array(rows if self._plain else [self._numbers(row) for row in rows], np.float32)

    def _numbers(self, row: Row) -> list[Any]:
        numbers = list(row)
        for index, places in self._texts:
            numbers[index] = places.get(numbers[index], NAN)
        for index in self._times:
            numbers[index] = seconds(numbers[index])
        return numbers


class ColumnsEncoder:
    """Rows as one array `[rows, 1]` per feature: texts as they are, all else as float32."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._features = tuple(features)

    def __call__(self, rows: Sequence[Row]) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of `rows` by feature."""
        columns = zip(*rows, strict=True)
        return {f.name: _column(f, values) for f, values in zip(self._features, columns, strict=True)}


def _column(feature: Feature, values: Sequence[Any]) -> npt.NDArray[Any]:
    if feature.type == "string":
        texts = np.empty((len(values), 1), object)
        texts[:, 0] = ["" if value is None else value for value in values]
        return texts
    if feature.type == "timestamp":
        values = [seconds(value) for value in values]
    return np.array(values, np.float32).reshape(-1, 1)


def seconds(time: datetime | None) -> float:
    """Return `time` as seconds since 1970 in UTC; a time without zone is UTC, and None is NaN."""
    if time is None:
        return NAN
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
