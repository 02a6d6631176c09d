"""Values and amounts as people read them."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from plan_review.masking import Masked, Unknown

DAY_SECONDS = 86_400
DAY_MS = 1000 * DAY_SECONDS


def show(value: Any, limit: int = 120) -> str:
    """Return a value of a plan in at most `limit` characters, on one line."""
    if value is None:
        text = "nothing"
    elif isinstance(value, Masked | Unknown):
        text = repr(value)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, int | float):
        text = number(value)
    else:
        text = msgspec.json.encode(value, enc_hook=repr).decode()
    return shorten(text, limit)


def shorten(text: str, limit: int) -> str:
    """Return `text` on one line, in at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def number(value: float) -> str:
    """Return a number without needless digits."""
    return f"{value:.12g}"


def as_number(value: Any) -> float | None:
    """Return a value of a plan as a number; None if it is none. Providers write many numbers as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return None


def in_days(seconds: float) -> str:
    """Return a length of time in days, or in hours below two days."""
    days = seconds / DAY_SECONDS
    if days >= 2 or days == 1:
        return f"{number(round(days, 1))} days" if days != 1 else "1 day"
    return f"{number(round(seconds / 3600, 1))} hours"


def count(amount: int, noun: str, plural: str = "") -> str:
    """Return an amount and its noun: 1 team, 2 teams."""
    return f"{amount} {noun if amount == 1 else plural or noun + 's'}"


def listing(names: Iterable[str], most: int = 8) -> str:
    """Return names as a list in words; beyond `most` the rest is counted."""
    all_names = list(dict.fromkeys(names))
    if len(all_names) > most:
        return f"{', '.join(all_names[:most])} and {len(all_names) - most} more"
    return ", ".join(all_names)


def lower_keys(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a map with its keys in lower case."""
    return {key.lower(): inner for key, inner in value.items()}


# Quantities of Kubernetes, such as 500m or 2Gi.
_UNITS = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def quantity(text: Any) -> float | None:
    """Return an amount of Kubernetes, such as `500m` or `2Gi`, as a plain number; None if it is none."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text)
    if not isinstance(text, str):
        return None
    for suffix, factor in (*_BINARY.items(), *((s, f) for s, f in _UNITS.items() if s)):
        if text.endswith(suffix):
            value = as_number(text[: -len(suffix)])
            return None if value is None else value * factor
    return as_number(text)
