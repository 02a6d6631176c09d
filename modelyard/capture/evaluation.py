"""Metrics on held-out rows, each beside what a prediction without a model would reach, and their spread."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)
from sklearn.tree import DecisionTreeRegressor

from modelyard.capture.errors import PublishError
from modelyard.capture.frames import quantile_edges, short
from modelyard.spec.manifest import PREDICTION, Calibration, LossNode, LossTree, Metrics

Column = npt.NDArray[np.float64]
Metric = Callable[[Column, Column], float]
REGRESSION: Mapping[str, Metric] = {
    "mae": mean_absolute_error,
    "r2": r2_score,
    "rmse": root_mean_squared_error,
}
BINARY: Mapping[str, Metric] = {
    "roc_auc": roc_auc_score,
    "average_precision": average_precision_score,
    "brier": brier_score_loss,
    "log_loss": log_loss,
}
MULTICLASS: Mapping[str, Metric] = {
    "accuracy": accuracy_score,
    "balanced_accuracy": balanced_accuracy_score,
    "macro_f1": lambda truth, predicted: f1_score(truth, predicted, average="macro"),
}
LOWER_IS_BETTER = {"mae", "rmse", "brier", "log_loss"}
# A leaf of the loss tree rests on this many rows at least, or on a fiftieth of them.
LEAF_ROWS = 30
# Every value is at or below it, where the tree asks only whether there is one.
_HUGE = 1e308


def regression(truth: Column, predicted: Column, naive: npt.ArrayLike) -> Metrics:
    """Return the errors of `predicted`; `naive_mae` is the error of the prediction `naive`."""
    values = _values(REGRESSION, truth, predicted)
    values["naive_mae"] = mean_absolute_error(truth, np.broadcast_to(np.asarray(naive), truth.shape))
    return _metrics("mae", values, len(truth))


def binary(truth: Column, probability: Column, naive: float) -> Metrics:
    """Return how well `probability` tells the classes apart, and how well it is calibrated.

    `naive_brier` is the Brier score of giving every row the probability `naive`.

    Raises:
        PublishError: only one class is among the held-out rows.
    """
    if len(np.unique(truth)) < 2:
        raise PublishError("The test rows hold one class only; hold rows of both out")
    values = _values(BINARY, truth, probability)
    values["naive_brier"] = brier_score_loss(truth, np.full(truth.shape, naive))
    return _metrics("roc_auc", values, len(truth))


def multiclass(truth: Column, predicted: Column, naive: float) -> Metrics:
    """Return how often the predicted class, by index, is the true one; `naive` is a class for every row."""
    values = _values(MULTICLASS, truth, predicted)
    values["naive_accuracy"] = accuracy_score(truth, np.full(truth.shape, naive))
    return _metrics("accuracy", values, len(truth))


def _values(metrics: Mapping[str, Metric], truth: Column, predicted: Column) -> dict[str, float]:
    return {name: metric(truth, predicted) for name, metric in metrics.items()}


def _metrics(primary: str, values: Mapping[str, float], rows: int) -> Metrics:
    return Metrics(
        primary=primary,
        higher_is_better=primary not in LOWER_IS_BETTER,
        values={name: float(f"{value:.5g}") for name, value in sorted(values.items())},
        rows=rows,
    )


def metric_std(primary: str, truth: Column, predicted: Column) -> float | None:
    """Return the standard deviation of a metric over 200 samples of 1,000 rows, drawn with replacement.

    None where this module does not know the metric.
    """
    metric = {**REGRESSION, **BINARY, **MULTICLASS}.get(primary)
    if metric is None:
        return None
    random = np.random.default_rng(1)
    values = []
    for _ in range(200):
        rows = random.integers(0, len(truth), 1000)
        if primary in BINARY and len(np.unique(truth[rows])) < 2:
            continue
        values.append(metric(truth[rows], predicted[rows]))
    return short(float(np.std(values))) if len(values) > 1 else None


def loss_tree(
    encoded: npt.NDArray[np.float32], names: list[str], truth: Column, predicted: Column
) -> LossTree:
    """Return the expected error by input and prediction, learned on held-out rows.

    Args:
        encoded: the held-out rows as `frames.encode` gives them, [rows, features].
        names: name of each feature.
        truth: labels of the rows.
        predicted: predictions for the rows.
    """
    error = np.abs(truth - predicted)
    inputs = np.column_stack([encoded, predicted.astype(np.float32)])
    leaf = max(LEAF_ROWS, len(truth) // 50)
    fitted = DecisionTreeRegressor(max_leaf_nodes=16, min_samples_leaf=leaf, random_state=1)
    tree = fitted.fit(inputs, error).tree_
    # Row -> the nodes on its way, so that each node's errors are those of its own rows.
    passed = fitted.decision_path(inputs).tocsc()
    called = [*names, PREDICTION]
    nodes = []
    for node in range(tree.node_count):
        here = error[passed.indices[passed.indptr[node] : passed.indptr[node + 1]]]
        is_leaf = tree.children_left[node] < 0
        nodes.append(
            LossNode(
                feature=None if is_leaf else called[tree.feature[node]],
                threshold=None if is_leaf else float(f"{np.clip(tree.threshold[node], -_HUGE, _HUGE):.9g}"),
                left=None if is_leaf else int(tree.children_left[node]),
                right=None if is_leaf else int(tree.children_right[node]),
                missing_left=bool(not is_leaf and tree.missing_go_to_left[node]),
                absolute_error=short(here.mean()),
                squared_error=short((here**2).mean()),
                rows=len(here),
            )
        )
    return LossTree(nodes=tuple(nodes))


def calibration(truth: Column, probability: Column) -> Calibration:
    """Return how the probabilities came true on held-out rows, in up to 10 bins of as many rows."""
    edges = quantile_edges(probability)
    bins = np.searchsorted(edges, probability, side="left")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    divisor = np.maximum(counts, 1)

    def mean(values: Column) -> tuple[float, ...]:
        sums = np.bincount(bins, weights=values, minlength=len(edges) + 1)
        return tuple(short(value) for value in sums / divisor)

    return Calibration(
        edges=tuple(edges),
        predicted=mean(probability),
        observed=mean(truth),
        counts=tuple(int(count) for count in counts),
    )
