"""Use of a model in a window: as many predictions as usual, fewer, more, or none."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from modelyard.monitors import values
from modelyard.monitors.measuring import statistics
from modelyard.monitors.measuring.measured import Measured, Window
from modelyard.monitors.measuring.watched import HOUR

WEEK = timedelta(days=7)
WEEKS = 4
# Standard deviations of the number itself: one window in 300,000 is beyond by chance.
SURE = 4.5
# Where nothing is known of it, counts spread as if requests came in pairs.
SPREAD = 2.0
# Times the usual number that is a sudden rise.
RISE = 3.0
# Windows are judged also together with the hours before them.
TOGETHER = (timedelta(hours=4), timedelta(hours=12), timedelta(hours=24))
# Runs of a batch that say what is usual.
RUNS = 4
Hourly = Mapping[datetime, Mapping[str, float]]
Choice = Callable[[Iterable[float]], float]


def measure(window: Window) -> Iterator[Measured]:
    """Yield the number of predictions and what it is against the usual one at these hours."""
    start, end = window.span
    now = _between(window.hourly, start, end)
    yield Measured(values.PREDICTIONS, now, int(now))
    yield Measured(values.CALLERS, float(window.callers()), int(now))
    if window.batches.runs:
        yield from _of_runs(window)
        return
    begun = min((hour for hour, figures in window.hourly.items() if figures.get("seen")), default=None)
    if begun is None:
        return
    spread = dispersion(window.hourly, begun, start, end)
    quiet = start.date().isoformat() in window.model.holidays
    for metric, choose in ((values.VOLUME_RATIO, min), (values.VOLUME_RISE, max)):
        found = [
            compared
            for hours in sorted({end - start, *TOGETHER})
            if hours >= end - start and (compared := _compared(window, begun, end - hours, choose, spread))
        ]
        if found:
            # The length that is furthest beyond its threshold tells: a small change shows in a day only.
            telling = max(found, key=lambda compared: compared.beyond(metric is values.VOLUME_RATIO))
            limit = None if quiet else telling.threshold
            words = telling.words + (" (a holiday)" if quiet else "")
            yield Measured(metric, telling.ratio, telling.rows, threshold=limit, detail=words)
    yield from _silence(window, begun, spread, quiet)


def _of_runs(window: Window) -> Iterator[Measured]:
    """Yield the rows of the run that ended in the window, against those of the runs before.

    Runs end at no fixed hour; one that does not come is told by its freshness.
    """
    runs = window.batches.until(window.span[1])
    if len(runs) < 2 or runs[-1].ended < window.span[0]:
        return
    last, earlier = runs[-1], runs[-1 - RUNS : -1]
    usual = Usual(statistics.median([run.rows for run in earlier]), len(earlier), "the runs before")
    if not usual.number:
        return
    low, high = bounds(usual, SPREAD)
    words = f"{last.rows} rows in the last run; {usual.number:.0f} are usual"
    ratio, threshold = last.rows / usual.number, window.model.monitors.usage.threshold
    for metric, limit in ((values.VOLUME_RATIO, min(threshold, low)), (values.VOLUME_RISE, max(RISE, high))):
        yield Measured(metric, ratio, last.rows, threshold=limit, detail=words)


@dataclass(frozen=True)
class Compared:
    """Predictions of some hours against the usual number."""

    ratio: float
    threshold: float
    rows: int
    words: str

    def beyond(self, below: bool) -> float:
        """Return how many times beyond the threshold it is."""
        bad, good = (self.threshold, self.ratio) if below else (self.ratio, self.threshold)
        return bad / good if good else math.inf if bad else 0.0


def _compared(
    window: Window, begun: datetime, start: datetime, choose: Choice, spread: float
) -> Compared | None:
    """Return the predictions from `start` to the window's end against the usual number."""
    end = window.span[1]
    usual = expected(window.hourly, begun, start, end, choose)
    if usual is None or not usual.number:
        return None
    now = _between(window.hourly, start, end)
    low, high = bounds(usual, spread)
    limit = min(window.model.monitors.usage.threshold, low) if choose is min else max(RISE, high)
    hours = (end - start) // HOUR
    words = (
        f"{now:.0f} predictions in {hours} hour{'' if hours == 1 else 's'}; {usual.number:.0f} are usual, by "
        f"{usual.basis}"
    )
    return Compared(now / usual.number, limit, int(now), words)


