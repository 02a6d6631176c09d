"""From the values of one metric over time to the stretches in which it stood out."""

import heapq
import math
import statistics
from bisect import insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from modelyard.incidents.readings import Reading, SeriesKey
from modelyard.monitors.rule import Rule

# With fewer earlier windows than this nobody can say what is usual.
MIN_HISTORY = 10
# A value must exceed by this what earlier windows reached; a record by a hair is no news.
MARGIN = 1.1
# What comes back within a day must stay away for twice as many windows as before, and at most for so many.
LONGEST = 24
DAY = timedelta(days=1)


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
    """What a metric's own earlier windows say is usual: all but the highest in a hundred of their values.

    Windows shorter than a day are compared with those that ended at the same hour or next to it, so that
    neither mornings nor the change of clocks stand out.
    """

    def __init__(self, above: bool, window: timedelta) -> None:
        self._sign = 1 if above else -1
        self._short = window < DAY
        self._slots: list[list[float]] = [[] for _ in range(max(1, DAY // window) if self._short else 1)]

    def add(self, value: float, end: datetime) -> None:
        """Learn the value of a window without a fault."""
        insort(self._slots[self._slot(end)], self._sign * value)

    def _slot(self, end: datetime) -> int:
        return ((end.hour * 60 + end.minute) * len(self._slots)) // (24 * 60)

    def _near(self, end: datetime) -> list[list[float]]:
        slot, count = self._slot(end), len(self._slots)
        return [self._slots[place] for place in {(slot + step) % count for step in (-1, 0, 1)}]

    def absorbs(self, end: datetime) -> bool:
        """Return whether even what stands out is to be learned: days, of which too few are known."""
        return not self._short and sum(map(len, self._near(end))) < MIN_HISTORY

    def widened(self, threshold: float, end: datetime, centred: bool = False) -> float:
        """Return `threshold`, or what is usual where that is further; infinite where that is not known yet.

        Of days the threshold holds until something is known; of hours none, since their pool is judged. A
        threshold that is `centred` counts from the usual value where that is better than 0.
        """
        near = self._near(end)
        count = sum(map(len, near))
        if count < MIN_HISTORY:
            return self._sign * math.inf if self._short else threshold
        place = count - math.ceil(0.99 * count) + 1
        limit = heapq.nlargest(place, (value for values in near for value in values[-place:]))[-1]
        if centred:
            middle = statistics.median(value for values in near for value in values)
            threshold = max(threshold + min(middle, 0.0), threshold / 2)
        if self._sign > 0:
            return max(threshold, limit * MARGIN)
        return min(threshold, -limit / MARGIN)


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
    usual: Usual | None = None
    # The last windows, which may still turn out to belong to an episode: nothing is learned from them yet.
    recent: deque[_Judged] = deque()
    held: list[_Judged] = []
    current: Episode | None = None
    clean, patience = 0, rule.resolves_after
    for reading in readings:
        if reading.value is None or reading.threshold is None:
            continue  # what could not be measured speaks neither for nor against a fault
        if usual is None:
            usual = Usual(above, reading.end - reading.start)
        threshold = _threshold(reading.threshold, reading.end, rule, usual)
        judged = _Judged(reading, threshold, excess(reading.value, threshold, above))
        if current is None:
            recent.append(judged)
            if len(recent) > rule.of:
                learned = recent.popleft()
                usual.add(learned.value, learned.reading.end)
            breaches = [item for item in recent if item.bad]
            if judged.bad and (judged.times >= rule.far or len(breaches) >= rule.opens_after):
                flaps = bool(found) and reading.end - (found[-1].resolved or reading.end) < DAY
                patience = min(2 * patience, LONGEST) if flaps else rule.resolves_after
                current, clean, held = _opened(breaches), 0, list(recent)
                recent.clear()
        else:
            # With few rows a threshold is wide and a window proves nothing: the sharper of the two counts.
            sharper = (min if above else max)(reading.threshold, current.peak.threshold or 0.0)
            limit = _threshold(sharper, reading.end, rule, usual)
            clean = clean + 1 if not judged.bad and excess(reading.value, limit, above) <= 1 else 0
            ended = reading.end if clean >= patience else None
            current = _continued(current, judged, ended)
            if not rule.pools and usual.absorbs(reading.end):
                # A distance that was large from the first day on is told once, and then is usual.
                usual.add(judged.value, reading.end)
            else:
                held.append(judged)
            if ended:
                if ended - current.since < DAY:  # what passes within hours, day by day, becomes usual
                    for item in held:
                        usual.add(item.value, item.reading.end)
                found.append(current)
                current = None
    return [*found, current] if current else found


def _threshold(threshold: float, end: datetime, rule: Rule, usual: Usual) -> float:
    return usual.widened(threshold, end, rule.centred) if rule.learns else threshold


def pooled(readings: Sequence[Reading], tolerated: float) -> list[Reading]:
    """Return the last 24 hours up to each window, as one window each.

    The shares are weighted by their rows. A threshold is what is tolerated, and what chance may add to it on
    so many rows: the second shrinks with the root of the rows, the first does not.

    Args:
        readings: windows of one metric, in order of time.
        tolerated: threshold on very many rows, where the windows' own do not tell it.
    """
    found: list[Reading] = []
    day: deque[Reading] = deque()
    for reading in readings:
        if reading.value is None or reading.threshold is None or not reading.rows:
            continue
        day.append(reading)
        while day[0].start < reading.end - DAY:
            day.popleft()
        rows = sum(item.rows for item in day)
        floor, chance = _parts(day, tolerated)
        found.append(
            replace(
                reading,
                start=day[0].start,
                value=sum((item.value or 0.0) * item.rows for item in day) / rows,
                threshold=floor + chance / math.sqrt(rows),
                rows=rows,
                detail="",
            )
        )
    return found


def _parts(day: Iterable[Reading], tolerated: float) -> tuple[float, float]:
    """Return what thresholds tolerate on very many rows, and how much chance adds, times the root of rows."""
    least = min(day, key=lambda item: item.rows)
    most = max(day, key=lambda item: item.rows)
    low, high = (_without_one(item) for item in (least, most))
    if least.rows < most.rows:
        steeper = 1 / math.sqrt(least.rows) - 1 / math.sqrt(most.rows)
        chance = max((low - high) / steeper, 0.0)
        return max(high - chance / math.sqrt(most.rows), tolerated), chance
    return tolerated, max((high - tolerated) * math.sqrt(most.rows), 0.0)


def _without_one(reading: Reading) -> float:
    """Return a threshold without the one row that it allows on top."""
    return (reading.threshold or 0.0) - 1 / reading.rows


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
