"""Cron expressions of five fields, as Kubernetes reads them."""

import calendar
import itertools

_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, tuple(name.lower() for name in calendar.month_abbr[1:])),
    ("day of week", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
_LONGEST_MONTHS = {
    month: 30 if month in (4, 6, 9, 11) else 29 if month == 2 else 31 for month in range(1, 13)
}


def wrong(expression: str) -> str | None:
    """Return what is wrong with a cron expression, or None."""
    try:
        values = parse(expression)
    except ValueError as error:
        return str(error)
    days, months, weekdays = values[2:]
    # When both days are restricted, either starts the job.
    if len(weekdays) == 7 and not any(min(days) <= _LONGEST_MONTHS[month] for month in months):
        return f"'{expression}' never runs: no such day in those months"
    return None


def parse(expression: str) -> tuple[frozenset[int], ...]:
    """Return the values of the five fields: minutes, hours, days of the month, months, days of the week.

    Raises:
        ValueError: it is no cron expression; the message says why.
    """
    parts = expression.split(" ")
    if len(parts) != 5:
        raise ValueError(
            f"'{expression}' has {len(expression.split())} fields; expected five with one space between: "
            "minute, hour, day of month, month, day of week, such as '0 3 * * *'"
        )
    return tuple(
        frozenset(itertools.chain.from_iterable(_values(item, *field) for item in part.split(",")))
        for part, field in zip(parts, _FIELDS, strict=True)
    )


def _values(item: str, field: str, low: int, high: int, names: tuple[str, ...]) -> range:
    span, slash, step_text = item.partition("/")
    step = 1
    if slash:
        if not (
            step_text.isascii() and step_text.isdigit() and 1 <= len(step_text) <= 3 and int(step_text) > 0
        ):
            raise ValueError(f"{field} '{item}': the step after / must be a whole number above 0")
        step = int(step_text)
    if span in ("*", "?"):
        return range(low, high + 1, step)
    first_text, dash, last_text = span.partition("-")
    first = _number(first_text, item, field, low, high, names)
    last = _number(last_text, item, field, low, high, names) if dash else (high if slash else first)
    if first > last:
        raise ValueError(f"{field} '{item}': the range ends before it begins")
    return range(first, last + 1, step)


def _number(text: str, item: str, field: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + low
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and low <= int(text) <= high):
        or_names = f" or {names[0]}-{names[-1]}" if names else ""
        raise ValueError(
            f"{field} '{item}': expected {low}-{high}{or_names}, *, a range such as {low}-{high} or a step"
        )
    return int(text)
