"""The shipper: sends closed segments to the store and deletes each once it is acknowledged.

The unit of sending is one key of one segment, so a table that takes no rows holds up no other. What was
acknowledged is written down before the segment is deleted: after a kill at any point nothing is lost, and
Parquet has each row once.
"""

import ctypes
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from serving_images.prediction_log import folder as folders
from serving_images.prediction_log import state as states
from serving_images.prediction_log.entry import Entry, LogSchema, decode, encode
from serving_images.prediction_log.folder import SegmentFile
from serving_images.prediction_log.segment import Damage, Frame, Segment, UnknownFormatError, parse
from serving_images.prediction_log.sinks import RowsRefusedError, Sink, StoreAwayError, waits

if TYPE_CHECKING:
    import pyarrow as pa

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
_LOGGER = logging.getLogger(__name__)
UNKNOWN = "unknown"  # the key of lost rows of which nobody can say whose they were
_DAMAGE = ""  # in the state: the segment's damage is counted
_LONGEST_WAIT = 30.0  # seconds between attempts on a table whose store is away
_HURRIED_WAIT = 1.0  # the same, once the server ends
_CHUNK_ROWS = 1024  # decoded at once: bounds the memory
_REPORT_SECONDS = 30.0  # how often a lasting fault is logged


@dataclass
class _Away:
    """A table whose store takes no rows."""

    waits: Iterator[float] = field(default_factory=lambda: waits(longest=_LONGEST_WAIT))
    retry_at: float = 0.0
    reported: float = float("-inf")


