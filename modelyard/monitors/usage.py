"""Usage: whether a model is asked as much as it usually is."""

from modelyard.monitors.alert import Family, Runbook
from modelyard.monitors.monitor import Monitor, Subject
from modelyard.monitors.rule import Rule, Stage
from modelyard.monitors.values import VOLUME_RATIO


def _ratio(subject: Subject) -> str:
    # Versions share the traffic, so the model is judged as a whole.
    last = VOLUME_RATIO.last(subject.window(Family.USAGE), team=subject.team, model=subject.model)
    return f"min by (team, model) ({last})"


MONITORS = (
    Monitor(
        key="usage-drop",
        family=Family.USAGE,
        title="Predictions, as a share of the usual number",
        says="Over {window} there were fewer than {threshold} of the predictions that are usual at these "
        "hours.",
        unit="10^2.%",
        series=_ratio,
        threshold=lambda subject: subject.settings.usage.threshold,
        above=False,
        value=VOLUME_RATIO,
        rule=Rule(Stage.USAGE),
        runbook=Runbook(
            meaning="Somebody who used the model has stopped, or can no longer reach it. The model itself "
            "may be well.",
            causes=(
                "A caller was released or switched off, or its access was removed.",
                "The way to the model is broken: gateway, network policy, topic or source table.",
                "The callers fall back to something else, since the model is slow or fails.",
                "Less business than usual: a holiday that the earlier weeks did not have.",
            ),
            steps=(
                "See which caller is missing: `SELECT caller, SUM(predictions) FROM prediction_usage` for "
                "today and for the same hours a week ago.",
                "See whether an alert on latency of this model is open: if so, follow that one first.",
                "Ask the owner of the missing caller. If it is meant, close the alert with that cause.",
            ),
        ),
    ),
)
