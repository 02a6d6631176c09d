"""Parquet files as a source: a file, a folder, or a table of the local warehouse."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from serving_images.batch.source import Stream
from serving_images.runtime.errors import Refused

BATCH_ROWS = 1 << 16
# Read of each column at once: more makes the kernel hand out fresh pages for every batch.
_BUFFER_BYTES = 1 << 20


def files(path: Path) -> list[Path]:
    """Return the Parquet files at `path`, sorted; names that begin with `.` or `_` are not data."""
    if path.is_file():
        return [path]
    found = sorted(
        file
        for file in path.rglob("*.parquet")
        if not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    )
    if not found:
        raise Refused(f"{path} holds no *.parquet: name a Parquet file, a folder of them, or a table")
    return found


def parts(path: Path) -> list[tuple[str, int, int]]:
    """Return path, rows and bytes of each file, for the plan.

    Raises:
        Refused: there is no file, or one is no Parquet.
    """
    result = []
    for file in files(path):
        try:
            result.append((str(file), pq.read_metadata(file).num_rows, file.stat().st_size))
        except (pa.ArrowException, OSError) as error:
            raise Refused(f"{file} is no Parquet that can be read: {error}") from None
    return result


class ParquetSource:
    """The rows of all files, one after the other; each shard has one stretch of them, its stream.

    Args:
        parts: as `parts` gave them.
        columns: to read.
        shards: how many stretches.
    """

    def __init__(self, parts: Sequence[Any], columns: Sequence[str], shards: int) -> None:
        self._files = [(Path(path), int(rows), int(size)) for path, rows, size in parts]
        self._starts = [0, *accumulate(rows for _, rows, _ in self._files)]
        self._columns = list(columns)
        self._shards = shards

    def streams(self, shard: int) -> list[Stream]:
        """Return the one stretch of `shard`."""
        start, stop = self._stretch(shard)
        return [Stream(shard, str(shard), stop - start)]

    def read(self, stream: Stream, offset: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the stretch from the row `offset` on."""
        start, stop = self._stretch(int(stream.name))
        position = start + offset
        while position < stop:
            index = bisect_right(self._starts, position) - 1
            for batch in self._read_file(index, position - self._starts[index]):
                yield batch.slice(0, stop - position)
                position += batch.num_rows
                if position >= stop:
                    return

    def _stretch(self, shard: int) -> tuple[int, int]:
        total = self._starts[-1]
        return total * shard // self._shards, total * (shard + 1) // self._shards

    def _read_file(self, index: int, skip: int) -> Iterator[pa.RecordBatch]:
        """Yield a file's rows but the first `skip`."""
        path, _, size = self._files[index]
        try:
            if path.stat().st_size != size:
                raise Refused(f"{path} has changed since the run began: begin a new run")
            with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
                self._check(path, file.schema_arrow)
                groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
                first = 0
                while first < len(groups) and skip >= groups[first]:
                    skip -= groups[first]
                    first += 1
                wanted = range(first, len(groups))
                for batch in file.iter_batches(BATCH_ROWS, wanted, self._columns, use_threads=False):
                    if skip >= batch.num_rows:
                        skip -= batch.num_rows
                        continue
                    yield batch.slice(skip)
                    skip = 0
        except (pa.ArrowException, OSError) as error:
            raise Refused(f"{path} cannot be read: {error}") from None

    def _check(self, path: Path, schema: pa.Schema) -> None:
        if missing := [name for name in self._columns if name not in schema.names]:
            raise Refused(f"{path} has no column {', '.join(missing)}; it has {', '.join(schema.names)}")
