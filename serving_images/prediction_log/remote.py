"""The log as a server with one event loop sees it that has another process write it.

A thread that writes takes turns with the event loop for the interpreter, several times a group, and each
sync of the disk costs 50 us of the server's processor. A process of its own takes both away: the loop writes
a group to a socket, and reads what became of it.

    server --entries--> socket --> writing.py: PredictionLog --> segments --> shipper
           <-outcomes--        <--
"""

import asyncio
import logging
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec

from serving_images.prediction_log.entry import LogSchema
from serving_images.prediction_log.log import LogCounts, LogInUseError, Policy
from serving_images.prediction_log.writer import Done, Outcome

_LOGGER = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parent.parent.parent
_RESTART_SECONDS = 0.5
_REFUSED_SECONDS = 0.1  # how long a refusal is taken to last

# To the writer: stream, rows, bytes of the entry, number of the entry. From it: kind and bytes of a message.
ENTRY = struct.Struct("<IIII")
MESSAGE = struct.Struct("<BI")
OUTCOME = struct.Struct("<IB")
COMMAND = 0xFFFFFFFF
OUTCOMES, COUNTS, READY, FAILED = range(4)
CODES = (Outcome.DURABLE, Outcome.DROPPED, Outcome.REFUSED)
_BY_POLICY = {Policy.KEEP_SERVING: Outcome.DROPPED, Policy.STOP_SERVING: Outcome.REFUSED}


class Opening(msgspec.Struct):
    """What the writing process is told first."""

    folder: str
    max_bytes: int
    warehouse: str | None


class Adding(msgspec.Struct, tag="add"):
    """A key from now on."""

    key: str
    schema: LogSchema
    policy: str


class Closing(msgspec.Struct, tag="close"):
    """Send what is there, for so many seconds, and end."""

    timeout: float


Command = Adding | Closing


@dataclass
class _Lost:
    """Rows that no writing process has taken."""

    accepted: int = 0
    dropped: int = 0
    refused: int = 0


