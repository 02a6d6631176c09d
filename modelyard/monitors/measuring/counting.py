"""What one pass over an hour of the prediction log keeps: sums and counts that merge into any window.

Each figure is an aggregate over the hour's rows, named by item and measure: a bin of a feature's histogram,
its largest value, the rows of all. A window is the sum of its hours (the least, the greatest for a minimum,
a maximum), so hours are read once, and late rows only touch their own hour.
"""

import itertools
import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from modelyard.monitors import more
from modelyard.monitors.measuring import sql
from modelyard.spec.manifest import (
    Baseline,
    Calibration,
    Feature,
    FeatureType,
    LossTree,
    Manifest,
    NumericBaseline,
    Task,
)

# Items that are no feature; a feature's name cannot begin so.
ROWS = "@rows"
PREDICTION = "@prediction"
LATENCY = "@latency_ms"
ESTIMATE = "@estimate"
LABELS = "@labels"
# Upper edges of the histogram of response times, in milliseconds: three to each doubling below a second.
LATENCY_EDGES = tuple(round(2 ** (i / 3), 3) for i in range(-3, 46))
SCORES = 100
"""Bins of a classifier's probability."""
# Categories that are counted one by one; training's rarer ones are counted together.
CATEGORIES = 100
# Statements stay below BigQuery's limits of columns and length.
MAX_AGGREGATES = 4000
# Values further out are counted as this many standard deviations, so that one wild value moves no mean.
WINSOR = 100.0

LEAST = frozenset({"minimum"})
GREATEST = frozenset({"maximum", "newest"})


@dataclass(frozen=True)
class Figure:
    """One figure of an hour: an SQL aggregate over the columns that `Hourly` prepares."""

    item: str
    measure: str
    sql: str
    bin: int | None = None


@dataclass(frozen=True)
class Histogram:
    """How the values of one item are binned."""

    bins: tuple[str, ...]
    """Names of the bins, in order; the last one holds all other values of a category."""
    training: tuple[float, ...]
    """Training rows per bin."""
    edges: tuple[float, ...] | None = None
    """Inner edges, for numbers: an edge belongs to the bin on its left."""


def histogram(baseline: Baseline) -> Histogram:
    """Return the bins of `baseline`."""
    if isinstance(baseline, NumericBaseline):
        edges = baseline.edges
        if not edges:
            return Histogram(("all",), tuple(map(float, baseline.counts)), edges)
        middle = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
        bins = (f"up to {edges[0]:g}", *middle, f"above {edges[-1]:g}")
        return Histogram(bins, tuple(map(float, baseline.counts)), edges)
    known = sorted(baseline.counts, key=lambda category: (-baseline.counts[category], category))
    counted = known[:CATEGORIES]
    rest = sum(baseline.counts[category] for category in known[CATEGORIES:])
    return Histogram((*counted, "other"), (*(float(baseline.counts[c]) for c in counted), float(rest)))


@dataclass(frozen=True)
class Columns:
    """The columns that a version's aggregates read, as the inner query prepares them."""

    select: tuple[str, ...]
    names: dict[str, str]
    """Item -> its column, cleaned: NaN is null."""
    places: dict[str, str]
    """Feature that is a text -> the column of its place among the bins of its histogram."""


def columns(manifest: Manifest, features: Sequence[Feature]) -> Columns:
    """Return the prepared columns of `features`, the prediction and the latency."""
    select, names, places = [], {}, {}
    for index, feature in enumerate(features):
        names[feature.name] = f"f{index}"
        select.append(f"{cleaned(f'features.{sql.name(feature.name)}', feature.type)} AS f{index}")
        if feature.type is FeatureType.STRING and (known := _counted(manifest, feature)):
            places[feature.name] = f"k{index}"
            select.append(f"{_place(f'features.{sql.name(feature.name)}', known)} AS k{index}")
    names[PREDICTION], names[LATENCY] = "p", "l"
    select.append(f"{cleaned('prediction', manifest.signature.prediction.type)} AS p")
    select.append("latency_ms AS l")
    return Columns(tuple(select), names, places)


def cleaned(column: str, kind: FeatureType) -> str:
    """Return a column whose NaN is null."""
    if kind is FeatureType.FLOAT64:
        return f"IF(IS_NAN({column}), NULL, {column})"
    return column


