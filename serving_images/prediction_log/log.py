"""The log as a server sees it: entries in, outcomes and counts out."""

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

from serving_images.prediction_log import folder as folders
from serving_images.prediction_log import segment as segments
from serving_images.prediction_log import state as states
from serving_images.prediction_log.entry import LogSchema
from serving_images.prediction_log.folder import LogInUseError
from serving_images.prediction_log.journal import Done, Journal, Outcome, Stream
from serving_images.prediction_log.supervisor import Shipper

__all__ = ["LogCounts", "LogInUseError", "Outcome", "Policy", "PredictionLog"]


class Policy(StrEnum):
    """What to do with requests whose rows cannot be made durable: the disk is full or fails."""

    KEEP_SERVING = "keep-serving"
    STOP_SERVING = "stop-serving"


_LOGGER = logging.getLogger(__name__)
PATIENCE_SECONDS = 3.0  # for what a server that was killed has left to be written
_WRITE_SECONDS = 10.0  # for the disk to take the last entries
_FAILURE = {Policy.KEEP_SERVING: Outcome.DROPPED, Policy.STOP_SERVING: Outcome.REFUSED}


@dataclass(frozen=True)
class LogCounts:
    """Rows since the start of the process: accepted = durable + dropped + refused + those being written."""

    accepted: int = 0
    """Given to the log."""
    durable: int = 0
    """On disk."""
    sent: int = 0
    """Acknowledged by the store; rows of earlier processes that were still in the folder count too."""
    failed: int = 0
    """Refused by the store for good, or unreadable: they lie in the quarantine."""
    dropped: int = 0
    """Lost, by the policy keep-serving."""
    refused: int = 0
    """Not logged and, by the policy stop-serving, not answered."""
    lag_rows: int = 0
    """Durable and not yet sent, of earlier processes too."""
    lag_seconds: float = 0.0
    """Age of the oldest of these."""

    def __add__(self, other: "LogCounts") -> "LogCounts":
        """Sum; the lag in seconds is the greater one."""
        total = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return LogCounts(**total | {"lag_seconds": max(self.lag_seconds, other.lag_seconds)})


