"""The benchmark of the monitors, on little data: it measures what it says, and the next hour reads little."""

from pathlib import Path

import pytest

from benchmarks import monitoring


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "DATA", tmp_path)


def test_all_families_are_measured_and_the_next_hour_counts_its_own_rows_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(monitoring, "DAYS", 2)
    found = monitoring.large(2 * 24_000)
    assert found["hundred_million_rows_counted"] == 2 * 24_000
    assert found["next_hour_rows"] == 1000
    assert found["hundred_million_rows_values"] > found["next_hour_values"] > 0
    assert 0 < found["bytes_scanned_next"] < found["bytes_scanned_full"] / 2


def test_the_statistics_of_the_comparison_are_those_of_the_monitors() -> None:
    day = monitoring.a_day(5000)
    alone, whole = day.distances()["values"], day.measured()["values"]
    assert alone.keys() == {*monitoring.NUMBERS, *monitoring.TEXTS}
    assert sum(len(found) for found in alone.values()) == 60
    for feature, found in alone.items():
        assert found == pytest.approx(whole[feature], rel=1e-9, abs=1e-12), feature
    # What was moved has moved.
    assert alone["f00"]["psi"] > 0.05 > alone["f02"]["psi"]
