"""Faults in real traffic, in short: one model, three tenths of its traffic, five weeks, a few faults."""

from datetime import timedelta

import pytest

from benchmarks import alerts, faults, replay
from benchmarks.alerts import Clean, Outcome
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
