"""Measure one model: count the hours that changed, then every window that is due."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from modelyard.monitors.alert import Family
from modelyard.monitors.measuring import drift, hours, latency, quality, sql, usage, windows
from modelyard.monitors.measuring.hours import Cost, Figures, HourCounts, Reader, Span
from modelyard.monitors.measuring.measured import Measured, Past, Window
from modelyard.monitors.measuring.watched import DAY, HOUR, Manifests, Watched
from modelyard.tables import METRIC_VALUES, MONITOR_RUNS, Table
from modelyard.warehouse import Warehouse

# Usage looks back four weeks, drift at the same time of as many.
HISTORY = timedelta(days=29)
# Rows this much later than their hour are still counted.
LATE = DAY
# A job that stood still measures the windows it missed, up to so long ago.
MISSED = timedelta(days=2)
Measure = Callable[[Window], Iterator[Measured]]
FAMILIES: Mapping[Family, Measure] = {
    Family.LATENCY: latency.measure,
    Family.USAGE: usage.measure,
    Family.QUALITY: quality.measure,
    Family.DRIFT: drift.measure,
}


@dataclass(frozen=True)
class WindowValue:
    """A value with the window that it is of."""

    span: Span
    measured: Measured


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
    latest: dict[Family, datetime] = field(default_factory=dict)
    """The end of each family's newest window that is over."""

    def is_latest(self, value: WindowValue) -> bool:
        """Return whether a value is of its family's newest window, not of an earlier one measured again."""
        return value.span[1] == self.latest.get(value.measured.metric.family)

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
        log: definition of the prediction log, if it may not exist yet or lack columns.
        now: clock of `computed` and of the runs.
    """
    result = Measurement()
    reader = Reader(warehouse, model, run_id, now(), Cost(), log)
    started = now()
    try:
        fresh = count(reader, manifests, at)
    except Exception as error:
        for family in FAMILIES:
            if model.enabled(family):
                result.runs.append(FamilyRun(family, started, now(), _said(error)))
        keep(reader, result)
        return result
    context = Context(reader, manifests, at, fresh)
    for family, of_window in FAMILIES.items():
        if model.enabled(family):
            _measure_family(context, family, of_window, result, now)
    keep(reader, result)
    return result


def count(reader: Reader, manifests: Manifests, at: datetime) -> HourCounts:
    """Count the hours of the log that changed since they were counted last, and return them."""
    end = windows.floor(at, HOUR)
    known = hours.counted(reader, (end - HISTORY, end))
    start = end - _reach(reader.model)
    latest = max((hour for hour, _ in known), default=None)
    # The first time, all of the history; after a pause, from the hour where it began.
    start = end - HISTORY if latest is None else min(start, latest)
    start = windows.floor(max(start, end - HISTORY), DAY)
    fresh = hours.changed(hours.in_log(reader, (start, end)), known)
    hours.count(reader, manifests, fresh)
    return fresh


def _reach(model: Watched) -> timedelta:
    """Return how far back rows may still change a window that is in force."""
    longest = (
        max(model.window(family) for family in FAMILIES if model.enabled(family))
        if any(model.enabled(family) for family in FAMILIES)
        else HOUR
    )
    return longest + LATE


@dataclass
class Context:
    """What the families of one run share."""

    reader: Reader
    manifests: Manifests
    at: datetime
    fresh: HourCounts
    _merged: dict[Span, Mapping[int, Figures]] = field(default_factory=dict)
    _hourly: dict[datetime, dict[str, float]] | None = None
    _past: Past | None = None
    _known: dict[str, set[Span]] | None = None

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
        )

    @property
    def hourly(self) -> dict[datetime, dict[str, float]]:
        """Whole rows by hour, of the last weeks."""
        if self._hourly is None:
            end = windows.floor(self.at, HOUR)
            self._hourly = hours.hourly(self.reader, (end - HISTORY - MISSED - DAY, end))
        return self._hourly

    @property
    def past(self) -> Past:
        """Values of earlier windows."""
        if self._past is None:
            self._read_past()
        assert self._past is not None
        return self._past

    def due(self, family: Family) -> list[Span]:
        """Return the windows of `family` that no run has measured, or whose hours have changed since."""
        length = self.reader.model.window(family)
        if self._known is None:
            self._read_past()
        assert self._known is not None
        known = self._known.get(family, set())
        changed = {hour for hour, _ in self.fresh}
        first = min(changed, default=self.at)
        after = self.at - max(MISSED, min(self.at - first, length + LATE))
        begun = self._begun()
        return [
            span
            for span in windows.ending(length, after, self.at)
            if span[1] > begun and (span not in known or windows.touched(span, changed))
        ]

    def _begun(self) -> datetime:
        """Return the first hour with a row: nothing is measured before it."""
        return min((hour for hour, figures in self.hourly.items() if figures.get("seen")), default=self.at)

    def _read_past(self) -> None:
        model, end = self.reader.model, windows.floor(self.at, HOUR)
        ref = model.table("metric_values")
        statement = f"""
SELECT family, metric, version, feature, window_start, window_end, value FROM {sql.table(ref)}
WHERE team = @team AND model = @model AND window_end >= @start AND window_end <= @end
  AND metric IN ('psi', 'prediction_psi', 'constant', 'rows', 'predictions', 'error_share')
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY window_start, window_end, version, family, metric, feature ORDER BY computed DESC, run_id DESC
) = 1"""
        span = (end - HISTORY - MISSED, end + HOUR)
        parameters = {"team": model.team, "model": model.model, "start": span[0], "end": span[1]}
        past: dict[tuple[str, int | None, str | None], dict[datetime, float]] = {}
        known: dict[str, set[Span]] = {}
        for row in self.reader.rows(statement, parameters, {ref: METRIC_VALUES}, span):
            known.setdefault(row["family"], set()).add((row["window_start"], row["window_end"]))
            if row["value"] is not None:
                key = (row["metric"], row["version"], row["feature"])
                past.setdefault(key, {})[row["window_end"]] = row["value"]
        self._past, self._known = Past(past), known


def _measure_family(
    context: Context,
    family: Family,
    of_window: Measure,
    result: Measurement,
    now: Callable[[], datetime],
) -> None:
    started, cost = now(), context.reader.cost
    error: str | None = None
    found: list[WindowValue] = []
    due: list[Span] = []
    length = context.reader.model.window(family)
    result.latest[family] = windows.floor(context.at, windows.step(length))
    try:
        due = context.due(family)
        for span in due:
            found += [WindowValue(span, measured) for measured in of_window(context.window(span))]
    except Exception as failure:
        error, found = _said(failure), []
    result.values += found
    whole = (min(start for start, _ in due), max(end for _, end in due)) if due else None
    result.runs.append(FamilyRun(family, started, now(), error, whole, cost.rows, cost.bytes))
    # The first family's run tells what counting cost; the others, what they read themselves.
    cost.rows = cost.bytes = 0


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
