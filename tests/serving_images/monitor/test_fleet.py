"""Holidays page nobody: where the whole fleet is asked less, a model is compared with the fleet."""

from datetime import timedelta

import pytest

from modelyard.monitors.measuring import Measured, Measurement, WindowValue
from modelyard.monitors.values import VOLUME_RATIO
from serving_images.monitor import fleet
from tests.modelyard.monitors.measuring.world import BEGIN

SPAN = (BEGIN, BEGIN + timedelta(hours=1))


def measured(*shares: float) -> dict[tuple[str, str], Measurement]:
    return {
        ("team", f"m{index}"): Measurement(
            [WindowValue(SPAN, Measured(VOLUME_RATIO, share, 100, threshold=0.4, detail="words"))]
        )
        for index, share in enumerate(shares)
    }


def alarms(shares: tuple[float, ...]) -> set[str]:
    """Return the models that are below their threshold."""
    found = measured(*shares)
    better = dict(fleet.corrected(found))
    values = {key: better.get(key, made.values[0]).measured for key, made in found.items()}
    return {
        key[1]
        for key, value in values.items()
        if value.value is not None and value.threshold is not None and value.value < value.threshold
    }


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((0.3, 1.0, 1.1, 0.9, 1.0, 1.0), {"m0"}),  # one model alone
        ((0.3, 0.25, 0.35, 0.3, 0.3, 0.28), set()),  # a holiday
        ((0.05, 0.3, 0.35, 0.3, 0.3, 0.28), {"m0"}),  # a fault of its own on a holiday
        ((0.3, 0.25, 0.35), {"m0", "m1", "m2"}),  # three models are no fleet
        ((0.0, 0.0, 0.0, 0.0, 0.0, 0.0), set()),  # nobody is asked: the platform's alerts tell
    ],
)
def test_a_model_is_judged_by_the_fleet(shares: tuple[float, ...], expected: set[str]) -> None:
    assert alarms(shares) == expected


def test_the_level_of_the_fleet_is_that_of_the_model_in_the_middle() -> None:
    assert fleet.level(measured(0.1, 0.0, 0.3, 0.2, 1.0, 0.4)) == pytest.approx(0.25)
    assert fleet.level(measured(0.1, 0.0, 0.3, 0.2, 1.0)) is None


def test_the_words_say_so() -> None:
    (_, value), *_ = fleet.corrected(measured(0.3, 0.25, 0.35, 0.3, 0.3, 0.28))
    assert value.measured.detail == "words; the other models are at 30% of theirs"
    assert value.measured.threshold == pytest.approx(0.4 * 0.3)
    assert list(fleet.corrected(measured(0.3, 1.0, 1.0, 1.0, 1.0, 1.0))) == []
