"""Pushing series to Cloud Monitoring: at most 200 per call, one point each, in order, with retries."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

log = logging.getLogger(__name__)

# Limits of Cloud Monitoring's API.
MOST_SERIES = 200
LEAST_INTERVAL = 5.0
"""Seconds between two points of one series."""
PREFIX = "custom.googleapis.com/modelyard/"
ATTEMPTS = 5


@dataclass(frozen=True)
class Point:
    """A value of one series, now."""

    name: str
    """Name below `custom.googleapis.com/modelyard/`."""
    labels: tuple[tuple[str, str], ...]
    value: float

    @property
    def series(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What tells the series apart."""
        return self.name, self.labels


@dataclass
class Pushed:
    """How a push went, in series."""

    written: int = 0
    late: int = 0
    """Not written, since a point as new was there."""
    failed: int = 0


class Pusher:
    """Pushes points into one project."""

    def __init__(
        self,
        project: str,
        client: Any = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a `google.cloud.monitoring_v3.MetricServiceClient`; default: one with the identity at hand."""
        if client is None:
            from google.cloud import monitoring_v3

            client = monitoring_v3.MetricServiceClient()
        self._client = client
        self._name = f"projects/{project}"
        self._project = project
        self._sleep, self._clock = sleep, clock
        self._last: dict[object, float] = {}

    def push(self, points: Iterable[Point], at: datetime) -> Pushed:
        """Push `points` as of `at`. Of several of one series the last counts, as one point is taken per call.

        Batches that fail for a moment are tried again; a point that the service refuses for good is counted
        as failed and does not keep the others from being written.
        """
        newest = {point.series: point for point in points}
        result = Pushed()
        for batch in _batches(list(newest.values())):
            self._wait(batch)
            self._write(batch, at, result)
        return result

    def _wait(self, batch: Sequence[Point]) -> None:
        """Wait until each series of the batch may have its next point."""
        now = self._clock()
        due = max((self._last.get(point.series, now - LEAST_INTERVAL) for point in batch), default=now)
        if (left := due + LEAST_INTERVAL - now) > 0:
            self._sleep(left)
        for point in batch:
            self._last[point.series] = self._clock()

    def _write(self, batch: Sequence[Point], at: datetime, result: Pushed) -> None:
        from google.api_core import exceptions

        passing = (
            exceptions.ServiceUnavailable,
            exceptions.DeadlineExceeded,
            exceptions.InternalServerError,
            exceptions.Aborted,
            exceptions.ResourceExhausted,
        )
        for attempt in range(ATTEMPTS):
            try:
                self._client.create_time_series(
                    name=self._name, time_series=[self._series(point, at) for point in batch], timeout=30.0
                )
            except passing as error:
                if attempt == ATTEMPTS - 1:
                    log.error("%d series not pushed: %s", len(batch), error)
                    result.failed += len(batch)
                    return
                self._sleep(2.0**attempt)
            except exceptions.GoogleAPICallError as error:
                _count_refused(batch, error, result)
                return
            else:
                result.written += len(batch)
                return

    def _series(self, point: Point, at: datetime) -> Any:
        from google.cloud import monitoring_v3

        return monitoring_v3.TimeSeries(
            metric={"type": PREFIX + point.name, "labels": dict(point.labels)},
            resource={"type": "global", "labels": {"project_id": self._project}},
            points=[{"interval": {"end_time": at}, "value": {"double_value": point.value}}],
        )


def _batches(points: Sequence[Point]) -> Iterator[Sequence[Point]]:
    return (points[first : first + MOST_SERIES] for first in range(0, len(points), MOST_SERIES))


def _count_refused(batch: Sequence[Point], error: Any, result: Pushed) -> None:
    """Count what the service took of a batch that it refused in part; the rest it has written."""
    from google.cloud import monitoring_v3

    summary = monitoring_v3.CreateTimeSeriesSummary.pb(monitoring_v3.CreateTimeSeriesSummary())
    refused = len(batch)
    if any(hasattr(detail, "Unpack") and detail.Unpack(summary) for detail in error.details or ()):
        result.written += summary.success_point_count
        refused = summary.total_point_count - summary.success_point_count
    # After a retry, or another run at the same time, a point as new is there already: nothing is lost.
    if any(words in str(error) for words in ("order", "older than", "more frequently", "more recent")):
        result.late += refused
        log.info("%d series have a point as new", refused)
    else:
        result.failed += refused
        log.error("%d series refused: %s", refused, error)
