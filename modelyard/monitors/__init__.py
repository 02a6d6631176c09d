"""Monitors, declared once: each yields the alert's condition, the dashboard tile and the runbook."""

from modelyard.monitors import drift, latency, more, overview, performance, quality, usage
from modelyard.monitors import values as built_in
from modelyard.monitors.alert import (
    Alert,
    Family,
    LogCondition,
    MonitorError,
    PromqlCondition,
    Runbook,
    Tile,
)
from modelyard.monitors.monitor import Monitor, Subject
from modelyard.monitors.values import Value
from modelyard.naming import ModelNames
from modelyard.spec.team import DeployedModel, DeployedTeam

MONITORS: tuple[Monitor, ...] = (
    *latency.MONITORS,
    *usage.MONITORS,
    *quality.MONITORS,
    *drift.MONITORS,
    *performance.MONITORS,
    *more.MONITORS,
)
VALUES: tuple[Value, ...] = (*built_in.VALUES, *more.VALUES)


def watching(team: DeployedTeam, model: DeployedModel, names: ModelNames) -> tuple[Monitor, ...]:
    """Return the monitors that watch `model`, by its pattern and settings."""
    subject = Subject.of(team, model, names)
    return tuple(
        monitor
        for monitor in MONITORS
        if model.spec.pattern in monitor.patterns and subject.enabled(monitor.family)
    )


def monitors_of(team: DeployedTeam, model: DeployedModel, names: ModelNames) -> tuple[Alert, ...]:
    """Return the alerts on `model`, by its pattern and settings; its canary is covered too."""
    subject = Subject.of(team, model, names)
    return tuple(monitor.alert(subject) for monitor in watching(team, model, names))


def tiles_of(team: DeployedTeam, model: DeployedModel, names: ModelNames) -> tuple[Tile, ...]:
    """Return the charts of `model`: how much it is used, how its log does, then one per monitor."""
    subject = Subject.of(team, model, names)
    watched = tuple(monitor.tile(subject) for monitor in watching(team, model, names))
    return (*overview.tiles(subject), *watched)


__all__ = [
    "MONITORS",
    "VALUES",
    "Alert",
    "Family",
    "LogCondition",
    "Monitor",
    "MonitorError",
    "PromqlCondition",
    "Runbook",
    "Subject",
    "Tile",
    "monitors_of",
    "tiles_of",
]
