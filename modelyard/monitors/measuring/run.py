"""Measure one model: count the hours that changed, then every window that is due."""

import functools
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from modelyard.monitors import more, values
from modelyard.monitors.alert import Family
from modelyard.monitors.measuring import (
    batches,
    drift,
    hours,
    labels,
    latency,
    performance,
    quality,
    sql,
    usage,
    windows,
)
from modelyard.monitors.measuring.batches import Batches
from modelyard.monitors.measuring.hours import Cost, Figures, Reader, Span
from modelyard.monitors.measuring.measured import Measured, Past, Window
from modelyard.monitors.measuring.watched import DAY, HOUR, Manifests, Watched
from modelyard.monitors.values import Value
from modelyard.tables import METRIC_VALUES, MONITOR_RUNS, Table
from modelyard.warehouse import Warehouse

# Usage looks back four weeks, drift at the same time of as many.
HISTORY = timedelta(days=29)
# Rows this much later than their hour are still counted.
LATE = DAY
# A job that stood still measures the windows it missed, up to so long ago.
MISSED = timedelta(days=2)
# Values whose earlier windows later ones are compared with.
REMEMBERED = (values.FEATURE_PSI, values.PREDICTION_PSI, values.CONSTANT, values.STUCK, values.LABEL_COVERAGE)
Measure = Callable[[Window], Iterator[Measured]]


@dataclass(frozen=True)
class Step:
    """One way to measure the windows of a family."""

    family: Family
    of_window: Measure
    marker: Value
    """A value that every window has that was measured so."""
    on_labels: bool = False
    """Whether it waits for labels: then windows are due once the labels' delay has passed."""


STEPS = (
    Step(Family.LATENCY, latency.measure, values.LATENCY_ROWS),
    Step(Family.USAGE, usage.measure, values.PREDICTIONS),
    Step(Family.QUALITY, quality.measure, values.QUALITY_ROWS),
    Step(Family.DRIFT, drift.measure, values.DRIFT_ROWS),
    Step(Family.PERFORMANCE, performance.estimate, values.PERFORMANCE_ROWS),
    Step(Family.PERFORMANCE, performance.measure, values.LABEL_COVERAGE, on_labels=True),
)
FAMILIES = tuple(dict.fromkeys(step.family for step in STEPS))


@dataclass(frozen=True)
class WindowValue:
    """A value with the window that it is of."""

    span: Span
    measured: Measured
    latest: bool = True
    """Whether the window is the newest of its family that is over."""


@dataclass(frozen=True)
class FamilyRun:
    """How measuring one family went: a row of `monitor_runs`."""

    family: Family
    started: datetime
    ended: datetime
    error: str | None = None
    span: Span | None = None
    """From the start of the earliest window to the end of the latest."""
    rows: int = 0
    bytes: int = 0


