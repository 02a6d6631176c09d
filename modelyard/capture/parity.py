"""Holds a model's ONNX form against its native one, row by row, before either is published."""

import json
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd

from modelyard.capture.errors import PublishError
from modelyard.capture.formats import onnx_graph
from modelyard.capture.formats.captured import Captured, Scores
from modelyard.capture.formats.scores import positive_or_index
from modelyard.capture.frames import categorize
from modelyard.spec.manifest import Feature, FeatureType

# Allowed difference, relative to the size of a prediction and the spread of all: what summing many trees in
# 32 instead of 64 bits costs at most, and far below what anybody could see.
TOLERANCE = 1e-4
# Rows on a threshold of a tree, whose answer hangs on the last digits of a feature, may differ:
# up to this share of all, where the change of a feature by this part of it explains the answer.
MAX_ON_EDGE = 0.02
NUDGE = 1e-6
# Rows of the frames that are compared; all edge rows are.
ROWS = 50_000
EDGE_ROWS = 20
Flags = npt.NDArray[np.bool_]
UNKNOWN = "a text that training never saw"
# More rows than this share whose prediction changes with the 32 bits of a request are a fault of the model.
MAX_ROUNDED = 0.005


def check(captured: Captured, features: Sequence[Feature], *frames: pd.DataFrame) -> None:
    """Compare both forms on the rows of `frames` and on edge rows made of them.

    Edge rows have a missing value, a text that training never saw, or a number beyond the range. All numbers
    are rounded to the 32 bits that a server computes with, for both forms alike; `check_rounding` tells what
    the rounding costs.

    Raises:
        PublishError: they differ beyond `TOLERANCE`; the message shows the worst row.
    """
    if captured.score is None or captured.onnx is None:
        return
    for rows in (*(frame.iloc[:ROWS] for frame in frames), edge_rows(frames[0], features)):
        given = as_requested(rows)
        native = _ask(captured, given, features)
        online = onnx_graph.run(captured.onnx, given, features)
        for what, scores in (("model", native), ("ONNX form", online)):
            if scores.shape != (len(given),):
                raise PublishError(
                    f"The {what} gives {scores.shape} numbers for {len(given):,} rows; expected one each"
                )
        beyond = _beyond(native, online, _allowed(native))
        where = np.flatnonzero(beyond)
        if len(where) and len(where) <= MAX_ON_EDGE * len(given):
            beyond[where] = ~_on_threshold(
                captured, given.iloc[where], online[where], _allowed(native)[where]
            )
        if beyond.any():
            _refuse(given, native, online, beyond, features)


def check_given(
    model: Any,
    captured: Captured,
    features: Sequence[Feature],
    classes: tuple[str, ...] | None,
    given: pd.DataFrame,
) -> None:
    """Check that a model says about the rows, as they were given, what its file says about them as served.

    It does not where training's categories stood in another order than the data's, or where missing texts
    were None, which scikit-learn tells from the NaN that they are to a server.

    Args:
        model: as it was given; one that does not take these rows was trained on a matrix, and is let pass.
        captured: its files.
        features: the signature's features.
        classes: names of a classifier's classes.
        given: the features of the training rows, as they were given.

    Raises:
        PublishError: it says something else; the message shows the worst row.
    """
    ask = getattr(model, "predict_proba" if classes else "predict", None) or getattr(model, "predict", None)
    if ask is None or captured.score is None:
        return
    (inputs,) = categorize(given)
    said = None
    for rows in (given.iloc[:ROWS], inputs.iloc[:ROWS]):  # LightGBM takes categories, and no texts
        try:
            with warnings.catch_warnings(action="ignore"):
                said = positive_or_index(ask(rows), classes)
        except Exception:  # whatever a library says of rows that are no matrix
            continue
        break
    if said is None:
        return
    served = captured.score(inputs.iloc[:ROWS])
    beyond = _beyond(said, served, _allowed(said))
    if beyond.mean() > MAX_ROUNDED:
        worst, row = _worst(rows, said, served, beyond, features)
        raise PublishError(
            f"Servers would give other predictions than this model for {int(beyond.sum()):,} of "
            f"{len(rows):,} training rows. The worst: {served[worst]:.9g} instead of {said[worst]:.9g} for "
            f"{row}. Train on the very rows that are given as data: missing texts as NaN, not None "
            "(data.fillna(numpy.nan)), and categories in the same order"
        )


def check_rounding(captured: Captured, features: Sequence[Feature], frame: pd.DataFrame) -> None:
    """Check that a request's 32-bit numbers do not change what the model says about the rows of `frame`.

    Raises:
        PublishError: they do, for more than a few rows; the message names the feature that loses most.
    """
    if captured.score is None:
        return
    rows = frame.iloc[:ROWS]
    exact, rounded = captured.score(rows), captured.score(as_requested(rows))
    changed = np.abs(exact - rounded) > _allowed(exact)
    if changed.mean() <= MAX_ROUNDED:
        return
    lost = {feature.name: _lost(rows[feature.name]) for feature in features if feature.type.numeric}
    worst = max(lost, key=lambda name: lost[name]) if lost else ""
    raise PublishError(
        f"{changed.mean():.1%} of the rows get another prediction when their features are 32-bit numbers, as "
        f"servers have them; '{worst}' loses most. Train on what they get, with modelyard.capture.encode, or "
        "subtract a constant from that feature"
    )


