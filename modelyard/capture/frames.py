"""Describe a data frame as a manifest does: signature, baselines, and the digest of its whole content."""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from modelyard.capture.errors import PublishError
from modelyard.spec.base import Sensitivity
from modelyard.spec.manifest import (
    Baseline,
    CategoricalBaseline,
    ColumnName,
    Feature,
    FeatureType,
    NumericBaseline,
)

BINS = 10
# More values than this are names or free text, of which a model learns nothing that lasts.
MAX_CATEGORIES = 1000
# A text of a pii feature that fewer rows have may tell of whom they are.
MIN_PRIVATE_ROWS = 10


@dataclass(frozen=True)
class About:
    """What the data cannot say about a feature."""

    description: str = ""
    unit: str = ""
    sensitivity: Sensitivity = Sensitivity.INTERNAL


def categorize(train: pd.DataFrame, *others: pd.DataFrame) -> tuple[pd.DataFrame, ...]:
    """Return the frames with their strings as categoricals over the values that `train` holds.

    A value that training never saw becomes missing. Columns that are categorical already keep their order.
    """
    known: dict[Any, pd.Index] = {}
    for name, column in train.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            known[name] = column.cat.categories
        elif _is_text(column):
            known[name] = pd.Index(sorted(column.dropna().unique()))
    return tuple(
        frame.assign(
            **{name: pd.Categorical(frame[name], values) for name, values in known.items() if name in frame}
        )
        for frame in (train, *others)
    )


