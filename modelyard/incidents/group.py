"""From episodes to incidents: what belongs together in one model, and which of it is the root."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from modelyard.incidents import across
from modelyard.incidents.incident import (
    GRAVITY,
    Cause,
    Evaluation,
    Finding,
    Incident,
    Known,
    Root,
    began,
    says,
    together,
    when,
)
from modelyard.incidents.judge import DAY, episodes, pooled
from modelyard.incidents.readings import RUN, Deployment, Reading, SeriesKey, Silence
from modelyard.monitors import MONITORS, Monitor
from modelyard.monitors.measuring.watched import Watched
from modelyard.monitors.rule import Stage

# An episode that ended explains what began within this many windows after it: labels come late.
REMEMBERED = 14
# A deployment is suspected when it came at most this long before the first bad window began.
SUSPECT = timedelta(hours=24)
# While a version starts, slow answers and less traffic are expected.
DEPLOYMENT_WINDOW = timedelta(minutes=30)
# What is expected then.
STARTING = (Stage.SERVICE, Stage.USAGE)
# So many features broken or moved at the same time point upstream, not to one of them.
UPSTREAM = 3

JUDGED: Mapping[tuple[str, str], Monitor] = {
    (monitor.value.family.value, monitor.value.metric): monitor
    for monitor in MONITORS
    if monitor.value and monitor.rule
}
"""Family and metric -> the monitor that judges it."""


def evaluate(
    readings: Iterable[Reading],
    watched: Sequence[Watched],
    *,
    now: datetime,
    deployments: Sequence[Deployment] = (),
    silences: Sequence[Silence] = (),
    known: Sequence[Known] = (),
) -> Evaluation:
    """Return the incidents that the measured values show at `now`. Pure: the same values, the same answer.

    Args:
        readings: values of the windows up to now, with enough earlier ones to say what is usual; where a
            window was computed twice, the later value comes later.
        watched: the models to look at.
        now: time of the evaluation.
        deployments: versions that went into service.
        silences: times in which alerts are not told.
        known: incidents that are open.
    """
    series: dict[SeriesKey, dict[datetime, Reading]] = defaultdict(dict)
    for reading in readings:
        if reading.end <= now and (reading.family, reading.metric) in JUDGED:
            series[reading.key][reading.end] = reading
    by_model: dict[tuple[str, str], list[SeriesKey]] = defaultdict(list)
    for key in series:
        by_model[key.team, key.model].append(key)

    found: list[Incident] = []
    for subject in watched:
        findings = [
            finding
            for key in by_model[subject.team, subject.model]
            for finding in _findings(subject, key, series[key], now)
        ]
        own = [d for d in deployments if (d.team, d.model) == (subject.team, subject.model)]
        open_now = [k for k in known if k.names(subject)]
        found += (
            _incident(subject, component, own, silences, open_now, now)
            for component in _components(findings)
            if any(finding.lasts for finding in component)
        )
    incidents = tuple(across.shared(across.joined(found, known)))
    return _evaluation(incidents, known, watched, frozenset(series))


def _evaluation(
    incidents: tuple[Incident, ...],
    known: Sequence[Known],
    watched: Sequence[Watched],
    measured: frozenset[SeriesKey],
) -> Evaluation:
    before = {k.incident_id: k for k in known}
    now_open = {incident.incident_id for incident in incidents}
    looked_at = {(subject.team, subject.model) for subject in watched}
    roots = {i.findings[0].episode.key for i in incidents if i.silenced_until is None}
    return Evaluation(
        incidents=incidents,
        opened=tuple(i for i in incidents if i.incident_id not in before and i.silenced_until is None),
        changed=tuple(
            i
            for i in incidents
            if (k := before.get(i.incident_id))
            and (k.model, k.key, k.feature, k.severity) != (i.watched.model, i.key, i.feature, i.severity)
        ),
        closed=tuple(k for k in known if k.incident_id not in now_open and (k.team, k.model) in looked_at),
        needs_no_alert=measured - roots,
    )


def _findings(
    subject: Watched, key: SeriesKey, windows: Mapping[datetime, Reading], now: datetime
) -> Iterable[Finding]:
    monitor = JUDGED[key.family, key.metric]
    if monitor.rule is None or not subject.enabled(monitor.family):
        return
    ordered = [windows[end] for end in sorted(windows)]
    window = ordered[-1].end - ordered[-1].start
    found = episodes(ordered, monitor.rule, monitor.above)
    if monitor.rule.pools and window < DAY:
        whole = pooled(ordered, monitor.tolerated(subject.monitors))
        alone = replace(monitor.rule, opens_after=1, resolves_after=1)
        found += episodes(whole, alone, monitor.above)
    for episode in found:
        if episode.resolved is None or now - episode.resolved <= REMEMBERED * max(window, DAY):
            yield Finding(monitor, episode, episode.first.end - episode.first.start)


# What belongs together


def _explains(cause: Finding, effect: Finding) -> bool:
    """Whether `cause` may have brought `effect` about: by the stages, the version and the times."""
    if cause.stage >= effect.stage or not _same_version(cause, effect):
        return False
    if cause.stage is Stage.SERVICE and effect.stage is not Stage.USAGE:
        return False
    if effect.stage is Stage.LABELS:
        return cause.stage <= Stage.TRAFFIC
    if cause.stage is Stage.QUALITY and effect.stage is Stage.DRIFT and cause.feature != effect.feature:
        return together(cause, effect)
    slack = max(cause.window, effect.window)
    begun = cause.episode.since <= effect.episode.since + slack
    return begun and effect.episode.since <= cause.episode.last + slack


def _same_version(one: Finding, other: Finding) -> bool:
    versions = {one.episode.key.version, other.episode.key.version} - {None}
    return len(versions) < 2


def _related(one: Finding, other: Finding) -> bool:
    if one.stage is other.stage:
        same = one.feature == other.feature and one.stage is not Stage.SERVICE
        return same or together(one, other)
    return _explains(one, other) or _explains(other, one)


def _components(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Return the findings in groups that belong together, each in the order of cause and consequence."""
    left = sorted(findings, key=_order)
    groups = []
    while left:
        group, left = [left[0]], left[1:]
        for member in group:  # grows while it is walked
            related = [finding for finding in left if _related(member, finding)]
            left = [finding for finding in left if finding not in related]
            group += related
        groups.append(sorted(group, key=_order))
    return groups


