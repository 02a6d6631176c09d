"""Windows are computed incrementally: what is late, repeated or cut short leaves the same result."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from modelyard.monitors.measuring import measure
from modelyard.tables import Table
from modelyard.warehouse import Result, Warehouse
from tests.modelyard.monitors.measuring.world import BEGIN, DAY, HOUR, World, rows, world

Values = dict[tuple[Any, ...], tuple[float | None, int]]


def newest(place: World) -> Values:
    """Return the latest value of each metric and window, as people see them."""
    ref = place.model.table("metric_values")
    found = place.warehouse.query(
        f"SELECT window_start, window_end, version, family, metric, feature, value, row_count FROM `{ref}` "
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY window_start, window_end, version, family, metric, feature "
        "ORDER BY computed DESC, run_id DESC) = 1"
    )
    return {tuple(row.values())[:6]: (row["value"], row["row_count"]) for row in found.to_pylist()}


def same(found: Values, expected: Values) -> None:
    assert found.keys() == expected.keys()
    for key, (value, count) in expected.items():
        assert found[key][1] == count, key
        assert (found[key][0] is None) == (value is None), key
        assert value is None or found[key][0] == pytest.approx(value, rel=1e-9, abs=1e-9), key


def test_hour_by_hour_is_the_same_as_all_at_once(tmp_path: Path) -> None:
    step_by_step, at_once = world(tmp_path / "a"), world(tmp_path / "b")
    for hour in range(30):
        made = rows(BEGIN + hour * HOUR, 40)
        step_by_step.write(made, f"hour-{hour}")
        at_once.write(made, f"hour-{hour}")
        step_by_step.measure(BEGIN + (hour + 1) * HOUR)
    at_once.measure(BEGIN + 30 * HOUR)
    same(newest(step_by_step), newest(at_once))


def test_late_rows_recompute_their_windows_and_no_others(tmp_path: Path) -> None:
    late, in_time = world(tmp_path / "late"), world(tmp_path / "in-time")
    held: list[dict[str, Any]] = []
    for hour in range(30):
        made = rows(BEGIN + hour * HOUR, 40)
        in_time.write(made, f"hour-{hour}")
        if hour == 10:
            held, made = made[25:], made[:25]
        late.write(made, f"hour-{hour}")
    late.measure(BEGIN + 29 * HOUR)
    late.write(held, "late")
    found = late.measure(BEGIN + 30 * HOUR)
    spans = {value.span for value in found.values}
    assert (BEGIN + 10 * HOUR, BEGIN + 11 * HOUR) in spans
    assert (BEGIN, BEGIN + DAY) in spans
    assert (BEGIN + 11 * HOUR, BEGIN + 12 * HOUR) not in spans
    in_time.measure(BEGIN + 30 * HOUR)
    same(newest(late), newest(in_time))
    assert not any(value.latest for value in found.values if value.span[1] == BEGIN + 11 * HOUR)


def test_running_twice_changes_nothing(tmp_path: Path) -> None:
    place = world(tmp_path)
    place.write(rows(BEGIN, 300, length=DAY), "rows")
    place.measure(BEGIN + DAY, "run")
    tables = {name: len(place.table(name)) for name in ("metric_values", "monitor_runs", "window_counts")}
    before = newest(place)
    assert place.measure(BEGIN + DAY, "run").values == []
    assert {name: len(place.table(name)) for name in tables} == tables
    assert place.measure(BEGIN + DAY, "another").values == []
    same(newest(place), before)


class Dying:
    """A warehouse whose process is killed before the addition of number `at`."""

    def __init__(self, warehouse: Warehouse, at: int) -> None:
        self._warehouse, self._left = warehouse, at

    def append(self, ref: str, table: Table, found: pa.Table, name: str) -> None:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        self._warehouse.append(ref, table, found, name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._warehouse, name)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 5])
def test_a_run_that_died_is_made_good_by_the_next(tmp_path: Path, at: int) -> None:
    died, healthy = world(tmp_path / "died"), world(tmp_path / "healthy")
    for place in (died, healthy):
        place.write(rows(BEGIN, 300, length=2 * DAY), "rows")
    versions: Mapping[int, Any] = {1: died.manifest}
    with pytest.raises(KeyboardInterrupt):
        # Two days are two additions of counts and two of usage, then come the values and the runs.
        measure(
            Dying(died.warehouse, at),
            died.model,
            versions,
            BEGIN + 2 * DAY,
            "cut-short",
            log=died.log,
            now=lambda: BEGIN + 2 * DAY,
        )
    died.measure(BEGIN + 2 * DAY + timedelta(minutes=5))
    healthy.measure(BEGIN + 2 * DAY + timedelta(minutes=5))
    same(newest(died), newest(healthy))
    view = (
        f"SELECT SUM(predictions) AS n FROM (SELECT predictions FROM `{died.model.usage_table}` "
        "QUALIFY RANK() OVER (PARTITION BY hour, team, model, version ORDER BY computed DESC) = 1)"
    )
    assert died.warehouse.query(view).to_pylist() == [{"n": 300}]


def test_late_rows_are_measured_though_the_run_that_counted_them_died(tmp_path: Path) -> None:
    died, healthy = world(tmp_path / "died"), world(tmp_path / "healthy")
    made = rows(BEGIN, 300, length=DAY)
    for place in (died, healthy):
        place.write(made[:250], "rows")
        place.measure(BEGIN + DAY)
        place.write(made[250:], "late")
    with pytest.raises(KeyboardInterrupt):
        # Usage and counts are kept, the values are not.
        measure(
            Dying(died.warehouse, 2),
            died.model,
            {1: died.manifest},
            BEGIN + DAY + HOUR,
            "cut-short",
            log=died.log,
            now=lambda: BEGIN + DAY + HOUR,
        )
    for place in (died, healthy):
        place.measure(BEGIN + DAY + HOUR + timedelta(minutes=5))
    same(newest(died), newest(healthy))


def test_a_job_that_stood_still_measures_what_it_missed(tmp_path: Path) -> None:
    place = world(tmp_path)
    for hour in range(40):
        place.write(rows(BEGIN + hour * HOUR, 30), f"hour-{hour}")
    place.measure(BEGIN + 2 * HOUR)
    found = place.measure(BEGIN + 40 * HOUR)
    ends = {value.span[1] for value in found.values if value.measured.metric.metric == "predictions"}
    assert ends == {BEGIN + hour * HOUR for hour in range(3, 41)}


def test_long_ago_is_measured_only_if_asked_for(tmp_path: Path) -> None:
    place = world(tmp_path)
    for day in range(10):
        place.write(rows(BEGIN + day * DAY, 60, length=DAY), f"day-{day}")

    def days(since: datetime | None, run: str) -> set[datetime]:
        found = measure(
            place.warehouse,
            place.model,
            {1: place.manifest},
            BEGIN + 10 * DAY,
            run,
            since=since,
            log=place.log,
            now=lambda: BEGIN + 10 * DAY,
        )
        return {v.span[1] for v in found.values if v.measured.metric.metric == "prediction_psi"}

    assert days(None, "usual") == {BEGIN + 9 * DAY, BEGIN + 10 * DAY}
    assert days(BEGIN, "all") == {BEGIN + day * DAY for day in range(1, 9)}


def test_the_next_hour_reads_little_of_what_is_there(tmp_path: Path) -> None:
    place = world(tmp_path)
    for day in range(20):
        place.write(rows(BEGIN + day * DAY, 3000, length=DAY), f"day-{day}")
    first = place.measure(BEGIN + 20 * DAY)
    place.write(rows(BEGIN + 20 * DAY, 125), "hour")
    following = place.measure(BEGIN + 20 * DAY + HOUR)
    assert sum(run.rows for run in following.runs) == 125
    read = sum(run.bytes for run in following.runs) / sum(run.bytes for run in first.runs)
    assert read < 0.15, "small files are mostly their footers"


def test_partitions_that_no_window_needs_any_more_are_not_opened(tmp_path: Path) -> None:
    place, untouched = world(tmp_path / "a"), world(tmp_path / "b")
    for one in (place, untouched):
        for day in range(10):
            one.write(rows(BEGIN + day * DAY, 60, length=DAY), f"day-{day}")
        one.measure(BEGIN + 10 * DAY)
        one.write(rows(BEGIN + 10 * DAY, 40), "hour")
    # A window of a day and rows a day late: what is older is settled.
    log = (tmp_path / "a").joinpath(*place.model.log_table.split("."))
    for day in range(8):
        (file,) = (log / f"day={BEGIN + day * DAY:%Y-%m-%d}").iterdir()
        file.write_bytes(b"no Parquet file")
    for one in (place, untouched):
        found = one.measure(BEGIN + 10 * DAY + HOUR)
        assert [run.error for run in found.runs if run.error] == []
        assert sum(run.rows for run in found.runs) == 40
    same(newest(place), newest(untouched))


class Tracing:
    """A warehouse that adds up the bytes that are read by statements with `table` in them."""

    def __init__(self, warehouse: Warehouse, table: str) -> None:
        self._warehouse, self._table = warehouse, table
        self.bytes = 0

    def run(self, sql: str, *arguments: Any, **named: Any) -> Result:
        result = self._warehouse.run(sql, *arguments, **named)
        if self._table in sql:
            self.bytes += result.statistics.bytes_scanned
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._warehouse, name)


def test_an_hour_reads_as_much_of_a_long_log_as_of_a_short_one(tmp_path: Path) -> None:
    def read(place: World, at: datetime) -> int:
        tracing = Tracing(place.warehouse, place.model.log_table)
        found = measure(
            tracing, place.model, {1: place.manifest}, at, f"{at:%d-%H}", log=place.log, now=lambda: at
        )
        assert found.succeeded and found.values
        return tracing.bytes

    first, following = {}, {}
    for days in (3, 12):
        place, end = world(tmp_path / str(days)), BEGIN + days * DAY
        for day in range(days):
            place.write(rows(BEGIN + day * DAY, 600, length=DAY), f"day-{day}")
        first[days] = read(place, end)
        place.write(rows(end, 25), "hour")
        following[days] = read(place, end + HOUR)
    assert first[12] > 3 * first[3]
    assert 0 < following[12] < 1.05 * following[3]


def test_long_windows_end_every_midnight(tmp_path: Path) -> None:
    place = world(tmp_path, monitors={"drift": {"window": "7d"}, "quality": {"window": "90m"}})
    for day in range(9):
        place.write(rows(BEGIN + day * DAY, 60, length=DAY), f"day-{day}")
    found = place.measure(BEGIN + 9 * DAY)
    spans = {v.span for v in found.values if v.measured.metric.metric == "psi"}
    assert spans == {(BEGIN + 1 * DAY, BEGIN + 8 * DAY), (BEGIN + 2 * DAY, BEGIN + 9 * DAY)}
    lengths = {v.span[1] - v.span[0] for v in found.values if v.measured.metric.family == "quality"}
    assert lengths == {2 * HOUR}, "counts are kept by the hour"
