"""Alerts that would come later, to nobody, or not at all."""

from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.monitors import MONITORS
from plan_review.changes import Action, Change, Values, at, labels_of
from plan_review.context import Context, as_list
from plan_review.masking import Unknown
from plan_review.promql import Condition, parse, seconds, windows, without_versions, without_windows
from plan_review.rules.registry import Hit, Severity, rule
from plan_review.words import as_number, number

_SEVERITIES = ("WARNING", "ERROR", "CRITICAL")
_ALERT = "google_monitoring_alert_policy"
_BY_KEY = {monitor.key.replace("-", "_"): monitor for monitor in MONITORS}


def conditions(values: Values) -> list[Mapping[str, Any]]:
    """Return the conditions of an alert policy."""
    return [block for block in as_list(values.get("conditions")) if isinstance(block, Mapping)]


def query_of(condition: Mapping[str, Any]) -> str:
    """Return the PromQL of a condition; empty if it has none."""
    query = at(condition, "condition_prometheus_query_language.query", "")
    return query if isinstance(query, str) else ""


def what(change: Change, context: Context) -> str:
    """Return an alert in words, such as `drift alert of flight-ops/arrival-delay (drift-features)`."""
    kind, key = _kind(change)
    subject = context.subject(change)
    if kind:
        return f"{kind} alert of {subject} ({key})"
    title = context.name(change)
    return f'alert "{title}"' if subject.model and subject.model in title else f'alert "{title}" of {subject}'


def _kind(change: Change) -> tuple[str, str]:
    """Return the family and key of the monitor that an alert is of; empty if it is of none."""
    for values in (change.before, change.after):
        for condition in conditions(values):
            key = str(at(condition, "condition_prometheus_query_language.alert_rule", ""))
            if key in _BY_KEY:
                return _BY_KEY[key].family.value, key.replace("_", "-")
    return "", ""


def readable(value: float, condition: Mapping[str, Any]) -> str:
    """Return a threshold with its monitor's unit."""
    key = str(at(condition, "condition_prometheus_query_language.alert_rule", ""))
    monitor = _BY_KEY.get(key)
    return monitor.readable(value) if monitor else number(value)