def encode(frame: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Return `frame` as a matrix of 32-bit numbers, one column per feature, as models and servers take it.

    Numbers stay as they are, booleans become 0 and 1, a category its place in the signature's `categories`,
    and what is missing or unknown NaN. Strings must be categoricals; see `categorize`.

    Raises:
        PublishError: a column can be no feature.
    """
    return exact(frame).astype(np.float32)


def exact(frame: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return `frame` as `encode` does, in 64 bits."""
    encoded = np.empty(frame.shape, np.float64)
    for i, (_, column) in enumerate(frame.items()):
        if isinstance(column.dtype, pd.CategoricalDtype):
            encoded[:, i] = column.cat.codes.where(column.notna(), np.nan)
        elif _type(column) is FeatureType.BOOL:
            encoded[:, i] = column.astype("boolean").to_numpy(np.float64, na_value=np.nan)
        else:
            encoded[:, i] = column.to_numpy(np.float64, na_value=np.nan)
    return encoded


def features(frame: pd.DataFrame, about: Mapping[str, About]) -> tuple[Feature, ...]:
    """Return the features of a signature: one per column of `frame`, as observed there.

    Raises:
        PublishError: `about` names no column, or a column can be no feature.
    """
    if unknown := [name for name in about if name not in frame.columns]:
        raise PublishError(
            f"about: '{unknown[0]}' is no feature; the features are {', '.join(map(str, frame.columns))}"
        )
    return tuple(_feature(column, about.get(str(name), About())) for name, column in frame.items())


def _feature(column: pd.Series, about: About) -> Feature:
    kind = _type(column)
    present = column.dropna()
    if present.empty:
        raise PublishError(f"Column '{column.name}' is empty in training; leave it out of the features")
    if kind is FeatureType.FLOAT64 and not np.isfinite(present.to_numpy(np.float64)).all():
        raise PublishError(f"Column '{column.name}' holds an infinite number; replace it, by a missing value")
    if kind is FeatureType.STRING and len(column.cat.categories) > MAX_CATEGORIES:
        raise PublishError(
            f"Column '{column.name}' has {len(column.cat.categories):,} different texts, more than "
            f"{MAX_CATEGORIES:,}: group the rare ones, or leave the column out"
        )
    try:
        TypeAdapter(ColumnName).validate_python(column.name)
    except ValidationError:
        raise PublishError(
            f"Column '{column.name}' cannot be a feature under this name: a name has letters, digits and "
            "underscores, begins with no digit, and is none that BigQuery keeps for itself. Rename it, such "
            f"as to '{column_name(str(column.name))}', before the model is trained"
        ) from None
    private = about.sensitivity is Sensitivity.PII
    if private and kind is FeatureType.STRING:
        _refuse_rare(column)
    return Feature(
        name=str(column.name),
        type=kind,
        description=about.description,
        unit=about.unit,
        sensitivity=about.sensitivity,
        nullable=bool(column.isna().any()),
        range=_range(present, private) if kind.numeric else None,
        categories=tuple(map(str, column.cat.categories)) if kind is FeatureType.STRING else None,
    )


def _refuse_rare(column: pd.Series) -> None:
    counts = column.value_counts()
    if rare := int((counts < MIN_PRIVATE_ROWS).sum()):
        raise PublishError(
            f"Column '{column.name}' is pii, and {rare:,} of its texts are in fewer than {MIN_PRIVATE_ROWS} "
            "rows each: the manifest would tell them to everybody who reads it. Group the rare ones before "
            "the model is trained, or leave the column out"
        )


def _range(present: pd.Series, private: bool) -> tuple[float, float]:
    """Return the smallest and largest value; of a pii feature a wider range, whose ends are no person's."""
    low, high = float(present.min()), float(present.max())
    if private and (step := 10 * private_step(present)):
        low, high = _neat(math.floor(low / step) * step), _neat(math.ceil(high / step) * step)
    return low, high


def private_step(values: pd.Series) -> float:
    """Return what numbers of a pii feature are rounded to in a manifest, a tenth of their spread's order.

    0 where all are the same, which tells of nobody.
    """
    spread = float(values.max()) - float(values.min())
    return float(10.0 ** (math.floor(math.log10(spread)) - 1)) if spread > 0 else 0.0


def rounded(column: pd.Series) -> pd.Series:
    """Return a column of a pii feature with its numbers rounded; texts and booleans as they are."""
    if isinstance(column.dtype, pd.CategoricalDtype) or not _type(column).numeric:
        return column
    step = private_step(column.dropna())
    return (column.astype(np.float64) / step).round() * step if step else column


def _type(column: pd.Series) -> FeatureType:
    if pd.api.types.is_bool_dtype(column) or _is_optional_bool(column):
        return FeatureType.BOOL
    if pd.api.types.is_integer_dtype(column):
        return FeatureType.INT64
    if pd.api.types.is_float_dtype(column):
        return FeatureType.FLOAT64
    if isinstance(column.dtype, pd.CategoricalDtype):
        return FeatureType.STRING
    if pd.api.types.is_object_dtype(column):
        kinds = ", ".join(sorted({type(value).__name__ for value in column.dropna()})) or "nothing"
        raise PublishError(
            f"Column '{column.name}' holds objects, of type {kinds}; a feature is boolean, integer, float or "
            "text: convert it to one of them, such as with pandas.to_numeric or astype(str), or leave it out"
        )
    mend = (
        "give the seconds or days since a moment instead"
        if pd.api.types.is_datetime64_any_dtype(column)
        else "convert it, or leave it out"
    )
    raise PublishError(
        f"Column '{column.name}' is {column.dtype}; a feature is boolean, integer, float or text: {mend}"
    )


def _is_optional_bool(column: pd.Series) -> bool:
    """Return whether the values are booleans beside missing ones, which pandas keeps as objects."""
    if not pd.api.types.is_object_dtype(column):
        return False
    present = column.dropna()
    return len(present) > 0 and bool(present.map(lambda value: isinstance(value, bool | np.bool_)).all())


def _is_text(column: pd.Series) -> bool:
    if not (pd.api.types.is_object_dtype(column) or isinstance(column.dtype, pd.StringDtype)):
        return False
    return all(isinstance(value, str) for value in column.dropna())


def baseline(column: pd.Series, *, private: bool = False) -> Baseline:
    """Return the reference distribution of `column`: counts over categories, or over frozen quantile bins.

    A value lies in the bin whose number is the count of edges below it, so an edge belongs to the bin on
    its left. Edges are values that occur; where many values are equal there are fewer than `BINS` bins. Those
    of a `private` one, of a pii feature, are rounded, so that none is a person's value.
    """
    present = column.dropna()
    missing = short(1 - len(present) / len(column))
    if isinstance(column.dtype, pd.CategoricalDtype):
        counts = present.value_counts(sort=False)
        return CategoricalBaseline(counts={str(k): int(n) for k, n in counts.items()}, missing=missing)
    if _type(column) is FeatureType.BOOL:
        true = int(present.sum())
        return CategoricalBaseline(counts={"false": len(present) - true, "true": true}, missing=missing)
    values = present.to_numpy(np.float64)
    edges = quantile_edges(values)
    if private and (step := private_step(present)):
        steps = sorted({round(edge / step) for edge in edges})
        edges = [
            edge for edge in (_neat(count * step) for count in steps) if values.min() <= edge < values.max()
        ]
    bins = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return NumericBaseline(
        edges=tuple(edges),
        counts=tuple(int(n) for n in bins),
        missing=missing,
        mean=short(values.mean()),
        std=short(values.std()),
    )


def quantile_edges(values: npt.NDArray[np.float64], bins: int = BINS) -> list[float]:
    """Return the inner edges of up to `bins` bins of about as many values each, ascending."""
    quantiles = np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf")
    rounded = sorted({short(q) for q in quantiles})
    return [edge for edge in rounded if edge < values.max()]


def digest(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of every name and value of `frame`, in order; equal on every machine.

    A category counts as its text and numbers count as 64-bit floats, so how they are stored does not matter.
    """
    content = hashlib.sha256()
    for name, column in frame.items():
        if _is_optional_bool(column):
            column = column.astype("boolean")
        elif pd.api.types.is_datetime64_any_dtype(column):
            column = column.map(lambda moment: moment.isoformat(), na_action="ignore").astype("category")
        elif not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
            column = column.astype("category")
        if isinstance(column.dtype, pd.CategoricalDtype):
            texts = sorted({str(value) for value in column.dropna().unique()})
            as_text = column.astype(object).map(str, na_action="ignore")
            codes = pd.Categorical(as_text, texts).codes
            _update(content, [str(name), "text", len(column), texts], codes.astype("<i4").tobytes())
        elif _beyond_doubles(column):
            numbers = column.astype("Int64" if (column.min() < 0) else "UInt64")
            texts = numbers.astype(object).map(str, na_action="ignore").fillna("")
            _update(content, [str(name), "whole", len(column)], "\n".join(texts).encode())
        else:
            values = column.to_numpy("<f8", na_value=np.nan)
            values = np.where(np.isnan(values), np.nan, values + 0.0)  # one NaN, and no minus zero
            _update(content, [str(name), "number", len(column)], values.tobytes())
    return "sha256:" + content.hexdigest()


def _beyond_doubles(column: pd.Series) -> bool:
    """Return whether these are whole numbers of which 64-bit floats would take several for the same."""
    if not pd.api.types.is_integer_dtype(column) or column.isna().all():
        return False
    return int(column.max()) > 2**53 or int(column.min()) < -(2**53)


def _update(content: Any, header: Iterable[object], payload: bytes) -> None:
    content.update(json.dumps(list(header)).encode() + b"\n" + payload)


def short(number: float) -> float:
    """Return `number` with six significant digits: enough to compare with, short enough to read."""
    return float(f"{number:.6g}")


def _neat(number: float) -> float:
    """Return a multiple of a power of ten without the last digits that binary numbers add."""
    return float(f"{number:.12g}")


def column_name(text: str) -> str:
    """Return `text` as a name that a column of the prediction log may have."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"
