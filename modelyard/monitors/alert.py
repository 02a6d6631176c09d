"""What an alert is. One without owner, severity and runbook cannot be made."""

from dataclasses import dataclass, replace
from enum import StrEnum

from modelyard.spec.base import Severity


class Family(StrEnum):
    """What an alert is about: one of the five families of a model's monitors, or the platform."""

    LATENCY = "latency"
    USAGE = "usage"
    QUALITY = "quality"
    DRIFT = "drift"
    PERFORMANCE = "performance"
    PLATFORM = "platform"


class MonitorError(ValueError):
    """A monitor that would make an alert nobody can act on."""


def page_of(project: str, team: str, model: str) -> str:
    """Return the address of a model's page: the dashboards of its project, filtered by its name."""
    return f"https://console.cloud.google.com/monitoring/dashboards?project={project}&filter={team}%2F{model}"


@dataclass(frozen=True)
class Runbook:
    """What a person needs at three in the morning.

    Args:
        meaning: what the alert says about the model, and what it means for those who use it.
        causes: likely causes, the likeliest first.
        steps: the first three things to do; may name `{team}`, `{model}`, `{project}`, `{namespace}`,
            `{workload}` and `{dead_letters}`.
    """

    meaning: str
    causes: tuple[str, ...]
    steps: tuple[str, str, str]

    def __post_init__(self) -> None:
        """Refuse a runbook that says nothing."""
        if not self.meaning.strip() or not self.causes or not all((*self.causes, *self.steps)):
            raise MonitorError("a runbook needs a meaning, a cause and three steps")
        if len(self.steps) != 3:
            raise MonitorError("a runbook names the first three things to do, no more and no fewer")

    def filled(self, **names: str) -> "Runbook":
        """Return the runbook with the names of one model in its steps."""
        first, second, third = (step.format(**names) for step in self.steps)
        return replace(self, steps=(first, second, third))


@dataclass(frozen=True)
class Tile:
    """A chart of a dashboard.

    Args:
        title: title of the chart.
        query: PromQL of its lines.
        unit: unit of the values, as UCUM has it: `ms`, `s`, `1`, or `10^2.%` for shares.
        threshold: where the alert's line is drawn.
    """

    title: str
    query: str
    unit: str
    threshold: float | None = None


@dataclass(frozen=True)
class PromqlCondition:
    """Fires where `query`, with its comparison, has held for `for_seconds`."""

    query: str
    for_seconds: int = 0
    every_seconds: int = 60

    def __post_init__(self) -> None:
        """Refuse what Cloud Monitoring would refuse."""
        if not self.query.strip():
            raise MonitorError("a condition needs a query")
        if self.every_seconds < 30 or self.every_seconds % 30 or self.for_seconds % self.every_seconds:
            raise MonitorError(
                "a condition is evaluated every 30 seconds or a multiple, and held for a multiple"
            )


@dataclass(frozen=True)
class LogCondition:
    """Fires on each log entry that `filter` matches; for events that no metric counts."""

    filter: str
    quiet_seconds: int = 300
    """Least time between two notifications."""

    def __post_init__(self) -> None:
        """Refuse what Cloud Monitoring would refuse."""
        if not self.filter.strip() or self.quiet_seconds < 300:
            raise MonitorError("a log condition needs a filter and at least 300 seconds of quiet")


@dataclass(frozen=True)
class Alert:
    """One alert: of a model, or of the platform if `model` is absent."""

    key: str
    family: Family
    title: str
    summary: str
    condition: PromqlCondition | LogCondition
    severity: Severity
    team: str
    owner: str
    escalation: str
    runbook: Runbook
    model: str | None = None
    tile: Tile | None = None
    page: str | None = None
    """Address of the model's page."""

    def __post_init__(self) -> None:
        """Refuse an alert that nobody can act on."""
        if "@" not in self.owner or not self.team or not self.escalation:
            raise MonitorError(f"alert {self.key}: no owner")
        if not isinstance(self.severity, Severity):
            raise MonitorError(f"alert {self.key}: no severity")
        if not isinstance(self.runbook, Runbook):
            raise MonitorError(f"alert {self.key}: no runbook")

    @property
    def subject(self) -> str:
        """Return whom the alert is about: `team/model`, or `platform`."""
        return f"{self.team}/{self.model}" if self.model else self.team

    @property
    def runbook_path(self) -> str:
        """Path of the runbook in the repository."""
        return f"docs/runbooks/{self.key}.md"

    @property
    def documentation(self) -> str:
        """Markdown that travels with each notification; `${...}` are Cloud Monitoring's variables."""
        lines = [f"**{self.subject}**: {self.summary}", ""]
        if isinstance(self.condition, PromqlCondition):
            lines += ["Measured: ${metric.label.value}, at ${metric_or_resource.labels}", ""]
        lines += [f"Owner: {self.owner}; escalation: {self.escalation}; severity: {self.severity}", ""]
        lines += ["First three things to do:", ""]
        lines += [f"{i}. {step}" for i, step in enumerate(self.runbook.steps, 1)]
        lines += ["", "Likely causes, the likeliest first:", ""]
        lines += [f"{i}. {cause}" for i, cause in enumerate(self.runbook.causes, 1)]
        look_at = self.tile.query if self.tile else None
        if look_at:
            lines += ["", "Query to look at:", "", f"    {look_at}"]
        elif isinstance(self.condition, LogCondition):
            lines += ["", "Log entries to look at:", "", f"    {self.condition.filter}"]
        if self.page:
            lines += ["", f"Page of {self.subject}: {self.page}"]
        return "\n".join([*lines, "", f"Runbook: {self.runbook_path}"])
