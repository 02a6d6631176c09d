"""What a monitor is: one declaration from which alert, tile and runbook come."""

from collections.abc import Callable
from dataclasses import dataclass

from modelyard.monitors.alert import Alert, Family, PromqlCondition, Runbook, Tile, page_of
from modelyard.monitors.promql import DAY, HOUR, SILENCED_UNTIL, number, series, words
from modelyard.monitors.rule import Rule
from modelyard.monitors.values import Value
from modelyard.naming import ModelNames
from modelyard.spec.base import Pattern, Severity, seconds
from modelyard.spec.team import Batch, DeployedModel, DeployedTeam, Label, Monitors

ALL_PATTERNS = frozenset(Pattern)


@dataclass(frozen=True)
class Subject:
    """The model that is watched, as far as monitors need to know it."""

    team: str
    model: str
    versions: tuple[str, ...]
    """The pinned version and, if there is one, the canary."""
    owner: str
    escalation: str
    project: str
    namespace: str
    workload: str
    subscription: str
    dead_letters: str
    settings: Monitors
    batch: Batch
    label: Label | None = None

    @classmethod
    def of(cls, team: DeployedTeam, model: DeployedModel, names: ModelNames) -> "Subject":
        """Return `model` of `team` as monitors see it."""
        pinned = [model.manifest, *([model.canary] if model.canary else [])]
        return cls(
            team=team.team,
            model=model.name,
            versions=tuple(str(manifest.version) for manifest in pinned),
            owner=team.owners.group,
            escalation=team.owners.escalation,
            project=names.team.project,
            namespace=names.team.namespace,
            workload=names.workload,
            subscription=names.topic,
            dead_letters=names.dead_letter_topic,
            settings=model.spec.monitors,
            batch=model.spec.batch,
            label=model.spec.label,
        )

    @property
    def labels(self) -> dict[str, str | tuple[str, ...]]:
        """Labels of the series of the versions in service."""
        return {"team": self.team, "model": self.model, "version": self.versions}

    def window(self, family: Family) -> int:
        """Return the window of `family` in seconds."""
        return seconds(getattr(self.settings, family).window)

    def enabled(self, family: Family) -> bool:
        """Return whether `family` is watched."""
        enabled: bool = getattr(self.settings, family).enabled
        return enabled


@dataclass(frozen=True)
class Monitor:
    """One thing that is measured, compared and explained.

    Args:
        key: names the alert and its runbook, unique among all monitors.
        family: which of the model's settings hold its window, severity and switch.
        patterns: ways of serving that it makes sense for.
        title: what is measured, in a few words.
        says: sentence on what happened; may name `{threshold}` and `{window}`.
        unit: unit of the series, as UCUM has it.
        series: PromQL of what is measured; where it has no result, there is nothing to alert on.
        threshold: value that is compared with, in `unit`.
        above: whether values above the threshold are bad; else values below.
        guard: PromQL that must have a result too, such as enough traffic to judge.
        for_seconds: how long the condition must hold.
        runbook: what to do.
        value: which value of the monitor job it is about; absent: the servers' own series.
        rule: when that value stands out, for incidents; absent: it is judged by its condition alone.
        own_severity: severity where it differs from that of the family.
    """

    key: str
    family: Family
    title: str
    says: str
    unit: str
    series: Callable[[Subject], str]
    threshold: Callable[[Subject], float]
    runbook: Runbook
    patterns: frozenset[Pattern] = ALL_PATTERNS
    above: bool = True
    guard: Callable[[Subject], str] | None = None
    for_seconds: int = 0
    value: Value | None = None
    rule: Rule | None = None
    own_severity: Severity | None = None

    def promql(self, subject: Subject) -> str:
        """Return the condition that raises the alert."""
        sign = ">" if self.above else "<"
        condition = f"({self.series(subject)} {sign} {number(self.threshold(subject))})"
        if self.guard:
            condition = f"{condition} and ({self.guard(subject)})"
        if self.value and self.rule and self.value.pushed:
            # The job knows more than the threshold here: what is usual, and what explains it.
            last = self.value.explained(subject.window(self.family), team=subject.team, model=subject.model)
            by = ", ".join(("team", "model", *self.value.labels))
            condition = f"({condition}) unless (max by ({by}) ({last}) == 1)"
        until = series(
            SILENCED_UNTIL, DAY + HOUR, team=subject.team, model=subject.model, alert=("all", self.key)
        )
        return f"({condition}) unless on () (max(last_over_time({until})) > time())"

    def severity(self, settings: Monitors) -> Severity:
        """Return the severity under the settings of a model."""
        family: Severity = getattr(settings, self.family.value).severity
        return self.own_severity or family

    def tolerated(self, settings: Monitors) -> float:
        """Return the threshold of the family's settings, without what chance adds to it."""
        threshold: float = getattr(settings, self.family.value).threshold
        return threshold

    def summary(self, subject: Subject) -> str:
        """Return what happened, with the threshold in words."""
        return self.says.format(
            threshold=self.readable(self.threshold(subject)), window=words(subject.window(self.family))
        )

    def readable(self, value: float) -> str:
        """Return `value` with its unit as people read it."""
        if self.unit == "10^2.%":
            return f"{number(value * 100)} %"
        if self.unit == "s":
            return words(round(value))
        return number(value) if self.unit == "1" else f"{number(value)} {self.unit}"

    def tile(self, subject: Subject) -> Tile:
        """Return the chart with the alert's threshold line."""
        return Tile(self.title, self.series(subject), self.unit, self.threshold(subject))

    def alert(self, subject: Subject) -> Alert:
        """Return the alert on `subject`."""
        return Alert(
            key=self.key,
            family=self.family,
            title=self.title,
            summary=self.summary(subject),
            condition=PromqlCondition(self.promql(subject), self.for_seconds),
            severity=self.severity(subject.settings),
            team=subject.team,
            model=subject.model,
            owner=subject.owner,
            escalation=subject.escalation,
            runbook=self.runbook.filled(
                team=subject.team,
                model=subject.model,
                project=subject.project,
                namespace=subject.namespace,
                workload=subject.workload,
                dead_letters=subject.dead_letters,
            ),
            tile=self.tile(subject),
            page=page_of(subject.project, subject.team, subject.model),
        )
