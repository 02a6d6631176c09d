"""What the monitor job pushes: one series, told apart by family and metric."""

from dataclasses import dataclass

from modelyard.monitors.alert import Family
from modelyard.monitors.promql import MONITOR_EXPLAINED, MONITOR_VALUE, hold, series


@dataclass(frozen=True)
class Value:
    """One metric of the series `modelyard_monitor_value`.

    Args:
        family: label `family`.
        metric: label `metric`.
        unit: unit of the value.
        meaning: what the job computes.
        labels: further labels that its points carry, beside team and model.
        pushed: whether alerts and dashboards read it as a series; if not, it stands in `metric_values` alone.
    """

    family: Family
    metric: str
    unit: str
    meaning: str
    labels: tuple[str, ...] = ("version",)
    pushed: bool = False

    def explained(self, window_seconds: int, **labels: str | tuple[str, ...]) -> str:
        """Return PromQL of whether the value needs no alert of its own: 1, else 0."""
        chosen = {**labels, "family": self.family.value, "metric": self.metric}
        return f"last_over_time({series(MONITOR_EXPLAINED, hold(window_seconds), **chosen)})"

    def last(self, window_seconds: int, **labels: str | tuple[str, ...]) -> str:
        """Return PromQL of the value that is in force, of a metric that is computed per `window_seconds`."""
        chosen = {**labels, "family": self.family.value, "metric": self.metric}
        return f"last_over_time({series(MONITOR_VALUE, hold(window_seconds), **chosen)})"


_FEATURE = ("version", "feature")

