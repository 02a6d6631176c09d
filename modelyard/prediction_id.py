"""Ids of predictions: UUIDs of version 7 (RFC 9562), so that an id tells when it was given."""

import os
import re
import time
from datetime import UTC, datetime

_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_COUNTER = 1 << 48


class PredictionIds:
    """Gives ids out, in ascending order within a millisecond. For one thread; a fork starts anew.

    Time takes 48 bits; a random number of 26 bits and a counter of 48 bits that starts at random tell
    processes apart.
    """

    def __init__(self) -> None:
        """Draw the random parts."""
        self._draw()
        os.register_at_fork(after_in_child=self._draw)

    def _draw(self) -> None:
        drawn = int.from_bytes(os.urandom(10), "big")
        self._counter = drawn % (_COUNTER // 2)  # leaves room to count up
        node = drawn >> 48
        self._node = f"7{node & 0xFFF:03x}-{0x8000 | node >> 12 & 0x3FFF:04x}-"
        self._millisecond = -1
        self._prefix = ""

    def next(self) -> str:
        """Return the id of a prediction asked for now."""
        millisecond = time.time_ns() // 1_000_000
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            self._prefix = f"{millisecond >> 16:08x}-{millisecond & 0xFFFF:04x}-{self._node}"
        self._counter = counter = (self._counter + 1) % _COUNTER
        return f"{self._prefix}{counter:012x}"

    def take(self, count: int) -> list[str]:
        """Return the ids of `count` predictions asked for now, in order."""
        first = self.next()
        if count == 1:
            return [first]
        start = self._counter
        self._counter = (start + count - 1) % _COUNTER
        return [first, *[f"{self._prefix}{(start + i) % _COUNTER:012x}" for i in range(1, count)]][:count]


def is_prediction_id(text: str) -> bool:
    """Return whether `text` is written as an id of a prediction."""
    return _TEXT.fullmatch(text) is not None


def time_of(prediction_id: str) -> datetime:
    """Return when the id was given, to the millisecond, UTC. The row's `time` is that of the answer, later.

    Raises:
        ValueError: the text is no id of a prediction.
    """
    if not is_prediction_id(prediction_id):
        raise ValueError(
            f"{prediction_id!r} is no id of a prediction: that is a UUID of version 7 in lower case, such as "
            "019abcde-f012-7345-8678-9abcdef01234"
        )
    return datetime.fromtimestamp(int(prediction_id[:8] + prediction_id[9:13], 16) / 1000, UTC)