def _pairs(change: Change) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield the conditions of an alert before and after, matched by name or where one stands alone."""
    if not change.changed("conditions"):
        return
    before, after = conditions(change.before), conditions(change.after)
    if len(before) == len(after) == 1:
        yield before[0], after[0]
        return
    old = {str(block.get("display_name")): block for block in before}
    for block in after:
        if str(block.get("display_name")) in old:
            yield old[str(block.get("display_name"))], block


@rule(
    "monitoring/alert-removed",
    Severity.APPROVE,
    _ALERT,
    title="An alert is removed",
    rationale="What it watched can go wrong without anyone being told.",
    fix="Keep the monitor enabled, or say in the pull request what tells the owners instead.",
)
def alert_removed(change: Change, context: Context) -> Iterator[Hit]:
    """Find alerts that go although what they watch stays."""
    if change.action in (Action.DELETE, Action.FORGET):
        kind, key = _kind(change)
        lost = f"{kind} alert ({key})" if kind else f'alert "{context.name(change)}"'
        yield Hit(f"{context.subject(change)} loses its {lost}")
    if change.kept:
        gone = len(conditions(change.before)) - len(conditions(change.after))
        if gone > 0:
            yield Hit(f"{what(change, context)} loses {gone} of its conditions")


@rule(
    "monitoring/alert-loosened",
    Severity.APPROVE,
    _ALERT,
    title="An alert fires later",
    rationale="Callers notice before the owners do.",
    fix="Keep the threshold, or say in the pull request what callers were promised instead.",
)
def alert_loosened(change: Change, context: Context) -> Iterator[Hit]:
    """Find higher thresholds of what must stay low, lower ones of what must stay high, and longer holds."""
    if not change.kept:
        return
    for before, after in _pairs(change):
        yield from _thresholds(change, context, before, after)
        for path in ("condition_prometheus_query_language.duration", "condition_threshold.duration"):
            times = [seconds(str(at(c, path, ""))) for c in (before, after)]
            if times[0] is not None and times[1] is not None and times[1] > times[0]:
                yield Hit(f"{what(change, context)} must hold for {times[1]:g} s (before: {times[0]:g} s)")


def _thresholds(
    change: Change, context: Context, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[Hit]:
    old, new = _condition(before), _condition(after)
    if old and new and old.above == new.above and new.looser_than(old):
        values = f"{readable(old.value, before)} to {readable(new.value, after)}"
        yield Hit(f"{what(change, context)} loosened from {values}")


def _condition(block: Mapping[str, Any]) -> Condition | None:
    query = query_of(block)
    if query:
        return parse(query)
    value = as_number(at(block, "condition_threshold.threshold_value"))
    sign = {"COMPARISON_GT": ">", "COMPARISON_LT": "<"}.get(str(at(block, "condition_threshold.comparison")))
    if value is None or sign is None:
        return None
    return Condition(str(at(block, "condition_threshold.filter", "")), sign, value)


@rule(
    "monitoring/alert-tightened",
    Severity.INFO,
    _ALERT,
    title="An alert fires earlier",
    rationale="The owners may be told more often.",
    fix="Nothing, if it is meant.",
)
def alert_tightened(change: Change, context: Context) -> Iterator[Hit]:
    """Find stricter thresholds."""
    for before, after in _pairs(change) if change.kept else ():
        old, new = _condition(before), _condition(after)
        if old and new and old.above == new.above and old.looser_than(new):
            values = f"{readable(old.value, before)} to {readable(new.value, after)}"
            yield Hit(f"{what(change, context)} tightened from {values}")


@rule(
    "monitoring/alert-query-changed",
    Severity.APPROVE,
    _ALERT,
    title="An alert watches something else",
    rationale="Whether the new query still says what the alert's name says, no comparison of numbers tells.",
    fix="Read the query; run it in Cloud Monitoring over the last week.",
)
def alert_query_changed(change: Change, context: Context) -> Iterator[Hit]:
    """Find queries that differ in more than threshold, window and model version."""
    for before, after in _pairs(change) if change.kept else ():
        if isinstance(at(after, "condition_prometheus_query_language.query"), Unknown):
            continue
        if _essence(before) != _essence(after):
            yield Hit(f"{what(change, context)} watches something else")


def _essence(block: Mapping[str, Any]) -> tuple[str, ...]:
    query = query_of(block)
    if not query:
        texts = (
            "condition_threshold.filter",
            "condition_matched_log.filter",
            "condition_threshold.comparison",
        )
        return tuple(" ".join(str(at(block, path, "")).split()) for path in texts)
    plain = without_windows(without_versions(query))
    parsed = parse(plain)
    parts = (parsed.series, parsed.sign, parsed.guard) if parsed else (plain,)
    return tuple(" ".join(part.split()) for part in parts)


@rule(
    "monitoring/alert-window-changed",
    Severity.WARN,
    _ALERT,
    title="An alert looks at another span of time",
    rationale="A longer span averages short troubles away; a shorter one cries wolf.",
    fix="Look at the model's dashboard with the new window.",
)
def alert_window_changed(change: Change, context: Context) -> Iterator[Hit]:
    """Find other ranges in queries."""
    for before, after in _pairs(change) if change.kept else ():
        old, new = windows(query_of(before)), windows(query_of(after))
        if old and new and sorted(set(old)) != sorted(set(new)):
            spans = f"{', '.join(sorted(set(old)))} -> {', '.join(sorted(set(new)))}"
            yield Hit(f"{what(change, context)}: window {spans}")


@rule(
    "monitoring/alert-muted",
    Severity.APPROVE,
    _ALERT,
    title="An alert reaches nobody, or fewer people",
    rationale="An alert that nobody gets is no alert.",
    fix="Keep it enabled, with the channels of its owners.",
)
def alert_muted(change: Change, context: Context) -> Iterator[Hit]:
    """Find alerts that are disabled, lose a channel, or are rate-limited more."""
    if change.after and change.now("enabled") is False and change.was("enabled") is not False:
        yield Hit(f"{what(change, context)} is switched off")
    if not change.kept or isinstance(change.now("notification_channels"), Unknown):
        return
    before = as_list(change.before.get("notification_channels"))
    after = as_list(change.after.get("notification_channels"))
    if len(after) < len(before):
        left = f"{len(after)} of {len(before)} channels" if after else "no channel"
        yield Hit(f"{what(change, context)} tells {left}")
    path = "alert_strategy.notification_rate_limit.period"
    times = [seconds(str(v or "")) for v in (change.was(path), change.now(path))]
    if times[1] is not None and times[1] > (times[0] or 0) and change.was("alert_strategy"):
        yield Hit(f"{what(change, context)} tells at most every {times[1]:g} s")


@rule(
    "monitoring/severity-lowered",
    Severity.APPROVE,
    _ALERT,
    title="An alert is less severe",
    rationale="Critical alerts page a person; the others wait until somebody looks.",
    fix="Keep the severity, or let the model's stakeholders approve.",
)
def severity_lowered(change: Change, context: Context) -> Iterator[Hit]:
    """Find alerts whose severity falls."""
    before, after = change.was("severity"), change.now("severity")
    if (
        before in _SEVERITIES
        and after in _SEVERITIES
        and _SEVERITIES.index(after) < _SEVERITIES.index(before)
    ):
        yield Hit(f"{what(change, context)}: severity {before.lower()} -> {after.lower()}")


@rule(
    "monitoring/alert-without-owner",
    Severity.APPROVE,
    _ALERT,
    title="An alert has no owner or no runbook",
    rationale="At three in the morning nobody knows whose it is and what to do.",
    fix="Make alerts from modelyard.monitors, which have both.",
)
def alert_without_owner(change: Change, context: Context) -> Iterator[Hit]:
    """Find alerts whose text names no owner or no runbook."""
    if not change.after:
        return
    text = change.now("documentation.content")
    if isinstance(text, Unknown):
        return
    words = str(text or "")
    links = bool(change.now("documentation.links"))
    missing = []
    if "Owner:" not in words and "owner" not in change.labels and not change.labels.get("team"):
        missing.append("owner")
    if "unbook" not in words and not links:
        missing.append("runbook")
    old = str(change.was("documentation.content") or "")
    if missing and (not change.before or words != old or change.labels != _old_labels(change)):
        yield Hit(f"{what(change, context)} has no {' and no '.join(missing)}")


def _old_labels(change: Change) -> Mapping[str, str]:
    return labels_of(change.before)


@rule(
    "monitoring/channel-changed",
    Severity.APPROVE,
    "google_monitoring_notification_channel",
    title="Alerts go to someone else",
    rationale="Whoever got them before is no longer told.",
    fix="Let the old and the new receiver approve.",
)
def channel_changed(change: Change, context: Context) -> Iterator[Hit]:
    """Find channels that go, are disabled, or have another address."""
    name = context.name(change)
    if change.action is Action.DELETE:
        yield Hit(f"notification channel {name} of {context.subject(change)} is removed")
    if not change.kept:
        return
    if change.now("enabled") is False and change.was("enabled") is not False:
        yield Hit(f"notification channel {name} of {context.subject(change)} is switched off")
    before, after = (v.get("labels") or {} for v in (change.before, change.after))
    if isinstance(before, Mapping) and isinstance(after, Mapping) and before != after:
        old, new = (", ".join(str(v) for v in x.values()) for x in (before, after))
        yield Hit(f"notification channel {name} of {context.subject(change)}: {old} -> {new}")


@rule(
    "monitoring/log-metric-removed",
    Severity.APPROVE,
    "google_logging_metric",
    "google_monitoring_monitored_project",
    title="Something that alerts measure is no longer measured",
    rationale="An alert on a metric without values never fires.",
    fix="Keep it as long as an alert uses it.",
)
def log_metric_removed(change: Change, context: Context) -> Iterator[Hit]:
    """Find removed log metrics and metrics scopes."""
    if change.action is Action.DELETE:
        yield Hit(f"{context.name(change)} of {context.subject(change)} is no longer measured")


@rule(
    "monitoring/scraping-off",
    Severity.APPROVE,
    "kubernetes_manifest",
    "kubernetes_deployment*",
    "kubernetes_cron_job*",
    "google_container_cluster",
    title="Metrics are no longer collected",
    rationale="Dashboards stay empty and alerts silent, although everything looks configured.",
    fix='Keep the PodMonitoring and the pods\' label modelyard.dev/metrics: "true".',
)
def scraping_off(change: Change, context: Context) -> Iterator[Hit]:
    """Find removed PodMonitorings and pods that lose the label that selects them."""
    kind = at(change.before, "manifest.kind", "")
    if change.action is Action.DELETE and kind in ("PodMonitoring", "ClusterPodMonitoring"):
        yield Hit(f"{kind} {context.name(change)} is removed: its pods' metrics are not collected")
    if not change.kept:
        return
    for path in ("spec.template.metadata.labels", "spec.job_template.spec.template.metadata.labels"):
        before, after = change.was(path, {}), change.now(path, {})
        key = "modelyard.dev/metrics"
        if (
            isinstance(before, Mapping)
            and isinstance(after, Mapping)
            and before.get(key) == "true" != after.get(key)
        ):
            yield Hit(f"{context.thing(change)}: its pods' metrics are not collected any more")
    path = "monitoring_config.managed_prometheus.enabled"
    if change.was(path) is True and change.now(path) is not True:
        yield Hit(f"{context.thing(change)}: managed Prometheus off, no metrics of any model")


@rule(
    "monitoring/dashboard-removed",
    Severity.WARN,
    "google_monitoring_dashboard",
    title="A dashboard is removed",
    rationale="Whoever looks at it in an incident finds nothing.",
    fix="Keep it.",
)
def dashboard_removed(change: Change, context: Context) -> Iterator[Hit]:
    """Find removed dashboards."""
    if change.action is Action.DELETE:
        yield Hit(f"{context.subject(change)} loses its dashboard")
