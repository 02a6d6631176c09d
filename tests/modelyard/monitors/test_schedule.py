import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.monitors.schedule import longest_gap

HOUR, DAY = 3600, 86_400


@pytest.mark.parametrize(
    ("cron", "seconds"),
    [
        ("* * * * *", 60),
        ("*/15 * * * *", 15 * 60),
        ("0,50 * * * *", 50 * 60),
        ("30 4 * * *", DAY),
        ("0 6,18 * * *", 12 * HOUR),
        ("0 9-17 * * *", 16 * HOUR),
        ("0 3 * * 1-5", 3 * DAY),
        ("0 3 * * MON", 7 * DAY),
        ("0 3 1 * *", 31 * DAY),
        ("0 3 31 * *", 61 * DAY),  # every second month, at most
        ("0 0 29 2 *", 1461 * DAY),
        ("0 3 1 jan *", 366 * DAY),
        ("0 3 1 * 0", 7 * DAY),  # the first of the month or a Sunday
        ("0 3 */2 * *", 2 * DAY),
    ],
)
def test_longest_gap(cron: str, seconds: int) -> None:
    assert longest_gap(cron) == seconds


@pytest.mark.parametrize("cron", ["0 3 31 2 *", "0 3 * *", "60 3 * * *", "x * * * *"])
def test_what_never_runs_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        longest_gap(cron)


@given(st.integers(0, 59), st.integers(0, 23), st.integers(0, 6))
def test_once_a_week_is_a_week(minute: int, hour: int, weekday: int) -> None:
    assert longest_gap(f"{minute} {hour} * * {weekday}") == 7 * DAY
