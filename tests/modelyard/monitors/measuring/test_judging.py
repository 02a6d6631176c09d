"""When values stand out: faults do, and nights, weekends, holidays, calendars and small samples do not."""

import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from modelyard.monitors.measuring import Measurement
from tests.modelyard.monitors.measuring.world import BEGIN, DAY, HOUR, World, rows, world

WEEK = 7 * DAY
WORKING = range(8, 18)


def traffic(place: World, start: datetime, until: datetime, count: Callable[[datetime], int]) -> None:
    """Write rows: so many in each hour."""
    for day in range((until - start) // DAY + 1):
        begin = start + day * DAY
        made = []
        for hour in range(24):
            at = begin + hour * HOUR
            if at < until and count(at):
                made += rows(at, count(at))
        if made:
            place.write(made, f"{begin:%Y%m%d}")


def office(at: datetime) -> int:
    """Return usual traffic: by day, on weekdays."""
    return (40 if at.weekday() < 5 else 8) if at.hour in WORKING else 1


def out(found: Measurement, metric: str, below: bool = False) -> list[tuple[datetime, str | None]]:
    """Return the windows and features where a metric is beyond its threshold."""
    beyond = []
    for value in found.values:
        m = value.measured
        if m.metric.metric != metric or m.value is None or m.threshold is None:
            continue
        if m.value < m.threshold if below else m.value > m.threshold:
            beyond.append((value.span[1], m.feature))
    return beyond


@pytest.fixture
def usual(tmp_path: Path) -> World:
    """Two weeks of usual traffic, up to a Monday's midnight."""
    place = world(tmp_path)
    traffic(place, BEGIN, BEGIN + 2 * WEEK, office)
    return place


def test_weekends_and_nights_are_no_news(usual: World) -> None:
    usual.measure(BEGIN + 8 * DAY)
    found = usual.measure(BEGIN + 2 * WEEK)
    assert out(found, "volume_ratio", below=True) == []
    assert out(found, "volume_rise") == []
    assert out(found, "silence") == []


@pytest.mark.parametrize(
    ("count", "metric"),
    [
        (lambda at: office(at) // 10, "volume_ratio"),
        (lambda at: 5 * office(at), "volume_rise"),
        (lambda at: 0, "silence"),
    ],
)
def test_use_that_changes_is_news(usual: World, count: Callable[[datetime], int], metric: str) -> None:
    usual.measure(BEGIN + 2 * WEEK)
    monday = BEGIN + 2 * WEEK
    traffic(usual, monday, monday + 12 * HOUR, count)
    found = usual.measure(monday + 12 * HOUR)
    assert out(found, metric, below=metric == "volume_ratio")


def test_a_holiday_that_is_told_is_no_news(tmp_path: Path) -> None:
    from dataclasses import replace

    place = world(tmp_path)
    monday = BEGIN + 2 * WEEK
    place.model = replace(place.model, holidays=frozenset({f"{monday:%Y-%m-%d}"}))
    traffic(place, BEGIN, monday, office)
    place.measure(monday)
    traffic(place, monday, monday + 12 * HOUR, lambda at: 1)
    found = place.measure(monday + 12 * HOUR)
    assert out(found, "volume_ratio", below=True) == []
    assert out(found, "silence") == []


def test_callers_are_counted_not_named(usual: World) -> None:
    found = usual.measure(BEGIN + 2 * WEEK)
    callers = [v.measured.value for v in found.values if v.measured.metric.metric == "callers"]
    assert set(callers) == {1.0, 3.0}
    assert not any("caller-" in (v.measured.detail or "") for v in found.values)


def one_day(place: World, **changes: Any) -> Measurement:
    """Measure a day with a change, after three days without."""
    for day in range(3):
        place.write(rows(BEGIN + day * DAY, 2400, length=DAY), f"day-{day}")
    for day in range(1, 4):
        place.measure(BEGIN + day * DAY)
    place.write(rows(BEGIN + 3 * DAY, 2400, length=DAY, **changes), "day-3")
    return place.measure(BEGIN + 4 * DAY)


def test_days_without_a_fault_are_no_news(tmp_path: Path) -> None:
    found = one_day(world(tmp_path))
    beyond = [
        (v.measured.metric.metric, v.measured.feature, v.measured.value, v.measured.threshold)
        for v in found.values
        if v.measured.threshold is not None
        and v.measured.value is not None
        # A share of usual use is bad below its threshold, all others above.
        and v.measured.metric.metric != "volume_ratio"
        and v.measured.value > v.measured.threshold
    ]
    assert beyond == []


@pytest.mark.parametrize(
    ("feature", "change", "metric"),
    [
        ("distance", None, "excess_invalid_share"),
        ("distance", None, "schema_changes"),
        ("distance", lambda value: value * 60, "excess_invalid_share"),
        ("distance", lambda value: value - 50, "excess_invalid_share"),
        ("distance", lambda value: value * 1.609, "psi"),
        ("carrier", lambda value: value.lower(), "excess_invalid_share"),
        ("distance", 42.0, "constant"),
        ("carrier", "UA", "constant"),
        ("distance", lambda value: value * 0.6, "psi"),
        ("carrier", lambda value: "AA" if value == "UA" else value, "psi"),
        ("express", lambda value: not value, "psi"),
    ],
)
def test_faults_are_news(tmp_path: Path, feature: str, change: Any, metric: str) -> None:
    found = one_day(world(tmp_path), **{feature: change})
    expected = None if metric == "schema_changes" else feature
    assert {name for _, name in out(found, metric)} == {expected}


def test_one_wild_value_is_no_news_and_moves_no_mean(tmp_path: Path) -> None:
    place = world(tmp_path)
    made = rows(BEGIN, 2400, length=DAY)
    made[7]["features"]["distance"] = 1e12
    place.write(made, "rows")
    found = place.measure(BEGIN + DAY)
    assert out(found, "psi") == out(found, "excess_invalid_share") == []
    (words,) = [
        v.measured.detail
        for v in found.values
        if v.measured.metric.metric == "psi" and v.measured.feature == "distance"
    ]
    assert words is not None and "mean 50 -> 5" in words


def test_values_a_little_beyond_training_are_drift_and_not_broken(tmp_path: Path) -> None:
    found = one_day(world(tmp_path), distance=lambda value: value + 40)
    assert out(found, "excess_invalid_share") == []
    assert out(found, "psi")
    (outside,) = [
        v.measured.value
        for v in found.values
        if v.latest and (v.measured.metric.metric, v.measured.feature) == ("outside_share", "distance")
    ]
    assert outside is not None and 0.3 < outside < 0.5


def test_infinite_predictions_are_news(tmp_path: Path) -> None:
    found = one_day(world(tmp_path), prediction=lambda value: math.inf if value > 80 else value)
    assert out(found, "infinite_share")


def test_repeated_inputs_are_news_where_they_are_not_usual(tmp_path: Path) -> None:
    place = world(tmp_path)
    for day in range(4):
        made = rows(BEGIN + day * DAY, 1200, length=DAY)
        if day == 3:
            made += [{**row, "prediction_id": f"again-{i}"} for i, row in enumerate(made[600:])]
        place.write(made, f"day-{day}")
        found = place.measure(BEGIN + (day + 1) * DAY)
        assert bool(out(found, "duplicate_share")) == (day == 3)


def test_a_feature_that_follows_the_calendar_is_no_news(tmp_path: Path) -> None:
    place = world(tmp_path)
    news = []
    for day in range(16):
        place.write(rows(BEGIN + day * DAY, 600, length=DAY, age=day % 7 * 15), f"day-{day}")
        found = place.measure(BEGIN + (day + 1) * DAY)
        news += [name for _, name in out(found, "psi") + out(found, "constant") if name == "age"]
    assert news == []


def test_what_moved_is_said_in_words(tmp_path: Path) -> None:
    found = one_day(world(tmp_path), distance=lambda value: value / 2 + 50, carrier="UA")
    words = {
        v.measured.feature: v.measured.detail or "" for v in found.values if v.measured.metric.metric == "psi"
    }
    assert words["distance"].startswith("distance moved up: mean 50 -> 7")
    assert "km (+5" in words["distance"]
    assert words["carrier"] == "carrier: 100% of values are UA, 30% in training"


def test_no_value_of_a_person_stands_in_words_or_tables(tmp_path: Path) -> None:
    place = world(tmp_path, sensitivity={"distance": "pii"}, access={"pii_readers": []})
    found = one_day(place, distance=lambda value: 5000 + value)
    assert out(found, "excess_invalid_share")
    assert not any("5000" in (v.measured.detail or "") for v in found.values)
    kept = {(r["item"], r["measure"]) for r in place.table("window_counts")}
    assert ("distance", "maximum") not in kept and ("age", "maximum") in kept