class PredictionLog:
    """The log of one process, to be made and used in the thread of its event loop.

    Args:
        folder: for segments; of this process alone, on a disk that lives as long as the pod at least.
        schemas: by key, such as `<team>/<model>/<version>`.
        policy: for all keys, or by key; keep-serving where none is given.
        max_bytes: of all segments that are not yet sent.
        max_waiting_bytes: of entries whose outcome is not known, in memory; beyond it the policy holds.
        warehouse: folder of the local warehouse; None: the tables are in BigQuery.
        segment_bytes: size at which a segment is closed.
        roll_seconds: age at which a segment is closed, to be sent.
        ship: whether to start the shipper.
        bigquery_endpoint: `host:port` of another BigQuery, without TLS, for tests.
        patience: seconds to wait for a process before that still writes its last entries.

    Raises:
        LogInUseError: another process has the folder.
        OSError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        schemas: Mapping[str, LogSchema],
        *,
        policy: Policy | Mapping[str, Policy] = Policy.KEEP_SERVING,
        max_bytes: int = 1 << 30,
        max_waiting_bytes: int = 64 << 20,
        warehouse: Path | None = None,
        segment_bytes: int = 2 << 20,
        roll_seconds: float = 2.0,
        ship: bool = True,
        bigquery_endpoint: str | None = None,
        patience: float = 0.0,
    ) -> None:
        self._folder = folder
        self._policy = policy
        self._max_waiting = max_waiting_bytes
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._streams: dict[str, Stream] = {}
        self._lock = folders.lock(folder, patience=patience)
        try:
            self._before = {s.name: segments.rows_by_key(s.path) for s in folders.recover(folder)}
            self._base = states.read(folder)
            self._journal = Journal(
                folder,
                self._lock,
                max_bytes=max_bytes,
                segment_bytes=segment_bytes,
                roll_seconds=roll_seconds,
            )
        except BaseException:
            os.close(self._lock)
            raise
        for key, schema in schemas.items():
            self.add(key, schema)
        self._shipper = Shipper(folder, warehouse, bigquery_endpoint) if ship else None

    def add(self, key: str, schema: LogSchema) -> None:
        """Take entries of another key from now on; a key that is known keeps its schema and policy."""
        if key in self._streams:
            if self._streams[key].schema != schema:
                raise ValueError(f"the log's key {key} has another schema already")
            return
        if len(self._streams) >= segments.MAX_SCHEMAS:
            raise ValueError("the log has as many keys as a segment can name; restart the process")
        chosen = self._policy if isinstance(self._policy, Policy) else self._policy.get(key)
        failure = _FAILURE[chosen or Policy.KEEP_SERVING]
        stream = Stream(len(self._streams), key, schema, failure)
        self._journal.streams.append(stream)
        self._streams[key] = stream

    def append(self, key: str, entries: bytes, rows: int, done: Done) -> None:
        """Have entries written; `done` is called with their outcome, later, in the loop.

        Args:
            key: of the schema.
            entries: from `encode`.
            rows: how many rows they have.
            done: called once.
        """
        stream, journal = self._streams[key], self._journal
        if (
            (journal.retry_at and time.monotonic() < journal.retry_at)
            or journal.waiting_bytes > self._max_waiting
            or self._closed
        ):
            self._loop.call_soon(done, self.lose(key, rows))
        else:
            stream.accepted += rows
            journal.append((stream, entries, rows, done))

    def lose(self, key: str, rows: int) -> Outcome:
        """Count rows that are not even tried, and return their outcome."""
        stream = self._streams[key]
        stream.accepted += rows
        stream.lost += rows
        return stream.failure

    async def write(self, key: str, entries: bytes, rows: int) -> Outcome:
        """Have entries written, and return their outcome."""
        future: asyncio.Future[Outcome] = self._loop.create_future()

        def done(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        self.append(key, entries, rows, done)
        return await future

    def refuses(self, key: str) -> bool:
        """Return whether an entry would be refused now, so that a server need not begin to answer."""
        retry_at = self._journal.retry_at
        return retry_at != 0 and self._streams[key].failure is Outcome.REFUSED and time.monotonic() < retry_at

    def counts(self) -> LogCounts:
        """Return the counts of all keys together."""
        return sum(self.counts_by_key().values(), LogCounts())

    def counts_by_key(self) -> dict[str, LogCounts]:
        """Return the counts of each key, also of keys of which earlier processes left rows."""
        state = states.read(self._folder)
        lag: dict[str, int] = {}
        since: dict[str, int] = {}
        for time_us, rows in self._unsent(state):
            for key, count in rows.items():
                lag[key] = lag.get(key, 0) + count
                since.setdefault(key, time_us)
        now = time.time()
        counts = {}
        for key in self._streams.keys() | lag.keys() | state.failed.keys():
            stream = self._streams.get(key)
            lost = stream.lost if stream else 0
            refused = lost if stream and stream.failure is Outcome.REFUSED else 0
            counts[key] = LogCounts(
                accepted=stream.accepted if stream else 0,
                durable=stream.durable if stream else 0,
                sent=state.sent.get(key, 0) - self._base.sent.get(key, 0),
                failed=state.failed.get(key, 0) - self._base.failed.get(key, 0),
                dropped=lost - refused,
                refused=refused,
                lag_rows=lag.get(key, 0),
                lag_seconds=max(0.0, now - since[key] / 1e6) if key in since else 0.0,
            )
        return counts

    def _unsent(self, state: states.ShipperState) -> list[tuple[int, dict[str, int]]]:
        """Return time and rows by key of the segments not yet sent, oldest first."""
        current, closed = self._journal.current, self._journal.closed
        unsent = []
        present = set()
        for segment in folders.segments(self._folder):
            present.add(segment.name)
            if segment.name in self._journal.closing:
                continue
            rows = closed[segment.name][1] if segment.name in closed else self._before.get(segment.name, {})
            finished = state.partial.get(segment.name, ())
            unsent.append((segment.time_us, {k: n for k, n in rows.items() if k not in finished}))
        for name in closed.keys() - present:
            closed.pop(name, None)
        unsent += self._journal.closing.values()
        if current:
            unsent.append(current[1:])
        return unsent

    @property
    def commits(self) -> int:
        """How many groups of entries were made durable, each by one write."""
        return self._journal.commits

    @property
    def restarts(self) -> int:
        """How often the process that writes was started again."""
        return self._journal.restarts

    @property
    def disk_pid(self) -> int:
        """Id of the process that writes."""
        return self._journal.pid

    async def aclose(self, timeout: float = 20.0) -> None:
        """Write what is queued, close the segment, let the shipper send it, and end both processes.

        What the store has not taken in `timeout` seconds stays in the folder for the next process. Entries
        given from now on are dropped or refused.
        """
        if self._closed:
            return
        self._closed = True
        try:
            await asyncio.wait_for(self._journal.close(), timeout + _WRITE_SECONDS)
        except TimeoutError:
            _LOGGER.error("the disk does not take the last entries of the prediction log")
            self._journal.abandon()
        if self._shipper:
            await self._loop.run_in_executor(None, self._shipper.close, timeout)
        os.close(self._lock)

    def abandon(self) -> None:
        """End both processes without waiting for anything: of a server that does not come to serve."""
        if self._closed:
            return
        self._closed = True
        self._journal.abandon()
        if self._shipper:
            self._shipper.close(0.0)
        os.close(self._lock)
