"""From the values of one metric over time to the stretches in which it stood out."""

import math
from bisect import insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.incidents.readings import Reading, SeriesKey
from modelyard.monitors.rule import Rule

# With fewer earlier windows than this nobody can say what is usual.
MIN_HISTORY = 10
# A value must exceed by this what earlier windows reached; a record by a hair is no news.
MARGIN = 1.1


@dataclass(frozen=True, slots=True)
class Episode:
    """A stretch of windows in which a metric stood out."""

    key: SeriesKey
    since: datetime
    """Start of the first window beyond the threshold."""
    opened: datetime
    """End of the window that opened it: nobody could know before."""
    last: datetime
    """End of the last window beyond the threshold."""
    resolved: datetime | None
    """End of the window that ended it; None while it lasts."""
    windows: int
    """Windows beyond the threshold."""
    first: Reading
    peak: Reading
    """The window furthest beyond the threshold."""
    latest: Reading
    threshold: float
    """What the peak was compared with."""
    excess: float
    """How many times beyond the threshold the peak was."""


class Usual:
    """What a metric's own earlier windows say is usual: all but the highest in a hundred of its values."""

    def __init__(self, above: bool = True) -> None:
        self._values: list[float] = []
        self._above = above

    def add(self, value: float) -> None:
        """Learn the value of a window without a fault."""
        insort(self._values, value)

    @property
    def learning(self) -> bool:
        """Whether too little is known yet to say what is usual."""
        return len(self._values) < MIN_HISTORY

    def widened(self, threshold: float) -> float:
        """Return `threshold`, or what is usual where that is further."""
        if self.learning:
            return threshold
        count = len(self._values)
        rank = math.ceil(0.99 * count) - 1
        if self._above:
            return max(threshold, self._values[rank] * MARGIN)
        return min(threshold, self._values[count - 1 - rank] / MARGIN)


def excess(value: float, threshold: float, above: bool) -> float:
    """Return how many times beyond the threshold `value` is: above 1 is bad."""
    bad, good = (value, threshold) if above else (threshold, value)
    if bad <= 0:
        return 0.0
    return bad / good if good > 0 else math.inf


def episodes(readings: Iterable[Reading], rule: Rule, above: bool = True) -> list[Episode]:
    """Return the episodes of one metric, the earliest first; the last may still last.

    Args:
        readings: the windows of one metric, in order of time, each once.
        rule: when it stands out.
        above: whether values above the threshold are bad; else values below.
    """
    found: list[Episode] = []
    usual = Usual(above)
    # The last windows, which may still turn out to belong to an episode: nothing is learned from them yet.
    recent: deque[_Judged] = deque()
    current: Episode | None = None
    clean = 0
    for reading in readings:
        if reading.value is None or reading.threshold is None:
            continue  # what could not be measured speaks neither for nor against a fault
        threshold = usual.widened(reading.threshold) if rule.learns else reading.threshold
        times = excess(reading.value, threshold, above)
        judged = _Judged(reading, threshold, times)
        if current is None:
            recent.append(judged)
            if len(recent) > rule.of:
                usual.add(recent.popleft().value)
            breaches = [item for item in recent if item.bad]
            if judged.bad and (times >= rule.far or len(breaches) >= rule.opens_after):
                current, clean = _opened(breaches), 0
                recent.clear()
        else:
            clean = 0 if judged.bad else clean + 1
            ended = reading.end if clean >= rule.resolves_after else None
            current = _continued(current, judged, ended)
            if usual.learning:
                # What stood out from the first day on is told once, and then is usual.
                usual.add(judged.value)
            if ended:
                found.append(current)
                current = None
    return [*found, current] if current else found


@dataclass(frozen=True, slots=True)
class _Judged:
    """A window, with what it was compared with and how far beyond that it is."""

    reading: Reading
    threshold: float
    times: float

    @property
    def bad(self) -> bool:
        return self.times > 1

    @property
    def value(self) -> float:
        assert self.reading.value is not None
        return self.reading.value


def _opened(breaches: list[_Judged]) -> Episode:
    peak = max(breaches, key=lambda item: item.times)
    first, latest = breaches[0].reading, breaches[-1].reading
    return Episode(
        key=first.key,
        since=first.start,
        opened=latest.end,
        last=latest.end,
        resolved=None,
        windows=len(breaches),
        first=first,
        peak=peak.reading,
        latest=latest,
        threshold=peak.threshold,
        excess=peak.times,
    )


def _continued(episode: Episode, judged: _Judged, ended: datetime | None) -> Episode:
    higher = judged.times > episode.excess
    return replace(
        episode,
        last=judged.reading.end if judged.bad else episode.last,
        resolved=ended,
        windows=episode.windows + judged.bad,
        peak=judged.reading if higher else episode.peak,
        latest=judged.reading,
        threshold=judged.threshold if higher else episode.threshold,
        excess=max(judged.times, episode.excess),
    )
