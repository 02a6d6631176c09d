"""Distances against references that are not ours: scipy, and Evidently's own figures."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance

from modelyard.monitors.measuring import statistics

counts = st.lists(st.integers(0, 10_000), min_size=2, max_size=40)


@st.composite
def histograms(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    live = draw(counts)
    training = draw(st.lists(st.integers(0, 10_000), min_size=len(live), max_size=len(live)))
    live[draw(st.integers(0, len(live) - 1))] += 1
    training[draw(st.integers(0, len(live) - 1))] += 1
    return live, training


@given(histograms())
def test_jensen_shannon_is_scipys(pair: tuple[list[int], list[int]]) -> None:
    live, training = (np.array(side) / sum(side) for side in pair)
    expected = distance.jensenshannon(live, training, base=2)
    # scipy takes the root of what rounding left of 0, which may be below it.
    assert statistics.jensen_shannon(*pair) == pytest.approx(np.nan_to_num(expected), abs=1e-7)


@given(histograms(), st.data())
def test_wasserstein_is_scipys(pair: tuple[list[int], list[int]], data: st.DataObject) -> None:
    size = len(pair[0])
    steps = data.draw(st.lists(st.floats(0.01, 100), min_size=size, max_size=size))
    places = list(np.cumsum(steps) - 50)
    expected = stats.wasserstein_distance(places, places, *pair)
    assert statistics.wasserstein(*pair, places) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(histograms())
def test_chi_square_is_scipys(pair: tuple[list[int], list[int]]) -> None:
    table = np.array([column for column in zip(*pair, strict=True) if any(column)]).T
    expected = stats.chi2_contingency(table, correction=False).statistic if table.shape[1] > 1 else 0.0
    assert statistics.chi_square(*pair) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(histograms())
def test_l_infinity_and_psi_are_their_definitions(pair: tuple[list[int], list[int]]) -> None:
    live, training = (np.array(side, float) for side in pair)
    p, q = live / live.sum(), training / training.sum()
    assert statistics.l_infinity(*pair) == pytest.approx(np.abs(p - q).max(), abs=1e-12)
    some = (live > 0) | (training > 0)
    p = np.maximum(live, 0.5)[some] / live.sum()
    q = np.maximum(training, 0.5)[some] / training.sum()
    assert statistics.psi(*pair) == pytest.approx(((p - q) * np.log(p / q)).sum(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("share", [0.9, 0.99, 0.999, 0.99995])
@pytest.mark.parametrize("degrees", [1, 2, 5, 9, 19, 100])
def test_quantiles_are_scipys(share: float, degrees: int) -> None:
    expected = stats.chi2.ppf(share, degrees)
    assert statistics.chi_square_quantile(share, degrees) == pytest.approx(expected, rel=1e-9)


def test_the_same_is_at_distance_zero() -> None:
    same = [10, 20, 30]
    assert statistics.psi(same, [1000, 2000, 3000]) == pytest.approx(0)
    assert statistics.jensen_shannon(same, same) == 0
    assert statistics.chi_square(same, [100, 200, 300]) == pytest.approx(0)
    assert statistics.wasserstein(same, [100, 200, 300], [1, 2, 3]) == pytest.approx(0)


def test_one_wild_value_stretches_no_distance() -> None:
    edges, std = [10.0, 20.0, 30.0], 10.0
    assert statistics.places(edges, std) == [5.0, 15.0, 25.0, 35.0]
    assert statistics.places([3.0], 2.0) == [2.0, 4.0]
    assert statistics.places([], 2.0) == [0.0]


def test_chance_alone_stays_below_the_threshold() -> None:
    """On samples of one distribution, down to 100 rows, the index exceeds its bound hardly ever."""
    draw = np.random.default_rng(7)
    training = [1000] * 10
    for rows in (100, 300, 1000, 10_000):
        bound = statistics.psi_by_chance(10, rows, 10_000)
        above = 0
        for _ in range(2000):
            live = draw.multinomial(rows, [0.1] * 10).tolist()
            few, pooled = statistics.pooled(live, training)
            above += statistics.psi(few, pooled) > bound
        assert above <= 10, f"{above} of 2000 at {rows} rows; 2 are to be expected"


# Printed by `.venv-evidently/bin/python benchmarks/evidently_reference.py golden`: live rows, training rows
# and Evidently's index, where the bins, categories, are equal.
EVIDENTLY = [
    ([100, 200, 300], [1000, 2000, 3000], 0.0),
    ([500, 300, 200], [200, 300, 500], 0.549774439124493),
    ([52, 31, 17, 8, 3], [5000, 3000, 2000, 900, 250], 0.007240104684170684),
]


@pytest.mark.parametrize(("live", "training", "expected"), EVIDENTLY)
def test_the_index_is_evidentlys_where_bins_are_equal(
    live: list[int], training: list[int], expected: float
) -> None:
    assert statistics.psi(live, training) == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_rare_bins_are_judged_together() -> None:
    live, training = statistics.pooled([50, 40, 1, 2, 0], [500, 400, 10, 10, 5])
    assert live == [50, 40, 3]
    assert training == [500, 400, 25]
    # A value that training never saw is not lost.
    assert statistics.pooled([50, 50, 30], [500, 500, 0]) == ([50, 50, 30], [500, 500, 0])


def test_shares_need_rows_to_be_judged() -> None:
    bounds = [statistics.share_bound(0.05, 0.0, rows) for rows in (3, 30, 300, 1_000_000)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] > 0.67, "one or two of three rows are no news"
    assert bounds[-1] == pytest.approx(0.05, abs=0.001)
    # By chance alone the bound is passed about once in a thousand windows whose share is just tolerated.
    passed = stats.binom.sf(math.floor(bounds[2] * 300), 300, 0.05)
    assert passed < 0.002
