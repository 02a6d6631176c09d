"""What is wrong with a model: the incident, what it was found by, and what an evaluation says of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from modelyard.incidents.judge import Episode
from modelyard.incidents.readings import SeriesKey
from modelyard.monitors import Monitor
from modelyard.monitors.measuring.watched import Watched
from modelyard.monitors.rule import Stage
from modelyard.spec.base import Severity

GRAVITY = (Severity.WARNING, Severity.ERROR, Severity.CRITICAL)
"""The least grave first."""


class Root(StrEnum):
    """What an incident is put down to."""

    SERVICE = "service"
    SILENCE = "silence"
    DUPLICATES = "duplicates"
    USAGE = "usage"
    FEATURE = "feature"
    UPSTREAM = "upstream"
    DEPLOYMENT = "deployment"
    PREDICTIONS = "predictions"
    CONCEPT = "concept"
    LABELS = "labels"


@dataclass(frozen=True)
class Finding:
    """An episode, with the monitor that found it."""

    monitor: Monitor
    episode: Episode
    window: timedelta

    @property
    def stage(self) -> Stage:
        """Where it stands between cause and consequence."""
        assert self.monitor.rule
        return self.monitor.rule.stage

    @property
    def feature(self) -> str | None:
        """The feature that it is about, if any."""
        return self.episode.key.feature

    @property
    def lasts(self) -> bool:
        """Whether it has not resolved."""
        return self.episode.resolved is None


@dataclass(frozen=True)
class Cause:
    """A likely cause, with what speaks for it."""

    kind: str
    evidence: str


@dataclass(frozen=True)
class Incident:
    """One thing that is wrong with a model, with all that follows from it."""

    incident_id: str
    watched: Watched
    root: Root
    feature: str | None
    version: int | None
    severity: Severity
    since: datetime
    """Start of the first bad window."""
    opened: datetime
    """End of the window that showed it."""
    findings: tuple[Finding, ...]
    """The root first, then what follows from it, in the order of cause and consequence."""
    causes: tuple[Cause, ...]
    also: "tuple[Incident, ...]" = ()
    """The same fault on other models of the team: told with this one."""
    shared_with: tuple[str, ...] = ()
    """All other models, `team/model`, with the same fault at the same time, those of other teams too."""
    silenced_until: datetime | None = None

    @property
    def name(self) -> str:
        """Team and model."""
        return f"{self.watched.team}/{self.watched.model}"

    @property
    def key(self) -> str:
        """Key of the root's alert, and of its runbook."""
        return self.findings[0].monitor.key

    @property
    def features(self) -> frozenset[str]:
        """The features at the root of it, if it is about inputs."""
        if self.root not in (Root.FEATURE, Root.UPSTREAM):
            return frozenset()
        stage = self.findings[0].stage
        return frozenset(f.feature for f in self.findings if f.stage is stage and f.feature)

    @property
    def lasts(self) -> bool:
        """Whether any of it has not resolved."""
        return any(finding.lasts for finding in self.findings)

    @property
    def pages(self) -> bool:
        """Whether it wakes a person."""
        return self.severity is Severity.CRITICAL and self.silenced_until is None


@dataclass(frozen=True)
class Known:
    """An incident that an earlier run opened and that nobody has closed."""

    incident_id: str
    team: str
    model: str
    key: str
    feature: str | None
    severity: Severity
    opened: datetime
    also: frozenset[str] = frozenset()
    """Other models of the team that it is told of."""

    def names(self, subject: Watched) -> bool:
        """Return whether it is told of a model."""
        return self.team == subject.team and (self.model == subject.model or subject.model in self.also)


@dataclass(frozen=True)
class Evaluation:
    """What is wrong now."""

    incidents: tuple[Incident, ...]
    """All that last, silenced ones too."""
    opened: tuple[Incident, ...]
    """Those of them that are new, and to be told."""
    changed: tuple[Incident, ...]
    """Those known already whose root, severity or gravest model is now seen differently."""
    closed: tuple[Known, ...]
    """Those that have resolved."""
    needs_no_alert: frozenset[SeriesKey]
    """Measured metrics that need no alert of their own: usual, explained by another, or silenced."""


def together(one: Finding, other: Finding) -> bool:
    """Return whether two findings began at the same time, as far as their windows can tell."""
    return abs(one.episode.since - other.episode.since) <= max(one.window, other.window)


def began(findings: Sequence[Finding]) -> str:
    """Return when it began, as well as windows can tell; the root stands first.

    A window says that it began within it; the shortest that became bad within the root's says it best.
    """
    root = findings[0]
    at = root.episode.since
    best = min(
        (finding for finding in findings if at <= finding.episode.since < at + root.window),
        key=lambda finding: (finding.window, finding.episode.since),
    )
    start = best.episode.since
    if best.window <= timedelta(hours=1):
        return when(start)
    return f"between {start:%Y-%m-%d %H:%M} and {when(start + best.window)}"


def says(finding: Finding) -> str:
    """Return what was measured, with its numbers."""
    episode, monitor = finding.episode, finding.monitor
    reading = episode.peak
    subject = f"{finding.feature}: " if finding.feature else ""
    assert reading.value is not None
    measured = monitor.readable(_short(reading.value))
    limit = monitor.readable(_short(episode.threshold))
    than = "above" if monitor.above else "below"
    rest = f", {than} {limit}, on {reading.rows:,} rows up to {when(reading.end)}"
    said = f" ({reading.detail.rstrip('.')})" if reading.detail else ""
    return f"{subject}{monitor.title[0].lower()}{monitor.title[1:]} {measured}{rest}{said}"


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def when(moment: datetime) -> str:
    """Return a time as people read it."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
