"""The log as a server sees it: entries in, outcomes and counts out."""

import asyncio
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue

from serving_images.prediction_log import folder as folders
from serving_images.prediction_log import segment as segments
from serving_images.prediction_log import state as states
from serving_images.prediction_log.entry import LogSchema
from serving_images.prediction_log.folder import LogInUseError
from serving_images.prediction_log.supervisor import Shipper
from serving_images.prediction_log.writer import Done, Outcome, Queue, Stream, Writer

__all__ = ["LogCounts", "LogInUseError", "Outcome", "Policy", "PredictionLog"]


class Policy(StrEnum):
    """What to do with requests whose rows cannot be made durable: the disk is full or fails."""

    KEEP_SERVING = "keep-serving"
    STOP_SERVING = "stop-serving"


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
    """The log of one process.

    Args:
        folder: for segments; of this process alone, on a disk that lives as long as the pod at least.
        schemas: by key, such as `<team>/<model>/<version>`.
        policy: for all keys, or by key; keep-serving where none is given.
        max_bytes: of all segments that are not yet sent.
        max_queued_bytes: of entries that wait to be written, in memory; beyond it the policy holds.
        warehouse: folder of the local warehouse; None: the tables are in BigQuery.
        loop: where `done` is called; by default the loop that is running when `append` is called.
        segment_bytes: size at which a segment is closed.
        roll_seconds: age at which a segment is closed, to be sent.
        ship: whether to start the shipper.
        bigquery_endpoint: `host:port` of another BigQuery, without TLS, for tests.
        queue: where the writer takes entries from; by default what `append` is given.

    Raises:
        LogInUseError: another process has the folder.
    """

    def __init__(
        self,
        folder: Path,
        schemas: Mapping[str, LogSchema],
        *,
        policy: Policy | Mapping[str, Policy] = Policy.KEEP_SERVING,
        max_bytes: int = 1 << 30,
        max_queued_bytes: int = 64 << 20,
        warehouse: Path | None = None,
        segment_bytes: int = 4 << 20,
        roll_seconds: float = 2.0,
        ship: bool = True,
        bigquery_endpoint: str | None = None,
        queue: Queue | None = None,
    ) -> None:
        self._folder = folder
        self._lock = folders.lock(folder)
        self._policy = policy
        self._max_queued = max_queued_bytes
        self._queued_bytes = 0  # ever queued; the writer counts what it has taken off
        self._accepting = threading.Lock()
        self._closed = False
        self._streams: dict[str, Stream] = {}
        self._before = {s.name: segments.rows_by_key(s.path) for s in folders.recover(folder)}
        self._base = states.read(folder)
        self.streams: list[Stream] = []
        """By index, as they were added."""
        self.writer = self._writer = Writer(folder, max_bytes, segment_bytes, roll_seconds, queue)
        self._put = self._writer.put
        for key, schema in schemas.items():
            self.add(key, schema)
        self._shipper = Shipper(folder, warehouse, bigquery_endpoint) if ship else None

    def add(self, key: str, schema: LogSchema, policy: Policy | None = None) -> None:
        """Take entries of another key from now on; a key that is known keeps its schema and policy."""
        with self._accepting:
            if key in self._streams:
                if self._streams[key].schema != schema:
                    raise ValueError(f"the log's key {key} has another schema already")
                return
            if len(self._streams) >= segments.MAX_SCHEMAS:
                raise ValueError("the log has as many keys as a segment can name; restart the process")
            chosen = policy or (self._policy if isinstance(self._policy, Policy) else self._policy.get(key))
            failure = _FAILURE[chosen or Policy.KEEP_SERVING]
            stream = Stream(len(self._streams), key, schema, failure)
            self._writer.streams.append(stream)
            self.streams.append(stream)
            self._streams[key] = stream

    def append(self, key: str, entry: bytes, rows: int, done: Done) -> None:
        """Have an entry written; `done` is called with the outcome, later, in the running loop.

        Args:
            key: of the schema.
            entry: from `encode`.
            rows: how many rows it has.
            done: called once.
        """
        self._append(key, entry, rows, done, asyncio.get_running_loop())

    async def write(self, key: str, entry: bytes, rows: int) -> Outcome:
        """Have an entry written, and return the outcome."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()

        def done(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        self._append(key, entry, rows, done, loop)
        return await future

    def append_sync(self, key: str, entry: bytes, rows: int) -> Outcome:
        """Have an entry written, and return the outcome, from a thread that may wait."""
        answer: SimpleQueue[Outcome] = SimpleQueue()
        self._append(key, entry, rows, answer.put, None)
        return answer.get()

    def append_threaded(self, key: str, entry: bytes, rows: int, done: Done) -> None:
        """Have an entry written; `done` is called with the outcome in the log's own thread: be quick."""
        self._append(key, entry, rows, done, None)

    def _append(
        self, key: str, entry: bytes, rows: int, done: Done, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        stream = self._streams[key]
        writer = self._writer
        with self._accepting:
            stream.accepted += rows
            if (
                (not writer.retry_at or time.monotonic() >= writer.retry_at)
                and self._queued_bytes - writer.written_bytes < self._max_queued
                and not self._closed
            ):
                self._queued_bytes += len(entry)
                self._put((stream, entry, rows, done, loop))
                return
            stream.immediate += rows
        if loop is None:
            done(stream.failure)
        else:
            loop.call_soon(done, stream.failure)

    def refuses(self, key: str) -> bool:
        """Return whether an entry would be refused now, so that a server need not begin to answer."""
        retry_at = self._writer.retry_at
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
            lost = (stream.lost + stream.immediate) if stream else 0
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
        # The writer hands a segment over in another order than it is looked for here, so none is missed.
        current, closed = self._writer.current, dict(self._writer.closed)
        unsent = []
        present = set()
        for segment in folders.segments(self._folder):
            present.add(segment.name)
            if current and segment.name == current[0]:
                continue
            rows = closed[segment.name][1] if segment.name in closed else self._before.get(segment.name, {})
            finished = state.partial.get(segment.name, ())
            unsent.append((segment.time_us, {k: n for k, n in rows.items() if k not in finished}))
        for name in closed.keys() - present:
            del self._writer.closed[name]
        if current:
            unsent.append(current[1:])
        return unsent

    @property
    def commits(self) -> int:
        """How many groups of entries were made durable, each by one write."""
        return self._writer.commits

    @property
    def store_error(self) -> str | None:
        """Why the store does not take rows; None while it does."""
        return states.read(self._folder).error

    def close(self, timeout: float = 20.0) -> None:
        """Write what is queued, close the segment, let the shipper send it, and end it.

        What the store has not taken in `timeout` seconds stays in the folder for the next process. Entries
        given from now on are dropped or refused.
        """
        with self._accepting:
            if self._closed:
                return
            self._closed = True
        self._writer.close()
        if self._shipper:
            self._shipper.close(timeout)
        os.close(self._lock)

    def leave(self) -> None:
        """Write what is queued, close the segment, and end; the shipper goes on by itself for a while."""
        self._closed = True
        self._writer.close()
        os.close(self._lock)

    async def aclose(self, timeout: float = 20.0) -> None:
        """Do what `close` does, and leave the loop free."""
        await asyncio.get_running_loop().run_in_executor(None, self.close, timeout)
