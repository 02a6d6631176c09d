"""Thresholds are read out of the queries that monitors make."""

import pytest

from modelyard.monitors import MONITORS, Subject
from modelyard.spec.base import Pattern
from plan_review.promql import parse, seconds, windows, without_versions
from tests.modelyard.sample import deployed


@pytest.mark.parametrize(
    ("query", "sign", "value"),
    [
        ("a > 0.2", ">", 0.2),
        ("(a) < 0.4", "<", 0.4),
        ('(1000 * histogram_quantile(0.95, x{v="> 3"}) > 250) and (sum(y) >= 20)', ">", 250),
        ("a / (b > 3) >= 1e3", ">=", 1000),
        ("(a > 1) and (b > 2) and (c > 3)", ">", 1),
        ("(((a > 1) and (b > 2)) unless (c == 1)) unless on () (max(d) > time())", ">", 1),
        ("sum(a) > bool -1.5", ">", -1.5),
    ],
)
def test_the_comparison_at_the_end_is_read(query: str, sign: str, value: float) -> None:
    found = parse(query)
    assert found is not None
    assert (found.sign, found.value) == (sign, value)


@pytest.mark.parametrize("query", ["", "absent(x) or absent(y)", "a > b", "sum(a > 3)", "(a > 3", 'x{v="> 3'])
def test_what_compares_with_no_number(query: str) -> None:
    assert parse(query) is None


@pytest.mark.parametrize("pattern", Pattern)
def test_every_monitor_of_a_model_is_understood(pattern: Pattern) -> None:
    """Each alert that compares a series yields the threshold that it was made with."""
    subject = Subject.of(*deployed(pattern))
    watching = [monitor for monitor in MONITORS if pattern in monitor.patterns]
    assert len(watching) > 5
    for monitor in watching:
        found = parse(monitor.promql(subject))
        assert found is not None, monitor.key
        assert found.value == pytest.approx(monitor.threshold(subject)), monitor.key
        assert found.above is monitor.above


def test_looser_depends_on_the_sign() -> None:
    low, high = parse("a > 1"), parse("a > 2")
    assert low is not None
    assert high is not None
    assert high.looser_than(low)
    below, further = parse("a < 0.4"), parse("a < 0.1")
    assert below is not None
    assert further is not None
    assert further.looser_than(below)


def test_versions_and_windows() -> None:
    assert without_versions('x{version="3"}') == without_versions('x{version=~"3|4"}')
    assert windows("rate(x[5m]) + y[1h30m:1m]") == ["5m", "1h30m"]
    assert seconds("1h30m") == 5400
    assert seconds("300s") == 300
    assert seconds("soon") is None
