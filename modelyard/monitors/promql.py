"""Pieces of PromQL, as Cloud Monitoring and Prometheus both take it."""

import re

# Series of the serving images, scraped from their pods.
REQUESTS = "modelyard_requests_total"
REQUEST_SECONDS = "modelyard_request_seconds"
PREDICTIONS = "modelyard_predictions_total"
LOG_ROWS = "modelyard_log_rows_total"
LOG_LAG = "modelyard_log_lag_seconds"
# Series that the monitor job pushes.
MONITOR_VALUE = "custom_googleapis_com:modelyard_monitor_value"
MONITOR_EXPLAINED = "custom_googleapis_com:modelyard_monitor_explained"
SILENCED_UNTIL = "custom_googleapis_com:modelyard_silenced_until"
FLEET_USE = "custom_googleapis_com:modelyard_fleet_use"
MONITOR_LAST_RUN = "custom_googleapis_com:modelyard_monitor_last_run"
# Series of Pub/Sub itself.
UNACKED_AGE = "pubsub_googleapis_com:subscription_oldest_unacked_message_age"
DEAD_LETTERS = "pubsub_googleapis_com:subscription_dead_letter_message_count"

HOUR = 3600
DAY = 86_400


def quoted(text: str) -> str:
    """Return `text` as a PromQL string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def series(
    metric: str, window_seconds: int | None = None, /, **labels: str | tuple[str, ...] | re.Pattern[str]
) -> str:
    """Return a selector of `metric`.

    Args:
        metric: name of the metric.
        window_seconds: range of the selector; absent: the present value.
        labels: per label its value, or plain words of which any will do, or a pattern.
    """
    matchers = []
    for name, value in labels.items():
        if isinstance(value, re.Pattern):
            matchers.append(f"{name}=~{quoted(value.pattern)}")
        elif isinstance(value, str):
            matchers.append(f"{name}={quoted(value)}")
        elif len(value) == 1:
            matchers.append(f"{name}={quoted(value[0])}")
        else:
            matchers.append(f"{name}=~{quoted('|'.join(value))}")
    selector = f"{metric}{{{','.join(matchers)}}}" if matchers else metric
    return selector + (f"[{duration(window_seconds)}]" if window_seconds else "")


def duration(seconds: int) -> str:
    """Return `seconds` in PromQL's shortest words."""
    for unit, length in (("d", DAY), ("h", HOUR), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def words(seconds: int) -> str:
    """Return `seconds` as people say it, such as `5 minutes`."""
    for unit, length in (("day", DAY), ("hour", HOUR), ("minute", 60), ("second", 1)):
        if seconds % length == 0:
            count = seconds // length
            return f"{count} {unit}{'' if count == 1 else 's'}"
    raise ValueError(f"{seconds} is not a whole number of seconds")


def number(value: float) -> str:
    """Return `value` without needless digits."""
    return f"{value:.12g}"


def hold(window_seconds: int) -> int:
    """Return for how many seconds a pushed value of a window stays in force.

    Twice the window, so that one late run does not resolve an alert; a day and an hour at most, since the
    monitor job pushes every value at least daily.
    """
    return min(max(2 * window_seconds, HOUR), DAY + HOUR)
