"""Describe a data frame as a manifest does: signature, baselines, and the digest of its whole content."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from modelyard.spec.base import Sensitivity
from modelyard.spec.manifest import (
    Baseline,
    CategoricalBaseline,
    Feature,
    FeatureType,
    NumericBaseline,
)

BINS = 10


@dataclass(frozen=True)
class About:
    """What the data cannot say about a feature."""

    description: str
    unit: str = ""
    sensitivity: Sensitivity = Sensitivity.INTERNAL


def categorize(train: pd.DataFrame, *others: pd.DataFrame) -> tuple[pd.DataFrame, ...]:
    """Return the frames with their strings as categoricals over the values that `train` holds.

    A value that training never saw becomes missing. Columns that are categorical already keep their order.
    """
    known = {
        name: sorted(column.dropna().unique())
        for name, column in train.items()
        if pd.api.types.is_object_dtype(column)
    }
    return tuple(
        frame.assign(**{name: pd.Categorical(frame[name], values) for name, values in known.items()})
        for frame in (train, *others)
    )


def encode(frame: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Return `frame` as tree models take it.

    Numbers stay as they are, booleans become 0 and 1, a category its place in the signature's `categories`,
    and what is missing or unknown NaN.
    """
    encoded = np.empty(frame.shape, np.float32)
    for i, (_, column) in enumerate(frame.items()):
        if isinstance(column.dtype, pd.CategoricalDtype):
            encoded[:, i] = column.cat.codes.where(column.notna(), np.nan)
        else:
            encoded[:, i] = column.to_numpy(np.float32, na_value=np.nan)
    return encoded


def features(frame: pd.DataFrame, about: Mapping[str, About]) -> tuple[Feature, ...]:
    """Return the features of a signature: one per column of `frame`, as observed there.

    Raises:
        ValueError: `about` and the columns differ, or a column has a type that no feature can have.
    """
    if list(about) != list(frame.columns):
        raise ValueError(f"described are {list(about)}, but the columns are {list(frame.columns)}")
    return tuple(_feature(column, about[str(name)]) for name, column in frame.items())


def _feature(column: pd.Series, about: About) -> Feature:
    kind = _type(column)
    numeric = kind in (FeatureType.INT64, FeatureType.FLOAT64)
    return Feature(
        name=str(column.name),
        type=kind,
        description=about.description,
        unit=about.unit,
        sensitivity=about.sensitivity,
        nullable=bool(column.isna().any()),
        range=(float(column.min()), float(column.max())) if numeric else None,
        categories=tuple(column.cat.categories) if kind is FeatureType.STRING else None,
    )


def _type(column: pd.Series) -> FeatureType:
    if pd.api.types.is_bool_dtype(column):
        return FeatureType.BOOL
    if pd.api.types.is_integer_dtype(column):
        return FeatureType.INT64
    if pd.api.types.is_float_dtype(column):
        return FeatureType.FLOAT64
    if isinstance(column.dtype, pd.CategoricalDtype):
        return FeatureType.STRING
    raise ValueError(
        f"column {column.name!r} is {column.dtype}; a feature is boolean, integer, float or categorical"
        " (see categorize)"
    )


def baseline(column: pd.Series) -> Baseline:
    """Return the reference distribution of `column`: counts over categories, or over frozen quantile bins.

    A value lies in the bin whose number is the count of edges below it, so an edge belongs to the bin on
    its left. Edges are values that occur; where many values are equal there are fewer than `BINS` bins.
    """
    present = column.dropna()
    missing = _short(1 - len(present) / len(column))
    if isinstance(column.dtype, pd.CategoricalDtype):
        counts = present.value_counts(sort=False)
        return CategoricalBaseline(counts={str(k): int(n) for k, n in counts.items()}, missing=missing)
    if pd.api.types.is_bool_dtype(column):
        true = int(present.sum())
        return CategoricalBaseline(counts={"false": len(present) - true, "true": true}, missing=missing)
    values = present.to_numpy(np.float64)
    quantiles = np.quantile(values, np.arange(1, BINS) / BINS, method="inverted_cdf")
    rounded = sorted({_short(q) for q in quantiles})
    edges = [edge for edge in rounded if edge < values.max()]
    bins = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return NumericBaseline(
        edges=tuple(edges),
        counts=tuple(int(n) for n in bins),
        missing=missing,
        mean=_short(values.mean()),
        std=_short(values.std()),
    )


def digest(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of every name and value of `frame`, in order; equal on every machine.

    A category counts as its text and numbers count as 64-bit floats, so how they are stored does not matter.
    """
    content = hashlib.sha256()
    for name, column in frame.items():
        if pd.api.types.is_object_dtype(column):
            column = column.astype("category")
        if isinstance(column.dtype, pd.CategoricalDtype):
            texts = sorted(str(value) for value in column.dropna().unique())
            codes = pd.Categorical(column.astype(object), texts).codes
            _update(content, [str(name), "text", len(column), texts], codes.astype("<i4").tobytes())
        else:
            values = column.to_numpy("<f8", na_value=np.nan)
            values = np.where(np.isnan(values), np.nan, values + 0.0)  # one NaN, and no minus zero
            _update(content, [str(name), "number", len(column)], values.tobytes())
    return "sha256:" + content.hexdigest()


def _update(content: Any, header: Iterable[object], payload: bytes) -> None:
    content.update(json.dumps(list(header)).encode() + b"\n" + payload)


def _short(number: float) -> float:
    """Return `number` with six significant digits: enough to compare with, short enough to read."""
    return float(f"{number:.6g}")
