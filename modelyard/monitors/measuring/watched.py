"""The model that is measured: its monitoring document joined with the manifests it names."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from modelyard.monitors.alert import Family
from modelyard.spec.base import Pattern, seconds
from modelyard.spec.manifest import Manifest, Task
from modelyard.spec.team import Label, Monitors

FORMAT = "modelyard.monitoring/1"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class DocumentError(ValueError):
    """A monitoring document that cannot be read."""


@dataclass(frozen=True)
class Watched:
    """One model, as far as measuring needs to know it; tables are `project.dataset.table`."""

    environment: str
    team: str
    model: str
    pattern: Pattern
    task: Task
    versions: tuple[int, ...]
    """Versions in service: the pinned one first, then the canary."""
    log_table: str
    monitoring: str
    """`project.dataset` of what monitors measured."""
    metadata: str
    """`project.dataset` of versions and deployments."""
    monitors: Monitors
    label: Label | None = None
    owner: str = ""
    escalation: str = ""
    schedule: str | None = None
    deadline: str | None = None
    runs_table: str | None = None
    """Which shards of a batch model's runs have ended."""
    sensitivity: Mapping[str, str] | None = None
    holidays: frozenset[str] = frozenset()
    """Days, as YYYY-MM-DD, on which less use than usual is no news."""

    def table(self, name: str) -> str:
        """Return table `name` of the monitoring dataset."""
        return f"{self.monitoring}.{name}"

    @property
    def usage_table(self) -> str:
        """The table of hourly counts per caller, in the environment's dataset of predictions."""
        return self.monitoring.removesuffix("_monitoring") + "_predictions.prediction_usage"

    def window(self, family: Family) -> timedelta:
        """Return the window of `family`, in whole hours: counts are kept by the hour."""
        length = seconds(getattr(self.monitors, family).window)
        return timedelta(hours=max(1, -(-length // 3600)))

    def enabled(self, family: Family) -> bool:
        """Return whether `family` is watched."""
        enabled: bool = getattr(self.monitors, family).enabled
        return enabled

    @property
    def delay(self) -> timedelta:
        """Time after which most labels are there."""
        return timedelta(seconds=seconds(self.label.delay)) if self.label else timedelta()


def watched(document: Mapping[str, Any]) -> tuple[Watched, ...]:
    """Return the models of one team's monitoring document.

    Raises:
        DocumentError: the document has another format, or lacks a key.
    """
    if document.get("format") != FORMAT:
        raise DocumentError(f"format is {document.get('format')!r}; this job reads {FORMAT!r}")
    try:
        return tuple(_model(document, model) for model in document["models"])
    except (KeyError, TypeError, ValueError) as error:
        team = document.get("team", "?")
        raise DocumentError(f"monitoring document of team {team}: {type(error).__name__}: {error}") from error


def _model(document: Mapping[str, Any], model: Mapping[str, Any]) -> Watched:
    return Watched(
        environment=document["environment"],
        team=document["team"],
        model=model["model"],
        pattern=Pattern(model["pattern"]),
        task=Task(model["task"]),
        versions=tuple(model["versions"]),
        log_table=model["log_table"],
        monitoring=document["monitoring"],
        metadata=document["metadata"],
        monitors=Monitors.model_validate(model["monitors"]),
        label=Label.model_validate(model["label"]) if model.get("label") else None,
        owner=document["owner"],
        escalation=document["escalation"],
        schedule=model.get("schedule"),
        deadline=model.get("deadline"),
        runs_table=model.get("runs_table"),
        sensitivity=model.get("sensitivity"),
        holidays=frozenset(document.get("holidays", ())),
    )


Manifests = Mapping[int, Manifest]
