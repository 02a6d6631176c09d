"""Rows to score: streams of Arrow batches that can be read again from any row, in the same order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True)
class Stream:
    """Rows in an order that never changes within a run.

    Attributes:
        number: tells the streams of a run apart.
        name: how the source finds it.
        rows: how many rows it has; None: not known before they are read.
    """

    number: int
    name: str
    rows: int | None


class Source(Protocol):
    """A table as one plan cut it."""

    def streams(self, shard: int) -> list[Stream]:
        """Return the streams that `shard` reads; each stream is one shard's."""

    def read(self, stream: Stream, offset: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of `stream` from the row `offset` on, in batches of any size.

        Raises:
            Refused: the source is not what it was when the run was planned.
        """