def _order(finding: Finding) -> tuple[int, bool, float]:
    # One that names its feature says more than one that counts features.
    return finding.stage, finding.feature is None, -finding.episode.excess


# What an incident says


def _incident(
    subject: Watched,
    group: Sequence[Finding],
    deployments: Sequence[Deployment],
    silences: Sequence[Silence],
    known: Sequence[Known],
    now: datetime,
) -> Incident:
    root, first = _root(group, deployments)
    findings = (first, *(finding for finding in group if finding is not first))
    lasting = [finding for finding in findings if finding.lasts]
    since = min(finding.episode.since for finding in findings)
    until = _silenced(subject, findings, deployments, silences, now)
    feature = first.feature if root is Root.FEATURE else None
    return Incident(
        incident_id=_same(group, known) or _new_id(subject, first, since),
        watched=subject,
        root=root,
        feature=feature,
        version=first.episode.key.version,
        severity=max((f.monitor.severity(subject.monitors) for f in lasting), key=GRAVITY.index),
        since=since,
        opened=min(finding.episode.opened for finding in findings),
        findings=findings,
        causes=_causes(root, findings, _suspects(findings, deployments)),
        silenced_until=until,
    )


def _root(group: Sequence[Finding], deployments: Sequence[Deployment]) -> tuple[Root, Finding]:
    first = group[0]
    level = [f for f in group if f.stage is first.stage]
    match first.stage:
        case Stage.SERVICE:
            return (Root.DEPLOYMENT if _suspects(group, deployments) else Root.SERVICE), first
        case Stage.TRAFFIC:
            return (Root.DUPLICATES if first.monitor.key == "quality-duplicates" else Root.SILENCE), first
        case Stage.USAGE:
            return Root.USAGE, first
        case Stage.QUALITY | Stage.DRIFT:
            features = {f.feature for f in level if f.feature and together(f, first)}
            return (Root.UPSTREAM if len(features) >= UPSTREAM else Root.FEATURE), first
        case Stage.OUTPUT:
            return (Root.DEPLOYMENT if _suspects(group, deployments) else Root.PREDICTIONS), first
        case Stage.PERFORMANCE:
            return (Root.DEPLOYMENT if _suspects(group, deployments) else Root.CONCEPT), first
        case Stage.LABELS:
            return Root.LABELS, first


