"""Metrics on held-out rows, each beside what a prediction without a model would reach."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from modelyard.spec.manifest import Metrics

Column = npt.ArrayLike


def regression(truth: Column, predicted: Column, naive: Column) -> Metrics:
    """Return the errors of `predicted`; `naive_mae` is the error of the prediction `naive`."""
    values = {
        "mae": mean_absolute_error(truth, predicted),
        "naive_mae": mean_absolute_error(truth, np.broadcast_to(naive, np.shape(truth))),
        "r2": r2_score(truth, predicted),
        "rmse": root_mean_squared_error(truth, predicted),
    }
    return _metrics("mae", values, truth)


def classification(truth: Column, probability: Column, naive: float) -> Metrics:
    """Return how well `probability` tells the classes apart, and how well it is calibrated.

    `naive_brier` is the Brier score of giving every row the probability `naive`.
    """
    values = {
        "roc_auc": roc_auc_score(truth, probability),
        "average_precision": average_precision_score(truth, probability),
        "brier": brier_score_loss(truth, probability),
        "log_loss": log_loss(truth, probability),
        "naive_brier": brier_score_loss(truth, np.full(np.shape(truth), naive)),
    }
    return _metrics("roc_auc", values, truth)


def _metrics(primary: str, values: Mapping[str, float], truth: Column) -> Metrics:
    return Metrics(
        primary=primary,
        higher_is_better=primary == "roc_auc",
        values={name: float(f"{value:.5g}") for name, value in values.items()},
        rows=len(np.asarray(truth)),
    )
