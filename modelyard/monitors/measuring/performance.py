"""Statistical performance of a window: measured on labels, and estimated before they arrive."""

import math
from collections.abc import Iterator, Mapping, Sequence

from modelyard.monitors import values
from modelyard.monitors.measuring import labels, statistics
from modelyard.monitors.measuring.counting import (
    ESTIMATE,
    LABELS,
    PREDICTION,
    Histogram,
    calibrated,
)
from modelyard.monitors.measuring.counting import SCORES as STEPS
from modelyard.monitors.measuring.hours import Figures
from modelyard.monitors.measuring.measured import Measured, Window
from modelyard.spec.manifest import Calibration, Feature, LossTree, Manifest, Task

# Standard errors beyond which a difference is no chance.
SURE = 3.09
LEAST_LABELS = 30
# Rows that a segment needs to be named.
LEAST_SEGMENT = 50
# Times fewer labels than usual that is news.
LATE = 0.5
LEAST_PAST = 3
Metrics = dict[str, float]
# What is called otherwise by those who publish.
ALIASES = {"auc": "roc_auc", "mean_absolute_error": "mae", "f1_score": "f1", "ece": "calibration_error"}


def measure(window: Window) -> Iterator[Measured]:
    """Yield the metrics on the labels of each version, their loss against the test set, and the coverage."""
    yield from _coverage(window)
    for version in window.versions():
        manifest, figures = window.manifests[version], window.figures[version]
        rows = int(figures.number(LABELS, "labelled"))
        if rows < LEAST_LABELS:
            continue
        found, errors = measured(manifest, figures)
        for name, number in found.items():
            yield Measured(values.PERFORMANCE[name], number, rows, version)
        segments = list(_segments(manifest, figures, found))
        for name, number, words, count in segments:
            yield Measured(values.SEGMENT_LOSS, number, count, version, name, detail=words)
        yield from _loss(window, version, manifest, found, errors, rows, segments)


def estimate(window: Window) -> Iterator[Measured]:
    """Yield what each version's metrics are to be expected from its inputs and answers alone."""
    yield Measured(values.PERFORMANCE_ROWS, window.rows, window.rows)
    for version in window.versions():
        manifest, figures = window.manifests[version], window.figures[version]
        rows, found = estimated(manifest, figures)
        if rows < LEAST_LABELS:
            continue
        for name, number in found.items():
            yield Measured(values.ESTIMATES[name], number, rows, version)
        loss = _worse(manifest, found)
        if loss is not None:
            primary = manifest.metrics.primary
            words = (
                f"estimated {primary} {found[_name(primary)]:.4g}, {manifest.metrics.values[primary]:.4g} on "
                f"the test set; no labels needed"
            )
            bound = max(window.model.monitors.performance.threshold, SURE * _spread(manifest, rows, None))
            yield Measured(values.ESTIMATED_LOSS, loss, rows, version, threshold=bound, detail=words)


def measured(manifest: Manifest, figures: Figures) -> tuple[Metrics, Metrics]:
    """Return the metrics of the labelled rows, and the standard errors of those that have a simple one."""
    if manifest.task is Task.REGRESSION:
        return _regression(manifest, figures)
    return _classification(figures)


def _regression(manifest: Manifest, figures: Figures) -> tuple[Metrics, Metrics]:
    def total(measure: str) -> float:
        return figures.number(LABELS, measure)

    n = total("labelled")
    mae, mse = total("absolute") / n, total("squared") / n
    variance = total("label_squares") / n - (total("label") / n) ** 2
    found = {"mae": mae, "mse": mse, "rmse": math.sqrt(mse), "bias": total("error") / n}
    if variance > 0:
        found["r2"] = 1 - mse / variance
    errors = {
        "mae": math.sqrt(max(mse - mae * mae, 0.0) / n),
        "mse": math.sqrt(max(total("fourth") / n - mse * mse, 0.0) / n),
    }
    errors["rmse"] = errors["mse"] / (2 * found["rmse"]) if mse else 0.0
    if rows := total("ratio_rows"):
        found["mape"] = total("ratio") / rows
        errors["mape"] = math.sqrt(max(total("ratio_squares") / rows - found["mape"] ** 2, 0.0) / rows)
    return found, errors


