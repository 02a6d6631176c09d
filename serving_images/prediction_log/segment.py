"""The format of a segment file: framed entries that survive torn and corrupt bytes around them.

    preamble, twice: magic 8 | format u32 | marker 8 | crc32 u32
    frames:          marker 8 | length u32 | rows u32 | kind u16 | rows before u64 | crc32 u32 | payload

All numbers are little-endian. `marker` is random per segment: after damage, reading goes on at the next frame
that begins with it and whose checksum holds, and nobody who sends features can forge one. `kind` is the index
of the schema among the header's, or HEADER (written twice), or END. `rows before` says how many rows damage
has cost. The checksum covers the frame but for itself. Zeros may follow: room for what comes next.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from serving_images.prediction_log.entry import LogSchema

FORMAT = 2
MAGIC = b"MYPLOG\r\n"
HEADER = 0xFFFF
END = 0xFFFE
MAX_SCHEMAS = END

_PREAMBLE = struct.Struct("<8sI8sI")
_FIELDS = struct.Struct("<8sIIHQ")
_CRC = struct.Struct("<I")
FRAME_BYTES = _FIELDS.size + _CRC.size
_END_BYTES = 1 << 16  # where to look for the last frame first

_pack = _FIELDS.pack
_pack_crc = _CRC.pack
_crc32 = zlib.crc32
_to_bytes = msgspec.msgpack.encode
_read_header = msgspec.msgpack.Decoder(tuple[tuple[str, LogSchema], ...]).decode
_read_end = msgspec.msgpack.Decoder(dict[str, int]).decode

Schemas = tuple[tuple[str, LogSchema], ...]


class UnknownFormatError(ValueError):
    """A segment that this version cannot read: another format, or not even a preamble."""


@dataclass(frozen=True)
class Damage:
    """Bytes that are no valid frames."""

    offset: int
    length: int
    rows: int | None
    """Rows lost; None where the end is missing, and so their number."""
    reason: str


@dataclass(frozen=True)
class Frame:
    """One valid frame: the entries of one key in one group."""

    kind: int
    rows: int
    payload: memoryview


@dataclass
class Segment:
    """What could be read of a segment."""

    schemas: Schemas
    frames: list[Frame] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    ending: dict[str, int] | None = None
    """Rows by key as the end says; None where the segment was not closed: its process was killed."""
    end: int = 0
    """Bytes up to the last that is no zero; beyond them lies room that was never used."""

    def rows(self) -> dict[str, int]:
        """Return the readable rows by key."""
        found: dict[str, int] = {}
        for frame in self.frames:
            key = self.schemas[frame.kind][0]
            found[key] = found.get(key, 0) + frame.rows
        return found


def frame(marker: bytes, kind: int, rows: int, before: int, payload: bytes) -> bytes:
    """Return a frame without its payload, which follows it."""
    fields = _pack(marker, len(payload), rows, kind, before)
    return fields + _pack_crc(_crc32(payload, _crc32(fields)))


def beginning(marker: bytes, schemas: Sequence[tuple[str, LogSchema]]) -> bytes:
    """Return how a segment begins: preamble and header, each twice."""
    fields = _PREAMBLE.pack(MAGIC, FORMAT, marker, 0)[: -_CRC.size]
    preamble = fields + _pack_crc(_crc32(fields))
    payload = _to_bytes(tuple(schemas))
    header = frame(marker, HEADER, 0, 0, payload) + payload
    return preamble * 2 + header * 2


def ending(marker: bytes, rows: Mapping[str, int]) -> bytes:
    """Return how a segment ends: the rows by key."""
    payload = _to_bytes(dict(rows))
    return frame(marker, END, 0, sum(rows.values()), payload) + payload


def parse(data: bytes) -> Segment:
    """Return what can be read of a segment's bytes, and what cannot.

    Raises:
        UnknownFormatError: the bytes have no preamble of this format, or no header.
    """
    view = memoryview(data)
    marker = _marker(data)
    segment = None
    position, expected = 2 * _PREAMBLE.size, 0
    for offset, kind, rows, before, payload in _frames(data, view, marker, position):
        if kind == HEADER:
            if segment is None:
                segment = Segment(_read_header(payload))
                if data[: _PREAMBLE.size] != data[_PREAMBLE.size : position]:
                    _damaged(segment, 0, position, 0, "corrupt")
        elif segment is None:
            break
        if offset > position or before > expected:
            _damaged(segment, position, offset, before - expected, "corrupt")
        if kind == END:
            segment.ending = _read_end(payload)
        elif kind < len(segment.schemas):
            segment.frames.append(Frame(kind, rows, payload))
        elif kind != HEADER:
            _damaged(segment, offset, offset + FRAME_BYTES + len(payload), rows, "of no schema")
        expected = before + rows
        position = offset + FRAME_BYTES + len(payload)
    if segment is None:
        raise UnknownFormatError("its header is corrupt in both places, and with it the schemas of its rows")
    segment.end = max(position, len(data.rstrip(b"\0")))
    if position < segment.end:
        _damaged(segment, position, segment.end, None if segment.ending is None else 0, "torn")
    return segment


def _damaged(segment: Segment, start: int, end: int, rows: int | None, reason: str) -> None:
    segment.damages.append(Damage(start, end - start, rows, reason))


def _marker(data: bytes) -> bytes:
    for offset in (0, _PREAMBLE.size):
        if len(data) < offset + _PREAMBLE.size:
            continue
        magic, version, marker, crc = _PREAMBLE.unpack_from(data, offset)
        if magic == MAGIC and _crc32(data[offset : offset + _PREAMBLE.size - _CRC.size]) == crc:
            if version != FORMAT:
                raise UnknownFormatError(f"its format is {version}; this version reads {FORMAT}")
            return bytes(marker)
    raise UnknownFormatError("it does not begin as a segment does")


def _frames(
    data: bytes, view: memoryview, marker: bytes, position: int
) -> Iterator[tuple[int, int, int, int, memoryview]]:
    """Yield offset, kind, rows, rows before and payload of each valid frame, skipping what lies between."""
    while (offset := data.find(marker, position)) >= 0:
        payload_at = offset + FRAME_BYTES
        if payload_at > len(data):
            return
        _, length, rows, kind, before = _FIELDS.unpack_from(data, offset)
        payload = view[payload_at : payload_at + length]
        crc = _CRC.unpack_from(data, payload_at - _CRC.size)[0]
        if len(payload) == length and _crc32(payload, _crc32(view[offset : payload_at - _CRC.size])) == crc:
            yield offset, kind, rows, before, payload
            position = payload_at + length
        else:
            position = offset + 1


def rows_by_key(path: "str | os.PathLike[str]") -> dict[str, int]:
    """Return how many rows a segment has, by key: from its end, or, where it has none, from all its frames.

    A file that cannot be read as a segment has none.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(2 * _PREAMBLE.size)
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _END_BYTES))
            tail = file.read()
            last = None
            for _, kind, _, _, payload in _frames(tail, memoryview(tail), _marker(start), 0):
                last = payload if kind == END else None
            if last is not None:
                return _read_end(last)
            file.seek(0)
            return parse(file.read()).rows()
    except (UnknownFormatError, FileNotFoundError, msgspec.DecodeError):
        return {}
