"""Cron expressions: what Kubernetes runs is accepted, anything else told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.spec import cron

FULL = [range(60), range(24), range(1, 32), range(1, 13), range(7)]


@pytest.mark.parametrize(
    ("expression", "field", "values"),
    [
        ("*/20 * * * *", 0, {0, 20, 40}),
        ("5/20 * * * *", 0, {5, 25, 45}),
        ("0 22-23,0 * * *", 1, {22, 23, 0}),
        ("0 0 10-20/5 * *", 2, {10, 15, 20}),
        ("0 0 * Jan,DEC *", 3, {1, 12}),
        ("0 0 * * mon-fri", 4, {1, 2, 3, 4, 5}),
        ("0 0 ? * 0", 2, set(range(1, 32))),
    ],
)
def test_values(expression: str, field: int, values: set[int]) -> None:
    assert cron.parse(expression)[field] == values
    assert cron.wrong(expression) is None


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("@daily", "has 1 fields"),
        ("0 3 * * * *", "has 6 fields"),
        ("0  3 * * *", "one space between"),
        ("60 * * * *", "minute '60': expected 0-59"),
        ("* 24 * * *", "hour '24': expected 0-23"),
        ("* * 0 * *", "day of month '0': expected 1-31"),
        ("* * * 13 *", "month '13': expected 1-12 or jan-dec"),
        ("* * * * 7", "day of week '7': expected 0-6 or sun-sat"),
        ("5-3 * * * *", "ends before it begins"),
        ("*/0 * * * *", "must be a whole number above 0"),
        ("*/x * * * *", "must be a whole number above 0"),
        ("1- * * * *", "expected 0-59"),
        (", * * * *", "expected 0-59"),
        ("٣ * * * *", "expected 0-59"),  # a digit, and not one that Kubernetes reads
        ("0 0 30 2 *", "never runs"),
        ("0 0 31 4,6,9,11 *", "never runs"),
    ],
)
def test_what_is_wrong(expression: str, told: str) -> None:
    assert told in str(cron.wrong(expression))


def test_a_day_of_the_week_makes_an_impossible_date_possible() -> None:
    assert cron.wrong("0 0 31 2 1") is None


@given(st.tuples(*(st.sets(st.sampled_from(list(values)), min_size=1) for values in FULL)))
def test_lists_mean_their_values(fields: tuple[set[int], ...]) -> None:
    expression = " ".join(",".join(map(str, sorted(values))) for values in fields)
    assert [set(values) for values in cron.parse(expression)] == [set(values) for values in fields]


@given(st.text(st.sampled_from("0123456789*/-,? JANSUNmon"), max_size=30))
def test_any_text_is_a_schedule_or_told(expression: str) -> None:
    wrong = cron.wrong(expression)
    if wrong is None:
        assert all(
            set(values) <= set(full) for values, full in zip(cron.parse(expression), FULL, strict=True)
        )