def edge_rows(frame: pd.DataFrame, features: Sequence[Feature]) -> pd.DataFrame:
    """Return rows of `frame` with one feature each at an edge: missing, unknown or beyond the range."""
    base = frame.sample(min(EDGE_ROWS, len(frame)), random_state=1).astype(
        {f.name: object for f in features if f.type is FeatureType.STRING}
    )
    parts = [base]
    for feature in features:
        values: list[object] = []
        if feature.nullable:
            values.append(np.nan if feature.type is not FeatureType.BOOL else None)
        if feature.type is FeatureType.STRING:
            values.append(UNKNOWN)
        if feature.range:
            low, high = feature.range
            values += [low - (high - low) - 1, high + (high - low) + 1, 0]
        for value in values:
            column = pd.Series([value] * len(base), base.index)
            if feature.range:
                column = column.astype(np.float64)
            parts.append(base.assign(**{feature.name: column}))
    edges = pd.concat(parts, ignore_index=True)
    texts = {
        feature.name: pd.Categorical(edges[feature.name], [*(feature.categories or ()), UNKNOWN])
        for feature in features
        if feature.type is FeatureType.STRING
    }
    return edges.assign(**texts)


def as_requested(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with the 32-bit numbers that a server has."""
    rounded = {
        str(name): column.astype(np.float32).astype(np.float64)
        for name, column in frame.items()
        if pd.api.types.is_float_dtype(column) or _wide(column)
    }
    return frame.assign(**rounded)


def _wide(column: pd.Series) -> bool:
    """Return whether these are whole numbers that 32-bit floating-point numbers cannot all be."""
    if not pd.api.types.is_integer_dtype(column) or column.isna().any():
        return False
    return bool(column.abs().max() > 2**24)


def _ask(captured: Captured, frame: pd.DataFrame, features: Sequence[Feature]) -> Scores:
    assert captured.score is not None
    try:
        return captured.score(frame)
    except (ValueError, TypeError) as error:
        unknown = [
            feature.name
            for feature in features
            if feature.type is FeatureType.STRING and (frame[feature.name] == UNKNOWN).any()
        ]
        mend = (
            ' with OneHotEncoder(handle_unknown="ignore"), or an OrdinalEncoder with unknown_value'
            if unknown
            else ""
        )
        raise PublishError(
            f"The model fails on rows that it may be asked about: {str(error).splitlines()[0]}. Let it take "
            f"missing values and texts that training never saw{mend}"
        ) from None


def _allowed(native: Scores) -> Scores:
    finite = native[np.isfinite(native)]
    spread = finite.std() if len(finite) else 0.0
    result: Scores = TOLERANCE * (np.abs(native) + spread) + 1e-7
    return result


def _beyond(native: Scores, online: Scores, allowed: Scores) -> Flags:
    with np.errstate(invalid="ignore"):
        close = np.abs(native - online) <= allowed
    result: Flags = ~(close | (native == online) | (np.isnan(native) & np.isnan(online)))
    return result


def _on_threshold(captured: Captured, frame: pd.DataFrame, online: Scores, allowed: Scores) -> Flags:
    """Return which rows lie so near a threshold of a tree that the last digits decide on the side.

    That is so where the model itself answers as ONNX did once a feature is changed by its last digits.
    """
    assert captured.score is not None
    numbers = [str(name) for name, column in frame.items() if pd.api.types.is_numeric_dtype(column)]
    found: Flags = np.zeros(len(frame), bool)
    for name in numbers:
        for step in (-NUDGE, NUDGE):
            moved = frame[name].astype(np.float64) * (1 + step)
            found |= ~_beyond(captured.score(frame.assign(**{name: moved})), online, allowed)
    return found


def _refuse(
    frame: pd.DataFrame, native: Scores, online: Scores, beyond: Flags, features: Sequence[Feature]
) -> NoReturn:
    worst, row = _worst(frame, native, online, beyond, features)
    raise PublishError(
        f"The ONNX form answers otherwise than the model for {int(beyond.sum()):,} of {len(frame):,} rows. "
        f"The worst: {online[worst]:.9g} instead of {native[worst]:.9g} for {row}. Publish with online=False "
        "to serve it in batch only, or export the model to ONNX yourself and publish that"
    )


def _worst(
    frame: pd.DataFrame, one: Scores, other: Scores, beyond: Flags, features: Sequence[Feature]
) -> tuple[int, str]:
    """Return the number of the row in which two answers differ most, and the row as JSON.

    Messages end up in the logs of workflows: protected values are not in them.
    """
    with np.errstate(invalid="ignore"):
        difference = np.abs(one - other)
    worst = int(np.where(beyond, np.nan_to_num(difference, nan=np.inf), -1.0).argmax())
    shown = json.loads(frame.iloc[[worst]].to_json(orient="records"))[0]
    protected = {f.name: f"not shown, {f.sensitivity}" for f in features if f.sensitivity.restricted}
    return worst, json.dumps({**shown, **protected}, ensure_ascii=False)


def _lost(column: pd.Series) -> float:
    """Return the largest rounding error of a column, in its standard deviations."""
    values = column.dropna().to_numpy(np.float64)
    spread = values.std()
    return float(np.abs(values - values.astype(np.float32)).max() / spread) if spread else 0.0
