"""Distances between two histograms, and how large chance alone makes them. Plain Python: bins are few."""

import functools
import itertools
import math
from collections.abc import Sequence

Counts = Sequence[float]

# A bin with fewer expected rows says nothing by itself; it is judged together with the other rare ones.
RARE = 5.0


def psi(live: Counts, training: Counts) -> float:
    """Return the population stability index of two histograms over the same bins.

    The sum over bins of (p - q) ln(p / q), with p and q the shares of each bin. An empty bin counts as half
    a row, since the logarithm of nothing is not defined.
    """
    n, m = sum(live), sum(training)
    total = 0.0
    for a, b in zip(live, training, strict=True):
        if a or b:
            p, q = max(a, 0.5) / n, max(b, 0.5) / m
            total += (p - q) * math.log(p / q)
    return total


def jensen_shannon(live: Counts, training: Counts) -> float:
    """Return the Jensen-Shannon distance, to base 2: 0 for equal shares, 1 for disjoint ones."""
    n, m = sum(live), sum(training)
    divergence = 0.0
    for a, b in zip(live, training, strict=True):
        p, q = a / n, b / m
        middle = (p + q) / 2
        if p:
            divergence += p * math.log2(p / middle) / 2
        if q:
            divergence += q * math.log2(q / middle) / 2
    return math.sqrt(max(divergence, 0.0))


def l_infinity(live: Counts, training: Counts) -> float:
    """Return the largest difference between the shares of a bin."""
    n, m = sum(live), sum(training)
    return max(abs(a / n - b / m) for a, b in zip(live, training, strict=True))


def chi_square(live: Counts, training: Counts) -> float:
    """Return the chi-square statistic of the 2 x k table: are both samples of one distribution?

    Bins that are empty in both are left out.
    """
    n, m = sum(live), sum(training)
    total = 0.0
    for a, b in zip(live, training, strict=True):
        if a or b:
            expected = (a + b) * n / (n + m)
            other = (a + b) * m / (n + m)
            total += (a - expected) ** 2 / expected + (b - other) ** 2 / other
    return total


def wasserstein(live: Counts, training: Counts, places: Sequence[float]) -> float:
    """Return the first Wasserstein distance of two histograms whose bins stand at `places`, ascending."""
    n, m = sum(live), sum(training)
    distance = ahead = 0.0
    pairs = list(zip(live, training, strict=True))
    for (a, b), here, there in zip(pairs[:-1], places[:-1], places[1:], strict=True):
        ahead += a / n - b / m
        distance += abs(ahead) * (there - here)
    return distance


def places(edges: Sequence[float], std: float) -> list[float]:
    """Return where the bins between `edges` stand.

    The middle of each inner bin; the outer ones, which are open, half the width of their neighbour beyond
    the last edge: so no outlier, in training or live, stretches a distance.
    """
    if not edges:
        return [0.0]
    first = edges[1] - edges[0] if len(edges) > 1 else std
    last = edges[-1] - edges[-2] if len(edges) > 1 else std
    inner = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    return [edges[0] - first / 2, *inner, edges[-1] + last / 2]


def pooled(live: Counts, training: Counts) -> tuple[list[float], list[float]]:
    """Return both histograms with all bins in one of which fewer than `RARE` live rows are expected."""
    n, m = sum(live), sum(training)
    kept: tuple[list[float], list[float]] = ([], [])
    rare = [0.0, 0.0]
    for a, b in zip(live, training, strict=True):
        if b * n < RARE * m:
            rare[0] += a
            rare[1] += b
        else:
            kept[0].append(a)
            kept[1].append(b)
    if any(rare):
        kept[0].append(rare[0])
        kept[1].append(rare[1])
    return kept


def chi_square_beyond(value: float, degrees: int) -> float:
    """Return the chance that a chi-square variable is above `value`: a finite sum for whole degrees."""
    half = value / 2
    if degrees % 2:
        beyond, term, power = math.erfc(math.sqrt(half)), 2 * math.sqrt(half / math.pi), 0.5
    else:
        beyond, term, power = 0.0, 1.0, 0.0
    decay = math.exp(-half)
    while power < degrees / 2:
        beyond += decay * term
        power += 1
        term *= half / power
    return beyond


@functools.lru_cache(maxsize=4096)
def chi_square_quantile(share: float, degrees: int) -> float:
    """Return the value below which `share` of a chi-square distribution lies."""
    low, high = 0.0, 10.0 * degrees + 100
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if chi_square_beyond(middle, degrees) < 1 - share else (middle, high)
    return (low + high) / 2


def psi_by_chance(bins: int, live: float, training: float, comparisons: int = 1) -> float:
    """Return the index that samples of one distribution stay below, but for one time in a thousand.

    An index of two samples is about chi-square distributed, times (1/n + 1/m).

    Args:
        bins: number of bins.
        live: rows of the live sample.
        training: rows of the training sample.
        comparisons: number of features judged at the same time, which share the one time in a thousand.
    """
    if bins < 2:
        return 0.0
    return chi_square_quantile(1 - 0.001 / comparisons, bins - 1) * (1 / live + 1 / training)


def share_bound(tolerated: float, base: float, rows: float, z: float = 3.09) -> float:
    """Return the excess share over `base` that is surely above `tolerated`, on `rows` rows.

    With few rows the bound is higher: `tolerated`, plus `z` standard errors and one row.
    """
    share = min(max(base + tolerated, 0.0), 1.0)
    return tolerated + z * math.sqrt(share * (1 - share) / rows) + 1 / rows


def median(values: Sequence[float]) -> float:
    """Return the middle of `values`."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