@dataclass
class Measurement:
    """What a run has measured of one model."""

    values: list[WindowValue] = field(default_factory=list)
    runs: list[FamilyRun] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether no family failed."""
        return not any(run.error for run in self.runs)


def measure(
    warehouse: Warehouse,
    model: Watched,
    manifests: Manifests,
    at: datetime,
    run_id: str,
    *,
    since: datetime | None = None,
    log: Table | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Measurement:
    """Measure `model` as of `at`, and keep the values.

    Counts the hours of the prediction log that have changed, and writes to `metric_values` each window that
    ended since the last run or holds such an hour, to `monitor_runs` how each family went. A family that
    fails does not keep the others from being measured.

    Args:
        warehouse: where all tables are.
        model: what is measured.
        manifests: of each version that the log may hold; rows of others are only counted.
        at: the run's time, UTC; what ended before it is measured.
        run_id: of the run: running it again under the same id adds nothing.
        since: measure all windows that end after it and were not measured, however long ago; default: those
            of the last two days.
        log: definition of the prediction log, if it may not exist yet or lack columns.
        now: clock of `computed` and of the runs.
    """
    result = Measurement()
    reader = Reader(warehouse, model, run_id, now(), Cost(), log)
    started = now()
    try:
        counted = count(reader, manifests, at, since)
    except Exception as error:
        for family in FAMILIES:
            if model.enabled(family):
                result.runs.append(FamilyRun(family, started, now(), _said(error)))
        keep(reader, result)
        return result
    context = Context(reader, manifests, at, since or at - MISSED, counted)
    for family in FAMILIES:
        if model.enabled(family):
            steps = [step for step in STEPS if step.family is family]
            _measure_family(context, family, steps, result, now)
    keep(reader, result)
    return result


def count(
    reader: Reader, manifests: Manifests, at: datetime, since: datetime | None = None
) -> dict[datetime, datetime]:
    """Count the hours of the log that changed since; return when each hour was counted last."""
    end = windows.floor(at, HOUR)
    reach = _reach(reader.model)
    furthest = min(end - HISTORY, since - reach if since else end)
    known = hours.counted(reader, (furthest, end))
    latest = max((hour for hour, _ in known), default=None)
    # The first time, all of the history; after a pause, from the hour where it began.
    start = furthest if latest is None or since else max(min(end - reach, latest), furthest)
    start = windows.floor(start, DAY)
    fresh = hours.changed(hours.in_log(reader, (start, end)), known)
    hours.count(reader, manifests, fresh)
    return hours.times(reader, known, fresh)


def _reach(model: Watched) -> timedelta:
    """Return how far back rows may still change a window that is in force."""
    lengths = [model.window(family) for family in FAMILIES if model.enabled(family)]
    return max(lengths, default=HOUR) + LATE


@dataclass
class Context:
    """What the families of one run share."""

    reader: Reader
    manifests: Manifests
    at: datetime
    since: datetime
    """Windows that end before it are measured again if their hours changed, but not for the first time."""
    counted: Mapping[datetime, datetime]
    """When each hour of the log was counted last."""
    _merged: dict[Span, Mapping[int, Figures]] = field(default_factory=dict)
    _hourly: dict[datetime, dict[str, float]] | None = None
    _batches: Batches | None = None
    _past: Past | None = None
    _known: dict[tuple[str, str], dict[Span, datetime]] | None = None

    def window(self, span: Span) -> Window:
        """Return a window with all that its measures need; each is read once."""
        if span not in self._merged:
            self._merged[span] = hours.merged(self.reader, span)
        return Window(
            self.reader.model,
            self.manifests,
            span,
            self._merged[span],
            self.hourly,
            self.past,
            self.batches,
            functools.partial(hours.callers, self.reader, span),
        )

    def forget(self) -> None:
        """Forget the merged windows, since hours were counted again."""
        self._merged.clear()

    @property
    def hourly(self) -> dict[datetime, dict[str, float]]:
        """Whole rows by hour, of the last weeks."""
        if self._hourly is None:
            end = windows.floor(self.at, HOUR)
            first = min(self.since, end - MISSED) - HISTORY - DAY
            self._hourly = hours.hourly(self.reader, (first, end))
        return self._hourly

    @property
    def batches(self) -> Batches:
        """Runs of a batch model in the last weeks."""
        table = self.reader.model.runs_table
        if table is None:
            return Batches()
        if self._batches is None:
            start = min(self.since, self.at - MISSED) - HISTORY
            self._batches = batches.read(self.reader, table, (start, self.at))
        return self._batches

    @property
    def past(self) -> Past:
        """Values of earlier windows."""
        if self._past is None:
            self._read_past()
        assert self._past is not None
        return self._past

    def due(self, step: Step, counted: Mapping[datetime, datetime]) -> list[Span]:
        """Return the windows of `step` that no run has measured since one of their hours was counted."""
        model = self.reader.model
        length = model.window(step.family)
        if self._known is None:
            self._read_past()
        assert self._known is not None
        known = self._known.get((step.family, step.marker.metric), {})
        waits = model.delay if step.on_labels else timedelta()
        until, since = self.at - waits, self.since - waits
        begun = self._begun()
        return [
            span
            for span in windows.ending(length, min(since, until - length - LATE), until)
            if span[1] > begun
            and (windows.newer(span, counted, known[span]) if span in known else span[1] > since)
        ]

    def _begun(self) -> datetime:
        """Return the first hour with a row: nothing is measured before it, but that a batch has not run."""
        seen = [hour for hour, figures in self.hourly.items() if figures.get("seen")]
        deployed = self.batches.deployed
        return min([*seen, *([deployed] if deployed else [])], default=self.at)

    def _read_past(self) -> None:
        model, end = self.reader.model, windows.floor(self.at, HOUR)
        ref = model.table("metric_values")
        needed = (*REMEMBERED, *(step.marker for step in STEPS))
        listed = ", ".join(sorted({sql.text(value.metric) for value in needed}))
        statement = f"""
