"""Faults in real traffic, in short: one model, three tenths of its traffic, five weeks, a few faults."""

import itertools
from datetime import timedelta
from typing import Any

import pytest

from benchmarks import alerts, faults, replay
from benchmarks.alerts import Clean, Outcome, Part
from benchmarks.replay import AUTUMN, DAY

FAULT = AUTUMN.begin.replace(hour=15) + 24 * DAY


@pytest.fixture(scope="module")
def where() -> Clean:
    (subject,) = replay.subjects(["arrival-delay"])
    return alerts.clean(subject, 0.3, AUTUMN.begin + timedelta(weeks=5))


def outcome(where: Clean, kind: str, strength: str | None = None) -> Outcome:
    listed = [
        fault
        for fault in faults.of(where.subject, 0)
        if fault.kind == kind and strength in (None, fault.strength)
    ]
    return alerts.run_fault(listed[-1], where, FAULT, 1, None)


def test_traffic_without_faults_pages_nobody(where: Clean) -> None:
    told = [i for _, i in where.told.opened.values() if i.pages and not alerts.is_real(i, where.gaps)]
    assert told == []
    assert sum(len(readings) for readings in where.series.values()) > 10_000, "nothing was measured"


@pytest.mark.parametrize(
    ("kind", "root"),
    [
        ("feature missing", "feature:quality"),
        ("category renamed", "feature:quality-invalid:origin"),
        ("silence", "silence:usage-silence:"),
        ("latency step", "service:latency-p95:"),
        ("duplicated traffic", "duplicates:quality-duplicates:"),
        ("feed down", "upstream:quality"),
    ],
)
def test_a_fault_is_told_with_its_root(where: Clean, kind: str, root: str) -> None:
    found = outcome(where, kind)
    assert found.detected and found.right, found
    assert found.windows is not None and found.windows <= 6, found
    assert any(told.startswith(root) for told in found.told), found


def test_one_wild_value_is_not_told(where: Clean) -> None:
    found = outcome(where, "wild outlier")
    assert found.told == (), found


def made(kind: str, told: tuple[str, ...], right: bool = True, harmless: bool = False) -> Outcome:
    return Outcome(kind, "some", "a/m", 1.0, bool(told), 2 if told else None, right, 5.0, told, harmless)


def part(weeks: float, outcomes: list[Outcome], peer: dict[str, Any] | None) -> Part:
    alarms = [
        {"model": "a/m", "size": 1.0, "severity": "critical", "what": "x", "since": "09-01 00", "real": real}
        for real in (False, True)
    ]
    return Part(weeks, alarms, outcomes, 1.0, peer)


def test_figures_are_counted_as_the_guide_says() -> None:
    outcomes = [
        made("shift", ("feature:drift-features:a",)),
        made("shift", ("usage:usage-drop:",), right=False),
        made("silence", ()),
        made("wild outlier", ("feature:drift-features:a",), harmless=True),
    ]
    peer = {"tests": 30, "reports": 20, "faults": [None, 3, 1, 1], "seconds": 9}
    found = alerts.figures([part(9.0, outcomes, peer)])
    assert (found["detected_pct"], found["root_named_pct"]) == (66.7, 50.0)
    # One alarm without a fault, one on what must not alarm; what the data really lacked is none.
    assert found["false_alarms_per_model_week"] == 0.2
    assert (found["median_windows_to_detect"], found["real_gaps_found"]) == (2, 1)
    assert found["evidently_detected_pct"] == 66.7
    assert found["evidently_false_alarms_per_model_week"] == 2.1
    assert found["evidently_failing_tests_per_model_week"] == 3.1
    assert found["evidently_median_days_to_detect"] == 2
    assert found["kinds"]["shift"]["evidently_detected"] == 1


def test_without_evidently_its_figures_are_none() -> None:
    outcomes = [made("shift", ("x",))]
    peer = {"tests": 3, "reports": 2, "faults": [1], "seconds": 9}
    found = alerts.figures([part(9.0, outcomes, peer), part(9.0, outcomes, None)])
    assert found["evidently_detected_pct"] is None
    assert found["evidently_false_alarms_per_model_week"] is None


def test_held_out_seasons_share_no_day_and_no_fault_with_the_one_that_was_chosen_with() -> None:
    plans = alerts.plans()
    assert len({plan.name for plan in plans}) == len({plan.place for plan in plans}) == len(plans)
    seasons = sorted({plan.season for plan in plans}, key=lambda season: season.begin)
    assert [season.name for season in seasons] == ["spring", "summer", "autumn"]
    assert all(one.end <= other.begin for one, other in itertools.pairwise(seasons))
    assert all(season.first_replayed == season.begin.month for season in seasons)


def test_the_measured_values_are_those_of_the_rows(where: Clean) -> None:
    """The share of missing values that the SQL counts is the one that was injected."""
    (fault,) = [f for f in faults.of(where.subject, 0) if f.name == "feature missing, 100%"]
    end = FAULT + DAY
    rows = faults.inject(fault, where.subject, FAULT, end, 1)
    gone = [name for name in where.subject.features if rows[name].isna().all()]
    altered = where.replay.altered(replay.counted(where.subject, rows), FAULT, end)
    shares = {
        (reading.feature, reading.rows): reading.value
        for reading in altered.measure(FAULT, end)
        if reading.metric == "missing_share" and reading.rows
    }
    assert len(gone) == 1
    assert {value for (feature, _), value in shares.items() if feature == gone[0]} == {1.0}
