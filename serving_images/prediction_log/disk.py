"""The process that makes a log's groups durable: `disk.py <folder> <commands> <answers>`, two pipes.

A sync costs the core that asks for it, and a thread that syncs takes turns with an event loop for the
interpreter. So a server writes its groups to a pipe, and this process writes them to the disk. It knows
nothing of what is in them, and imports next to nothing, so that it takes 4 MB. It ends when the server has
ended and all is written.

Each command is answered by an errno, 4 bytes, 0 where it went well, once its effect is durable.
"""

import os
import struct
import sys

COMMAND = struct.Struct("<BIQII")
"""Operation, number of the segment, offset, bytes that follow, zeros to write after these."""
ANSWER = struct.Struct("<I")
OPEN, REOPEN, WRITE, CLOSE, DISCARD = range(5)
"""OPEN: make the file that is named. REOPEN: open one that a process before has made. WRITE: bytes at the
offset. CLOSE: write the end, cut off what lies behind it, and call the file closed. DISCARD: remove it."""

_ZEROS = memoryview(bytes(1 << 20))


class Disk:
    """Carries out commands in a folder.

    Args:
        folder: of the log.
        suffixes: of segments that are being written, and that are closed.
    """

    def __init__(self, folder: str, suffixes: "tuple[str, str]" = (".open", ".log")) -> None:
        self._folder = folder
        self._open_suffix, self._closed_suffix = suffixes
        self._files: dict[int, tuple[int, str]] = {}
        self._fresh: set[int] = set()  # whose entry in the folder is not known to be durable

    def obey(self, operation: int, number: int, offset: int, zeros: int, data: bytes) -> int:
        """Carry out a command; return the errno."""
        try:
            if operation in (OPEN, REOPEN):
                self._open(number, data.decode(), anew=operation == OPEN)
            elif operation == WRITE:
                self._write(number, offset, data, zeros)
            elif operation == CLOSE:
                self._close(number, offset, data)
            else:
                self._discard(number)
        except OSError as error:
            return error.errno or 5
        return 0

    def _open(self, number: int, name: str, anew: bool) -> None:
        path = os.path.join(self._folder, name)
        flags = os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT if anew else 0)
        try:
            file = os.open(path + self._open_suffix, flags, 0o600)
        except FileNotFoundError:
            return  # the process before had closed or removed it already
        self._files[number] = (file, path)
        self._fresh.add(number)

    def _write(self, number: int, offset: int, data: bytes, zeros: int) -> None:
        if number not in self._files:
            raise FileNotFoundError(2, "no such segment")
        file = self._files[number][0]
        # Over zeros, a sync need not record a new size or extent in the file system's journal: on ext4 that
        # halves its time and CPU against a file that grows or has space reserved.
        written = os.pwritev(file, [data, _ZEROS[:zeros]], offset)
        while written < len(data):
            written += os.pwrite(file, data[written:], offset + written)
        if number in self._fresh:
            os.fsync(file)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            self._fresh.discard(number)
        else:
            os.fdatasync(file)

    def _close(self, number: int, offset: int, end: bytes) -> None:
        if number not in self._files:
            return
        file, path = self._files.pop(number)
        try:
            try:
                if os.pwrite(file, end, offset) < len(end):
                    end = b""  # the rows are durable; only the end is missing
            except OSError:
                end = b""
            os.ftruncate(file, offset + len(end))
            os.fdatasync(file)
        finally:
            os.close(file)
            os.rename(path + self._open_suffix, path + self._closed_suffix)

    def _discard(self, number: int) -> None:
        if number in self._files:
            file, path = self._files.pop(number)
            os.close(file)
            os.unlink(path + self._open_suffix)


def main(folder: str, commands: int, answers: int) -> None:
    """Obey until the pipe ends."""
    disk = Disk(folder)
    head, buffer = COMMAND.size, b""
    while data := os.read(commands, 1 << 20):
        buffer = buffer + data if buffer else data
        at = 0
        while len(buffer) - at >= head:
            operation, number, offset, size, zeros = COMMAND.unpack_from(buffer, at)
            if len(buffer) - at < head + size:
                break
            payload = buffer[at + head : at + head + size]
            at += head + size
            fault = disk.obey(operation, number, offset, zeros, payload)
            try:
                os.write(answers, ANSWER.pack(fault))
            except BrokenPipeError:
                continue  # nobody is left to hear it; what was sent is written all the same
        buffer = buffer[at:]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
