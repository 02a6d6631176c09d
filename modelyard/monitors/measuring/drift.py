"""Drift of a window: distances of features and predictions from training, over frozen bins."""

from collections.abc import Iterator
from datetime import timedelta

from modelyard.monitors import values
from modelyard.monitors.measuring import statistics
from modelyard.monitors.measuring.counting import PREDICTION, Histogram, histogram
from modelyard.monitors.measuring.hours import Figures
from modelyard.monitors.measuring.measured import Measured, Window
from modelyard.monitors.measuring.quality import is_constant
from modelyard.monitors.values import Value
from modelyard.spec.manifest import Baseline, Feature, NumericBaseline

# Below so many values a distribution says nothing.
LEAST_ROWS = 50
# Earlier windows that must have varied before one that does not is news, and how many are looked at.
LEAST_PAST, RECENT = 3, 28
WEEK = timedelta(days=7)
WEEKS = 4
# A feature that follows the calendar is judged by how far it is from training at other times like this.
BEYOND_USUAL = 1.5
# A day must be this much further from training than training's own days were.
BEYOND_TRAINING = 1.25


def measure(window: Window) -> Iterator[Measured]:
    """Yield the distances of each version's features and predictions."""
    yield Measured(values.DRIFT_ROWS, window.rows, window.rows)
    for version in window.versions():
        manifest, figures = window.manifests[version], window.figures[version]
        compared = len(manifest.baselines.features)
        for feature in manifest.signature.features:
            baseline = manifest.baselines.features.get(feature.name)
            if baseline:
                yield from _of_item(window, version, feature, baseline, figures, compared)
        prediction = Feature(
            name="prediction",
            type=manifest.signature.prediction.type,
            unit=manifest.signature.prediction.unit,
        )
        baseline = manifest.baselines.prediction
        yield from _of_item(window, version, prediction, baseline, figures, 1, PREDICTION)


def live(figures: Figures, item: str, bins: Histogram) -> list[float]:
    """Return how many live values are in each bin."""
    length = len(bins.bins)
    if bins.edges is not None:
        return figures.between(item, length)
    known = figures.bins(item, "bin", length - 1)
    return [*known, max(figures.number(item, "present") - sum(known), 0.0)]


def _of_item(
    window: Window,
    version: int,
    feature: Feature,
    baseline: Baseline,
    figures: Figures,
    compared: int,
    item: str | None = None,
) -> Iterator[Measured]:
    named = None if item else feature.name
    bins = histogram(baseline)
    counts = live(figures, item or feature.name, bins)
    n, m = sum(counts), sum(bins.training)
    if n < LEAST_ROWS or not m:
        return
    rows = int(n)
    few, training = statistics.pooled(counts, bins.training)
    index = statistics.psi(few, training)
    bound = max(
        window.model.monitors.drift.threshold,
        statistics.psi_by_chance(len(few), n, m, compared),
        BEYOND_TRAINING * (baseline.daily_psi or 0.0),
        BEYOND_USUAL * _usual(window, values.FEATURE_PSI if named else values.PREDICTION_PSI, version, named),
    )
    # Some features stand still within a window, such as the weekday of a day: that is known from earlier
    # windows alone. A sensor that is stuck is told by its own monitor.
    judged = named is None or not (is_constant(figures, feature, baseline) and _new(window, version, named))

    def value(metric: Value, number: float, **more: object) -> Measured:
        return Measured(metric, number, rows, version, named, **more)  # type: ignore[arg-type]

    if named:
        yield from _stuck(window, version, feature, baseline, figures, rows)
    words = described(feature, baseline, bins, counts, figures, item or feature.name)
    psi = values.FEATURE_PSI if named else values.PREDICTION_PSI
    yield value(psi, index, threshold=bound if judged else None, detail=words)
    prefix = "" if named else "prediction_"
    yield value(values.DISTANCES[f"{prefix}jensen_shannon"], statistics.jensen_shannon(counts, bins.training))
    yield value(values.DISTANCES[f"{prefix}chi_square"], statistics.chi_square(few, training))
    yield value(values.DISTANCES[f"{prefix}l_infinity"], statistics.l_infinity(counts, bins.training))
    if isinstance(baseline, NumericBaseline) and baseline.std:
        stands = statistics.places(baseline.edges, baseline.std)
        distance = statistics.wasserstein(counts, bins.training, stands) / baseline.std
        yield value(values.DISTANCES[f"{prefix}wasserstein"], distance)


def _stuck(
    window: Window, version: int, feature: Feature, baseline: Baseline, figures: Figures, rows: int
) -> Iterator[Measured]:
    """Yield 1 where the whole window shows one value, though earlier windows did not; else 0."""
    constant = is_constant(figures, feature, baseline)
    if constant is None:
        return
    held = window.past.of(values.STUCK.metric, version, feature.name)
    # Not the last days: they may belong to the fault.
    start, length = window.span[0], window.span[1] - window.span[0]
    earlier = [stuck for end, stuck in sorted(held.items()) if end <= start - length]
    judged = not constant or (len(earlier) >= LEAST_PAST and not any(earlier[-RECENT:]))
    words = f"{feature.name} has one and the same value in all {rows} rows" if constant else None
    limit = 0.5 if judged else None
    yield Measured(values.STUCK, float(constant), rows, version, feature.name, limit, words)


def _usual(window: Window, metric: Value, version: int, feature: str | None) -> float:
    """Return the median index at the same time of up to four earlier weeks; 0 where there are none."""
    earlier = window.past.of(metric.metric, version, feature)
    ends = (window.span[1] - week * WEEK for week in range(1, WEEKS + 1))
    found = [earlier[end] for end in ends if end in earlier]
    return statistics.median(found) if found else 0.0


def _new(window: Window, version: int, feature: str) -> bool:
    """Return whether no window like this one is known of a week before."""
    return window.span[1] - WEEK not in window.past.of(values.FEATURE_PSI.metric, version, feature)


def described(
    feature: Feature, baseline: Baseline, bins: Histogram, counts: list[float], figures: Figures, item: str
) -> str:
    """Return in words how a distribution has moved: its mean, or the bin that changed most."""
    n, m = sum(counts), sum(bins.training)
    shifts = [a / n - b / m for a, b in zip(counts, bins.training, strict=True)]
    most = max(range(len(shifts)), key=lambda index: abs(shifts[index]))
    live_share, training_share = counts[most] / n, bins.training[most] / m
    unit = f" {feature.unit}" if feature.unit else ""
    moved = f"{live_share:.0%} of values are {bins.bins[most]}{unit}, {training_share:.0%} in training"
    if not isinstance(baseline, NumericBaseline) or not feature.type.numeric:
        return f"{feature.name}: {moved}"
    mean = live_mean(baseline, figures, item)
    if mean is None:
        return f"{feature.name}: {moved}"
    change = f" ({(mean - baseline.mean) / abs(baseline.mean):+.0%})" if baseline.mean else ""
    way = "up" if mean > baseline.mean else "down"
    return f"{feature.name} moved {way}: mean {baseline.mean:g} -> {mean:.4g}{unit}{change}; {moved}"


def live_mean(baseline: NumericBaseline, figures: Figures, item: str) -> float | None:
    """Return the mean of the live values, each bounded so that one wild value moves it little."""
    present = figures.number(item, "present")
    if not present:
        return None
    return baseline.mean + figures.number(item, "deviation") / present
