"""Data quality: missing, mistyped and out-of-range feature values."""

import math

from modelyard.monitors.alert import Family, Runbook
from modelyard.monitors.monitor import Monitor, Subject
from modelyard.monitors.rule import Rule, Stage
from modelyard.monitors.values import CONSTANT, DUPLICATE_SHARE, INVALID_SHARE, SCHEMA_CHANGES, Value
from modelyard.spec.base import Severity

# Share of repeated inputs beyond which somebody repeats himself.
REPEATED = 0.1


def _last(subject: Subject, value: Value) -> str:
    labels = subject.labels if value.labels else {"team": subject.team, "model": subject.model}
    by = ", ".join(("team", "model", *value.labels))
    return f"max by ({by}) ({value.last(subject.window(Family.QUALITY), **labels)})"


MONITORS = (
    Monitor(
        key="quality-invalid",
        family=Family.QUALITY,
        title="Invalid values of a feature, beyond its share in training",
        says="More than {threshold} of the values of a feature over {window} are missing, mistyped, unknown "
        "or far out of range, beyond what training had.",
        unit="10^2.%",
        series=lambda subject: _last(subject, INVALID_SHARE),
        threshold=lambda subject: subject.settings.quality.threshold,
        value=INVALID_SHARE,
        rule=Rule(Stage.QUALITY, learns=True, pools=True),
        runbook=Runbook(
            meaning="The model is asked with broken inputs. It still answers, and the answers are likely "
            "wrong.",
            causes=(
                "A source upstream changed: a column renamed or dropped, a unit changed, a join that finds "
                "nothing.",
                "A caller was released that fills the feature differently, or not at all.",
                "New categories that training did not have.",
                "A sensor or feed is down and sends its default.",
            ),
            steps=(
                "See which feature, and whether it is missing, mistyped or out of range: the alert names the "
                "feature, `flags` in the prediction log the kind.",
                "See whether one caller sends them all: group the flagged rows by `caller`.",
                "Tell the owner of that source. Until it is mended, tell those who use the predictions, or "
                "remove the caller's access.",
            ),
        ),
    ),
    Monitor(
        key="quality-schema",
        family=Family.QUALITY,
        title="Features without any value",
        says="A feature of the model's signature has had no value in any request over {window}.",
        unit="1",
        series=lambda subject: _last(subject, SCHEMA_CHANGES),
        threshold=lambda subject: 0,
        value=SCHEMA_CHANGES,
        rule=Rule(Stage.QUALITY, opens_after=3, of=4, far=math.inf, learns=True),
        runbook=Runbook(
            meaning="Callers no longer send something that the model was trained with. It answers as if the "
            "value were unknown each time.",
            causes=(
                "A column was renamed or dropped upstream, or a join finds nothing.",
                "A caller was released that does not fill the feature.",
                "A feed is down, and its value is empty everywhere.",
            ),
            steps=(
                "See which feature it is, and since when: the alert names it; count its nulls by hour in the "
                "prediction log.",
                "See whether one caller or all send it empty: group by `caller`. One points to its release, "
                "all to the source.",
                "Tell the owner of the source. If the feature is gone for good, publish a version trained "
                "without it.",
            ),
        ),
    ),
    Monitor(
        key="quality-stuck",
        family=Family.QUALITY,
        title="Features that show one value only",
        says="A feature that varied in training has had one and the same value over {window}.",
        unit="1",
        series=lambda subject: _last(subject, CONSTANT),
        threshold=lambda subject: 0,
        value=CONSTANT,
        rule=Rule(Stage.QUALITY, opens_after=2, far=math.inf),
        runbook=Runbook(
            meaning="A source sends the same value again and again. Each value looks valid, and the model is "
            "blind on that side.",
            causes=(
                "A sensor or feed is stuck and repeats its last value, or sends its default.",
                "A cache in front of the source is never refreshed.",
                "A release fills the feature with a constant.",
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
    Monitor(
        key="quality-duplicates",
        family=Family.QUALITY,
        title="Share of requests that repeat another",
        says="More than {threshold} of the requests over {window} repeat all inputs of another, beyond what "
        "is usual.",
        unit="10^2.%",
        series=lambda subject: _last(subject, DUPLICATE_SHARE),
        threshold=lambda subject: REPEATED,
        value=DUPLICATE_SHARE,
        rule=Rule(Stage.TRAFFIC),
        own_severity=Severity.ERROR,
        runbook=Runbook(
            meaning="The same things are asked more than once. Answers are right, but cost double, and "
            "counts of use and performance lean towards what is repeated.",
            causes=(
                "A caller repeats requests after time-outs: see latency-p95 and latency-errors.",
                "Two releases of a caller run side by side, or a job was started twice.",
                "Messages are delivered again: they are acknowledged too late.",
                "A batch was scored again from the same source.",
            ),
            steps=(
                "See who repeats: group the log of the alert's hours by `caller`, and count different "
                "inputs.",
                "See whether answers were late or failed at that time: the dashboard's response times and "
                "failures.",
                "Ask the caller's owner to repeat with a pause and an end, or to stop the second instance.",
            ),
        ),
    ),
)
