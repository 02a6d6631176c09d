"""How long a cron schedule may leave between two runs."""

import calendar
import functools
import itertools
from datetime import date, timedelta

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_DAY = 86_400
# Leap years and weekdays repeat every 28 years within this century.
_FIRST, _YEARS = date(2024, 1, 1), 28


def _values(field: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    """Return the values of one field of a cron expression."""
    values: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if span in ("*", "?"):
            start, end = low, high
        else:
            start = _value(first, names)
            end = _value(last, names) if last else (high if step else start)
        every = int(step) if step.isdigit() else (1 if part == span else 0)
        if not low <= start <= end <= high or every < 1:
            raise ValueError(f"{part!r} is not within {low} to {high}")
        values.update(range(start, end + 1, every))
    return frozenset(values)


def _value(text: str, names: dict[str, int]) -> int:
    lowered = text.lower()
    if lowered in names:
        return names[lowered]
    if not text.isdigit():
        raise ValueError(f"{text!r} is not a number")
    return int(text)


@functools.lru_cache(maxsize=1024)
def longest_gap(cron: str) -> int:
    """Return the longest time in seconds between two runs of the cron expression `cron`, in UTC.

    Raises:
        ValueError: `cron` is not an expression of five fields, or never runs.
    """
    fields = cron.split()
    if len(fields) != 5:
        raise ValueError(f"{cron!r}: not the five fields minute, hour, day, month, weekday")
    minutes = _values(fields[0], 0, 59, {})
    hours = _values(fields[1], 0, 23, {})
    days = _values(fields[2], 1, 31, {})
    months = _values(fields[3], 1, 12, _MONTHS)
    weekdays = frozenset(day % 7 for day in _values(fields[4], 0, 7, _DAYS))
    times = sorted(hour * 3600 + minute * 60 for hour in hours for minute in minutes)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    overnight = _DAY - times[-1] + times[0]
    # Cron joins day and weekday by "or" where both are restricted.
    either = not fields[2].startswith(("*", "?")) and not fields[4].startswith(("*", "?"))
    if not either and len(days) == 31 and len(months) == 12 and len(weekdays) == 7:
        return max([*gaps, overnight])
    previous: date | None = None
    longest_days = 0
    for offset in range(_YEARS * 1461 // 4):
        day = _FIRST + timedelta(days=offset)
        by_date, by_weekday = day.day in days, day.isoweekday() % 7 in weekdays
        if day.month in months and (by_date or by_weekday if either else by_date and by_weekday):
            if previous is not None:
                longest_days = max(longest_days, (day - previous).days)
            previous = day
    if not longest_days:
        raise ValueError(f"{cron!r}: never runs")
    return max([*gaps, overnight + (longest_days - 1) * _DAY])
