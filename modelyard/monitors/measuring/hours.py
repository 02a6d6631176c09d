"""The hours of a prediction log: which have changed, and counting them.

Nothing is remembered but the counts themselves: an hour is counted again when the log holds another number
of its rows than the counts say. So a run that died, ran twice, or came before late rows needs no repair.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from modelyard.monitors.measuring import counting, sql
from modelyard.monitors.measuring.counting import ROWS, Figure
from modelyard.monitors.measuring.watched import HOUR, Manifests, Watched
from modelyard.spec.manifest import Manifest
from modelyard.tables import PREDICTION_USAGE, WINDOW_COUNTS, Table, arrow_schema
from modelyard.warehouse import Warehouse

LOG, LABELS = "log", "labels"
EXTREMES = counting.LEAST | counting.GREATEST
Span = tuple[datetime, datetime]
"""From, inclusive, and to, exclusive."""


@dataclass
class Cost:
    """What the queries of a run have read."""

    rows: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Reader:
    """The warehouse, as measuring one model reads and writes it."""

    warehouse: Warehouse
    model: Watched
    run_id: str
    computed: datetime
    cost: Cost
    log: Table | None = None
    """Definition of the prediction log; without one the log must exist."""

    def rows(
        self, statement: str, parameters: Mapping[str, Any], tables: Mapping[str, Table], span: Span
    ) -> list[dict[str, Any]]:
        """Return the rows of a statement that reads `tables` within `span`."""
        days = (span[0].astimezone(UTC).date(), last_day(span[1]))
        known = {ref: table for ref, table in tables.items() if table is not None}
        result = self.warehouse.run(statement, parameters, known, days)
        self.cost.bytes += result.statistics.bytes_scanned
        return list(result.rows.to_pylist())

    @property
    def log_tables(self) -> dict[str, Table]:
        """The prediction log with its definition."""
        return {self.model.log_table: self.log} if self.log else {}

    def append(self, table: Table, ref: str, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Add rows to a shared table, once per `name`."""
        import pyarrow as pa  # slow to import, and not needed where monitors are only declared

        if rows:
            columns = {key: [row.get(key) for row in rows] for key in rows[0]}
            schema = arrow_schema(table)
            chosen = pa.schema([schema.field(key) for key in columns])
            self.warehouse.append(ref, table, pa.table(columns, schema=chosen), name)


def last_day(end: datetime) -> date:
    """Return the last day of a span that ends before `end`."""
    return (end - timedelta(microseconds=1)).astimezone(UTC).date()


