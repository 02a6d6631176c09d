"""One run: what is due of every model is measured, kept and pushed; a model that fails harms no other."""

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from modelyard.incidents import SeriesKey
from modelyard.incidents import run as incidents
from modelyard.incidents.run import Outcome
from modelyard.monitors import VALUES
from modelyard.monitors.measuring import Measurement, Watched, measure
from modelyard.monitors.measuring.hours import Cost, Reader
from modelyard.monitors.measuring.run import FamilyRun, keep
from modelyard.monitors.measuring.sql import table
from modelyard.monitors.measuring.windows import floor
from modelyard.monitors.values import VOLUME_RATIO
from modelyard.tables import MONITOR_RUNS
from modelyard.warehouse import Warehouse
from serving_images.monitor import fleet
from serving_images.monitor.documents import Source, chosen
from serving_images.monitor.push import Point, Pushed
from serving_images.monitor.versions import manifests

log = logging.getLogger(__name__)
HOUR = timedelta(hours=1)
# Rows of an hour are in the log this long after its end; later ones are counted in the next hour's run.
SETTLE = timedelta(minutes=3)
# A model that fails is measured again by the next runs, so often within the hour.
ATTEMPTS = 3
MOMENT = timedelta(milliseconds=1)


class Pushes(Protocol):
    """Where series go."""

    def push(self, points: Sequence[Point], at: datetime) -> Pushed:
        """Push `points` as of `at`."""


@dataclass
class Report:
    """How a run went."""

    run_id: str
    measured: dict[tuple[str, str], Measurement] = field(default_factory=dict)
    skipped: int = 0
    errors: list[str] = field(default_factory=list)
    pushed: Pushed = field(default_factory=Pushed)
    alerts: Outcome | None = None
    """What is wrong with the models that were measured; None where none was."""

    @property
    def succeeded(self) -> bool:
        """Whether nothing failed."""
        return not self.errors and not self.pushed.failed