def of_rows(manifest: Manifest, prepared: Columns) -> Iterator[Figure]:
    """Yield what is counted of whole rows: how many, and how many different inputs."""
    names = prepared.names
    yield Figure(ROWS, "rows", "COUNT(*)")
    yield Figure(ROWS, "failed", f"COUNTIF({names[PREDICTION]} IS NULL)")
    yield Figure(ROWS, "newest", "UNIX_SECONDS(TIMESTAMP_TRUNC(MAX(time), SECOND))")
    if all(feature.name in names for feature in manifest.signature.features):
        yield Figure(ROWS, "different", f"COUNT(DISTINCT {_fingerprint(manifest, prepared)})")
    yield Figure(LATENCY, "present", f"COUNT({names[LATENCY]})")
    yield from _up_to(LATENCY, names[LATENCY], LATENCY_EDGES)


def _fingerprint(manifest: Manifest, prepared: Columns) -> str:
    """Return a number that is the same for the same inputs and, but for rounding, for no others.

    A sum of the values, each times a square root of its own: such sums coincide only by design.
    """
    terms = []
    for index, feature in enumerate(manifest.signature.features):
        column = prepared.names[feature.name]
        if feature.type is FeatureType.BOOL:
            value = f"IF({column}, 1.0, 0.0)"
        elif feature.type is FeatureType.TIMESTAMP:
            value = f"CAST(UNIX_MICROS({column}) AS FLOAT64)"
        elif feature.name in prepared.places:
            value = f"CAST({prepared.places[feature.name]} AS FLOAT64)"
        elif feature.type is FeatureType.STRING:
            value = f"CAST(CHAR_LENGTH({column}) AS FLOAT64)"
        elif feature.type is FeatureType.INT64:
            value = f"CAST({column} AS FLOAT64)"
        else:
            value = column
        # So small that no sum overflows, which BigQuery takes for an error.
        weight = sql.number(math.sqrt(_prime(index)) / 1e6)
        terms.append(f"IFNULL({value}, {sql.number(math.pi / 10)}) * {weight}")
    return " + ".join(terms)


def _prime(index: int) -> int:
    """Return the prime number of place `index`: square roots of primes are independent of each other."""
    found, candidate = -1, 1
    while found < index:
        candidate += 1
        if all(candidate % divisor for divisor in range(2, math.isqrt(candidate) + 1)):
            found += 1
    return candidate


def _categories(manifest: Manifest, feature: Feature) -> tuple[str, ...]:
    """Return the known values of a string feature: those of the signature, else of its baseline."""
    if feature.categories:
        return feature.categories
    baseline = manifest.baselines.features.get(feature.name)
    return tuple(baseline.counts) if baseline and baseline.kind == "categorical" else ()


def _counted(manifest: Manifest, feature: Feature) -> tuple[str, ...]:
    """Return the values of a text that are counted one by one, in the order of their bins."""
    baseline = manifest.baselines.features.get(feature.name)
    return histogram(baseline).bins[:-1] if baseline else (feature.categories or ())[:CATEGORIES]


def _place(column: str, categories: Sequence[str]) -> str:
    """Return the place of a text among `categories`; of an unknown one, its length below 0."""
    cases = " ".join(f"WHEN {sql.text(category)} THEN {i}" for i, category in enumerate(categories))
    return f"CASE {column} {cases} ELSE -1 - CHAR_LENGTH({column}) END"


def credible(low: float, high: float) -> tuple[float, float]:
    """Return between which values a number of training's range `low` to `high` may be another season's.

    A summer is warmer than the spring that a model was trained on, and a cloudburst is the heaviest so far:
    such values drift. Beyond the range by more than its width, or below 0 where it begins at 0, they are
    broken.
    """
    width = high - low
    return (low if low == 0 else low - width), high + width