class Shipper:
    """Ships one folder; hold its `shipper.lock`.

    Args:
        folder: of the log.
        open_sink: called when there is something to send for the first time.
    """

    def __init__(self, folder: Path, open_sink: Callable[[], Sink]) -> None:
        self._folder = folder
        self._open_sink = open_sink
        self._sink: Sink | None = None
        self._state = states.read(folder)
        self._away: dict[str, _Away] = {}
        self._pending: dict[str, set[str]] = {}  # tables that a segment still has rows for

    def pass_over(self) -> bool:
        """Try to send every closed segment, oldest first; return whether all were sent."""
        all_sent = True
        waiting = folders.segments(self._folder)
        self._state.partial = {
            segment.name: self._state.partial[segment.name]
            for segment in waiting
            if segment.name in self._state.partial
        }
        blocked = {table for table, away in self._away.items() if away.retry_at > time.monotonic()}
        for segment in waiting:
            pending = self._pending.get(segment.name)
            if (pending is not None and pending <= blocked) or not self._ship(segment, blocked):
                all_sent = False
        if not waiting and self._sink:
            self._sink.idle()
        return all_sent

    def next_attempt(self) -> float:
        """Return in how many seconds a table that is away is tried again; 0 where none is away."""
        times = [away.retry_at for away in self._away.values()]
        return max(0.01, min(times) - time.monotonic()) if times else 0.0

    def hurry(self) -> None:
        """Try stores that are away at once, and often from now on: the server ends, and time with it."""
        for away in self._away.values():
            away.retry_at, away.waits = 0.0, waits(longest=_HURRIED_WAIT)

    def close(self) -> None:
        """End the connections."""
        if self._sink:
            self._sink.close()

    def _ship(self, file: SegmentFile, blocked: set[str]) -> bool:
        """Send what of a segment is not sent yet; return whether it is done with and deleted."""
        data = file.path.read_bytes()
        try:
            segment = parse(data)
        except (UnknownFormatError, msgspec.DecodeError) as error:
            return self._set_aside(file, data, str(error))
        done = self._state.partial.setdefault(file.name, [])
        if _DAMAGE not in done:
            self._report_damage(file, segment, data)
            self._finished(file, _DAMAGE, 0, 0)
        frames: dict[int, list[Frame]] = {}
        for frame in segment.frames:
            frames.setdefault(frame.kind, []).append(frame)
        left = set()
        for kind, own in frames.items():
            key, schema = segment.schemas[kind]
            if key in done:
                continue
            if schema.table in blocked:
                left.add(schema.table)
                continue
            try:
                sent, failed = self._send(f"{file.name}-{kind}", key, schema, own)
            except StoreAwayError as error:
                self._is_away(schema.table, str(error))
                blocked.add(schema.table)
                left.add(schema.table)
            else:
                self._is_back(schema.table)
                self._finished(file, key, sent, failed)
        self._pending[file.name] = left
        if left:
            return False
        self._remove(file)
        return True

    def _send(self, name: str, key: str, schema: LogSchema, frames: list[Frame]) -> tuple[int, int]:
        """Send one key's rows; return how many the store has, and how many it will never have."""
        rows, failed = self._rows(name, key, schema, frames)
        if not rows.num_rows:
            return 0, failed
        if self._sink is None:
            self._sink = self._open_sink()
        try:
            self._sink.write(schema.table, rows, name)
        except RowsRefusedError as error:
            self._keep_refused(name, key, schema, rows, error)
            return rows.num_rows - len(error.refused), failed + len(error.refused)
        return rows.num_rows, failed

    def _rows(self, name: str, key: str, schema: LogSchema, frames: list[Frame]) -> tuple["pa.Table", int]:
        """Return the rows of all frames, and how many rows are in frames that are no entries."""
        import pyarrow as pa  # 0.2 s and 40 MB, which a shipper without work need not spend

        from serving_images.prediction_log.rows import arrow_schema, from_entries, sound

        tables, unsound, failed = [], [], 0
        chunk: list[Entry] = []
        count = 0
        for frame in frames:
            try:
                entries = decode(frame.payload)
            except msgspec.DecodeError:
                entries = None
            if entries is None or sum(len(entry.ids) for entry in entries) != frame.rows:
                unsound.append(bytes(frame.payload))
                failed += frame.rows
                continue
            for entry in entries:
                if sound(schema, entry):
                    chunk.append(entry)
                    count += len(entry.ids)
                else:
                    unsound.append(encode([entry]))
                    failed += len(entry.ids)
            if count >= _CHUNK_ROWS:
                tables.append(from_entries(schema, chunk))
                chunk, count = [], 0
        if chunk:
            tables.append(from_entries(schema, chunk))
        if unsound:
            self._keep(f"{name}-unsound", b"".join(unsound), key=key, rows=failed, reason="no sound entries")
        return pa.concat_tables([arrow_schema(schema).empty_table(), *tables]), failed

    def _keep_refused(
        self, name: str, key: str, schema: LogSchema, rows: "pa.Table", error: RowsRefusedError
    ) -> None:
        import pyarrow as pa

        refused = rows.take(pa.array([place for place, _ in error.refused]))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, refused.schema) as writer:
            writer.write_table(refused)
        self._keep(
            f"{name}-refused",
            sink.getvalue().to_pybytes(),
            key=key,
            rows=len(error.refused),
            table=schema.table,
            kind="Arrow IPC file",
            reason=sorted({reason for _, reason in error.refused})[:10],
        )

    def _keep(self, name: str, content: bytes, **report: object) -> None:
        """Put what cannot be sent into quarantine.

        Raises:
            StoreAwayError: there is no room: what it came from has to stay.
        """
        try:
            path = folders.quarantine(self._folder, name, content, report)
        except OSError as error:
            raise StoreAwayError(f"the quarantine cannot be written: {error}") from error
        if path is None:
            raise StoreAwayError("the quarantine is full: look at what is in it, and remove it")
        _LOGGER.error("%s rows of the prediction log are in quarantine: %s", report.get("rows"), path)

    def _report_damage(self, file: SegmentFile, segment: Segment, data: bytes) -> None:
        if not segment.damages:
            return
        readable = segment.rows()
        if segment.ending is not None:
            lost = {key: rows - readable.get(key, 0) for key, rows in segment.ending.items()}
        else:
            key = segment.schemas[0][0] if len(segment.schemas) == 1 else UNKNOWN
            lost = {key: sum(damage.rows or 0 for damage in segment.damages)}
        for damage in segment.damages:
            self._quarantine_damage(file, damage, data)
        for key, rows in lost.items():
            if rows > 0:
                self._state.failed[key] = self._state.failed.get(key, 0) + rows

    def _quarantine_damage(self, file: SegmentFile, damage: Damage, data: bytes) -> None:
        report = {
            "segment": file.path.name,
            "offset": damage.offset,
            "bytes": damage.length,
            "rows": damage.rows,
            "reason": damage.reason,
        }
        content = data[damage.offset : damage.offset + damage.length]
        try:
            path = folders.quarantine(self._folder, f"{file.name}-{damage.offset}", content, report)
        except OSError as error:
            _LOGGER.error("the quarantine cannot be written: %s", error)
            path = None
        _LOGGER.error(
            "%s: %d bytes at %d are %s%s; the rest is recovered; see %s",
            file.path.name,
            damage.length,
            damage.offset,
            damage.reason,
            # The answer waits for the disk, so what a kill has torn nobody was told.
            " and belong to no answered request" if damage.rows is None else f", {damage.rows} rows lost",
            path or "nothing: the quarantine takes no more",
        )

    def _set_aside(self, file: SegmentFile, data: bytes, reason: str) -> bool:
        """Move a whole segment into quarantine."""
        try:
            self._keep(file.name, data, segment=file.path.name, rows="all", reason=reason)
        except StoreAwayError as error:
            self._state.error = str(error)
            states.write(self._folder, self._state)
            return False
        _LOGGER.error("%s cannot be read: %s; it lies in quarantine whole", file.path.name, reason)
        self._remove(file)
        return True

    def _finished(self, file: SegmentFile, key: str, sent: int, failed: int) -> None:
        """Write down that a key of a segment is done with."""
        state = self._state
        state.partial.setdefault(file.name, []).append(key)
        if sent:
            state.sent[key] = state.sent.get(key, 0) + sent
        if failed:
            state.failed[key] = state.failed.get(key, 0) + failed
        states.write(self._folder, state)

    def _remove(self, file: SegmentFile) -> None:
        self._pending.pop(file.name, None)
        file.path.unlink(missing_ok=True)
        if _trim:
            _trim(0)  # the allocator would keep the largest segment's memory

    def _is_away(self, table: str, error: str) -> None:
        away = self._away.setdefault(table, _Away())
        now = time.monotonic()
        away.retry_at = now + next(away.waits)
        if now - away.reported >= _REPORT_SECONDS:
            away.reported = now
            _LOGGER.error("the store takes no rows, which stay on disk: %s", error)
        if self._state.error is None:
            self._state.error_time = time.time()
        if self._state.error != error:
            self._state.error = error
            states.write(self._folder, self._state)

    def _is_back(self, table: str) -> None:
        if self._away.pop(table, None):
            _LOGGER.warning("the store takes rows of %s again", table)
        if not self._away:
            self._state.error = None  # written with what was sent
