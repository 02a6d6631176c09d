"""The process that writes a server's log: `python -m serving_images.prediction_log.writing <socket>`.

It is started by `remote`. It ends with its server, having written what that had sent.
"""

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from functools import partial
from pathlib import Path
from queue import Empty

import msgspec

from serving_images.prediction_log.log import LogInUseError, Policy, PredictionLog
from serving_images.prediction_log.remote import (
    CODES,
    COMMAND,
    COUNTS,
    ENTRY,
    FAILED,
    MESSAGE,
    OUTCOME,
    OUTCOMES,
    READY,
    Adding,
    Closing,
    Command,
    Opening,
)
from serving_images.prediction_log.writer import Item, Outcome

_COUNT_SECONDS = 0.5
_LOCK_SECONDS = 3.0  # for the process of a server that was killed to write its last entries
_CODE = {outcome: code for code, outcome in enumerate(CODES)}
_read_command = msgspec.msgpack.Decoder(Command).decode


class Incoming:
    """The queue of the log's writer, which comes from a socket; the writer's thread reads and answers."""

    def __init__(self, connection: socket.socket) -> None:
        self.closing: Closing | None = None
        """What the server said at its end; None: it ended without a word."""
        self.ended = threading.Event()
        self.log: PredictionLog | None = None
        self._began = threading.Event()
        self._connection = connection
        self._sending = threading.Lock()
        self._buffer = bytearray()
        self._items: deque[Item | None] = deque()
        self._outcomes = bytearray()
        self._wake, self._waken = os.pipe()

    def begin(self, log: PredictionLog) -> None:
        """Take entries from now on."""
        self.log = log
        self._began.set()
        self.put(None, wake=True)

    def put(self, item: None, wake: bool = False) -> None:
        """End the queue, as the writer's `close` does; or only wake who waits."""
        if not wake:
            self._items.append(item)
        os.write(self._waken, b"!")

    def get(self, timeout: float | None) -> Item | None:
        """Return the next entry; None at the end. Raises Empty after `timeout` seconds."""
        self._tell()
        while not self._items:
            watched = [self._wake]
            if self._began.is_set() and not self.ended.is_set():
                watched.append(self._connection.fileno())
            found = select.select(watched, [], [], timeout)[0]
            if not found:
                raise Empty
            if self._wake in found:
                os.read(self._wake, 64)
            if len(watched) > 1 and watched[1] in found:
                self._receive()
                self._tell()
        return self._items.popleft()

    def get_nowait(self) -> Item | None:
        """Return the next entry that has come. Raises Empty where none has."""
        if not self._items:
            raise Empty
        return self._items.popleft()

    def send(self, kind: int, payload: bytes) -> None:
        """Send a message to the server; one that is gone needs none."""
        with self._sending, contextlib.suppress(OSError):
            self._connection.sendall(MESSAGE.pack(kind, len(payload)) + payload)

    def _receive(self) -> None:
        try:
            data = self._connection.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self.ended.set()
            self._items.append(None)
            return
        buffer = self._buffer
        buffer += data
        at = 0
        log = self.log
        assert log is not None
        streams, writer = log.streams, log.writer
        waiting = writer.retry_at and time.monotonic() < writer.retry_at
        while len(buffer) - at >= ENTRY.size:
            index, rows, size, number = ENTRY.unpack_from(buffer, at)
            end = at + ENTRY.size + size
            if end > len(buffer):
                break
            entry = bytes(buffer[at + ENTRY.size : end])
            at = end
            if index == COMMAND:
                self._obey(_read_command(entry))
                continue
            stream = streams[index]
            stream.accepted += rows
            if waiting:
                stream.immediate += rows
                self._settled(number, stream.failure)
            else:
                self._items.append((stream, entry, rows, partial(self._settled, number), None))
        del buffer[:at]

    def _obey(self, command: Adding | Closing) -> None:
        assert self.log is not None
        if isinstance(command, Closing):
            self.closing = command
            self.ended.set()
            self._items.append(None)
        else:
            self.log.add(command.key, command.schema, Policy(command.policy))

    def _settled(self, number: int, outcome: Outcome) -> None:
        self._outcomes += OUTCOME.pack(number, _CODE[outcome])

    def _tell(self) -> None:
        if self._outcomes:
            outcomes, self._outcomes = self._outcomes, bytearray()
            self.send(OUTCOMES, bytes(outcomes))


def main() -> int:
    """Write what the server sends, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
    connection = socket.socket(fileno=int(sys.argv[1]))
    incoming = Incoming(connection)
    opening = _opening(connection)
    if opening is None:
        return 0
    log = _open(opening, incoming)
    if log is None:
        return 2
    incoming.begin(log)
    incoming.send(READY, b"")
    while not incoming.ended.wait(_COUNT_SECONDS):
        incoming.send(COUNTS, msgspec.msgpack.encode(log.counts_by_key()))
    if incoming.closing:
        log.close(incoming.closing.timeout)
    else:
        log.leave()
    return 0


def _opening(connection: socket.socket) -> Opening | None:
    """Read the first message; None where the server has ended before."""
    data = b""
    while True:
        part = connection.recv(ENTRY.size - len(data))
        if not part:
            return None
        data += part
        if len(data) == ENTRY.size:
            break
    size = ENTRY.unpack(data)[2]
    payload = b""
    while len(payload) < size:
        part = connection.recv(size - len(payload))
        if not part:
            return None
        payload += part
    return msgspec.msgpack.decode(payload, type=Opening)


def _open(opening: Opening, incoming: Incoming) -> PredictionLog | None:
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            return PredictionLog(
                Path(opening.folder),
                {},
                max_bytes=opening.max_bytes,
                warehouse=Path(opening.warehouse) if opening.warehouse else None,
                queue=incoming,
            )
        except LogInUseError as error:
            if time.monotonic() > end:
                incoming.send(FAILED, msgspec.msgpack.encode((0, str(error))))
                return None
            time.sleep(0.02)
        except OSError as error:
            incoming.send(FAILED, msgspec.msgpack.encode((error.errno or 5, error.strerror or str(error))))
            return None


if __name__ == "__main__":
    sys.exit(main())
