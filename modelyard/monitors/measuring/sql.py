"""Pieces of SQL in BigQuery's dialect."""

import math


def text(value: str) -> str:
    """Return `value` as a string literal."""
    escaped = "".join(_character(character) for character in value)
    return f"'{escaped}'"


def _character(character: str) -> str:
    if character in "\\'":
        return "\\" + character
    # Line ends would end the literal; other control characters have no place in a statement.
    return f"\\u{ord(character):04x}" if ord(character) < 32 or ord(character) == 127 else character


def number(value: float) -> str:
    """Return `value` as a FLOAT64 literal, exact to the last bit."""
    if not math.isfinite(value):
        raise ValueError(f"{value} has no literal")
    digits = repr(float(value))
    return f"({digits})" if digits.startswith("-") else digits


def name(column: str) -> str:
    """Return `column` quoted."""
    return f"`{column}`"


def table(reference: str) -> str:
    """Return `project.dataset.table` quoted."""
    return f"`{reference}`"


def hour(column: str) -> str:
    """Return the hour, UTC, that a time is in; DuckDB divides five times as fast as it cuts off a time."""
    return f"TIMESTAMP_SECONDS(DIV(UNIX_MICROS({column}), 3600000000) * 3600)"
