"""What a model answers on training and on held-out rows, and how good that is."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from modelyard.capture import evaluation, frames, variation
from modelyard.capture.errors import PublishError
from modelyard.capture.formats import onnx_graph
from modelyard.capture.formats.captured import Captured, Scores
from modelyard.capture.parity import as_requested
from modelyard.capture.subject import Labels
from modelyard.spec.manifest import Baseline, Baselines, ErrorBaseline, Metrics, Signature


@dataclass(frozen=True)
class HeldOut:
    """Rows that the model was not trained on: features as categorized by the training rows, and labels."""

    inputs: pd.DataFrame
    truth: Scores


def predict(captured: Captured, inputs: pd.DataFrame, signature: Signature) -> Scores:
    """Return the model's predictions, [rows], as a server gives them.

    Raises:
        PublishError: they are not one number per row, or no probabilities where they should be.
    """
    if captured.score is not None:
        scores = captured.score(as_requested(inputs))
    else:
        assert captured.onnx is not None
        scores = onnx_graph.run(captured.onnx, inputs, signature.features)
    if scores.shape != (len(inputs),):
        raise PublishError(
            f"The model gives {scores.shape} numbers for {len(inputs):,} rows; expected one each"
        )
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise PublishError(f"The model predicts {scores[row]} for row {row} of the data; mend the model")
    if signature.prediction.classes and (
        scores.min() < 0 or scores.max() > len(signature.prediction.classes) - 1
    ):
        raise PublishError(
            f"A classifier answers with probabilities, but this one says {scores.min():g} to {scores.max():g}"
        )
    return scores


def as_numbers(column: pd.Series, labels: Labels | None) -> Scores:
    """Return labels as numbers: themselves, or the indexes of their classes.

    Raises:
        PublishError: they are neither.
    """
    if labels is not None:
        return labels.index(column)
    try:
        numbers: Scores = column.to_numpy(np.float64)
    except (ValueError, TypeError):
        raise PublishError(f"target: '{column.name}' holds no numbers, and the task is regression") from None
    return numbers


def usual(truth: Scores, labels: Labels | None) -> float:
    """Return what one would predict without a model: the median, the mean rate, or the commonest class."""
    if labels is None:
        return float(np.median(truth))
    return float(truth.mean() if len(labels.names) == 2 else np.bincount(truth.astype(int)).argmax())


def measured(truth: Scores, answers: Scores, naive: npt.ArrayLike, labels: Labels | None) -> Metrics:
    """Return the metrics of a regression, of a binary classifier, or of one of more classes."""
    if labels is None:
        return evaluation.regression(truth, answers, naive)
    if len(labels.names) == 2:
        return evaluation.binary(truth, answers, float(np.asarray(naive)))
    return evaluation.multiclass(truth, answers, float(np.asarray(naive)))


def baselines(
    inputs: pd.DataFrame,
    answers: Scores,
    truth: Scores,
    labels: Labels | None,
    *,
    error: ErrorBaseline | None,
    metric_std: float | None,
    times: pd.Series | None = None,
    private: Collection[str] = (),
) -> Baselines:
    """Return the reference distributions of features, predictions and labels, on the training rows.

    With `times`, of each row, those of features and predictions say how training's own days differ. Of the
    features `private` no number is a person's own.
    """
    classes_predicted = labels if labels is not None and len(labels.names) > 2 else None
    return Baselines(
        features={
            str(name): _by_day(frames.baseline(column, private=name in private), column, times)
            for name, column in inputs.items()
        },
        prediction=_distribution(answers, classes_predicted, times),
        target=_distribution(truth, labels),
        error=error,
        metric_std=metric_std,
    )


def _by_day(baseline: Baseline, values: pd.Series, times: pd.Series | None) -> Baseline:
    return baseline if times is None else variation.with_days(baseline, values, times)


def _distribution(numbers: Scores, labels: Labels | None, times: pd.Series | None = None) -> Baseline:
    """Return the baseline of numbers, or, with labels, of the classes that they are indexes of."""
    index = None if times is None else times.index
    values = pd.Series(numbers, index)
    if labels is not None:
        values = pd.Series(pd.Categorical.from_codes(numbers.astype(int), list(labels.names)), index)
    return _by_day(frames.baseline(values), values, times)


def expected_error(
    held_out: HeldOut, answers: Scores, labels: Labels | None, private: Collection[str] = ()
) -> ErrorBaseline | None:
    """Return what estimates the error before labels arrive; nothing does for more than two classes."""
    if labels is None:
        names = [str(name) for name in held_out.inputs.columns]
        # Thresholds lie between values that occur.
        coarse = {name: frames.rounded(held_out.inputs[name]) for name in private}
        inputs = frames.encode(held_out.inputs.assign(**coarse))
        return evaluation.loss_tree(inputs, names, held_out.truth, answers)
    if len(labels.names) == 2:
        return evaluation.calibration(held_out.truth, answers)
    return None