SELECT family, metric, version, feature, window_start, window_end, value, computed FROM {sql.table(ref)}
WHERE team = @team AND model = @model AND window_end >= @start AND window_end <= @end
  AND metric IN ({listed})
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY window_start, window_end, version, family, metric, feature ORDER BY computed DESC, run_id DESC
) = 1"""
        waits = model.delay + model.window(Family.PERFORMANCE)
        span = (min(self.since, end - MISSED) - max(HISTORY, waits + LATE), end + HOUR)
        parameters = {"team": model.team, "model": model.model, "start": span[0], "end": span[1]}
        past: dict[tuple[str, int | None, str | None], dict[datetime, float]] = {}
        known: dict[tuple[str, str], dict[Span, datetime]] = {}
        for row in self.reader.rows(statement, parameters, {ref: METRIC_VALUES}, span):
            window = (row["window_start"], row["window_end"])
            known.setdefault((row["family"], row["metric"]), {})[window] = row["computed"]
            if row["value"] is not None:
                key = (row["metric"], row["version"], row["feature"])
                past.setdefault(key, {})[row["window_end"]] = row["value"]
        self._past, self._known = Past(past), known


def _measure_family(
    context: Context,
    family: Family,
    steps: Sequence[Step],
    result: Measurement,
    now: Callable[[], datetime],
) -> None:
    started, cost = now(), context.reader.cost
    error: str | None = None
    found: list[WindowValue] = []
    for step in steps:
        try:
            found += _measure_windows(context, step)
        except Exception as failure:
            error = _said(failure)
    result.values += found
    spans = [value.span for value in found]
    whole = (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None
    result.runs.append(FamilyRun(family, started, now(), error, whole, cost.rows, cost.bytes))
    # The first family's run tells what counting cost; the others, what they read themselves.
    cost.rows = cost.bytes = 0


def _measure_windows(context: Context, step: Step) -> list[WindowValue]:
    model, until, counted = context.reader.model, context.at, context.counted
    length = model.window(step.family)
    if step.on_labels:
        if model.label is None:
            return []
        until -= model.delay
        first = min(context.since - model.delay, until) - length - LATE
        span = (windows.floor(first, DAY), windows.floor(until, HOUR))
        counted = labels.count(context.reader, context.manifests, model.label, span)
        context.forget()
    newest = windows.floor(until, windows.step(length))
    return [
        WindowValue(span, measured, span[1] == newest)
        for span in context.due(step, counted)
        for of_window in (step.of_window, *more.measures(step.family, step.on_labels))
        for measured in of_window(context.window(span))
    ]


def _said(error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"[:2000]


def keep(reader: Reader, result: Measurement) -> None:
    """Write the values and the runs, each once per run id."""
    model = reader.model
    rows: Sequence[Mapping[str, Any]] = [
        {
            "window_start": value.span[0],
            "window_end": value.span[1],
            "team": model.team,
            "model": model.model,
            "version": value.measured.version,
            "family": value.measured.metric.family.value,
            "metric": value.measured.metric.metric,
            "feature": value.measured.feature,
            "value": value.measured.value,
            "threshold": value.measured.threshold,
            "row_count": value.measured.rows,
            "run_id": reader.run_id,
            "computed": reader.computed,
            "detail": value.measured.detail,
        }
        for value in result.values
    ]
    name = f"{model.team}-{model.model}-{reader.run_id}"
    reader.append(METRIC_VALUES, model.table("metric_values"), rows, name)
    runs: Sequence[Mapping[str, Any]] = [
        {
            "run_id": reader.run_id,
            "team": model.team,
            "model": model.model,
            "family": run.family.value,
            "started": run.started,
            "ended": run.ended,
            "succeeded": run.error is None,
            "error": run.error,
            "window_start": run.span[0] if run.span else None,
            "window_end": run.span[1] if run.span else None,
            "rows_read": run.rows,
            "bytes_scanned": run.bytes,
        }
        for run in result.runs
    ]
    reader.append(MONITOR_RUNS, model.table("monitor_runs"), runs, name)
