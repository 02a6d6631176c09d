"""Data quality: missing, mistyped and out-of-range feature values."""

from modelyard.monitors.alert import Family, Runbook
from modelyard.monitors.monitor import Monitor, Subject
from modelyard.monitors.rule import Rule, Stage
from modelyard.monitors.values import INVALID_SHARE


def _invalid(subject: Subject) -> str:
    last = INVALID_SHARE.last(subject.window(Family.QUALITY), **subject.labels)
    return f"max by (team, model, version, feature) ({last})"


MONITORS = (
    Monitor(
        key="quality-invalid",
        family=Family.QUALITY,
        title="Invalid values of a feature, beyond its share in training",
        says="More than {threshold} of the values of a feature over {window} are missing, mistyped or out of "
        "range, beyond what training had.",
        unit="10^2.%",
        series=_invalid,
        threshold=lambda subject: subject.settings.quality.threshold,
        value=INVALID_SHARE,
        rule=Rule(Stage.QUALITY),
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
)
