"""The windows of a family: on a fixed grid, so that every run knows the same ones."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from modelyard.monitors.measuring.watched import DAY

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Span = tuple[datetime, datetime]


def floor(time: datetime, step: timedelta) -> datetime:
    """Return the last point of the grid of `step` at or before `time`."""
    return EPOCH + (time - EPOCH) // step * step


def step(length: timedelta) -> timedelta:
    """Return the time between two windows: their length, but one a day at least.

    Windows of a day or more end at midnight, UTC; longer ones overlap.
    """
    return min(length, DAY)


def ending(length: timedelta, after: datetime, until: datetime) -> Iterator[Span]:
    """Yield the windows of `length` that end after `after`, and at `until` at the latest."""
    every = step(length)
    end = floor(after, every) + every
    while end <= until:
        yield end - length, end
        end += every


def newer(span: Span, counted: Mapping[datetime, datetime], measured: datetime) -> bool:
    """Return whether an hour of the window `span` was counted after the window was measured."""
    return any(span[0] <= hour < span[1] and time > measured for hour, time in counted.items())
