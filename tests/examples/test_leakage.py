"""A feature of a flight holds only what was known when the model is asked about it."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from examples import flights
from examples.fleet_care import train_late_departure
from examples.flight_ops import train_arrival_delay

NOW = pd.Timestamp("2013-01-21 11:30")  # early morning in New York: the evening before still flies
Features = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(scope="module")
def january() -> pd.DataFrame:
    table = flights.load()
    return table[table["month"] == 1].copy()


def rewritten(table: pd.DataFrame) -> pd.DataFrame:
    """Return `table` with all that happened after `NOW` changed: delays, arrivals and cancellations."""
    random = np.random.default_rng(1)
    changed = table.copy()
    later = changed.index[
        (changed["departed"] > NOW) | (changed["departed"].isna() & (changed["scheduled"] > NOW))
    ]
    changed.loc[later, "dep_delay"] = changed.loc[later, "dep_delay"].fillna(0) + random.integers(
        1, 300, len(later)
    )
    cancelled = random.choice(later, len(later) // 20, replace=False)
    changed.loc[cancelled, ["dep_delay", "arr_delay"]] = np.nan
    changed["departed"] = changed["scheduled"] + pd.to_timedelta(changed["dep_delay"], unit="min")
    # What had left by now, but was still in the air or may have been: no flight here takes twelve hours.
    flying = changed.index[~(changed["departed"] < NOW - pd.Timedelta("12h"))]
    changed.loc[flying, "arr_delay"] += random.integers(-60, 300, len(flying))
    return changed


def asked_by_now(table: pd.DataFrame, moment: pd.Series) -> pd.Index:
    return table.index[moment <= NOW]


@pytest.mark.parametrize(
    ("features", "names", "lead"),
    [
        (train_arrival_delay.features, list(train_arrival_delay.about(4)), None),
        (train_late_departure.features, list(train_late_departure.FEATURES), pd.Timedelta("2h")),
    ],
    ids=["arrival-delay", "late-departure"],
)
def test_what_happens_later_changes_no_feature(
    january: pd.DataFrame, features: Features, names: list[str], lead: pd.Timedelta | None
) -> None:
    moment = january["departed"] if lead is None else january["scheduled"] - lead
    asked = asked_by_now(january, moment)
    before, after = features(january)[names], features(rewritten(january))[names]
    assert len(asked) > 10_000
    pd.testing.assert_frame_equal(before.loc[asked], after.loc[asked])
    moved = ~(before.eq(after) | (before.isna() & after.isna())).drop(index=asked)
    assert moved["airport_delay"].mean() > 0.3, "the changes must reach the features of later flights"


def test_observations_are_older_than_the_question(january: pd.DataFrame) -> None:
    asked = january["scheduled"] - pd.Timedelta("2h")
    age = asked - flights.weather(january, asked)["observed"]
    assert age.min() > pd.Timedelta(0)
    assert age.max() <= pd.Timedelta("3h")
    assert age.notna().mean() > 0.95


def test_recent_delay_counts_what_left_in_the_window_and_nothing_else(january: pd.DataFrame) -> None:
    day = january[january["day"].isin([7, 8])]
    asked = day["scheduled"] - pd.Timedelta("2h")
    computed = flights.recent_delay(day, "origin", asked, "2h")
    for flight in day.index[::97]:
        window = (day["departed"] < asked[flight]) & (day["departed"] >= asked[flight] - pd.Timedelta("2h"))
        expected = day.loc[window & (day["origin"] == day.at[flight, "origin"]), "dep_delay"].mean()
        assert computed[flight] == pytest.approx(expected, abs=0.006, nan_ok=True)


def test_train_and_test_are_apart_in_time() -> None:
    table = flights.load()
    before = table["month"] < flights.FIRST_TEST_MONTH
    assert table.loc[before, "scheduled"].max() < table.loc[~before, "scheduled"].min()
    assert 0.2 < (~before).mean() < 0.3