def name_of(*parts: object) -> str:
    """Return the name of an addition: the same for the same parts."""
    text = json.dumps(parts, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


HourCounts = dict[tuple[datetime, int], int]
"""Rows by hour and version."""


def in_log(reader: Reader, span: Span) -> HourCounts:
    """Return the rows of each hour and version that the log holds; reads two narrow columns."""
    statement = (
        f"SELECT {sql.hour('time')} AS hour, version, COUNT(*) AS n "
        f"FROM {sql.table(reader.model.log_table)} WHERE time >= @start AND time < @end "
        "GROUP BY hour, version"
    )
    found = reader.rows(statement, {"start": span[0], "end": span[1]}, reader.log_tables, span)
    return {(row["hour"], row["version"]): row["n"] for row in found}


@dataclass(frozen=True)
class Counted:
    """An hour's latest counting."""

    rows: int
    computed: datetime


Counts = dict[tuple[datetime, int], Counted]
"""The latest counting by hour and version."""


def counted(reader: Reader, span: Span, part: str = LOG) -> Counts:
    """Return the latest counting of each hour and version."""
    ref = reader.model.table("window_counts")
    statement = f"""
SELECT hour, version, value, computed FROM {sql.table(ref)}
WHERE team = @team AND model = @model AND part = @part AND measure = 'seen'
  AND hour >= @start AND hour < @end
QUALIFY ROW_NUMBER() OVER (PARTITION BY hour, version ORDER BY computed DESC, run_id DESC) = 1"""
    parameters = _whose(reader.model) | {
        "start": span[0],
        "end": span[1],
        "part": part,
    }
    found = reader.rows(statement, parameters, {ref: WINDOW_COUNTS}, span)
    return {(row["hour"], row["version"]): Counted(int(row["value"]), row["computed"]) for row in found}


def _whose(model: Watched) -> dict[str, Any]:
    return {"team": model.team, "model": model.model}


def changed(log: HourCounts, known: Counts) -> HourCounts:
    """Return what the log holds of the hours whose counts differ."""
    return {key: rows for key, rows in log.items() if key not in known or known[key].rows != rows}


def times(reader: Reader, known: Counts, fresh: HourCounts) -> dict[datetime, datetime]:
    """Return when each hour was counted last: now, where it is `fresh`."""
    found: dict[datetime, datetime] = {}
    for (hour, _), held in known.items():
        found[hour] = max(held.computed, found.get(hour, held.computed))
    return found | {hour: reader.computed for hour, _ in fresh}


def count(reader: Reader, manifests: Manifests, hours: HourCounts) -> None:
    """Count `hours` of the log, by day and version, and keep the figures.

    A day is counted by one statement, its hours from the first to the last that changed, and kept whole or
    not at all.
    """
    for (version, _), keys in by_day(hours).items():
        first, last = min(keys)[0], max(keys)[0]
        span = (first, last + HOUR)
        seen = {hour: hours[hour, version] for hour, _ in keys}
        manifest = manifests.get(version)
        figures = _figures(reader, manifest, version, span) if manifest else {}
        # The counts come last: by them an hour is known to be done.
        _keep_usage(reader, version, seen, span)
        _keep(reader, version, seen, figures)
        reader.cost.rows += sum(seen.values())


def by_day(hours: HourCounts) -> dict[tuple[int, date], list[tuple[datetime, int]]]:
    """Return the hours of each version and day, in order."""
    found: dict[tuple[int, date], list[tuple[datetime, int]]] = {}
    for hour, version in sorted(hours):
        found.setdefault((version, hour.astimezone(UTC).date()), []).append((hour, version))
    return found


HourFigures = dict[datetime, list[tuple[Figure, float]]]


def _figures(reader: Reader, manifest: Manifest, version: int, span: Span) -> HourFigures:
    """Return the figures of each hour; rows that were logged twice count once."""
    found = _run(reader, manifest, version, span, once=False)
    # A row that was logged twice has the inputs of another. Ids are dear to compare, so they are not where
    # all inputs differ.
    alike = [
        hour for hour, figures in found.items() if _value(figures, "different") != _value(figures, "rows")
    ]
    if not alike:
        return found
    parameters = {"start": min(alike), "end": max(alike) + HOUR, "version": version}
    statement = counting.ids(reader.model.log_table)
    held = reader.rows(statement, parameters, reader.log_tables, (min(alike), max(alike) + HOUR))
    if any(row["ids"] != _value(found[row["hour"]], "rows") for row in held):
        return _run(reader, manifest, version, span, once=True)
    return found


def _value(figures: Sequence[tuple[Figure, float]], measure: str) -> float | None:
    return next(
        (value for figure, value in figures if (figure.item, figure.measure) == (ROWS, measure)), None
    )


def _run(reader: Reader, manifest: Manifest, version: int, span: Span, *, once: bool) -> HourFigures:
    found: HourFigures = {}
    parameters = {"start": span[0], "end": span[1], "version": version}
    restricted = reader.model.sensitivity or {}
    for statement, figures in counting.statements(
        reader.model.log_table, manifest, once=once, restricted=restricted
    ):
        for row in reader.rows(statement, parameters, reader.log_tables, span):
            values = found.setdefault(row["hour"], [])
            for index, figure in enumerate(figures):
                value = row[f"a{index}"]
                # A zero adds nothing to a sum, so it is not kept.
                if value is not None and (value or figure.item == ROWS or figure.measure in EXTREMES):
                    values.append((figure, float(value)))
    return found


def _keep(reader: Reader, version: int, seen: Mapping[datetime, int], figures: HourFigures) -> None:
    rows = []
    for hour, held in seen.items():
        values = [*figures.get(hour, []), (Figure(ROWS, "seen", ""), float(held))]
        if hour not in figures:
            values.append((Figure(ROWS, "rows", ""), float(held)))
        rows += [row(reader, LOG, hour, version, figure, value) for figure, value in values]
    ref = reader.model.table("window_counts")
    reader.append(WINDOW_COUNTS, ref, rows, addition(reader, LOG, version, seen))


def addition(reader: Reader, part: str, version: int, seen: Mapping[datetime, int]) -> str:
    """Return the name under which a counting of hours is kept."""
    model = reader.model
    return f"{model.team}-{model.model}-{name_of(part, version, sorted(seen.items()), reader.run_id)}"


def row(
    reader: Reader, part: str, hour: datetime, version: int, figure: Figure, value: float
) -> dict[str, Any]:
    """Return a figure of an hour as a row of `window_counts`."""
    return {
        "hour": hour,
        "team": reader.model.team,
        "model": reader.model.model,
        "version": version,
        "part": part,
        "item": figure.item,
        "measure": figure.measure,
        "bin": figure.bin,
        "value": value,
        "run_id": reader.run_id,
        "computed": reader.computed,
    }


def _keep_usage(reader: Reader, version: int, seen: Mapping[datetime, int], span: Span) -> None:
    """Count the hours' predictions per caller, for everybody who asks how much a model is used."""
    model = reader.model
    statement = (
        f"SELECT {sql.hour('time')} AS hour, pattern, caller, COUNT(*) AS predictions, "
        f"COUNTIF(prediction IS NULL) AS errors FROM {sql.table(model.log_table)} "
        "WHERE time >= @start AND time < @end AND version = @version GROUP BY hour, pattern, caller"
    )
    parameters = {"start": span[0], "end": span[1], "version": version}
    rows = [
        {
            "hour": row["hour"],
            "team": model.team,
            "model": model.model,
            "version": version,
            "pattern": row["pattern"],
            "caller": row["caller"],
            "predictions": row["predictions"],
            "errors": row["errors"],
            "computed": reader.computed,
        }
        for row in reader.rows(statement, parameters, reader.log_tables, span)
        if row["hour"] in seen
    ]
    reader.append(PREDICTION_USAGE, model.usage_table, rows, addition(reader, "usage", version, seen))


class Figures:
    """The figures of one version in one window: its hours, merged."""

    def __init__(self, values: Mapping[tuple[str, str], Mapping[int | None, float]]) -> None:
        """Take the merged values by item and measure, then bin."""
        self._values = values

    def get(self, item: str, measure: str) -> float | None:
        """Return a figure that has no bins, or None if it was not counted or is zero."""
        return self._values.get((item, measure), {}).get(None)

    def number(self, item: str, measure: str) -> float:
        """Return a figure that has no bins; 0 where there is none."""
        return self.get(item, measure) or 0.0

    def bins(self, item: str, measure: str, length: int) -> list[float]:
        """Return the bins of a measure."""
        held = self._values.get((item, measure), {})
        return [held.get(index, 0.0) for index in range(length)]

    def between(self, item: str, length: int, measure: str = "bin") -> list[float]:
        """Return the bins of an item that was counted up to each edge: `length` bins, the last one open."""
        up_to = self.bins(item, f"{measure}_up_to", length - 1)
        present = self.number(item, "present")
        edges = [0.0, *up_to, present]
        return [high - low for low, high in itertools.pairwise(edges)]

    @property
    def rows(self) -> int:
        """Rows of the window, each id once."""
        return int(self.number(ROWS, "rows"))

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield which items and measures there are."""
        yield from self._values


def merged(reader: Reader, span: Span) -> dict[int, Figures]:
    """Return the figures of each version in `span`, from its hours."""
    ref = reader.model.table("window_counts")
    statement = f"""
SELECT version, item, measure, bin, SUM(value) AS total, MIN(value) AS least, MAX(value) AS greatest
FROM (
  SELECT version, item, measure, bin, value FROM {sql.table(ref)}
  WHERE team = @team AND model = @model AND hour >= @start AND hour < @end
  QUALIFY RANK() OVER (PARTITION BY hour, version, part ORDER BY computed DESC, run_id DESC) = 1
)
GROUP BY version, item, measure, bin"""
    parameters = _whose(reader.model) | {"start": span[0], "end": span[1]}
    held: dict[int, dict[tuple[str, str], dict[int | None, float]]] = {}
    for row in reader.rows(statement, parameters, {ref: WINDOW_COUNTS}, span):
        measure = row["measure"]
        which = (
            "least" if measure in counting.LEAST else "greatest" if measure in counting.GREATEST else "total"
        )
        bins = held.setdefault(row["version"], {}).setdefault((row["item"], measure), {})
        bins[row["bin"]] = row[which]
    return {version: Figures(values) for version, values in held.items()}


def callers(reader: Reader, span: Span) -> int:
    """Return how many different callers asked within `span`."""
    ref = reader.model.usage_table
    statement = f"""
SELECT COUNT(DISTINCT caller) AS n
FROM (
  SELECT caller FROM {sql.table(ref)}
  WHERE team = @team AND model = @model AND hour >= @start AND hour < @end
  QUALIFY RANK() OVER (PARTITION BY hour, version ORDER BY computed DESC) = 1
)"""
    parameters = _whose(reader.model) | {"start": span[0], "end": span[1]}
    (row,) = reader.rows(statement, parameters, {ref: PREDICTION_USAGE}, span)
    return int(row["n"])


def hourly(reader: Reader, span: Span) -> dict[datetime, dict[str, float]]:
    """Return the figures of whole rows by hour, all versions together: `seen`, `rows`, `different`."""
    ref = reader.model.table("window_counts")
    statement = f"""
SELECT hour, measure, SUM(value) AS total
FROM (
  SELECT hour, version, measure, value FROM {sql.table(ref)}
  WHERE team = @team AND model = @model AND part = 'log' AND item = '{ROWS}'
    AND hour >= @start AND hour < @end
  QUALIFY RANK() OVER (PARTITION BY hour, version ORDER BY computed DESC, run_id DESC) = 1
)
GROUP BY hour, measure"""
    found: dict[datetime, dict[str, float]] = {}
    parameters = _whose(reader.model) | {"start": span[0], "end": span[1]}
    for row in reader.rows(statement, parameters, {ref: WINDOW_COUNTS}, span):
        found.setdefault(row["hour"], {})[row["measure"]] = row["total"]
    return found
