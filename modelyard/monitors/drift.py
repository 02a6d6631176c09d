"""Drift: distance of live features and predictions from training."""

import math

from modelyard.monitors.alert import Family, Runbook
from modelyard.monitors.monitor import Monitor, Subject
from modelyard.monitors.rule import Rule, Stage
from modelyard.monitors.values import FEATURE_PSI, PREDICTION_PSI, STUCK, Value
from modelyard.spec.base import Severity


def _last(subject: Subject, value: Value) -> str:
    by = ", ".join(("team", "model", *value.labels))
    return f"max by ({by}) ({value.last(subject.window(Family.DRIFT), **subject.labels)})"


MONITORS = (
    Monitor(
        key="drift-features",
        family=Family.DRIFT,
        title="Drift of features (population stability index)",
        says="A feature's distribution over {window} differs from training by an index above {threshold}.",
        unit="1",
        series=lambda subject: _last(subject, FEATURE_PSI),
        threshold=lambda subject: subject.settings.drift.threshold,
        value=FEATURE_PSI,
        rule=Rule(Stage.DRIFT, far=math.inf, learns=True),
        runbook=Runbook(
            meaning=(
                "The world that the model sees has moved away from the one it learned. That is a diagnosis, "
                "not yet damage: predictions may still be good."
            ),
            causes=(
                "The business changed: season, prices, customers, routes.",
                "A source upstream changed its unit, its coding or its coverage.",
                "A new caller with another kind of request.",
                "Training covered too short a time.",
            ),
            steps=(
                "See which features moved, and how: the dashboard ranks them. One alone points to its "
                "source, many together to the business or a new caller.",
                "Look at the model's performance: if it holds, plan a training on newer data; if it falls, "
                "follow the runbook of performance-loss.",
                "Split the drifted feature by `caller` in the prediction log.",
            ),
        ),
    ),
    Monitor(
        key="drift-predictions",
        family=Family.DRIFT,
        title="Drift of predictions (population stability index)",
        says="The predictions' distribution over {window} differs from training by an index above "
        "{threshold}.",
        unit="1",
        series=lambda subject: _last(subject, PREDICTION_PSI),
        threshold=lambda subject: subject.settings.drift.threshold,
        value=PREDICTION_PSI,
        rule=Rule(Stage.OUTPUT, far=math.inf, learns=True),
        runbook=Runbook(
            meaning="The model answers differently than it did in training. Whoever acts on it acts "
            "differently too.",
            causes=(
                "One or more features drifted; their alert is open too.",
                "A version was deployed that answers differently.",
                "A feature is broken upstream and pulls the answers to one side.",
            ),
            steps=(
                "Compare the versions on the dashboard: if only the new one differs, compare its test metric "
                "with the one before, and roll back in doubt.",
                "See whether drift-features or quality-invalid is open on this model: follow that one first.",
                "Tell those who use the predictions how they moved: mean and spread, before and after.",
            ),
        ),
    ),
    Monitor(
        key="drift-stuck",
        family=Family.DRIFT,
        title="Features that have stood still for a whole window",
        says="A feature that used to vary has had one and the same value over {window}.",
        unit="1",
        series=lambda subject: _last(subject, STUCK),
        threshold=lambda subject: 0,
        value=STUCK,
        rule=Rule(Stage.QUALITY, far=math.inf),
        own_severity=Severity.ERROR,
        runbook=Runbook(
            meaning="A source that varies slowly, such as the weather, repeats one value. Within an hour "
            "that is usual, over the whole window it is not: the model is blind on that side.",
            causes=(
                "A sensor or feed is stuck and repeats its last value, or sends its default.",
                "A cache in front of the source is never refreshed.",
                "The world stands still: no rain, no sale. Compare with other sources.",
            ),
            steps=(
                "See the value and since when: minimum and maximum of the feature by hour in the prediction "
                "log.",
                "Compare it with the source itself: if that varies, the fault lies between source and "
                "caller.",
                "Tell the owner of the source. Until it is mended, tell those who use the predictions.",
            ),
        ),
    ),
)
