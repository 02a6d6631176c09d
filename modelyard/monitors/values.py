"""What the monitor job pushes: one series, told apart by family and metric."""

from dataclasses import dataclass

from modelyard.monitors.alert import Family
from modelyard.monitors.promql import MONITOR_VALUE, hold, series


@dataclass(frozen=True)
class Value:
    """One metric of the series `modelyard_monitor_value`.

    Args:
        family: label `family`.
        metric: label `metric`.
        unit: unit of the value.
        meaning: what the job computes.
        labels: further labels that its points carry, beside team and model.
    """

    family: Family
    metric: str
    unit: str
    meaning: str
    labels: tuple[str, ...] = ("version",)

    def last(self, window_seconds: int, **labels: str | tuple[str, ...]) -> str:
        """Return PromQL of the value that is in force, of a metric that is computed per `window_seconds`."""
        chosen = {**labels, "family": self.family.value, "metric": self.metric}
        return f"last_over_time({series(MONITOR_VALUE, hold(window_seconds), **chosen)})"


LAST_SUCCESS = Value(
    Family.LATENCY,
    "last_success",
    "seconds since 1970",
    "When the last complete batch ended; where none has, when the model was deployed.",
    labels=(),
)
FAILED_SHARE = Value(
    Family.LATENCY, "failed_share", "share", "Rows of the last batch without a prediction.", labels=()
)
VOLUME_RATIO = Value(
    Family.USAGE,
    "volume_ratio",
    "share",
    "Predictions of the window over the usual number at these hours; nothing where there is no usual number.",
    labels=(),
)
INVALID_SHARE = Value(
    Family.QUALITY,
    "excess_invalid_share",
    "share",
    "Missing, mistyped and out-of-range values of a feature, less its share in training.",
    labels=("version", "feature"),
)
FEATURE_PSI = Value(
    Family.DRIFT,
    "psi",
    "index",
    "Population stability index of a feature against its baseline; nothing on too few rows to judge.",
    labels=("version", "feature"),
)
PREDICTION_PSI = Value(
    Family.DRIFT, "prediction_psi", "index", "The same of the predictions against their baseline."
)
LOSS = Value(
    Family.PERFORMANCE,
    "loss",
    "share",
    "How much worse the primary metric is than on the test set, as a share of that; below 0 where better.",
)
LABEL_COVERAGE = Value(
    Family.PERFORMANCE,
    "label_coverage",
    "share",
    "Predictions whose label has arrived, of those that are older than the label's delay.",
    labels=(),
)
VALUES = (
    LAST_SUCCESS,
    FAILED_SHARE,
    VOLUME_RATIO,
    INVALID_SHARE,
    FEATURE_PSI,
    PREDICTION_PSI,
    LOSS,
    LABEL_COVERAGE,
)