def of_feature(
    manifest: Manifest, feature: Feature, prepared: Columns, restricted: Container[str] = ()
) -> Iterator[Figure]:
    """Yield what is counted of one feature: present, invalid and broken values, extremes, moments, bins.

    Of a `restricted` feature no extremes are kept: they are values of single people.
    """
    item, baseline = feature.name, manifest.baselines.features.get(feature.name)
    column = prepared.names[item]
    yield Figure(item, "present", f"COUNT({column})")
    if feature.type.numeric:
        if feature.range:
            low, high = (sql.number(value) for value in feature.range)
            yield Figure(item, "invalid", f"COUNTIF({column} < {low} OR {column} > {high})")
            low, high = (sql.number(value) for value in credible(*feature.range))
            yield Figure(item, "broken", f"COUNTIF({column} < {low} OR {column} > {high})")
        if item not in restricted:
            yield from _extremes(item, column)
        yield from _deviation(item, column, baseline)
    elif feature.type is FeatureType.STRING and (known := _categories(manifest, feature)):
        listed = ", ".join(map(sql.text, known))
        yield Figure(item, "invalid", f"COUNTIF({column} NOT IN ({listed}))")
    elif feature.type is FeatureType.TIMESTAMP:
        yield Figure(item, "age", f"SUM(TIMESTAMP_DIFF(time, {column}, SECOND))")
    if baseline:
        yield from of_bins(item, column, feature.type, baseline, prepared.places.get(item))


def of_prediction(manifest: Manifest, names: dict[str, str]) -> Iterator[Figure]:
    """Yield what is counted of the predictions, and the errors to be expected of them."""
    column, kind = names[PREDICTION], manifest.signature.prediction.type
    yield Figure(PREDICTION, "present", f"COUNT({column})")
    if kind.numeric:
        yield from _extremes(PREDICTION, column)
        yield from _deviation(PREDICTION, column, manifest.baselines.prediction)
    yield from of_bins(PREDICTION, column, kind, manifest.baselines.prediction)
    if manifest.task is Task.CLASSIFICATION and kind is FeatureType.FLOAT64:
        edges = [place / SCORES for place in range(1, SCORES)]
        yield from _up_to(PREDICTION, column, edges, "score")
    if isinstance(manifest.baselines.error, LossTree) and asked(manifest.baselines.error) <= names.keys():
        tree = manifest.baselines.error
        for measure in ("absolute", "squared"):
            yield Figure(ESTIMATE, measure, f"SUM({loss(manifest, tree, names, measure)})")
        yield Figure(ESTIMATE, "present", f"COUNT({column})")


def asked(tree: LossTree) -> set[str]:
    """Return the features that a tree asks."""
    return {node.feature for node in tree.nodes if node.feature}


def loss(manifest: Manifest, tree: LossTree, names: dict[str, str], measure: str) -> str:
    """Return the error that `tree` expects of a row, `absolute` or `squared`, as a CASE; null without one."""
    features = {feature.name: feature for feature in manifest.signature.features}

    def value(item: str) -> str:
        column = names[item]
        if item == PREDICTION:
            return column
        if features[item].type is FeatureType.BOOL:
            return f"CASE WHEN {column} THEN 1.0 WHEN NOT {column} THEN 0.0 END"
        if features[item].type is FeatureType.STRING:
            known = _categories(manifest, features[item])
            cases = " ".join(f"WHEN {sql.text(c)} THEN {float(i)}" for i, c in enumerate(known))
            return f"(CASE {column} {cases} END)" if cases else "NULL"
        return column

    def branch(index: int) -> str:
        node = tree.nodes[index]
        if node.feature is None or node.threshold is None or node.left is None or node.right is None:
            return sql.number(getattr(node, f"{measure}_error"))
        held = value(node.feature)
        goes_left = f"{held} <= {sql.number(node.threshold)}"
        if node.missing_left:
            goes_left = f"({goes_left} OR {held} IS NULL)"
        return f"CASE WHEN {goes_left} THEN {branch(node.left)} ELSE {branch(node.right)} END"

    return f"IF({names[PREDICTION]} IS NULL, NULL, {branch(0)})"


def _extremes(item: str, column: str) -> Iterator[Figure]:
    yield Figure(item, "minimum", f"MIN({column})")
    yield Figure(item, "maximum", f"MAX({column})")


def _deviation(item: str, column: str, baseline: Baseline | None) -> Iterator[Figure]:
    """Yield the sum of the distances from training's mean, each bounded by `WINSOR` standard deviations."""
    if isinstance(baseline, NumericBaseline):
        scale = baseline.std or max(abs(baseline.mean), 1.0)
        mean = sql.number(baseline.mean)
        low = sql.number(baseline.mean - WINSOR * scale)
        high = sql.number(baseline.mean + WINSOR * scale)
        bounded = f"IF({column} < {low}, {low}, IF({column} > {high}, {high}, {column}))"
        yield Figure(item, "deviation", f"SUM({bounded} - {mean})")


