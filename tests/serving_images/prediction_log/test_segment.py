"""What is read of a segment that was cut, overwritten or torn is exactly what is whole."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_images.prediction_log import segment as segments
from tests.serving_images.prediction_log.samples import KEY, OTHER, OTHER_SCHEMA, SCHEMA

SCHEMAS = [(KEY, SCHEMA), (OTHER, OTHER_SCHEMA)]
MARKER = bytes(range(1, 9))
payloads = st.lists(st.binary(max_size=60), min_size=1, max_size=8)


def written(contents: list[bytes], closed: bool = True) -> tuple[bytes, list[tuple[int, int]]]:
    """Return a segment of one-row frames, and where each begins and ends."""
    data = segments.beginning(MARKER, SCHEMAS)
    places = []
    for index, content in enumerate(contents):
        frame = segments.frame(MARKER, index % 2, 1, index, content) + content
        places.append((len(data), len(data) + len(frame)))
        data += frame
    if closed:
        data += segments.ending(MARKER, {KEY: (len(contents) + 1) // 2, OTHER: len(contents) // 2})
    return data, places


def read(segment: segments.Segment) -> list[bytes]:
    return [bytes(frame.payload) for frame in segment.frames]


@given(payloads, st.booleans(), st.integers(0, 5000))
def test_whole_segment_is_read_whole(contents: list[bytes], closed: bool, reserved: int) -> None:
    data, _ = written(contents, closed)
    segment = segments.parse(data + bytes(reserved))
    assert read(segment) == contents
    assert segment.damages == []
    assert segment.schemas == tuple(SCHEMAS)
    assert (segment.ending is not None) == closed
    assert segment.end == len(data)


@given(payloads, st.data())
def test_cut_at_any_byte_loses_only_what_was_cut(contents: list[bytes], data: st.DataObject) -> None:
    whole, places = written(contents, closed=False)
    cut = data.draw(st.integers(places[0][0], len(whole)))
    segment = segments.parse(whole[:cut])
    kept = [content for content, (_, end) in zip(contents, places, strict=True) if end <= cut]
    assert read(segment) == kept
    start = max([end for _, end in places if end <= cut], default=places[0][0])
    # Zeros at the end are taken for reserved space.
    torn = len(whole[:cut].rstrip(b"\0")) - start
    expected = [("torn", None, start, torn)] if cut > start else []
    assert [(d.reason, d.rows, d.offset, d.length) for d in segment.damages] == expected


@given(payloads, st.data())
def test_flipped_byte_loses_one_frame_and_says_so(contents: list[bytes], data: st.DataObject) -> None:
    whole, places = written(contents)
    flipped = bytearray(whole)
    at = data.draw(st.integers(places[0][0], places[-1][1] - 1))
    flipped[at] ^= data.draw(st.integers(1, 255))
    segment = segments.parse(bytes(flipped))
    hit = next(index for index, (start, end) in enumerate(places) if start <= at < end)
    assert read(segment) == [content for index, content in enumerate(contents) if index != hit]
    assert [(d.offset, d.length, d.rows) for d in segment.damages] == [
        (places[hit][0], places[hit][1] - places[hit][0], 1)
    ]


@given(st.integers(0, 2 * 24 - 1), st.integers(1, 255))
def test_flipped_byte_in_the_preamble_loses_nothing(at: int, flip: int) -> None:
    whole, _ = written([b"a", b"b"])
    flipped = bytearray(whole)
    flipped[at] ^= flip
    segment = segments.parse(bytes(flipped))
    assert read(segment) == [b"a", b"b"]
    assert sum(damage.rows or 0 for damage in segment.damages) == 0
    assert segment.damages


def test_flipped_byte_in_one_header_loses_nothing() -> None:
    whole, places = written([b"a", b"b"])
    for at in range(48, places[0][0], 7):
        flipped = bytearray(whole)
        flipped[at] ^= 0xFF
        segment = segments.parse(bytes(flipped))
        assert read(segment) == [b"a", b"b"]
        assert [damage.rows for damage in segment.damages] == [0]


def test_frames_in_what_callers_send_are_not_taken_for_frames() -> None:
    """Not even after damage: nobody outside knows the marker."""
    forged = segments.frame(bytes(8), 0, 1, 0, b"forged") + b"forged"
    marker = os.urandom(8)
    payload = b"x" * 100 + forged
    data = segments.beginning(marker, SCHEMAS)
    start = len(data)
    data += segments.frame(marker, 0, 1, 0, payload) + payload
    data += segments.frame(marker, 0, 1, 1, b"next") + b"next"
    damaged = bytearray(data)
    damaged[start + 20] ^= 1
    assert read(segments.parse(bytes(damaged))) == [b"next"]


@given(st.binary(max_size=400))
def test_what_is_no_segment_is_refused(data: bytes) -> None:
    with pytest.raises(segments.UnknownFormatError):
        segments.parse(data)


def test_another_format_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "FORMAT", 0)
    data, _ = written([b"a"])
    monkeypatch.undo()
    with pytest.raises(segments.UnknownFormatError, match=r"format is 0; this version reads 2"):
        segments.parse(data)