def _classification(figures: Figures) -> tuple[Metrics, Metrics]:
    n = figures.number(LABELS, "labelled")
    scores = figures.bins(LABELS, "score", labels.SCORES + 1)
    positive = figures.bins(LABELS, "positive", labels.SCORES + 1)
    probability = figures.bins(LABELS, "probability", labels.SCORES + 1)
    negative = [count - ones for count, ones in zip(scores, positive, strict=True)]
    found = ordered(positive, negative) | decided(positive, negative, labels.SCORES // 2)
    errors: Metrics = {"accuracy": math.sqrt(found["accuracy"] * (1 - found["accuracy"]) / n)}
    for name in ("log_loss", "brier"):
        found[name] = figures.number(LABELS, name) / n
        spread = figures.number(LABELS, f"{name}_squares") / n - found[name] ** 2
        errors[name] = math.sqrt(max(spread, 0.0) / n)
    if "roc_auc" in found:
        errors["roc_auc"] = auc_error(found["roc_auc"], sum(positive), sum(negative))
    found["calibration_error"] = calibration_error(scores, positive, probability)
    return found, errors


def ordered(positive: Sequence[float], negative: Sequence[float]) -> Metrics:
    """Return the areas under the ROC and the precision-recall curve of counts per ascending score.

    Scores of one bin count as equal; nothing where a class is absent.
    """
    ones, zeros = sum(positive), sum(negative)
    if not ones or not zeros:
        return {}
    area = precision_area = true = false = 0.0
    for plus, minus in zip(reversed(positive), reversed(negative), strict=True):
        # A pair of the same score counts half.
        area += minus * (true + plus / 2)
        true, false = true + plus, false + minus
        if plus:
            precision_area += plus / ones * true / (true + false)
    return {"roc_auc": area / (ones * zeros), "average_precision": precision_area}


def decided(positive: Sequence[float], negative: Sequence[float], cut: int) -> Metrics:
    """Return the metrics of decisions: positive from bin `cut` on."""
    true, false = sum(positive[cut:]), sum(negative[cut:])
    missed, right = sum(positive[:cut]), sum(negative[:cut])
    found = {"accuracy": (true + right) / (true + false + missed + right)}
    if true + false:
        found["precision"] = true / (true + false)
    if true + missed:
        found["recall"] = true / (true + missed)
    for name, beta in (("f1", 1.0), ("f2", 2.0)):
        weighted = (1 + beta**2) * true + beta**2 * missed + false
        if weighted:
            found[name] = (1 + beta**2) * true / weighted
    return found


def auc_error(area: float, ones: float, zeros: float) -> float:
    """Return the standard error of an area under the ROC curve, by Hanley and McNeil."""
    first, second = area / (2 - area), 2 * area * area / (1 + area)
    spread = area * (1 - area) + (ones - 1) * (first - area * area) + (zeros - 1) * (second - area * area)
    return math.sqrt(max(spread, 0.0) / (ones * zeros))


def calibration_error(
    scores: Sequence[float], positive: Sequence[float], probability: Sequence[float], bins: int = 10
) -> float:
    """Return the expected calibration error: mean gap of probability and outcome over equal-width bins."""
    width, total = labels.SCORES // bins, sum(scores)
    gap = 0.0
    for index in range(bins):
        # A probability of 1 belongs to the last bin.
        part = slice(index * width, (index + 1) * width if index < bins - 1 else None)
        gap += abs(sum(probability[part]) - sum(positive[part]))
    return gap / total


def estimated(manifest: Manifest, figures: Figures) -> tuple[int, Metrics]:
    """Return the rows, and the metrics that training's errors lead to expect of them; empty without those."""
    error = manifest.baselines.error
    if isinstance(error, LossTree):
        n = figures.number(ESTIMATE, "present")
        if not n:
            return 0, {}
        mse = figures.number(ESTIMATE, "squared") / n
        return int(n), {
            "mae": figures.number(ESTIMATE, "absolute") / n,
            "mse": mse,
            "rmse": math.sqrt(mse),
        }
    if isinstance(error, Calibration):
        return _from_calibration(error, figures)
    return 0, {}


def _from_calibration(error: Calibration, figures: Figures) -> tuple[int, Metrics]:
    counts = figures.between(PREDICTION, STEPS, "score")
    n = sum(counts)
    if not n:
        return 0, {}
    middles = [(index + 0.5) / STEPS for index in range(STEPS)]
    true = [calibrated(error, middle) for middle in middles]
    positive = [count * share for count, share in zip(counts, true, strict=True)]
    negative = [count - ones for count, ones in zip(counts, positive, strict=True)]
    found = ordered(positive, negative) | decided(positive, negative, STEPS // 2)
    found.pop("average_precision", None)
    rows = list(zip(middles, positive, negative, strict=True))
    found["brier"] = sum(plus * (1 - at) ** 2 + minus * at**2 for at, plus, minus in rows) / n
    found["log_loss"] = -sum(plus * math.log(at) + minus * math.log(1 - at) for at, plus, minus in rows) / n
    return int(n), found


def _name(primary: str) -> str:
    lower = primary.lower()
    return ALIASES.get(lower, lower)


def _worse(manifest: Manifest, found: Mapping[str, float]) -> float | None:
    """Return how much worse the primary metric is than on the test set, as a share of that."""
    live = found.get(_name(manifest.metrics.primary))
    test = manifest.metrics.values[manifest.metrics.primary]
    if live is None or not test:
        return None
    return (test - live if manifest.metrics.higher_is_better else live - test) / abs(test)


def _spread(manifest: Manifest, rows: float, error: float | None) -> float:
    """Return the standard error of the loss, from the live metric's and the test metric's."""
    test = manifest.metrics.values[manifest.metrics.primary]
    known = manifest.baselines.metric_std
    live = known * math.sqrt(1000 / rows) if known is not None else error
    if live is None or not test:
        return 0.0
    at_test = live * math.sqrt(rows / manifest.metrics.rows)
    return math.hypot(live, at_test) / abs(test)


def _loss(
    window: Window,
    version: int,
    manifest: Manifest,
    found: Metrics,
    errors: Metrics,
    rows: int,
    segments: Sequence[tuple[str, float, str, int]],
) -> Iterator[Measured]:
    loss = _worse(manifest, found)
    if loss is None:
        return
    primary = manifest.metrics.primary
    live, test = found[_name(primary)], manifest.metrics.values[primary]
    words = f"{primary} {live:.4g} on {rows} labels, {test:.4g} on the test set ({loss:+.0%} worse)"
    if segments:
        worst = max(segments, key=lambda segment: segment[1])
        words += f"; worst segment: {worst[2]}"
    bound = max(
        window.model.monitors.performance.threshold,
        SURE * _spread(manifest, rows, errors.get(_name(primary))),
    )
    yield Measured(values.LOSS, loss, rows, version, threshold=bound, detail=words)
    _, expected = estimated(manifest, window.figures[version])
    foreseen = _worse(manifest, expected)
    if foreseen is not None:
        said = f"{primary} {live:.4g} on {rows} labels, {expected[_name(primary)]:.4g} was to be expected"
        beyond = loss - foreseen
        yield Measured(values.UNEXPECTED_LOSS, beyond, rows, version, threshold=bound, detail=said)


Segment = tuple[str, float, str, int]


def _segments(manifest: Manifest, figures: Figures, found: Metrics) -> Iterator[Segment]:
    """Yield of each feature its worst segment, where it is surely worse: by how much, in words, and rows."""
    n = figures.number(LABELS, "labelled")
    total, squares = figures.number(LABELS, "excess"), figures.number(LABELS, "excess_squares")
    spread = math.sqrt(max(squares / n - (total / n) ** 2, 0.0))
    typical = found.get("mae") or found.get("brier") or 0.0
    if not spread or not typical:
        return
    listed = list(labels.segmented(manifest))
    tests = sum(len(bins.bins) for _, bins in listed)
    sure = math.sqrt(statistics.chi_square_quantile(1 - 0.001 / tests, 1))
    for feature, bins in listed:
        item = labels.SEGMENT + feature.name
        rows, excess = segment_sums(figures, item, feature, bins)
        best: Segment | None = None
        for index, (count, more) in enumerate(zip(rows, excess, strict=True)):
            others = n - count
            if count < LEAST_SEGMENT or others < LEAST_SEGMENT:
                continue
            beyond = more / count - (total - more) / others
            if beyond <= sure * spread * math.sqrt(1 / count + 1 / others):
                continue
            if best is None or beyond / typical > best[1]:
                where = f"{feature.name} {_named(feature, bins.bins[index])}"
                words = f"{where}: {count:.0f} rows, error larger by {beyond:.3g}"
                best = (feature.name, beyond / typical, words, int(count))
        if best:
            yield best


def _named(feature: Feature, segment: str) -> str:
    return segment if feature.type.numeric else f"= {segment}"


def segment_sums(
    figures: Figures, item: str, feature: Feature, bins: Histogram
) -> tuple[list[float], list[float]]:
    """Return the rows and the sum of excess errors in each bin of a feature."""
    length = len(bins.bins)
    result = []
    for measure, whole in (("bin", "present"), ("excess_bin", "excess")):
        every = figures.number(item, whole)
        if bins.edges is not None:
            up_to = [0.0, *figures.bins(item, f"{measure}_up_to", length - 1), every]
            result.append([up_to[i + 1] - up_to[i] for i in range(length)])
        else:
            known = figures.bins(item, measure, length - 1)
            result.append([*known, every - sum(known)])
    return result[0], result[1]


def _coverage(window: Window) -> Iterator[Measured]:
    rows = window.rows
    labelled = sum(figures.number(LABELS, "labelled") for figures in window.figures.values())
    if not rows:
        yield Measured(values.LABEL_COVERAGE, None, 0)
        return
    past = window.past.of(values.LABEL_COVERAGE.metric, None, None)
    earlier = [value for end, value in past.items() if end < window.span[1]]
    bound = LATE * statistics.median(earlier) if len(earlier) >= LEAST_PAST else None
    words = f"{labelled:.0f} of {rows} predictions have a label"
    yield Measured(values.LABEL_COVERAGE, labelled / rows, rows, threshold=bound, detail=words)
