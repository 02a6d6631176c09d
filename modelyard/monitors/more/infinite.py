"""Predictions that are no finite number: an overflow, or a division by zero, within the model."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelyard.monitors.alert import Family, Runbook
from modelyard.monitors.monitor import Monitor, Subject
from modelyard.monitors.rule import Rule, Stage
from modelyard.monitors.values import Value
from modelyard.spec.manifest import FeatureType, Manifest

if TYPE_CHECKING:
    from modelyard.monitors.measuring.counting import Columns, Figure
    from modelyard.monitors.measuring.measured import Measured, Window

INFINITE = Value(
    Family.QUALITY, "infinite_share", "share", "Predictions that are infinite, of those made.", pushed=True
)
VALUES = (INFINITE,)


def figures(manifest: Manifest, prepared: "Columns") -> "Iterator[Figure]":
    """Yield how many predictions are infinite."""
    from modelyard.monitors.measuring.counting import PREDICTION, Figure

    if manifest.signature.prediction.type is FeatureType.FLOAT64:
        yield Figure(PREDICTION, "infinite", f"COUNTIF(IS_INF({prepared.names[PREDICTION]}))")


def measure(window: "Window") -> "Iterator[Measured]":
    """Yield their share, per version."""
    from modelyard.monitors.measuring.counting import PREDICTION
    from modelyard.monitors.measuring.measured import Measured
    from modelyard.monitors.measuring.statistics import share_bound

    for version in window.versions():
        figures_ = window.figures[version]
        made, infinite = figures_.number(PREDICTION, "present"), figures_.number(PREDICTION, "infinite")
        if made:
            bound = share_bound(window.model.monitors.latency.error_rate, 0.0, made)
            words = f"{infinite:.0f} of {made:.0f} predictions are infinite"
            yield Measured(INFINITE, infinite / made, int(made), version, threshold=bound, detail=words)


def _series(subject: Subject) -> str:
    last = INFINITE.last(subject.window(Family.QUALITY), **subject.labels)
    return f"max by (team, model, version) ({last})"


MONITORS = (
    Monitor(
        key="quality-infinite",
        family=Family.QUALITY,
        title="Share of infinite predictions",
        says="More than {threshold} of the predictions over {window} are infinite.",
        unit="10^2.%",
        series=_series,
        threshold=lambda subject: subject.settings.latency.error_rate,
        value=INFINITE,
        rule=Rule(Stage.OUTPUT),
        runbook=Runbook(
            meaning="The model answers with infinity in place of a number. Whoever computes with it gets "
            "nonsense, or fails.",
            causes=(
                "Inputs far from what training had: quality-invalid is open on this model.",
                "A transformation within the model that divides by zero or takes a logarithm of it.",
                "A version was deployed whose numbers overflow in single precision.",
            ),
            steps=(
                "See whether one version answers so: if only the new one does, pin the version before it "
                "and deploy.",
                "Look at the inputs of a few such rows: `SELECT features FROM` the prediction log `WHERE "
                "IS_INF(prediction)` and the time since when.",
                "Tell those who use the predictions to treat infinity as no answer.",
            ),
        ),
    ),
)