def _suspects(findings: Sequence[Finding], deployments: Sequence[Deployment]) -> list[Deployment]:
    """Return the deployments shortly before the first bad window, or within it; the latest first."""
    first = min(findings, key=lambda finding: finding.episode.since)
    begin, end = first.episode.since, first.episode.since + first.window
    suspects = [d for d in deployments if begin - SUSPECT <= d.time <= end]
    return sorted(suspects, key=lambda d: d.time, reverse=True)


def _causes(root: Root, findings: Sequence[Finding], suspects: Sequence[Deployment]) -> tuple[Cause, ...]:
    """Return what may have brought it about, the likeliest first, each with what speaks for it."""
    causes = []
    since = f"since {began(findings)}".replace("since between", "between")
    for deployment in suspects:
        by = f" by {deployment.actor}" if deployment.actor else ""
        at = f" at commit {deployment.commit[:12]}" if deployment.commit else ""
        causes.append(
            Cause(
                "deployment",
                f"version {deployment.version} went into service at {when(deployment.time)}{by}{at}, with "
                f"{deployment.percent} % of the traffic",
            )
        )
    inputs = sorted({f.feature for f in findings if f.feature and f.stage in (Stage.QUALITY, Stage.DRIFT)})
    if root is Root.UPSTREAM:
        causes.append(
            Cause(
                "upstream data",
                f"{len(inputs)} features changed together, {since}: "
                f"{', '.join(inputs)}; what they come from is the same source",
            )
        )
    elif inputs:
        causes.append(
            Cause("upstream data", f"{' and '.join(inputs)} changed, {since}; no other feature did")
        )
    traffic = [f for f in findings if f.stage in (Stage.TRAFFIC, Stage.USAGE)]
    if traffic:
        causes.append(Cause("traffic", "; ".join(says(finding) for finding in traffic)))
    if root is Root.CONCEPT:
        causes.append(
            Cause(
                "concept", "neither the inputs nor the traffic changed, so the truth for the same inputs did"
            )
        )
    return tuple(causes)


def _silenced(
    subject: Watched,
    findings: Sequence[Finding],
    deployments: Sequence[Deployment],
    silences: Sequence[Silence],
    now: datetime,
) -> datetime | None:
    """Return until when the incident is not told, or None.

    What was bad last in a window that a silence touches is not told when the silence ends either: it is told
    once a window without it is bad too. While a version starts, broken data are told all the same, and
    windows of more than an hour are judged: they feel little of it.
    """
    first = findings[0]
    lasting = [finding for finding in findings if finding.lasts]
    begun = max(finding.episode.last - finding.window for finding in lasting)
    ended = max(finding.episode.last for finding in lasting)
    asked = [s for s in silences if s.covers(subject.team, subject.model, first.monitor.key)]
    ends = [s.until for s in asked if s.lasts(now) or (s.start < ended and begun < s.until)]
    if first.stage in STARTING:
        for deployment in deployments:
            end = deployment.time + DEPLOYMENT_WINDOW
            touched = first.window <= RUN and deployment.time < ended and begun < end
            if touched or deployment.time <= now < end:
                ends.append(end)
    return max(ends, default=None)


def _same(group: Sequence[Finding], known: Sequence[Known]) -> str | None:
    """Return the id under which the incident is open already: its root then is among its findings now."""
    signs = {(finding.monitor.key, finding.feature) for finding in group}
    keys = {finding.monitor.key for finding in group}
    for incident in sorted(known, key=lambda k: k.opened):
        if (incident.key, incident.feature) in signs or (incident.feature is None and incident.key in keys):
            return incident.incident_id
    return None


def _new_id(subject: Watched, first: Finding, since: datetime) -> str:
    """Return an id that a second run of the same evaluation gives again."""
    key = first.episode.key
    text = (
        f"{subject.team}/{subject.model}/{first.monitor.key}/{key.version}/{key.feature}/{since.isoformat()}"
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]
