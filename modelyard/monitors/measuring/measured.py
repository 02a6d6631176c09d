"""What measuring yields, and what a family has at hand to measure a window."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from modelyard.monitors.measuring.batches import Batches
from modelyard.monitors.measuring.hours import Figures, Span
from modelyard.monitors.measuring.watched import Manifests, Watched
from modelyard.monitors.values import Value

NO_BATCHES = Batches()


@dataclass(frozen=True)
class Measured:
    """One value of one window: a row of `metric_values`.

    `threshold` is what an alert compares with; it knows how many rows the value rests on. Absent: the value
    is not judged, as where nothing is known to compare with.
    """

    metric: Value
    value: float | None
    rows: int
    version: int | None = None
    feature: str | None = None
    threshold: float | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Past:
    """Values of earlier windows, by metric, version and feature, then by the end of their window."""

    values: Mapping[tuple[str, int | None, str | None], Mapping[datetime, float]] = field(
        default_factory=dict
    )

    def of(self, metric: str, version: int | None, feature: str | None) -> Mapping[datetime, float]:
        """Return the values of one metric by the end of their window."""
        return self.values.get((metric, version, feature), {})


@dataclass(frozen=True)
class Window:
    """One window of one model with all that is known of it."""

    model: Watched
    manifests: Manifests
    span: Span
    figures: Mapping[int, Figures]
    """Merged hours, by version."""
    hourly: Mapping[datetime, Mapping[str, float]]
    """Whole rows by hour, of the window and of the weeks before."""
    past: Past
    batches: Batches = NO_BATCHES
    """Runs of a batch model."""
    callers: Callable[[], int] = lambda: 0
    """Counts the different callers."""

    @property
    def rows(self) -> int:
        """Rows of all versions."""
        return sum(figures.rows for figures in self.figures.values())

    def versions(self) -> Sequence[int]:
        """Return the versions that answered in the window and whose manifest is known."""
        return sorted(version for version in self.figures if version in self.manifests)
