"""The process that makes a log's groups durable: `disk.py <folder> <commands> <answers>`, two pipes.

A sync costs the core that asks for it, and a thread that syncs takes turns with an event loop for the
interpreter. So a server writes its groups to a pipe, and this process writes them to the disk. It knows
nothing of what is in them, and imports next to nothing, so that it takes 4 MB. It ends when the server has
ended and all is written.

Each command is answered by an errno, 4 bytes, 0 where it went well, once its effect is durable.
"""

import errno
import mmap
import os
import struct
import sys

COMMAND = struct.Struct("<BIQII")
"""Operation, number of the segment, offset, bytes that follow, zeros to write after these."""
ANSWER = struct.Struct("<I")
OPEN, REOPEN, WRITE, CLOSE, DISCARD = range(5)
"""OPEN: make the file that is named. REOPEN: open one that a process before has made. WRITE: bytes at the
offset. CLOSE: write the end, cut off what lies behind it, and call the file closed. DISCARD: remove it."""

OPEN_SUFFIX, CLOSED_SUFFIX = ".open", ".log"
"""Of segments that are being written, and that are closed."""

_ZEROS = memoryview(bytes(1 << 20))
_BLOCK = 4096
_DIRECT_BYTES = 1 << 16  # a larger group goes through the page cache
_DIRECT = getattr(os, "O_DIRECT", 0)


def sync_folder(folder: "str | os.PathLike[str]") -> None:
    """Make a folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _File:
    """A segment that is open.

    Attributes:
        file: for writes through the page cache.
        path: without suffix.
        direct: for writes past it, each durable when it returns; None where the file system has none.
        fresh: its entry in the folder is not known to be durable.
        reserved: where the zeros end that follow what is written.
        end: where the last write ended.
        tail: bytes of the last block before that.
    """

    __slots__ = ("direct", "end", "file", "fresh", "path", "reserved", "tail")

    def __init__(self, file: int, path: str, direct: "int | None") -> None:
        self.file = file
        self.path = path
        self.direct = direct
        self.fresh = True
        self.reserved = 0
        self.end = 0
        self.tail = b""

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self.file)
        if self.direct is not None:
            os.close(self.direct)


class Disk:
    """Carries out commands in a folder.

    Args:
        folder: of the log.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._files: dict[int, _File] = {}
        self._buffer = memoryview(mmap.mmap(-1, _DIRECT_BYTES))  # aligned, as direct writes need it

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
            return error.errno or errno.EIO
        return 0

    def _open(self, number: int, name: str, anew: bool) -> None:
        path = os.path.join(self._folder, name)
        flags = os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT if anew else 0)
        try:
            file = os.open(path + OPEN_SUFFIX, flags, 0o600)
        except FileNotFoundError:
            return  # the process before had closed or removed it already
        direct = None
        if _DIRECT:
            try:
                direct = os.open(path + OPEN_SUFFIX, os.O_WRONLY | os.O_CLOEXEC | _DIRECT | os.O_DSYNC)
            except OSError:  # a file system without it
                direct = None
        self._files[number] = _File(file, path, direct)

    def _write(self, number: int, offset: int, data: bytes, zeros: int) -> None:
        if number not in self._files:
            raise FileNotFoundError(errno.ENOENT, "no such segment")
        file = self._files[number]
        if zeros or not self._write_direct(file, offset, data):
            self._write_cached(file, offset, data, zeros)
        rest = (offset + len(data)) % _BLOCK
        known = file.tail if file.end == offset else b""
        file.tail = (known + data)[-rest:] if rest else b""
        file.end = offset + len(data) if len(file.tail) == rest else -1

    def _write_cached(self, file: _File, offset: int, data: bytes, zeros: int) -> None:
        # Over zeros, a sync need not record a new size or extent in the file system's journal: on ext4 that
        # halves its time and CPU against a file that grows or has space reserved.
        written = os.pwritev(file.file, [data, _ZEROS[:zeros]], offset)
        while written < len(data):
            written += os.pwrite(file.file, data[written:], offset + written)
        file.reserved = max(file.reserved, offset + written)
        if file.fresh:
            os.fsync(file.file)
            sync_folder(self._folder)
            file.fresh = False
        else:
            os.fdatasync(file.file)

    def _write_direct(self, file: _File, offset: int, data: bytes) -> bool:
        """Write whole blocks past the page cache; return False where that cannot be done.

        It takes a third less time and CPU than a write and a sync, and does not wait for who else syncs.
        """
        start, size = offset - len(file.tail), len(file.tail) + len(data)
        end = -(-size // _BLOCK) * _BLOCK
        if file.direct is None or file.end != offset or end > _DIRECT_BYTES or start + end > file.reserved:
            return False
        buffer = self._buffer
        buffer[: len(file.tail)] = file.tail
        buffer[len(file.tail) : size] = data
        buffer[size:end] = _ZEROS[: end - size]
        try:
            return os.pwrite(file.direct, buffer[:end], start) == end
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            os.close(file.direct)  # its blocks are larger
            file.direct = None
            return False

    def _close(self, number: int, offset: int, end: bytes) -> None:
        if number not in self._files:
            return
        file = self._files.pop(number)
        try:
            try:
                if os.pwrite(file.file, end, offset) < len(end):
                    end = b""  # the rows are durable; only the end is missing
            except OSError:
                end = b""
            os.ftruncate(file.file, offset + len(end))
            os.fdatasync(file.file)
        finally:
            file.close()
            os.rename(file.path + OPEN_SUFFIX, file.path + CLOSED_SUFFIX)

    def _discard(self, number: int) -> None:
        if number in self._files:
            file = self._files.pop(number)
            file.close()
            os.unlink(file.path + OPEN_SUFFIX)


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
