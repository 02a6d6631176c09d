"""The folder of a log: its locks, the names of its segments, and the quarantine for what cannot be read.

lock                            held by the server, and by the process that writes for it
shipper.lock                    held by the process that ships
<sequence>-<time_us>-<id>.open  segment being written
<sequence>-<time_us>-<id>.log   closed segment, not yet acknowledged by the store
shipper.json                    what the shipper has sent
quarantine/                     bytes that could not be read or rows that the store refused, for people
"""

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving_images.prediction_log.disk import CLOSED_SUFFIX, OPEN_SUFFIX, sync_folder
from serving_images.prediction_log.segment import UnknownFormatError, parse

OPEN, CLOSED = OPEN_SUFFIX, CLOSED_SUFFIX
QUARANTINE = "quarantine"
MAX_QUARANTINE = 64 << 20
_NAME = re.compile(r"(\d{10})-(\d{16})-([0-9a-f]{16})\.(?:open|log)")


class LogInUseError(RuntimeError):
    """Another process has the folder."""


@dataclass(frozen=True, order=True)
class SegmentFile:
    """A segment by its name. Names sort in the order of writing."""

    sequence: int
    time_us: int
    """When its first row came, microseconds since 1970, UTC."""
    path: Path

    @property
    def name(self) -> str:
        """Its name without the ending, unique among all logs."""
        return self.path.stem


def name(sequence: int, time_us: int, identity: str) -> str:
    """Return the name of a segment without its ending."""
    return f"{sequence:010d}-{time_us:016d}-{identity}"


def lock(folder: Path, which: str = "lock", patience: float = 0.0) -> int:
    """Take a lock of the folder and return its descriptor; the kernel gives it back when the process ends.

    Args:
        folder: of the log.
        which: of its locks.
        patience: seconds to wait for a process that holds it: one that was killed leaves its last writes to
            another process.

    Raises:
        LogInUseError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / which, os.O_RDWR | os.O_CREAT, 0o600)
    end = time.monotonic() + patience
    while not _taken(descriptor):
        if time.monotonic() < end:
            time.sleep(0.01)
            continue
        os.close(descriptor)
        process = holder(folder, which) or "another"
        raise LogInUseError(
            f"{folder}: process {process} holds its {which}; give each process a log folder of its own"
        )
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def holder(folder: Path, which: str = "lock") -> int:
    """Return the id of the process that took a lock last; 0 where none is known."""
    try:
        return int((folder / which).read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def segments(folder: Path, ending: str = CLOSED) -> list[SegmentFile]:
    """Return the folder's segments of one ending, oldest first."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match and entry.name.endswith(ending):
                found.append(SegmentFile(int(match[1]), int(match[2]), Path(entry.path)))
    return sorted(found)


def size(folder: Path, ending: str = "") -> int:
    """Return the bytes of all segments, or of one ending; an open one may end in zeros."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and entry.name.endswith(ending):
                try:
                    total += entry.stat().st_size
                except FileNotFoundError:
                    continue  # sent in the meantime
    return total


def recover(folder: Path) -> list[SegmentFile]:
    """Close what an earlier process left open, and return all segments to ship. Hold the lock."""
    for segment in segments(folder, OPEN):
        data = segment.path.read_bytes()
        if not data.strip(b"\0"):
            segment.path.unlink()
            continue
        with contextlib.suppress(UnknownFormatError):  # which the shipper puts into quarantine
            os.truncate(segment.path, parse(data).end)  # gives back the zeros behind
        segment.path.rename(segment.path.with_suffix(CLOSED))
    sync_folder(folder)
    return segments(folder)


def quarantine(folder: Path, name: str, content: bytes, report: Mapping[str, object]) -> Path | None:
    """Keep bytes and a report on them for people, durably; writing it twice leaves one.

    Returns:
        The report's path; None where the quarantine is full.
    """
    place = folder / QUARANTINE
    place.mkdir(exist_ok=True)
    held = sum(path.stat().st_size for path in place.iterdir() if not path.name.startswith(name))
    if held + len(content) > MAX_QUARANTINE:
        return None
    for suffix, data in ((".bin", content), (".json", json.dumps(dict(report), indent=2).encode() + b"\n")):
        part = place / f".{name}{suffix}"
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(place / f"{name}{suffix}")
    sync_folder(place)
    return place / f"{name}.json"
