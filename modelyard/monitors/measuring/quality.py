"""Data quality of a window: completeness, accuracy, duplicates, stuck features, schema, timeliness."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from modelyard.monitors import values
from modelyard.monitors.measuring import statistics
from modelyard.monitors.measuring.counting import ROWS
from modelyard.monitors.measuring.hours import Figures
from modelyard.monitors.measuring.measured import Measured, Window
from modelyard.monitors.measuring.watched import HOUR
from modelyard.spec.manifest import Baseline, Feature, FeatureType, Manifest

# A feature that shows one value by chance so rarely is stuck.
BY_CHANCE = 1e-6
LEAST_ROWS = 30
# Earlier windows that must have varied before a constant feature is news.
LEAST_PAST = 3
# A day must miss this much more than training's own days did.
BEYOND_TRAINING = 1.6
# Share of repeated inputs beyond the usual one.
REPEATED = 0.1


def measure(window: Window) -> Iterator[Measured]:
    """Yield the values of data quality, per version and feature and of the whole."""
    yield Measured(values.QUALITY_ROWS, window.rows, window.rows)
    for version in window.versions():
        yield from _of_version(window, version, window.manifests[version], window.figures[version])
    yield from _duplicates(window)
    newest = max((figures.number(ROWS, "newest") for figures in window.figures.values()), default=0.0)
    if newest:
        yield Measured(values.NEWEST_AGE, max(window.span[1].timestamp() - newest, 0.0), window.rows)


def _of_version(window: Window, version: int, manifest: Manifest, figures: Figures) -> Iterator[Measured]:
    rows = figures.rows
    if not rows:
        return
    missing_of_all = invalid_of_all = 0.0
    gone: list[str] = []
    for feature in manifest.signature.features:
        baseline = manifest.baselines.features.get(feature.name)
        missing, invalid, broken = shares(figures, feature, rows)
        usual = baseline.missing if baseline else 0.0
        missing_of_all += missing
        invalid_of_all += invalid
        bound = statistics.share_bound(_tolerated(window, baseline), usual, rows)
        # A source that had such hours in training is not gone for one more.
        if missing == 1 and 1 - usual > bound and rows >= LEAST_ROWS:
            gone.append(feature.name)
        yield Measured(
            values.INVALID_SHARE,
            missing + broken - usual,
            rows,
            version,
            feature.name,
            bound,
            _words(feature, figures, missing, invalid, usual, rows),
        )
        yield Measured(values.MISSING_SHARE, missing, rows, version, feature.name)
        if feature.range or feature.type is FeatureType.STRING:
            yield Measured(values.OUTSIDE_SHARE, invalid, rows, version, feature.name)
        yield from _stuck(window, version, feature, baseline, figures)
        if feature.type is FeatureType.TIMESTAMP and (present := figures.number(feature.name, "present")):
            age = figures.number(feature.name, "age") / present
            yield Measured(values.FEATURE_AGE, age, int(present), version, feature.name)
    features = len(manifest.signature.features)
    yield Measured(values.COMPLETENESS, 1 - missing_of_all / features, rows, version)
    yield Measured(values.ACCURACY, 1 - invalid_of_all / features, rows, version)
    words = f"No value at all of {', '.join(gone)}." if gone else None
    yield Measured(values.SCHEMA_CHANGES, float(len(gone)), rows, version, threshold=0.5, detail=words)


def _tolerated(window: Window, baseline: Baseline | None) -> float:
    """Return the share beyond the usual one that is no news: some sources had bad days in training too."""
    tolerated = window.model.monitors.quality.threshold
    if baseline is None or baseline.daily_missing is None:
        return tolerated
    return max(tolerated, BEYOND_TRAINING * baseline.daily_missing - baseline.missing)


def shares(figures: Figures, feature: Feature, rows: int) -> tuple[float, float, float]:
    """Return the shares of missing and of invalid values of a feature, and of those surely broken."""
    missing = rows - figures.number(feature.name, "present")
    invalid = figures.number(feature.name, "invalid")
    broken = figures.number(feature.name, "broken") if feature.type.numeric else invalid
    return max(missing, 0.0) / rows, invalid / rows, broken / rows


def _words(
    feature: Feature, figures: Figures, missing: float, invalid: float, usual: float, rows: int
) -> str | None:
    parts = []
    if missing > usual:
        parts.append(f"{missing:.1%} of {rows} values missing, {usual:.1%} in training")
    if invalid:
        what = "unknown categories" if feature.type is FeatureType.STRING else "out of range"
        parts.append(f"{invalid:.1%} {what}")
        low, high = figures.get(feature.name, "minimum"), figures.get(feature.name, "maximum")
        if feature.range and low is not None and high is not None:
            parts.append(
                f"values from {low:g} to {high:g}, in training {feature.range[0]:g} to {feature.range[1]:g}"
            )
    return f"{feature.name}: {'; '.join(parts)}" if parts else None


def _stuck(
    window: Window, version: int, feature: Feature, baseline: Baseline | None, figures: Figures
) -> Iterator[Measured]:
    """Yield 1 where a feature shows one value only, though it varied in training and lately; else 0."""
    present = figures.number(feature.name, "present")
    if baseline is None or present < LEAST_ROWS:
        return
    constant = is_constant(figures, feature, baseline)
    if constant is None:
        return
    training = baseline.counts.values() if baseline.kind == "categorical" else baseline.counts
    total = sum(training)
    # A number's bin may hold many values, so this is more than the chance of one value.
    by_chance = (max(training) / total) ** present if total else 1.0
    earlier = window.past.of(values.CONSTANT.metric, version, feature.name).values()
    known = len(earlier) >= LEAST_PAST and not any(earlier)
    judged = known and by_chance < BY_CHANCE
    words = f"{feature.name} has one and the same value in all {present:.0f} rows" if constant else None
    yield Measured(
        values.CONSTANT,
        float(constant),
        int(present),
        version,
        feature.name,
        0.5 if judged else None,
        words,
    )


def is_constant(figures: Figures, feature: Feature, baseline: Baseline) -> bool | None:
    """Return whether all values of a feature are one; None where that cannot be told."""
    if feature.type.numeric:
        low, high = figures.get(feature.name, "minimum"), figures.get(feature.name, "maximum")
        return low == high if low is not None and high is not None else None
    if baseline.kind == "categorical" and feature.type in (FeatureType.STRING, FeatureType.BOOL):
        present = figures.number(feature.name, "present")
        counts = figures.bins(feature.name, "bin", len(baseline.counts))
        return max(counts, default=0.0) == present if present else None
    return None


def _duplicates(window: Window) -> Iterator[Measured]:
    """Yield the shares of rows that repeat an id, or all inputs, within an hour."""
    seen = rows = different = 0.0
    start, end = window.span
    for hour, figures in window.hourly.items():
        if start <= hour < end:
            seen += figures.get("seen", 0.0)
            rows += figures.get("rows", 0.0)
            different += figures.get("different", 0.0)
    if not rows:
        return
    yield Measured(values.REPEATED_IDS, 1 - rows / seen if seen else 0.0, int(seen))
    if not different:
        return
    share = 1 - different / rows
    usual = _usual_duplicates(window, end - start)
    bound = None if usual is None else usual + statistics.share_bound(REPEATED, usual, rows)
    words = f"{share:.1%} of the rows repeat all inputs of another; usual are {usual or 0:.1%}"
    yield Measured(values.DUPLICATE_SHARE, share, int(rows), threshold=bound, detail=words)


def _usual_duplicates(window: Window, length: timedelta) -> float | None:
    """Return the median share of repeated inputs over the windows of the last week, if there were any."""
    start, end = window.span
    found = []
    for back in range(1, max(1, timedelta(days=7) // length) + 1):
        rows = different = 0.0
        for hour in _hours(start - back * length, end - back * length):
            figures = window.hourly.get(hour, {})
            rows += figures.get("rows", 0.0)
            different += figures.get("different", 0.0)
        if rows and different:
            found.append(1 - different / rows)
    return statistics.median(found) if len(found) >= LEAST_PAST else None


def _hours(start: datetime, end: datetime) -> Iterator[datetime]:
    hour = start
    while hour < end:
        yield hour
        hour += HOUR
