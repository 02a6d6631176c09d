"""The writer: a thread that makes groups of entries durable, one write and one fdatasync per group."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from serving_images.prediction_log import folder as folders
from serving_images.prediction_log import segment as segments
from serving_images.prediction_log.entry import LogSchema

_LOGGER = logging.getLogger(__name__)
_GROUP_BYTES = 8 << 20  # bounds the memory of one write
_RETRY_SECONDS = 0.1  # how long the disk is left alone after it refused
_REPORT_SECONDS = 10.0  # how often a lasting fault is logged


_ZEROS = memoryview(bytes(1 << 20))
_FIRST_ZEROS = 1 << 16


class Outcome(StrEnum):
    """What became of an entry."""

    DURABLE = "durable"
    """On disk: answer."""
    DROPPED = "dropped"
    """Lost, by the policy keep-serving: answer."""
    REFUSED = "refused"
    """Not logged, by the policy stop-serving: do not answer with a prediction."""


class Stream:
    """One key: its schema, its policy and its counts in rows. Each count has one thread that changes it."""

    __slots__ = ("accepted", "durable", "failure", "immediate", "index", "key", "lost", "schema")

    def __init__(self, index: int, key: str, schema: LogSchema, failure: Outcome) -> None:
        self.index = index
        self.key = key
        self.schema = schema
        self.failure = failure  # the outcome where an entry cannot be written
        self.accepted = 0  # given to append
        self.durable = 0  # written, by the writer
        self.lost = 0  # not written, by the writer
        self.immediate = 0  # not even tried


Done = Callable[[Outcome], object]


# An entry on its way: stream, entry, rows, what to call, and in which loop. A plain tuple: one per request.
Item = tuple[Stream, bytes, int, Done, asyncio.AbstractEventLoop | None]


class Queue(Protocol):
    """Where a writer takes items from."""

    def put(self, item: None) -> None:
        """End it."""
        ...

    def get(self, *, timeout: float | None) -> Item | None:
        """Return the next item, None at the end; raise Empty after `timeout` seconds."""
        ...

    def get_nowait(self) -> Item | None:
        """Return the next item that is there; raise Empty where none is."""
        ...


class NoRoomError(OSError):
    """The folder has reached its bound."""


class _Open:
    """The segment being written."""

    def __init__(self, path: Path, schemas: Sequence[tuple[str, LogSchema]], file: int, time_us: int) -> None:
        self.path = path
        self.schemas = schemas
        self.file = file
        self.marker = os.urandom(8)
        self.time_us = time_us
        self.opened = time.monotonic()
        self.bytes = 0  # durable
        self.end = 0  # of the zeros that follow
        self.rows: dict[str, int] = {}
        self.count = 0
        # Room that is kept for its end.
        self.ending = len(segments.ending(self.marker, {key: 2**32 for key, _ in schemas}))


class Writer:
    """Takes items from any thread and tells each one's outcome, in its loop or, without one, in this thread.

    Args:
        folder: the log's folder; its lock is held.
        max_bytes: of all segments; beyond it nothing is written until the shipper has made room.
        segment_bytes: a segment of this size is closed.
        roll_seconds: a segment of this age is closed, so that it is sent, if no other waits to be sent.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        segment_bytes: int,
        roll_seconds: float,
        queue: Queue | None = None,
    ) -> None:
        self.streams: list[Stream] = []
        self.retry_at = 0.0  # time.monotonic() before which nothing is tried; 0: all is well
        self.commits = 0  # groups that are durable
        self.written_bytes = 0  # of entries that the queue holds no more
        self.closed: dict[str, tuple[int, dict[str, int]]] = {}  # segments of this process: time, rows by key
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._roll_seconds = roll_seconds
        self._queue: Queue = queue or SimpleQueue()
        self.put: Callable[[Any], None] = self._queue.put
        self._identity = os.urandom(8).hex()
        waiting = folders.segments(folder)
        self._sequence = waiting[-1].sequence if waiting else 0
        self._size = folders.size(folder)
        self._sized_at = time.monotonic()
        self._open: _Open | None = None
        self._lost = 0
        self._reported = 0.0
        self._thread = threading.Thread(target=self._run, name="prediction-log-writer", daemon=True)
        self._thread.start()

    @property
    def current(self) -> tuple[str, int, dict[str, int]] | None:
        """Name, time and durable rows by key of the segment being written."""
        segment = self._open
        return (segment.path.stem, segment.time_us, dict(segment.rows)) if segment and segment.count else None

    def close(self) -> None:
        """Write what is queued, close the segment, end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        get, get_nowait = self._queue.get, self._queue.get_nowait
        stopping = False
        while not stopping:
            try:
                item = get(timeout=self._until_roll())
            except Empty:
                self._attempt(self._roll_if_old)
                continue
            group: list[Item] = []
            gathered = 0
            while item is not None:
                group.append(item)
                gathered += len(item[1])
                if gathered > _GROUP_BYTES:
                    break
                try:
                    item = get_nowait()
                except Empty:
                    break
            else:
                stopping = True
            if group:
                self._finish(group, gathered, written=self._attempt(partial(self._commit, group)))
            self._attempt(self._roll_if_old)
        self._attempt(self._close_segment)

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Return whether `action` went well; where the disk refuses, leave it alone for a while."""
        try:
            action()
        except Exception as error:  # whatever it is: a thread that ends would leave all waiting for ever
            self.retry_at = time.monotonic() + _RETRY_SECONDS
            self._abandon_tail()
            self._report(error)
            return False
        return True

    def _finish(self, group: list[Item], gathered: int, written: bool) -> None:
        self.written_bytes += gathered
        if written:
            if self.retry_at:
                self.retry_at = 0.0
                _LOGGER.warning("the prediction log can be written again; %d rows were lost", self._lost)
            for stream, _, rows, _, _ in group:
                stream.durable += rows
        else:
            for stream, _, rows, _, _ in group:
                stream.lost += rows
                self._lost += rows
        for loop in {item[4] for item in group}:
            self._tell(loop, [item for item in group if item[4] is loop], written)

    def _tell(self, loop: asyncio.AbstractEventLoop | None, group: list[Item], written: bool) -> None:
        if loop is None:
            tell(group, written)
            return
        try:
            loop.call_soon_threadsafe(tell, group, written)
        except RuntimeError:
            _LOGGER.warning("the loop ended before %d entries were answered", len(group))

    def _commit(self, group: list[Item]) -> None:
        """Append the group durably, or leave the segment as it was."""
        segment = self._open
        if segment is not None and segment.bytes >= self._segment_bytes:
            self._close_segment()
            segment = None
        if segment is None or max(item[0].index for item in group) >= len(segment.schemas):
            segment = self._start_segment()
        frame, marker, before = segments.frame, segment.marker, segment.count
        parts = []
        for stream, entry, rows, _, _ in group:
            parts.append(frame(marker, stream.index, rows, before, entry))
            parts.append(entry)
            before += rows
        data = b"".join(parts)
        self._make_sure_of_room(len(data))
        zeros = 0
        if segment.bytes + len(data) > segment.end:
            zeros = min(len(_ZEROS), max(_FIRST_ZEROS, segment.bytes))
            zeros = zeros if self._has_room(len(data) + zeros) else 0
        end = _write(segment.file, data, segment.bytes, zeros)
        os.fdatasync(segment.file)
        segment.end = max(segment.end, end)
        segment.bytes += len(data)
        self._size += len(data)
        segment.count = before
        self.commits += 1
        counted = segment.rows
        for stream, _, rows, _, _ in group:
            counted[stream.key] = counted.get(stream.key, 0) + rows

    def _make_sure_of_room(self, needed: int) -> None:
        needed += self._open.ending if self._open else 0
        if self._has_room(needed):
            return
        if time.monotonic() - self._sized_at > _RETRY_SECONDS / 2:
            self._size = folders.size(self._folder, folders.CLOSED) + (self._open.bytes if self._open else 0)
            self._sized_at = time.monotonic()
        if not self._has_room(needed):
            raise NoRoomError(
                f"the folder holds {self._size} bytes not yet sent and may hold {self._max_bytes}"
            )

    def _has_room(self, needed: int) -> bool:
        return self._size + needed <= self._max_bytes

    def _start_segment(self) -> _Open:
        self._close_segment()
        now = time.time_ns() // 1000
        schemas = [(stream.key, stream.schema) for stream in self.streams]
        name = folders.name(self._sequence + 1, now, self._identity)
        path = self._folder / (name + folders.OPEN)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        segment = _Open(path, schemas, file, now)
        data = segments.beginning(segment.marker, schemas)
        try:
            self._make_sure_of_room(len(data) + segment.ending)
            segment.end = _write(file, data, 0, _FIRST_ZEROS if self._has_room(_FIRST_ZEROS) else 0)
            os.fsync(file)
            folders.sync(self._folder)
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        segment.bytes = len(data)
        self._size += len(data)
        self._sequence += 1
        self._open = segment
        return segment

    def _until_roll(self) -> float | None:
        if self._open is None:
            return None
        return max(0.001, self._open.opened + self._roll_seconds - time.monotonic())

    def _roll_if_old(self) -> None:
        segment = self._open
        if segment is None or time.monotonic() - segment.opened < self._roll_seconds:
            return
        if folders.segments(self._folder):
            segment.opened = time.monotonic()  # the shipper is behind: few large segments serve it better
        else:
            self._close_segment()

    def _close_segment(self) -> None:
        segment = self._open
        if segment is None:
            return
        try:
            if segment.count:
                try:
                    end = segments.ending(segment.marker, segment.rows)
                    _write(segment.file, end, segment.bytes)
                    self._size += len(end)
                    os.ftruncate(segment.file, segment.bytes + len(end))
                    os.fdatasync(segment.file)
                except OSError as error:
                    self._report(error)  # its rows are durable; only its end is missing
                self._hand_over(segment)
            else:
                segment.path.unlink()
        finally:
            self._open = None
            os.close(segment.file)

    def _hand_over(self, segment: _Open) -> None:
        segment.path.rename(segment.path.with_suffix(folders.CLOSED))
        self.closed[segment.path.stem] = (segment.time_us, segment.rows)

    def _abandon_tail(self) -> None:
        """Cut off what a failed write has left; where even that fails, go on in another segment."""
        segment = self._open
        if segment is None:
            return
        try:
            os.ftruncate(segment.file, segment.bytes)
            segment.end = segment.bytes
            os.fdatasync(segment.file)
        except OSError:
            try:
                self._hand_over(segment)
            except OSError as error:
                self._report(error)
            self._open = None
            os.close(segment.file)

    def _report(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            _LOGGER.error(
                "the prediction log cannot be written: %r; %d rows were lost before", error, self._lost
            )


def tell(group: list[Item], written: bool) -> None:
    """Call each item's `done`; a fault in one is not the others'."""
    for stream, _, _, done, _ in group:
        try:
            done(Outcome.DURABLE if written else stream.failure)
        except Exception:
            _LOGGER.exception("what waited for an entry failed")


def _write(file: int, data: bytes, offset: int, zeros: int = 0) -> int:
    """Write data, and zeros after it as far as there is room; return where what was written ends.

    Over zeros, fdatasync need not record a new size or extent in the journal of the file system: on ext4 that
    halves its time and CPU against a file that grows or has space reserved.
    """
    written = os.pwritev(file, [data, _ZEROS[:zeros]], offset)
    while written < len(data):
        written += os.pwrite(file, data[written:], offset + written)
    return offset + written
