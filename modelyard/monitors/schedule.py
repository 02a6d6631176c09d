"""How long a cron schedule may leave between two runs."""

import functools
import itertools
from datetime import date, timedelta

from modelyard.spec.cron import parse

_DAY = 86_400
# Leap years and weekdays repeat every 28 years within this century.
_FIRST, _YEARS = date(2024, 1, 1), 28


def _any_day(field: str) -> bool:
    """Whether a field of days leaves every day open, as Kubernetes sees it: a star without a step."""
    return any(item.partition("/")[0] in ("*", "?") and item[1:] in ("", "/1") for item in field.split(","))


@functools.lru_cache(maxsize=1024)
def longest_gap(cron: str) -> int:
    """Return the longest time in seconds between two runs of the cron expression `cron`, in UTC.

    Raises:
        ValueError: `cron` is no cron expression, or never runs.
    """
    minutes, hours, days, months, weekdays = parse(cron)
    fields = cron.split(" ")
    times = sorted(hour * 3600 + minute * 60 for hour in hours for minute in minutes)
    within = [later - earlier for earlier, later in itertools.pairwise(times)]
    overnight = _DAY - times[-1] + times[0]
    # Where both days are restricted, either starts the job.
    either = not _any_day(fields[2]) and not _any_day(fields[4])
    if not either and len(days) == 31 and len(months) == 12 and len(weekdays) == 7:
        return max([*within, overnight])
    longest_days = 0
    previous: date | None = None
    for offset in range(_YEARS * 1461 // 4):
        day = _FIRST + timedelta(days=offset)
        by_date, by_weekday = day.day in days, day.isoweekday() % 7 in weekdays
        if day.month in months and (by_date or by_weekday if either else by_date and by_weekday):
            if previous is not None:
                longest_days = max(longest_days, (day - previous).days)
            previous = day
    if not longest_days:
        raise ValueError(f"'{cron}' never runs")
    return max([*within, overnight + (longest_days - 1) * _DAY])