def run(
    warehouse: Warehouse,
    source: Source,
    pusher: Pushes,
    at: datetime,
    *,
    team: str | None = None,
    again: bool = False,
    since: datetime | None = None,
    run_id: str | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Report:
    """Measure what is due at `at`, and push it.

    Each model is measured once an hour: the first run after the hour's rows have settled finds it due, the
    others skip it, so that running every few minutes costs one query.

    Args:
        warehouse: where all tables are.
        source: what there is to watch.
        pusher: where series go.
        at: time of the run, UTC.
        team: measure this team alone.
        again: measure also what was measured this hour.
        since: measure all windows that end after it and were not measured.
        run_id: id of the run; a run repeated under its id writes nothing twice.
        now: clock of what is written down.
    """
    report = Report(run_id or f"{at:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}", errors=list(source.errors))
    settled = floor(at - SETTLE, HOUR)
    models = list(chosen(source.models, team))
    done = {} if again else last_runs(warehouse, models, settled)
    due = [model for model in models if done.get((model.team, model.model), settled) <= settled]
    report.skipped = len(models) - len(due)
    known = manifests(warehouse, due, source.pinned) if due else {}
    points: list[Point] = []
    for model in due:
        key = (model.team, model.model)
        found = measure(
            warehouse,
            model,
            known[key],
            settled,
            report.run_id,
            since=since,
            log=source.logs.get(key),
            now=now,
        )
        report.measured[key] = found
        failed = [run for run in found.runs if run.error]
        report.errors += [f"{model.team}/{model.model} {run.family}: {run.error}" for run in failed]
    keep_corrected(warehouse, due, report, now())
    for model in due:
        points += points_of(model, report.measured[model.team, model.model], settled)
    if due:
        try:
            report.alerts = incidents.run(warehouse, due, settled, report.run_id)
            points += explained(report.alerts)
        except Exception as error:
            # What was measured is pushed all the same: alerts then rest on thresholds alone.
            log.exception("incidents could not be evaluated")
            report.errors.append(f"incidents: {type(error).__name__}: {error}")
    elif models:
        # A silence is in force within minutes, though nothing is due.
        try:
            points += silenced(incidents.silenced(warehouse, models, at))
        except Exception as error:
            log.exception("silences could not be read")
            report.errors.append(f"silences: {type(error).__name__}: {error}")
    if (level := fleet.level(report.measured)) is not None:
        points.append(Point("fleet_use", (), level))
    points.append(Point("monitor_last_run", (), at.timestamp()))
    report.pushed = pusher.push(points, at)
    return report


def keep_corrected(
    warehouse: Warehouse, models: Sequence[Watched], report: Report, computed: datetime
) -> None:
    """Write the values that the fleet's use puts into another light, later than the ones they replace."""
    better = dict(fleet.corrected(report.measured))
    for model in models:
        value = better.get((model.team, model.model))
        if value is not None:
            found = report.measured[model.team, model.model]
            found.values = [
                value if old.measured.metric is VOLUME_RATIO and old.latest else old for old in found.values
            ]
            reader = Reader(warehouse, model, f"{report.run_id}-fleet", computed + MOMENT, Cost())
            keep(reader, Measurement([value]))


def last_runs(
    warehouse: Warehouse, models: Sequence[Watched], since: datetime
) -> Mapping[tuple[str, str], datetime]:
    """Return when each model's last run since `since` began, if it succeeded or was the last attempt."""
    found: dict[tuple[str, str], datetime] = {}
    for ref in {model.table("monitor_runs") for model in models}:
        statement = f"""
SELECT team, model, MAX(started) AS started FROM (
  SELECT team, model, run_id, MIN(started) AS started, LOGICAL_AND(succeeded) AS succeeded
  FROM {table(ref)} WHERE started >= @since GROUP BY team, model, run_id
)
GROUP BY team, model
HAVING LOGICAL_OR(succeeded) OR COUNT(*) >= {ATTEMPTS}"""
        days = (since.date(), since.date() + timedelta(days=1))
        rows = warehouse.query(statement, {"since": since + SETTLE}, {ref: MONITOR_RUNS}, days)
        found |= {(row["team"], row["model"]): row["started"] for row in rows.to_pylist()}
    return found


def points_of(model: Watched, found: Measurement, at: datetime) -> Iterator[Point]:
    """Yield the series of what was measured: the newest window of each value, and each family's health."""
    newest: dict[tuple[str, ...], Point] = {}
    for value in sorted(found.values, key=lambda value: value.span[1]):
        measured = value.measured
        if not measured.metric.pushed or measured.value is None or not value.latest:
            continue
        labels = {"family": measured.metric.family.value, "metric": measured.metric.metric} | _of(model)
        if measured.version is not None:
            labels["version"] = str(measured.version)
        if measured.feature is not None:
            labels["feature"] = measured.feature
        point = Point("monitor_value", tuple(sorted(labels.items())), measured.value)
        newest[(point.name, *(text for pair in point.labels for text in pair))] = point
    yield from newest.values()
    yield from (_health(model, run) for run in found.runs if run.error is None)


def explained(outcome: Outcome) -> Iterator[Point]:
    """Yield for each pushed value whether it needs no alert of its own, and which alerts are silenced."""
    pushed = {(value.family.value, value.metric) for value in VALUES if value.pushed}
    for key, explained in outcome.explained.items():
        if (key.family, key.metric) in pushed:
            yield Point("monitor_explained", _series(key), float(explained))
    yield from silenced(outcome.silenced)


def silenced(found: Mapping[tuple[str, str, str], datetime]) -> Iterator[Point]:
    """Yield until when alerts are not told."""
    for (team, model, alert), until in found.items():
        labels = {"team": team, "model": model, "alert": alert}
        yield Point("silenced_until", tuple(sorted(labels.items())), until.timestamp())


def _series(key: SeriesKey) -> tuple[tuple[str, str], ...]:
    labels = {"family": key.family, "metric": key.metric, "team": key.team, "model": key.model}
    if key.version is not None:
        labels["version"] = str(key.version)
    if key.feature is not None:
        labels["feature"] = key.feature
    return tuple(sorted(labels.items()))


def _health(model: Watched, run: FamilyRun) -> Point:
    labels = {"family": run.family.value} | _of(model)
    return Point("monitor_last_success", tuple(sorted(labels.items())), run.ended.timestamp())


def _of(model: Watched) -> dict[str, str]:
    return {"team": model.team, "model": model.model}
