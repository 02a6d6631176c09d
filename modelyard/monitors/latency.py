"""Latency: response time and errors of services, freshness of batches, lag of streams."""

import re

from modelyard.monitors.alert import Family, Runbook
from modelyard.monitors.monitor import Monitor, Subject
from modelyard.monitors.promql import (
    DAY,
    DEAD_LETTERS,
    PREDICTIONS,
    REQUEST_SECONDS,
    REQUESTS,
    UNACKED_AGE,
    series,
)
from modelyard.monitors.rule import Rule, Stage
from modelyard.monitors.schedule import longest_gap
from modelyard.monitors.values import ERROR_SHARE, FAILED_SHARE, LAST_SUCCESS, LATENCIES, Value
from modelyard.spec.base import Pattern, seconds

REST = frozenset({Pattern.REST})
BATCH = frozenset({Pattern.BATCH})
STREAMING = frozenset({Pattern.STREAMING})
# A client's own mistakes, codes 4xx, are not the model's.
FAULTS = re.compile("5..|error")
# Below these counts in a window a percentile or a share says nothing.
MIN_REQUESTS = 20
MIN_FAILURES = 5
BY = "sum by (team, model, version)"


def _window(subject: Subject) -> int:
    return subject.window(Family.LATENCY)


def _p95(subject: Subject) -> str:
    # No request makes rates of 0 and a quantile of NaN, and NaN is above nothing.
    buckets = series(f"{REQUEST_SECONDS}_bucket", _window(subject), **subject.labels)
    return f"1000 * histogram_quantile(0.95, sum by (team, model, version, le) (rate({buckets})))"


def _enough_requests(subject: Subject) -> str:
    counts = series(f"{REQUEST_SECONDS}_count", _window(subject), **subject.labels)
    return f"{BY} (increase({counts})) >= {MIN_REQUESTS}"


def _failures(subject: Subject) -> str:
    return series(REQUESTS, _window(subject), **subject.labels, code=FAULTS)


def _error_share(subject: Subject) -> str:
    every = series(REQUESTS, _window(subject), **subject.labels)
    return f"{BY} (rate({_failures(subject)})) / {BY} (rate({every}))"


def _absent(subject: Subject) -> str:
    counters = (
        series(f"{REQUEST_SECONDS}_count", team=subject.team, model=subject.model, version=version)
        for version in subject.versions
    )
    return "(" + " or ".join(f"absent({counter})" for counter in counters) + ")"


def _of_batch(subject: Subject, value: Value) -> str:
    return f"max by (team, model) ({value.last(DAY, team=subject.team, model=subject.model)})"


def _allowed_age(subject: Subject) -> float:
    return longest_gap(subject.batch.schedule) + seconds(subject.batch.deadline)


def _unacked(subject: Subject) -> str:
    labels = {"project_id": subject.project, "subscription_id": subject.subscription}
    return f"max by (subscription_id) ({series(UNACKED_AGE, **labels)})"


def _dead(subject: Subject) -> str:
    labels = {"project_id": subject.project, "subscription_id": subject.subscription}
    return f"sum(increase({series(DEAD_LETTERS, _window(subject), **labels)}))"


def _dead_share(subject: Subject) -> str:
    scored = series(PREDICTIONS, _window(subject), **subject.labels)
    return f"{_dead(subject)} / ({_dead(subject)} + (sum(increase({scored})) or vector(0)))"


