"""Scores rows and logs them, for all requests that one turn of the event loop has brought, together.

Nobody waits for others: what has arrived when the loop comes to it is one call of the model and one group in
the log. An answer leaves when its rows are durable.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from modelyard.prediction_id import PredictionIds
from serving_images.prediction_log.entry import Entry, encode
from serving_images.prediction_log.journal import Outcome
from serving_images.rest.http import JSON, Request
from serving_images.rest.versions import Version
from serving_images.runtime.inputs import Rows, logged
from serving_images.runtime.model import Answer

_LOGGER = logging.getLogger("modelyard")
# Rows in one call of a model, so that the loop is not held long.
CALL_ROWS = 256
RETRY = b"retry-after: 1\r\n"

Reply = tuple[bytes, bytes, bytes]
"""Body, media type, further header lines."""
Render = Callable[["Job"], Reply]
Done = Callable[[Outcome], object]


class Log(Protocol):
    """What is needed of the prediction log."""

    def append(self, key: str, entries: bytes, rows: int, done: Done) -> None:
        """Have entries written; `done` is called with their outcome, later, in the running loop."""
        ...

    def refuses(self, key: str) -> bool:
        """Return whether entries would be refused now."""
        ...


class Job:
    """A request on its way through model and log."""

    __slots__ = (
        "caller",
        "ids",
        "predictions",
        "render",
        "reply",
        "request",
        "rows",
        "settled",
        "trace",
        "version",
    )

    def __init__(
        self,
        request: Request,
        version: Version,
        rows: Rows,
        render: Render,
        settled: Callable[[], None],
        caller: str,
        trace: str | None,
    ) -> None:
        self.request = request
        self.version = version
        self.rows = rows
        self.render = render
        self.settled = settled
        self.caller = caller
        self.trace = trace
        self.ids: list[str] = []
        self.predictions: list[Answer] = []
        self.reply: Reply = (b"", JSON, b"")

    def done(self, outcome: Outcome) -> None:
        """Answer, now that the rows are durable, dropped or refused."""
        self.settled()
        request = self.request
        if outcome is Outcome.REFUSED:
            refuse_unlogged(request)
            return
        self.version.metrics.predictions += len(self.ids)
        request.respond(200, *self.reply)


def refuse_unlogged(request: Request) -> None:
    """Answer that there is no prediction without its log."""
    request.refuse(
        503, "log-unavailable", "the prediction log takes no rows, and no prediction leaves unlogged", RETRY
    )


class Batcher:
    """Collects the jobs of a turn of the loop.

    Args:
        log: takes their rows.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._ids = PredictionIds()
        self._jobs: list[Job] = []

    def add(self, job: Job) -> None:
        """Score and log the job's rows at the end of this turn."""
        if not self._jobs:
            asyncio.get_running_loop().call_soon(self._flush)
        self._jobs.append(job)

    def log(self, jobs: Sequence[Job], scores: Sequence[Answer]) -> None:
        """Make and log the answers to jobs of one version, whose rows have `scores`."""
        version = jobs[0].version
        take, times, features = self._ids.take, version.times, version.features
        now, now_us = time.monotonic(), time.time_ns() // 1000
        entries = []
        start = 0
        for job in jobs:
            rows = job.rows.values
            count = len(rows)
            job.ids = ids = take(count)
            job.predictions = predictions = list(scores[start : start + count])
            start += count
            flat: Any = rows[0] if count == 1 and not times else logged(rows, features)
            latency = int((now - job.request.started) * 1e6)
            job.reply = job.render(job)
            entries.append(
                Entry(now_us, latency, job.caller, job.trace, ids, flat, predictions, job.rows.flags)  # type: ignore[arg-type]
            )
        self._log.append(version.log_key, encode(entries), start, partial(_answer, jobs))

    def _flush(self) -> None:
        jobs, self._jobs = self._jobs, []
        while jobs:
            version = jobs[0].version
            call: list[Job] = []
            others: list[Job] = []
            count = 0
            for job in jobs:
                if job.version is version and count < CALL_ROWS:
                    call.append(job)
                    count += len(job.rows.values)
                else:
                    others.append(job)
            self._score(call)
            jobs = others

    def _score(self, jobs: list[Job]) -> None:
        version = jobs[0].version
        try:
            model = version.model
            scores = model.answers(model([row for job in jobs for row in job.rows.values]))
        except Exception as error:  # whatever a model's operators raise
            if len(jobs) > 1:  # the fault of one is not the others'
                for job in jobs:
                    self._score([job])
                return
            fail(jobs[0].request, jobs[0].settled, error)
            return
        self.log(jobs, scores)


def _answer(jobs: Sequence[Job], outcome: Outcome) -> None:
    for job in jobs:
        try:
            job.done(outcome)
        except Exception:  # the fault of one is not the others'
            _LOGGER.exception("an answer could not be given")


def fail(request: Request, settled: Callable[[], None], error: Exception) -> None:
    """Answer a request whose rows fit the signature and yet made the model fail."""
    settled()
    request.refuse(500, "model-failed", f"the model failed on rows that fit its signature: {error}")