class RemoteLog:
    """The log of a server, written by a process of its own; see `PredictionLog` for what it does and counts.

    To be made and used in the thread of one event loop, and opened by `await opened()` before anything else.

    Args:
        folder: for segments; of this server alone.
        schemas: by key.
        policy: by key; keep-serving where none is given.
        max_bytes: of all segments that are not yet sent.
        warehouse: folder of the local warehouse; None: the tables are in BigQuery.
        max_waiting_bytes: of entries whose outcome is not known, beyond which the policy holds.
    """

    def __init__(
        self,
        folder: Path,
        schemas: Mapping[str, LogSchema],
        *,
        policy: Mapping[str, Policy] | None = None,
        max_bytes: int = 1 << 30,
        warehouse: Path | None = None,
        max_waiting_bytes: int = 64 << 20,
    ) -> None:
        self.restarts = 0
        self._opening = Opening(str(folder), max_bytes, str(warehouse) if warehouse else None)
        self._policy = dict(policy or {})
        self._max_waiting = max_waiting_bytes
        self._failure: dict[str, Outcome] = {}
        self._schemas: dict[str, LogSchema] = {}
        self._index: dict[str, int] = {}
        self._counts: dict[str, LogCounts] = {}
        self._earlier: dict[str, LogCounts] = {}  # of writing processes that are no more
        self._lost: dict[str, _Lost] = {}
        self._refused: dict[str, float] = {}
        self._pending: dict[int, tuple[Done, str, int, int]] = {}
        self._waiting = 0
        self._number = 0
        self._out: list[bytes] = []
        self._link: _Link | None = None
        self._closing = False
        self._socket: socket.socket | None = None
        for key, schema in schemas.items():
            self.add(key, schema)
        self._process = self._start()

    async def opened(self) -> None:
        """Wait until entries are taken.

        Raises:
            LogInUseError: another process has the folder.
            OSError: the folder cannot be written.
        """
        link = await self._connect()
        await link.ready

    def add(self, key: str, schema: LogSchema) -> None:
        """Take entries of another key from now on; a key that is known keeps its schema."""
        if key in self._schemas:
            if self._schemas[key] != schema:
                raise ValueError(f"the log's key {key} has another schema already")
            return
        self._index[key] = len(self._index)
        self._schemas[key] = schema
        self._lost[key] = _Lost()
        chosen = self._policy.setdefault(key, Policy.KEEP_SERVING)
        self._failure[key] = _BY_POLICY[chosen]
        if self._link:
            self._link.command(self._adding(key))

    def append(self, key: str, entry: bytes, rows: int, done: Done) -> None:
        """Have an entry written; `done` is called with the outcome, later, in the loop."""
        size = len(entry)
        if self._link is None or self._closing or self._waiting > self._max_waiting:
            self._lose(key, rows)
            asyncio.get_running_loop().call_soon(done, self._failure[key])
            return
        number = self._number
        self._number = (number + 1) & 0xFFFFFFFF
        self._pending[number] = (done, key, rows, size)
        self._waiting += size
        out = self._out
        if not out:
            asyncio.get_running_loop().call_soon(self._send)
        out.append(ENTRY.pack(self._index[key], rows, size, number))
        out.append(entry)

    def refuses(self, key: str) -> bool:
        """Return whether an entry would be refused now, so that a server need not begin to answer."""
        if self._failure[key] is not Outcome.REFUSED:
            return False
        return self._link is None or time.monotonic() < self._refused.get(key, 0.0)

    def counts_by_key(self) -> dict[str, LogCounts]:
        """Return the counts of each key; those of the writing process are half a second old at most."""
        counts = dict(self._earlier)
        for key, current in self._counts.items():
            counts[key] = counts.get(key, LogCounts()) + current
        for key, lost in self._lost.items():
            own = LogCounts(accepted=lost.accepted, dropped=lost.dropped, refused=lost.refused)
            counts[key] = counts.get(key, LogCounts()) + own
        return counts

    def counts(self) -> LogCounts:
        """Return the counts of all keys together."""
        return sum(self.counts_by_key().values(), LogCounts())

    async def aclose(self, timeout: float = 20.0) -> None:
        """Write what is on its way, let the shipper send it for `timeout` seconds, and end both."""
        if self._closing:
            return
        self._closing = True
        if self._link:
            self._send()
            self._link.command(Closing(timeout))
        await asyncio.get_running_loop().run_in_executor(None, self._end, timeout + 10)

    def close(self, timeout: float = 0.0) -> None:
        """End without waiting for what is to be sent; a loop is not needed."""
        self._closing = True
        if self._socket:
            self._socket.close()
        self._end(timeout + 10)

    def _end(self, seconds: float) -> None:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        ours, theirs = socket.socketpair()
        with theirs:
            path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
            process = subprocess.Popen(
                [sys.executable, "-m", "serving_images.prediction_log.writing", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": path},
            )
        for size in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            ours.setsockopt(socket.SOL_SOCKET, size, 1 << 20)
        ours.setblocking(False)
        self._socket = ours
        return process

    async def _connect(self) -> "_Link":
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(lambda: _Link(self), sock=self._socket)
        link.send(msgspec.msgpack.encode(self._opening))
        for key in self._schemas:
            link.command(self._adding(key))
        self._link = link
        return link

    def _adding(self, key: str) -> Adding:
        return Adding(key, self._schemas[key], self._policy[key].value)

    def _send(self) -> None:
        out, self._out = self._out, []
        if out and self._link:
            self._link.write(b"".join(out))

    def settle(self, outcomes: bytes) -> None:
        """Tell what became of entries."""
        pop = self._pending.pop
        for number, code in OUTCOME.iter_unpack(outcomes):
            done, key, _, size = pop(number)
            self._waiting -= size
            outcome = CODES[code]
            if outcome is Outcome.REFUSED:
                self._refused[key] = time.monotonic() + _REFUSED_SECONDS
            try:
                done(outcome)
            except Exception:
                _LOGGER.exception("what waited for an entry failed")

    def counted(self, counts: dict[str, LogCounts]) -> None:
        """Take the writing process's counts."""
        self._counts = counts

    def ended(self) -> None:
        """The writing process is no more: what it had not settled is lost; start another."""
        self._link = None
        self._out = []
        pending, self._pending = self._pending, {}
        self._waiting = 0
        for done, key, rows, _ in pending.values():
            self._lose(key, rows)
            try:
                done(self._failure[key])
            except Exception:
                _LOGGER.exception("what waited for an entry failed")
        if not self._closing:
            _LOGGER.error("the process that writes the prediction log ended; it is started again")
            asyncio.get_running_loop().call_later(_RESTART_SECONDS, self._restart)

    def _restart(self) -> None:
        if self._closing:
            return
        self.restarts += 1
        self._process.kill()
        self._process.wait()
        for key, counts in self._counts.items():
            kept = LogCounts(
                accepted=counts.accepted,
                durable=counts.durable,
                sent=counts.sent,
                failed=counts.failed,
                dropped=counts.dropped,
                refused=counts.refused,
            )
            self._earlier[key] = self._earlier.get(key, LogCounts()) + kept
        self._counts = {}
        self._process = self._start()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def _lose(self, key: str, rows: int) -> None:
        lost = self._lost[key]
        lost.accepted += rows
        if self._failure[key] is Outcome.REFUSED:
            lost.refused += rows
        else:
            lost.dropped += rows


class _Link(asyncio.Protocol):
    """The socket to the writing process."""

    def __init__(self, log: RemoteLog) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._log = log
        self._buffer = b""
        self.write: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket; what is not sent at once waits, as much as the log lets wait."""
        self.write = cast(asyncio.Transport, transport).write

    def command(self, command: Command) -> None:
        """Send a command."""
        self.send(msgspec.msgpack.encode(command))

    def send(self, payload: bytes) -> None:
        """Send what is no entry."""
        self.write(ENTRY.pack(COMMAND, 0, len(payload), 0) + payload)

    def data_received(self, data: bytes) -> None:
        """Take messages."""
        buffer = self._buffer + data if self._buffer else data
        at = 0
        while len(buffer) - at >= MESSAGE.size:
            kind, size = MESSAGE.unpack_from(buffer, at)
            end = at + MESSAGE.size + size
            if end > len(buffer):
                break
            self._message(kind, buffer[at + MESSAGE.size : end])
            at = end
        self._buffer = buffer[at:]

    def _message(self, kind: int, payload: bytes) -> None:
        if kind == OUTCOMES:
            self._log.settle(payload)
        elif kind == COUNTS:
            self._log.counted(msgspec.msgpack.decode(payload, type=dict[str, LogCounts]))
        elif kind == READY and not self.ready.done():
            self.ready.set_result(None)
        elif kind == FAILED and not self.ready.done():
            number, text = msgspec.msgpack.decode(payload, type=tuple[int, str])
            self.ready.set_exception(OSError(number, text) if number else LogInUseError(text))
            self.ready.exception()  # a restart has nobody who waits for it

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the log."""
        if not self.ready.done():
            self.ready.set_exception(OSError(0, "the process that writes the log ended"))
            self.ready.exception()
        self._log.ended()