def of_bins(
    item: str, column: str, kind: FeatureType, baseline: Baseline, place: str | None = None
) -> Iterator[Figure]:
    """Yield the counts of an item's bins; of a text, `place` is the column of its place among them."""
    bins = histogram(baseline)
    if bins.edges is not None:
        yield from _up_to(item, column, bins.edges)
        return
    for index, category in enumerate(bins.bins[:-1]):
        if kind is FeatureType.BOOL:
            test = column if category == "true" else f"NOT {column}"
        elif place:
            test = f"{place} = {index}"
        else:
            test = f"CAST({column} AS STRING) = {sql.text(category)}"
        yield Figure(item, "bin", f"COUNTIF({test})", index)


def _up_to(item: str, column: str, edges: Sequence[float], measure: str = "bin") -> Iterator[Figure]:
    """Yield counts of the values up to each edge: one comparison each; their differences are the bins."""
    for index, edge in enumerate(edges):
        yield Figure(item, f"{measure}_up_to", f"COUNTIF({column} <= {sql.number(edge)})", index)


def statements(
    log: str, manifest: Manifest, *, once: bool = False, restricted: Container[str] = ()
) -> list[tuple[str, list[Figure]]]:
    """Return the statements that count the hours of a version, and what their columns `a0`, `a1`... hold.

    Almost always one: models of hundreds of features are counted in several, each reading its own columns.

    Args:
        log: the prediction log, `project.dataset.table`.
        manifest: the version's.
        once: whether to count rows of the same prediction id once. It costs a sort, and is needed only where
            ids repeat.
        restricted: features of which no single value may be kept.

    The parameters are `start` and `end`, the hours, and `version`; the first column is `hour`.
    """
    found: list[tuple[str, list[Figure]]] = []
    for number, features in enumerate(_chunks(manifest)):
        prepared = columns(manifest, features)
        figures: list[Figure] = []
        if number == 0:
            figures += of_rows(manifest, prepared)
            figures += of_prediction(manifest, prepared.names)
            figures += more.figures(manifest, prepared)
        for feature in features:
            figures += of_feature(manifest, feature, prepared, restricted)
        found.append((statement(log, prepared, [figure.sql for figure in figures], once=once), figures))
    return found


def ids(log: str) -> str:
    """Return the statement that counts the prediction ids of each hour of a version."""
    return (
        f"SELECT {sql.hour('time')} AS hour, COUNT(DISTINCT prediction_id) AS ids "
        f"FROM {sql.table(log)} WHERE time >= @start AND time < @end AND version = @version GROUP BY hour"
    )


def statement(log: str, prepared: Columns, aggregates: Sequence[str], *, once: bool) -> str:
    """Return the statement of `aggregates` per hour."""
    listed = ",\n  ".join(f"{aggregate} AS a{index}" for index, aggregate in enumerate(aggregates))
    distinct = "\n  QUALIFY ROW_NUMBER() OVER (PARTITION BY prediction_id ORDER BY time) = 1" if once else ""
    inner = ",\n    ".join((f"{sql.hour('time')} AS hour", "time", *prepared.select))
    return (
        f"SELECT\n  hour,\n  {listed}\nFROM (\n  SELECT\n    {inner}\n  FROM {sql.table(log)}\n"
        f"  WHERE time >= @start AND time < @end AND version = @version{distinct}\n)\nGROUP BY hour"
    )


def _chunks(manifest: Manifest) -> Iterator[tuple[Feature, ...]]:
    """Yield the features in groups whose aggregates fit into one statement."""
    group: list[Feature] = []
    size = 0
    for feature in manifest.signature.features:
        count = sum(1 for _ in of_feature(manifest, feature, columns(manifest, (feature,))))
        if group and size + count > MAX_AGGREGATES:
            yield tuple(group)
            group, size = [], 0
        group.append(feature)
        size += count
    yield tuple(group)


def calibrated(calibration: Calibration, score: float) -> float:
    """Return how often a score came true on held-out rows: straight lines between the bins' means."""
    points = sorted(
        (predicted, observed)
        for predicted, observed, count in zip(
            calibration.predicted, calibration.observed, calibration.counts, strict=True
        )
        if count
    )
    if not points:
        return score
    if score <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if score <= x1:
            return y0 + (y1 - y0) * (score - x0) / (x1 - x0) if x1 > x0 else y1
    return points[-1][1]
