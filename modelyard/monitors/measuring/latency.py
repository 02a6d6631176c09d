"""Times of answers in a window, from the log; freshness, duration and holes of batches."""

from collections.abc import Iterator, Sequence

from modelyard.monitors import values
from modelyard.monitors.measuring import statistics
from modelyard.monitors.measuring.counting import LATENCY, LATENCY_EDGES, ROWS
from modelyard.monitors.measuring.measured import Measured, Window

# Below so many answers a quantile or a share says nothing.
LEAST_ROWS = 20


def measure(window: Window) -> Iterator[Measured]:
    """Yield the quantiles of the response time and the share of failed rows, per version."""
    yield Measured(values.LATENCY_ROWS, window.rows, window.rows)
    yield from _batches(window)
    for version in window.versions():
        figures = window.figures[version]
        rows = figures.rows
        if not rows:
            continue
        settings = window.model.monitors.latency
        limit = statistics.share_bound(settings.error_rate, 0.0, rows) if rows >= LEAST_ROWS else None
        failed = figures.number(ROWS, "failed") / rows
        yield Measured(values.ERROR_SHARE, failed, rows, version, threshold=limit)
        counts = figures.between(LATENCY, len(LATENCY_EDGES) + 1)
        if present := int(sum(counts)):
            for name, value in values.LATENCIES.items():
                level = float(name[1:]) / 100
                judged = name == "p95" and present >= LEAST_ROWS
                yield Measured(
                    value,
                    quantile(counts, LATENCY_EDGES, level),
                    present,
                    version,
                    threshold=settings.threshold if judged else None,
                )


def _batches(window: Window) -> Iterator[Measured]:
    """Yield when the last complete run ended, how long it took, and its holes."""
    runs = window.batches.until(window.span[1])
    if not runs:
        if window.batches.deployed and window.batches.deployed < window.span[1]:
            yield Measured(values.LAST_SUCCESS, window.batches.deployed.timestamp(), 0)
        return
    last = runs[-1]
    yield Measured(values.LAST_SUCCESS, last.ended.timestamp(), last.rows)
    yield Measured(values.DURATION, (last.ended - last.started).total_seconds(), last.rows)
    if last.rows:
        bound = statistics.share_bound(window.model.monitors.latency.error_rate, 0.0, last.rows)
        words = f"{last.failed} of {last.rows} rows of the last batch have no prediction"
        share = last.failed / last.rows
        yield Measured(values.FAILED_SHARE, share, last.rows, threshold=bound, detail=words)


def quantile(counts: Sequence[float], edges: Sequence[float], level: float) -> float:
    """Return the value that the share `level` stays below, on a straight line within its bin, as PromQL."""
    wanted, below = level * sum(counts), 0.0
    for index, count in enumerate(counts):
        if count and below + count >= wanted:
            if index == len(edges):
                return edges[-1]
            low = edges[index - 1] if index else 0.0
            return low + (edges[index] - low) * (wanted - below) / count
        below += count
    return edges[-1]
