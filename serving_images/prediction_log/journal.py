"""The journal: makes groups of entries durable from an event loop, one group on its way at a time.

append -> queue -> frames of a group -> pipe -> disk.py: one durable write -> pipe -> outcomes
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from serving_images.prediction_log import disk as disks
from serving_images.prediction_log import folder as folders
from serving_images.prediction_log import segment as segments
from serving_images.prediction_log.entry import LogSchema

_LOGGER = logging.getLogger(__name__)
_GROUP_BYTES = 8 << 20  # bounds the memory of one write
_RETRY_SECONDS = 0.1  # how long the disk is left alone after it refused
_REPORT_SECONDS = 10.0  # how often a lasting fault is logged
_RESTART_SECONDS = 0.5  # between two starts of the disk's process, but for the first
_MOST_DEATHS = 5  # of the disk's process without an answer between: what it was to write is given up
_PIPE_BYTES = 1 << 20
_FIRST_ZEROS, _MOST_ZEROS = 1 << 16, 1 << 20
_MANY_CLOSED = 100  # segments of which some may be sent by now


class Outcome(StrEnum):
    """What became of entries."""

    DURABLE = "durable"
    """On disk: answer."""
    DROPPED = "dropped"
    """Lost, by the policy keep-serving: answer."""
    REFUSED = "refused"
    """Not logged, by the policy stop-serving: do not answer with a prediction."""


Done = Callable[[Outcome], object]


class Stream:
    """One key: its schema, its policy and its counts in rows."""

    __slots__ = ("accepted", "durable", "failure", "index", "key", "lost", "schema")

    def __init__(self, index: int, key: str, schema: LogSchema, failure: Outcome) -> None:
        self.index = index
        self.key = key
        self.schema = schema
        self.failure = failure  # the outcome where entries cannot be written
        self.accepted = 0
        self.durable = 0
        self.lost = 0


# Entries on their way: stream, entries, rows, what to call. A plain tuple: one per call of a model.
Item = tuple[Stream, bytes, int, Done]


class NoRoomError(OSError):
    """The folder has reached its bound."""


class _Open:
    """The segment being written."""

    def __init__(
        self, number: int, name: str, schemas: Sequence[tuple[str, LogSchema]], time_us: int
    ) -> None:
        self.number = number
        self.name = name
        self.schemas = schemas
        self.marker = os.urandom(8)
        self.time_us = time_us
        self.bytes = 0  # durable
        self.end = 0  # of the zeros that follow
        self.rows: dict[str, int] = {}
        self.count = 0
        # Room that is kept for its end.
        self.ending = len(segments.ending(self.marker, {key: 2**32 for key, _ in schemas}))


class _Command:
    """What the disk has not answered yet."""

    __slots__ = ("content", "name", "number", "operation")

    def __init__(
        self, operation: int, number: int, name: str, offset: int = 0, payload: bytes = b"", zeros: int = 0
    ) -> None:
        self.operation = operation
        self.number = number
        self.name = name
        self.content = disks.COMMAND.pack(operation, number, offset, len(payload), zeros) + payload


class Journal:
    """Takes entries in one event loop, and tells in it what became of them.

    Args:
        folder: the log's folder.
        lock: descriptor of its lock, which the disk's process holds too until it has written all.
        max_bytes: of all segments; beyond it nothing is written until the shipper has made room.
        segment_bytes: a segment of this size is closed.
        roll_seconds: a segment of this age is closed, so that it is sent, if no other waits to be sent.
    """

    def __init__(
        self, folder: Path, lock: int, *, max_bytes: int, segment_bytes: int, roll_seconds: float
    ) -> None:
        self.streams: list[Stream] = []
        self.retry_at = 0.0  # time.monotonic() before which nothing is tried; 0: all is well
        self.commits = 0  # groups that are durable
        self.waiting_bytes = 0  # of entries whose outcome is not known
        self.restarts = 0  # of the disk's process
        self._deaths = 0  # of it, since it wrote a group or said that it cannot
        # Segments of this process that are closed, or about to be: time, rows by key.
        self.closed: dict[str, tuple[int, dict[str, int]]] = {}
        self.closing: dict[str, tuple[int, dict[str, int]]] = {}
        self._most_closed = _MANY_CLOSED
        self._folder = folder
        self._lock = lock
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._roll_seconds = roll_seconds
        self._loop = asyncio.get_running_loop()
        self._identity = os.urandom(8).hex()
        waiting = folders.segments(folder)
        self._sequence = waiting[-1].sequence if waiting else 0
        self._size = folders.size(folder)
        self._sized_at = time.monotonic()
        self._open: _Open | None = None
        self._queue: list[Item] = []
        self._flying: list[Item] = []
        self._written = 0  # bytes of the group on its way
        self._commands: deque[_Command] = deque()
        self._outgoing = b""
        self._plugged = False
        self._open_fault: OSError | None = None
        self._roll_timer: asyncio.TimerHandle | None = None
        self._roll_due = False
        self._waited: asyncio.Future[None] | None = None
        self._ending = False
        self._lost = 0
        self._reported = -_REPORT_SECONDS
        self._started = 0.0
        self._start()

    def append(self, item: Item) -> None:
        """Have entries written, with all that come in this turn of the loop or while the disk writes."""
        if not self._queue and not self._flying:
            self._loop.call_soon(self._commit)
        self._queue.append(item)
        self.waiting_bytes += len(item[1])

    @property
    def current(self) -> tuple[str, int, dict[str, int]] | None:
        """Name, time and durable rows by key of the segment being written."""
        segment = self._open
        return (segment.name, segment.time_us, dict(segment.rows)) if segment and segment.count else None

    @property
    def pid(self) -> int:
        """Id of the disk's process."""
        return self._process.pid

    async def close(self) -> None:
        """Write what is queued, close the segment, end the disk's process."""
        while self._queue or self._flying:
            await self._news()
        self._close_segment()
        while self._commands:
            await self._news()
        self.abandon()
        await self._loop.run_in_executor(None, self._process.wait)

    def abandon(self) -> None:
        """Let the disk's process end, with what it has been sent; count what waits as lost."""
        self._ending = True
        if self._roll_timer:
            self._roll_timer.cancel()
        self._unplug()
        left, self._flying, self._queue = self._flying + self._queue, [], []
        self._lose(left)
        for stream, _, _, done in left:
            self._loop.call_soon(done, stream.failure)

    # Groups

    def _commit(self) -> None:
        """Send the next group to the disk."""
        if self._flying or not self._queue:
            return
        group, size = self._queue, 0
        for place, item in enumerate(group):
            size += len(item[1])
            if size > _GROUP_BYTES and place:
                group = group[:place]
                break
        self._queue = self._queue[len(group) :]
        self._flying = group
        try:
            self._write(group)
        except OSError as error:
            self._settle(error)

    def _write(self, group: list[Item]) -> None:
        segment, last = self._open, None
        if (
            segment is None
            or segment.bytes >= self._segment_bytes
            or max(item[0].index for item in group) >= len(segment.schemas)
        ):
            segment, last = self._new_segment(), segment
        frame, marker, before = segments.frame, segment.marker, segment.count
        parts = [] if segment.bytes else [segments.beginning(marker, segment.schemas)]
        for stream, entries, rows, _ in group:
            parts += (frame(marker, stream.index, rows, before, entries), entries)
            before += rows
        data = b"".join(parts)
        self._make_sure_of_room(len(data) + segment.ending)
        zeros = 0
        if segment.bytes + len(data) > segment.end:
            zeros = min(_MOST_ZEROS, max(_FIRST_ZEROS, segment.bytes))
            zeros = zeros if self._has_room(len(data) + segment.ending + zeros) else 0
            segment.end = segment.bytes + len(data) + zeros
        self._written = len(data)
        write = _Command(disks.WRITE, segment.number, segment.name, segment.bytes, data, zeros)
        if segment is self._open:
            self._send([write])
            return
        commands = [_opening(disks.OPEN, segment.number, segment.name), write]
        if last is not None:
            commands.append(self._closing(last))  # after the group, which so waits no longer
        self._open = segment
        self._schedule_roll()
        self._send(commands)

    def _settle(self, error: OSError | None) -> None:
        """Count the group that was on its way, send the next, and tell what became of the first."""
        group, self._flying = self._flying, []
        if error is None:
            segment = self._open
            assert segment is not None
            segment.bytes += self._written
            self._size += self._written
            self.commits += 1
            for stream, entries, rows, _ in group:
                self.waiting_bytes -= len(entries)
                stream.durable += rows
                segment.count += rows
                segment.rows[stream.key] = segment.rows.get(stream.key, 0) + rows
            if self.retry_at:
                self.retry_at = 0.0
                _LOGGER.warning("the prediction log can be written again; %d rows were lost", self._lost)
            if self._roll_due:
                self._close_segment()
            self._commit()
        else:
            self.retry_at = time.monotonic() + _RETRY_SECONDS
            self._lose(group)
            self._report(error)
            if not isinstance(error, NoRoomError) or (self._open and self._open.bytes >= self._segment_bytes):
                self._close_segment()  # what is behind its durable part is cut off
            if self._queue:
                self._loop.call_soon(self._commit)
        for stream, _, _, done in group:
            try:
                done(Outcome.DURABLE if error is None else stream.failure)
            except Exception:
                _LOGGER.exception("what waited for an entry failed")
        self._wake()

    def _lose(self, items: list[Item]) -> None:
        for stream, entries, rows, _ in items:
            self.waiting_bytes -= len(entries)
            stream.lost += rows
            self._lost += rows

    def _make_sure_of_room(self, needed: int) -> None:
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

    # Segments

    def _new_segment(self) -> _Open:
        self._sequence += 1
        now = time.time_ns() // 1000
        schemas = [(stream.key, stream.schema) for stream in self.streams]
        return _Open(self._sequence, folders.name(self._sequence, now, self._identity), schemas, now)

    def _close_segment(self) -> None:
        """Close the segment at the end of its durable part. No group is on its way to it."""
        segment, self._open = self._open, None
        self._roll_due = False
        if self._roll_timer:
            self._roll_timer.cancel()
        if segment is None:
            return
        discard = _Command(disks.DISCARD, segment.number, segment.name)
        self._send([self._closing(segment) if segment.count else discard])

    def _closing(self, segment: _Open) -> _Command:
        self.closing[segment.name] = (segment.time_us, segment.rows)
        end = segments.ending(segment.marker, segment.rows)
        self._size += len(end)
        return _Command(disks.CLOSE, segment.number, segment.name, segment.bytes, end)

    def _forget_sent(self) -> None:
        """Keep `closed` small where nobody asks for counts."""
        if len(self.closed) < self._most_closed:
            return
        with contextlib.suppress(OSError):
            present = {segment.name for segment in folders.segments(self._folder)}
            for name in self.closed.keys() - present:
                self.closed.pop(name, None)
        self._most_closed = _MANY_CLOSED + 2 * len(self.closed)

    def _schedule_roll(self) -> None:
        if self._roll_timer:
            self._roll_timer.cancel()
        self._roll_timer = self._loop.call_later(self._roll_seconds, self._roll)

    def _roll(self) -> None:
        try:
            behind = bool(folders.segments(self._folder))
        except OSError as error:  # such as too many open files
            self._report(error)
            behind = True
        if behind:
            self._schedule_roll()  # the shipper is behind: few large segments serve it better
        elif self._flying:
            self._roll_due = True
        else:
            self._close_segment()

    # The disk's process

    def _start(self) -> None:
        commands, self._commands_pipe = os.pipe()
        try:
            self._answers_pipe, answers = os.pipe()
        except OSError:
            os.close(commands)
            os.close(self._commands_pipe)
            raise
        self._started = time.monotonic()
        try:
            with contextlib.suppress(OSError):  # the system allows less: more writes, then
                fcntl.fcntl(commands, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            program = [sys.executable, "-I", "-S", disks.__file__]
            self._process = subprocess.Popen(
                [*program, str(self._folder), str(commands), str(answers)],
                pass_fds=[commands, answers, self._lock],
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for the server
            )
        except OSError:
            os.close(self._commands_pipe)
            os.close(self._answers_pipe)
            raise
        finally:
            os.close(commands)
            os.close(answers)
        os.set_blocking(self._commands_pipe, False)
        os.set_blocking(self._answers_pipe, False)
        self._plugged = True
        self._loop.add_reader(self._answers_pipe, self._answered)

    def _unplug(self) -> None:
        if not self._plugged:
            return
        self._plugged = False
        self._loop.remove_reader(self._answers_pipe)
        self._loop.remove_writer(self._commands_pipe)
        os.close(self._answers_pipe)
        os.close(self._commands_pipe)
        self._outgoing = b""

    def _send(self, commands: list[_Command]) -> None:
        self._commands += commands
        self._put(commands[0].content if len(commands) == 1 else b"".join(c.content for c in commands))

    def _put(self, data: bytes) -> None:
        """Write to the pipe what it takes, and the rest when it takes more."""
        if not self._plugged:
            return  # all that is not answered is sent again
        if self._outgoing:
            self._outgoing += data
            return
        try:
            written = os.write(self._commands_pipe, data)
        except BlockingIOError:
            written = 0
        except BrokenPipeError:
            return  # the end of the other pipe tells
        if written < len(data):
            self._outgoing = data[written:]
            self._loop.add_writer(self._commands_pipe, self._put_more)

    def _put_more(self) -> None:
        data, self._outgoing = self._outgoing, b""
        self._loop.remove_writer(self._commands_pipe)
        self._put(data)

    def _answered(self) -> None:
        try:
            data = os.read(self._answers_pipe, 4096)
        except BlockingIOError:
            return
        if not data:
            self._died()
            return
        for (number,) in disks.ANSWER.iter_unpack(data):
            command = self._commands.popleft()
            fault = OSError(number, os.strerror(number)) if number else None
            if command.operation == disks.WRITE:
                self._deaths = 0
                self._settle(self._open_fault or fault)
                self._open_fault = None
            elif command.operation == disks.OPEN:
                self._open_fault = fault
            else:
                if command.operation == disks.CLOSE:
                    self.closed[command.name] = self.closing.pop(command.name)
                    self._forget_sent()
                if fault:
                    self._report(fault)  # its rows are durable; it is sent once a process recovers it
        self._wake()

    def _died(self) -> None:
        self._unplug()
        self._process.kill()
        self._process.wait()
        if not self._ending:
            _LOGGER.error("the process that writes the prediction log ended; it is started again")
            self._deaths += 1
            if self._deaths >= _MOST_DEATHS:
                self._give_up(OSError(f"the process that writes ended {self._deaths} times"))
            wait = max(0.0, self._started + _RESTART_SECONDS - time.monotonic())
            self._loop.call_later(wait, self._restart)

    def _give_up(self, error: OSError) -> None:
        """Count the group on its way as lost: nobody knows when there will be a process that writes it."""
        self._report(error)
        if not self._flying:
            return
        given_up = {c.number for c in self._commands if c.operation == disks.WRITE}
        self._commands = deque(
            c
            for c in self._commands
            if c.number not in given_up or c.operation not in (disks.OPEN, disks.WRITE)
        )
        self._open_fault = None
        self._settle(error)

    def _restart(self) -> None:
        """Start the process again, and send again what was not answered: done twice, it is as done once."""
        if self._ending:
            return
        try:
            self._start()
        except OSError as error:
            self._give_up(error)
            self._loop.call_later(_RESTART_SECONDS, self._restart)
            return
        self.restarts += 1
        anew = {c.number for c in self._commands if c.operation == disks.OPEN}
        known = {c.number: c.name for c in self._commands if c.operation != disks.REOPEN}
        if self._open:
            known[self._open.number] = self._open.name
        again = [_opening(disks.REOPEN, n, name) for n, name in known.items() if n not in anew]
        rest = [command for command in self._commands if command.operation != disks.REOPEN]
        self._commands.clear()
        if again or rest:
            self._send([*again, *rest])

    def _news(self) -> asyncio.Future[None]:
        """Return what is done at the next answer of the disk."""
        self._waited = self._waited or self._loop.create_future()
        return self._waited

    def _wake(self) -> None:
        if self._waited and not self._waited.done():
            self._waited.set_result(None)
        self._waited = None

    def _report(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            _LOGGER.error(
                "the prediction log cannot be written: %r; %d rows were lost before", error, self._lost
            )


def _opening(operation: int, number: int, name: str) -> _Command:
    return _Command(operation, number, name, payload=name.encode())
