"""Usage: whether a model is asked as much as it usually is."""

import math

from modelyard.monitors.alert import Family, Runbook
from modelyard.monitors.monitor import Monitor, Subject
from modelyard.monitors.rule import Rule, Stage
from modelyard.monitors.values import SILENCE, VOLUME_RATIO, VOLUME_RISE, Value
from modelyard.spec.base import Severity

# Times the usual number.
RISE = 3.0
# Predictions that are missed: fewer may stay away by chance.
MISSED = 10.0


def _last(subject: Subject, value: Value) -> str:
    # Versions share the traffic, so the model is judged as a whole.
    last = value.last(subject.window(Family.USAGE), team=subject.team, model=subject.model)
    return f"min by (team, model) ({last})"


MONITORS = (
    Monitor(
        key="usage-drop",
        family=Family.USAGE,
        title="Predictions, as a share of the usual number",
        says="Over {window} there were fewer than {threshold} of the predictions that are usual at these "
        "hours.",
        unit="10^2.%",
        series=lambda subject: _last(subject, VOLUME_RATIO),
        threshold=lambda subject: subject.settings.usage.threshold,
        above=False,
        value=VOLUME_RATIO,
        rule=Rule(Stage.USAGE, opens_after=3, of=4, far=math.inf),
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
    Monitor(
        key="usage-rise",
        family=Family.USAGE,
        title="Predictions, as a multiple of the usual number",
        says="Over {window} there were more than {threshold} times the predictions that are usual at these "
        "hours.",
        unit="1",
        series=lambda subject: _last(subject, VOLUME_RISE),
        threshold=lambda subject: RISE,
        value=VOLUME_RISE,
        rule=Rule(Stage.USAGE),
        own_severity=Severity.WARNING,
        runbook=Runbook(
            meaning="The model is asked much more than usual. It may be success, a caller that repeats "
            "itself, or somebody who should not ask. It costs more, and crowds out others.",
            causes=(
                "A caller repeats its requests without pause after errors or time-outs.",
                "A new caller, or a backfill that nobody announced.",
                "A campaign or a peak of the business.",
                "Somebody probes the model: the same inputs with small changes, by one caller.",
            ),
            steps=(
                "See who asks more: `SELECT caller, SUM(predictions) FROM prediction_usage` for today and "
                "for the same hours a week ago.",
                "See whether quality-duplicates, latency-errors or latency-p95 of this model is open: "
                "repeated requests show there.",
                "Ask the caller's owner. If it is meant and lasts, raise `replicas.max` and tell who pays; "
                "if not, remove the caller from `access.callers` and deploy.",
            ),
        ),
    ),
    Monitor(
        key="usage-silence",
        family=Family.USAGE,
        title="Predictions missed since the last one",
        says="No prediction has been made for so long that more than {threshold} were to be expected.",
        unit="1",
        series=lambda subject: _last(subject, SILENCE),
        threshold=lambda subject: MISSED,
        value=SILENCE,
        rule=Rule(Stage.TRAFFIC, opens_after=1, resolves_after=1),
        own_severity=Severity.CRITICAL,
        runbook=Runbook(
            meaning="Nobody gets predictions any more, or they are no longer logged. An outage until shown "
            "otherwise.",
            causes=(
                "The model is down, or the way to it: gateway, certificate, network policy, topic.",
                "The only caller stopped, or its access was removed.",
                "The predictions are made, but their log does not arrive: platform-log-lag is open.",
                "The batch did not run, or its source table had no rows.",
            ),
            steps=(
                "See whether it answers: `kubectl -n {namespace} get pods -l model={model}`, and ask it once "
                "through the gateway.",
                "See whether rows wait for the log: platform-log-lag and platform-log-dropped, and the lines "
                "of `serving_images.prediction_log` in the logs of a pod.",
                "Look at the last deployment of this team in `deployments`: if the silence began there, pin "
                "the version before it and deploy. Else ask the callers.",
            ),
        ),
    ),
)