@dataclass(frozen=True)
class Usual:
    """The usual number of predictions at the hours of a window."""

    number: float
    windows: int
    basis: str


def _between(hourly: Hourly, start: datetime, end: datetime) -> float:
    total, hour = 0.0, start
    while hour < end:
        figures = hourly.get(hour, {})
        total += figures.get("ids", figures.get("rows", 0.0))
        hour += HOUR
    return total


def expected(
    hourly: Hourly, begun: datetime, start: datetime, end: datetime, choose: Choice | None = None
) -> Usual | None:
    """Return the usual number: the median of the same hours of up to four earlier weeks.

    Of a model younger than that, the median of the same hours of earlier days, from two days on. With
    `choose`, windows shorter than a day are compared with the lowest or highest of the hours around too:
    when clocks change, people come an hour earlier or later.
    """

    def held(back: timedelta) -> float:
        if choose is None or end - start >= timedelta(days=1):
            return _between(hourly, start - back, end - back)
        return choose(
            _between(hourly, start - back + shift, end - back + shift) for shift in (-HOUR, 0 * HOUR, HOUR)
        )

    for step, most, least, words in (
        (WEEK, WEEKS, 1, "the same hours of {} earlier week{}"),
        (timedelta(days=1), 6, 2, "the same hours of {} earlier day{}"),
    ):
        backs = [
            k * step for k in range(1, most + 1) if end - k * step <= start and start - k * step >= begun
        ]
        if len(backs) >= least:
            found = [held(back) for back in backs]
            basis = words.format(len(found), "" if len(found) == 1 else "s")
            return Usual(statistics.median(found), len(found), basis)
    return None


def dispersion(hourly: Hourly, begun: datetime, start: datetime, end: datetime) -> float:
    """Return how much wider counts spread than independent requests would: variance over mean, 1 at least.

    Measured on the windows of the week before against their own usual numbers. The median, so that a fault
    among them counts for little.
    """
    length, found = end - start, []
    for back in range(1, max(1, WEEK // length) + 1):
        earlier = (start - back * length, end - back * length)
        usual = expected(hourly, begun, *earlier)
        if usual and usual.number and usual.basis.endswith(("week", "weeks")):
            found.append((_between(hourly, *earlier) - usual.number) ** 2 / usual.number)
    if len(found) < 6:
        return SPREAD
    # The median of a chi-square variable of one degree of freedom is 0.4549.
    return max(1.0, statistics.median(found) / 0.4549)


def bounds(usual: Usual, spread: float) -> tuple[float, float]:
    """Return between which shares of the usual number chance keeps a window.

    On the scale of square roots, where the spread of counts is the same for few and for many. The usual
    number is itself known from few windows only.
    """
    root = math.sqrt(usual.number)
    away = SURE / 2 * math.sqrt(spread * (1 + 1.57 / usual.windows))
    low, high = max(root - away, 0.0), root + away
    return low * low / usual.number, high * high / usual.number


def _silence(window: Window, begun: datetime, spread: float, quiet: bool) -> Iterator[Measured]:
    """Yield how many predictions were to be expected since the last one."""
    end = window.span[1]
    hour, missed, known = end - HOUR, 0.0, False
    while hour >= begun and not _between(window.hourly, hour, hour + HOUR):
        usual = expected(window.hourly, begun, hour, hour + HOUR, min)
        if usual is not None:
            missed, known = missed + usual.number, True
        hour -= HOUR
    silent = (end - hour - HOUR) // HOUR
    # None at all of n expected has the chance exp(-n/spread).
    limit = spread * SURE * SURE / 2
    words = f"No prediction for {silent} hours, in which {missed:.0f} are usual" if silent else None
    judged = (known or not silent) and not quiet
    yield Measured(values.SILENCE, missed, int(missed), threshold=limit if judged else None, detail=words)