MONITORS = (
    Monitor(
        key="latency-p95",
        family=Family.LATENCY,
        patterns=REST,
        title="95th percentile of the response time",
        says="95 in 100 answers should come within {threshold}; over {window} they took longer.",
        unit="ms",
        series=_p95,
        threshold=lambda subject: subject.settings.latency.threshold,
        guard=_enough_requests,
        for_seconds=300,
        value=LATENCIES["p95"],
        rule=Rule(Stage.SERVICE, opens_after=1, far=1.0),
        runbook=Runbook(
            meaning=(
                "Callers wait longer than the team promised. Those with a time-out of their own see "
                "failures, although the service counts successes."
            ),
            causes=(
                "A version was deployed, or got a larger share of the traffic, and costs more per request: "
                "more trees, more features, a slower format.",
                "More traffic than the replicas can take, and the autoscaler is at its maximum or still "
                "starting.",
                "Larger requests: a caller began to send many rows in one.",
                "The container is throttled: its CPU limit is below what one request needs.",
                "A noisy neighbour or a slow disk on the node delays the prediction log.",
            ),
            steps=(
                "Open the model's dashboard and compare the versions: if only the canary is slow, set its "
                "`canary.percent` to 1 or remove it, and deploy.",
                "Compare requests per second with `replicas.max`: if CPU is at its target on all replicas, "
                "raise `replicas.max` in the team file and deploy.",
                "Look at the last deployment of this team in `deployments`: if the rise began there, pin the "
                "version before it and deploy.",
            ),
        ),
    ),
    Monitor(
        key="latency-errors",
        family=Family.LATENCY,
        patterns=REST,
        title="Share of failed requests",
        says="More than {threshold} of the requests failed over {window}, by the service's own fault.",
        unit="10^2.%",
        series=_error_share,
        threshold=lambda subject: subject.settings.latency.error_rate,
        guard=lambda subject: f"{BY} (increase({_failures(subject)})) >= {MIN_FAILURES}",
        for_seconds=120,
        value=ERROR_SHARE,
        rule=Rule(Stage.SERVICE, opens_after=1, far=1.0),
        runbook=Runbook(
            meaning="Callers get errors in place of predictions. What they do without one is up to them: ask "
            "them.",
            causes=(
                "A version was deployed that cannot score some inputs, or cannot be loaded on some replicas.",
                "The prediction log is full and the model is set to stop serving rather than lose rows.",
                "Replicas are killed for memory and requests in flight die with them.",
                "A caller changed its input in a way that passes the signature but breaks the model.",
            ),
            steps=(
                "Open the model's dashboard and compare the versions: if only the canary fails, remove it "
                "from the team file and deploy.",
                "Read the model's error logs of the last 15 minutes: `kubectl -n {namespace} logs "
                "deploy/{workload} --since=15m`.",
                "Look for restarts: `kubectl -n {namespace} get pods`; reason OOMKilled means that "
                "`resources.memory` in the team file is too small.",
            ),
        ),
    ),
    Monitor(
        key="latency-unavailable",
        family=Family.LATENCY,
        patterns=REST,
        title="Versions that no replica serves",
        says="No replica of a deployed version has reported for 10 minutes: it is not served.",
        unit="1",
        series=_absent,
        threshold=lambda subject: 0,
        for_seconds=600,
        runbook=Runbook(
            meaning="A version that the team file pins runs nowhere. If it is not the canary, the model is "
            "down.",
            causes=(
                "The new version cannot start: its artefact or image cannot be read, or its digest differs.",
                "No node has room: the cluster is at its limit, or the team's quota is used up.",
                "The pods run, but their metrics are not collected: label or network policy.",
            ),
            steps=(
                "See what the pods say: `kubectl -n {namespace} describe pods -l model={model}`, under "
                "Events.",
                "See whether callers still get answers: call the service through the gateway. If they do, "
                "the fault is in the collection of metrics.",
                "Pin the version before in the team file and deploy.",
            ),
        ),
    ),
    Monitor(
        key="latency-freshness",
        family=Family.LATENCY,
        patterns=BATCH,
        title="Time since the last complete batch",
        says="No batch has completed for {threshold}: its schedule and the deadline of a run together allow "
        "that.",
        unit="s",
        series=lambda subject: f"time() - {_of_batch(subject, LAST_SUCCESS)}",
        threshold=_allowed_age,
        runbook=Runbook(
            meaning="Whoever reads this model's predictions reads old ones, and may not notice.",
            causes=(
                "The run failed: its source table was missing, late, or had another schema.",
                "The run takes longer than its deadline: more rows than its shards can score.",
                "The run could not start: no room in the cluster, or the team's quota is used up.",
                "The schedule is suspended.",
            ),
            steps=(
                "See the last runs: `kubectl -n {namespace} get jobs -l model={model}`, and the logs of the "
                "failed one.",
                "See whether the source table has rows of today; if not, tell whoever fills it.",
                "Start it again: `kubectl -n {namespace} create job --from=cronjob/{workload} "
                "{workload}-by-hand`. A run that is repeated scores no row twice.",
            ),
        ),
    ),
    Monitor(
        key="latency-failed-rows",
        family=Family.LATENCY,
        patterns=BATCH,
        title="Share of rows the last batch could not score",
        says="More than {threshold} of the rows of the last batch have no prediction.",
        unit="10^2.%",
        series=lambda subject: _of_batch(subject, FAILED_SHARE),
        threshold=lambda subject: subject.settings.latency.error_rate,
        runbook=Runbook(
            meaning="The batch completed, but has holes: rows without a prediction.",
            causes=(
                "The source table changed: a column renamed, a type changed, new nulls.",
                "New categories or units that the model's signature refuses.",
                "A shard was killed for memory and its rows were given up.",
            ),
            steps=(
                "Read the reasons: `SELECT flag, COUNT(*) FROM the prediction log, UNNEST(flags) AS flag` "
                "for today.",
                "Compare the source table's schema with the features in the pinned manifest.",
                "Mend the source, then start the batch again: only the missing rows are scored.",
            ),
        ),
    ),
    Monitor(
        key="latency-backlog",
        family=Family.LATENCY,
        patterns=STREAMING,
        title="Age of the oldest message not yet scored",
        says="A message has waited for longer than {threshold}.",
        unit="s",
        series=_unacked,
        threshold=_window,
        for_seconds=120,
        runbook=Runbook(
            meaning="Predictions come late, and later the longer this lasts: messages arrive faster than "
            "they leave.",
            causes=(
                "More messages than usual, and the autoscaler is at its maximum or still starting.",
                "A version was deployed that is slower, or that cannot start.",
                "One message fails and is delivered again and again, and its ordering key waits behind it.",
                "The prediction log is full: messages are acknowledged only once their row is durable.",
            ),
            steps=(
                "See the replicas: `kubectl -n {namespace} get deploy,hpa -l model={model}`. At the maximum: "
                "raise `replicas.max` and deploy.",
                "Look at the last deployment of this team: if the backlog began there, pin the version "
                "before it.",
                "Look at the dead letters: if they grow too, follow the runbook of latency-dead-letters "
                "first.",
            ),
        ),
    ),
    Monitor(
        key="latency-dead-letters",
        family=Family.LATENCY,
        patterns=STREAMING,
        title="Share of messages given up",
        says="More than {threshold} of the messages over {window} could not be scored and went to the dead "
        "letters.",
        unit="10^2.%",
        series=_dead_share,
        threshold=lambda subject: subject.settings.latency.error_rate,
        runbook=Runbook(
            meaning="Messages were given up after the last attempt. They are kept, but have no prediction.",
            causes=(
                "A producer changed its messages: a field renamed, a type changed, another encoding.",
                "A version was deployed that expects other features.",
                "Scoring runs out of time or memory on unusually large messages.",
            ),
            steps=(
                "Read a few: `gcloud pubsub subscriptions pull {dead_letters} --limit=5 "
                "--project={project}`; each carries the reason.",
                "Compare their fields with the features in the pinned manifest, and tell the producer.",
                "Once mended, publish them to the input topic again, within the dead letters' retention.",
            ),
        ),
    ),
)