LAST_SUCCESS = Value(
    Family.LATENCY,
    "last_success",
    "seconds since 1970",
    "When the last complete batch ended; where none has, when the model was deployed.",
    labels=(),
    pushed=True,
)
FAILED_SHARE = Value(
    Family.LATENCY,
    "failed_share",
    "share",
    "Rows of the last batch without a prediction.",
    labels=(),
    pushed=True,
)
DURATION = Value(
    Family.LATENCY,
    "duration",
    "s",
    "Time from the first to the last prediction of the last batch.",
    labels=(),
)
LATENCIES = {
    name: Value(
        Family.LATENCY,
        name,
        "ms",
        f"Response time that {name[1:]} in 100 answers stay below, from the prediction log; within 13 %.",
    )
    for name in ("p50", "p95", "p99")
}
ERROR_SHARE = Value(Family.LATENCY, "error_share", "share", "Rows of the log without a prediction.")
LATENCY_ROWS = Value(Family.LATENCY, "rows", "rows", "Rows of the window.", labels=())
VOLUME_RATIO = Value(
    Family.USAGE,
    "volume_ratio",
    "share",
    "Predictions of the window over the usual number at these hours; nothing where there is no usual number.",
    labels=(),
    pushed=True,
)
VOLUME_RISE = Value(
    Family.USAGE,
    "volume_rise",
    "share",
    "The same, compared with what would be far too many.",
    labels=(),
    pushed=True,
)
SILENCE = Value(
    Family.USAGE,
    "silence",
    "predictions",
    "Predictions that were to be expected since the last one.",
    labels=(),
    pushed=True,
)
PREDICTIONS = Value(Family.USAGE, "predictions", "predictions", "Predictions of the window.", labels=())
CALLERS = Value(Family.USAGE, "callers", "callers", "Distinct callers of the window.", labels=())
INVALID_SHARE = Value(
    Family.QUALITY,
    "excess_invalid_share",
    "share",
    "Missing, mistyped and unknown values of a feature, and numbers beyond training's range by more than its "
    "width, less their share in training.",
    labels=_FEATURE,
    pushed=True,
)
QUALITY_ROWS = Value(Family.QUALITY, "rows", "rows", "Rows of the window.", labels=())
MISSING_SHARE = Value(Family.QUALITY, "missing_share", "share", "Missing values of a feature.", _FEATURE)
OUTSIDE_SHARE = Value(
    Family.QUALITY,
    "outside_share",
    "share",
    "Values of a feature that are out of training's range or none of its categories.",
    _FEATURE,
)
FEATURE_AGE = Value(
    Family.QUALITY, "feature_age", "s", "Mean age of a feature that is a time, at the prediction.", _FEATURE
)
COMPLETENESS = Value(Family.QUALITY, "completeness", "share", "Values present, of all features.")
ACCURACY = Value(Family.QUALITY, "accuracy", "share", "Values neither mistyped nor out of range, of all.")
SCHEMA_CHANGES = Value(
    Family.QUALITY,
    "schema_changes",
    "features",
    "Features of the signature that no row has a value of.",
    pushed=True,
)
CONSTANT = Value(
    Family.QUALITY,
    "constant",
    "1 or 0",
    "1 where a feature has the same value in all rows. Judged where it varied in training and lately.",
    _FEATURE,
    pushed=True,
)
STUCK = Value(
    Family.DRIFT,
    "stuck",
    "1 or 0",
    "1 where a feature has had one value only over a whole window of drift. Judged where it varied before.",
    _FEATURE,
    pushed=True,
)
REPEATED_IDS = Value(
    Family.QUALITY,
    "repeated_ids",
    "share",
    "Rows that were logged more than once; all other values count them once.",
    labels=(),
)
DUPLICATE_SHARE = Value(
    Family.QUALITY,
    "duplicate_share",
    "share",
    "Rows that repeat all inputs of another of the same hour and version.",
    labels=(),
    pushed=True,
)
NEWEST_AGE = Value(
    Family.QUALITY, "newest_age", "s", "Time from the newest row to the end of the window.", labels=()
)
FEATURE_PSI = Value(
    Family.DRIFT,
    "psi",
    "index",
    "Population stability index of a feature against its baseline; nothing on too few rows to judge.",
    labels=_FEATURE,
    pushed=True,
)
PREDICTION_PSI = Value(
    Family.DRIFT,
    "prediction_psi",
    "index",
    "The same of the predictions against their baseline.",
    pushed=True,
)
_DISTANCES = {
    "jensen_shannon": ("distance", "Jensen-Shannon distance, to base 2, over the baseline's bins."),
    "wasserstein": (
        "standard deviations",
        "First Wasserstein distance over the baseline's bins, in training's standard deviations.",
    ),
    "chi_square": (
        "statistic",
        "Chi-square statistic of the bins against training; rare bins counted as one.",
    ),
    "l_infinity": ("share", "Largest difference between the shares of a bin."),
}
DISTANCES = {
    f"{prefix}{name}": Value(Family.DRIFT, f"{prefix}{name}", unit, f"{meaning[:-1]}, of {whose}.", labels)
    for prefix, whose, labels in (
        ("", "a feature", _FEATURE),
        ("prediction_", "the predictions", ("version",)),
    )
    for name, (unit, meaning) in _DISTANCES.items()
}
DRIFT_ROWS = Value(Family.DRIFT, "rows", "rows", "Rows of the window.", labels=())
LOSS = Value(
    Family.PERFORMANCE,
    "loss",
    "share",
    "How much worse the primary metric is than on the test set, as a share of that; below 0 where better.",
    pushed=True,
)
LABEL_COVERAGE = Value(
    Family.PERFORMANCE,
    "label_coverage",
    "share",
    "Predictions whose label has arrived, of those that are older than the label's delay.",
    labels=(),
    pushed=True,
)
ESTIMATED_LOSS = Value(
    Family.PERFORMANCE,
    "estimated_loss",
    "share",
    "The same as `loss`, estimated from the inputs before labels arrive.",
    pushed=True,
)
UNEXPECTED_LOSS = Value(
    Family.PERFORMANCE,
    "unexpected_loss",
    "share",
    "What of `loss` the estimate did not expect: the same inputs have come to another truth.",
    pushed=True,
)
SEGMENT_LOSS = Value(
    Family.PERFORMANCE,
    "segment_loss",
    "share",
    "How much larger the error is among the rows of the worst segment of a feature than among the others.",
    _FEATURE,
)
_MEASURED = {
    "mae": ("label", "Mean absolute error."),
    "mse": ("label squared", "Mean squared error."),
    "rmse": ("label", "Root of the mean squared error."),
    "mape": ("share", "Mean absolute error as a share of the label, where that is not 0."),
    "r2": ("share", "Share of the labels' variance that the predictions explain."),
    "bias": ("label", "Mean of prediction less label."),
    "accuracy": ("share", "Right answers, at a probability of 0.5."),
    "precision": ("share", "Of those predicted positive, those that are."),
    "recall": ("share", "Of those that are positive, those predicted so."),
    "f1": ("share", "Harmonic mean of precision and recall."),
    "f2": ("share", "The same with recall weighing twice as much."),
    "roc_auc": ("share", "Area under the ROC curve, on probabilities in steps of 0.001."),
    "average_precision": ("share", "Area under the precision-recall curve, on the same steps."),
    "log_loss": ("nats", "Mean logarithmic loss."),
    "brier": ("share", "Mean squared difference of probability and label."),
    "calibration_error": ("share", "Expected calibration error over ten bins of the probability."),
}
PERFORMANCE = {
    name: Value(Family.PERFORMANCE, name, unit, f"{meaning[:-1]}, on labels.")
    for name, (unit, meaning) in _MEASURED.items()
}
ESTIMATES = {
    name: Value(
        Family.PERFORMANCE,
        f"estimated_{name}",
        unit,
        f"{meaning[:-1]}, estimated before labels arrive.",
    )
    for name, (unit, meaning) in _MEASURED.items()
    if name not in ("mape", "r2", "bias", "calibration_error", "average_precision")
}
PERFORMANCE_ROWS = Value(Family.PERFORMANCE, "rows", "rows", "Predictions of the window.", labels=())
VALUES = (
    LAST_SUCCESS,
    FAILED_SHARE,
    DURATION,
    *LATENCIES.values(),
    ERROR_SHARE,
    LATENCY_ROWS,
    VOLUME_RATIO,
    VOLUME_RISE,
    SILENCE,
    PREDICTIONS,
    CALLERS,
    INVALID_SHARE,
    QUALITY_ROWS,
    MISSING_SHARE,
    OUTSIDE_SHARE,
    FEATURE_AGE,
    COMPLETENESS,
    ACCURACY,
    SCHEMA_CHANGES,
    CONSTANT,
    STUCK,
    REPEATED_IDS,
    DUPLICATE_SHARE,
    NEWEST_AGE,
    FEATURE_PSI,
    PREDICTION_PSI,
    *DISTANCES.values(),
    DRIFT_ROWS,
    LOSS,
    LABEL_COVERAGE,
    ESTIMATED_LOSS,
    UNEXPECTED_LOSS,
    SEGMENT_LOSS,
    *PERFORMANCE.values(),
    *ESTIMATES.values(),
    PERFORMANCE_ROWS,
)
