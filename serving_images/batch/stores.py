"""Where chunks go: whole, once, under their name, to the log first and then to the table of predictions."""

import os
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from modelyard.tables import Table
from modelyard.warehouse import Warehouse, WarehouseError
from serving_images.batch.plan import Plan
from serving_images.batch.rows import RowMaker


class Chunk(Protocol):
    """Rows that appear together."""

    time_us: int
    """Time of its rows, microseconds since 1970, UTC."""

    def add(self, log: pa.RecordBatch, output: pa.RecordBatch) -> None:
        """Add rows; nobody sees them yet."""

    def commit(self) -> None:
        """Make the chunk appear; returns when it is durable. Where it is there already, nothing changes."""

    def drop(self) -> None:
        """Forget the rows."""


class Store(Protocol):
    """Takes chunks."""

    def written(self, names: Iterable[str]) -> int:
        """Return how many of the chunks `names`, which are written in this order, are there."""

    def clean(self, prefix: str) -> None:
        """Remove what an attempt that was killed left unfinished of chunks whose name has this prefix."""

    def failed(self, plan: Plan, streams: Sequence[int]) -> int:
        """Return how many rows of these streams are there without a prediction."""

    def begin(self, name: str) -> Chunk:
        """Return a new chunk."""


class FolderStore:
    """Parquet files of the local warehouse.

    A chunk is a file in each table, written batch by batch, so that memory holds one batch of it; it gets its
    name when it is whole and on disk.

    Args:
        log: folder of the log's table.
        output: folder of the predictions' table.
        maker: knows the schemas.
    """

    def __init__(self, log: Path, output: Path, maker: RowMaker) -> None:
        self._log = log
        self._output = output
        self._maker = maker

    def written(self, names: Iterable[str]) -> int:
        """Return how many of the chunks are there; a chunk is when its predictions are, written last."""
        present = {path.stem for path in self._output.glob("day=*/*.parquet")}
        count = 0
        for name in names:
            if name not in present:
                break
            count += 1
        return count

    def clean(self, prefix: str) -> None:
        """Remove what an attempt that was killed left unfinished of chunks whose name has this prefix."""
        for folder in (self._log, self._output):
            for path in folder.glob(f"day=*/.{prefix}*.part"):
                path.unlink(missing_ok=True)

    def failed(self, plan: Plan, streams: Sequence[int]) -> int:
        """Return how many rows are there without a prediction; each file says it of itself."""
        paths = [
            path
            for number in streams
            for path in self._output.glob(f"day=*/{plan.run}-{number:05}-*.parquet")
        ]
        return sum(_nulls(pq.read_metadata(path), "prediction") for path in paths)

    def begin(self, name: str) -> "FolderChunk":
        """Return a new chunk, of rows of today."""
        return FolderChunk(name, self._log, self._output, self._maker)


class FolderChunk:
    """A chunk as two files."""

    def __init__(self, name: str, log: Path, output: Path, maker: RowMaker) -> None:
        self.time_us = time.time_ns() // 1000
        day = datetime.fromtimestamp(self.time_us / 1e6, UTC).strftime("%Y-%m-%d")
        self._files = [
            _Part(log / f"day={day}", name, maker.log_schema),
            _Part(output / f"day={day}", name, maker.output_schema),
        ]
        self._others = [log, output]

    def add(self, log: pa.RecordBatch, output: pa.RecordBatch) -> None:
        """Write rows to both files."""
        for file, rows in zip(self._files, (log, output), strict=True):
            file.write(rows)

    def commit(self) -> None:
        """Give the files their names, the log's first: a prediction is never there without its row."""
        for file, folder in zip(self._files, self._others, strict=True):
            file.finish(folder)

    def drop(self) -> None:
        """Remove the files."""
        for file in self._files:
            file.drop()


class _Part:
    """A Parquet file that gets its name when it is whole."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{name}.parquet"
        self._temporary = folder / f".{name}.{uuid.uuid4().hex[:8]}.part"
        self._file = pa.OSFile(str(self._temporary), "wb")
        self._writer = pq.ParquetWriter(
            self._file,
            schema,
            # Numbers hardly shrink, and to try costs as much as to score them.
            compression="none",
            use_dictionary=[field.name for field in schema if pa.types.is_dictionary(field.type)],
            write_statistics=["time", "prediction"],
            store_schema=False,
        )

    def write(self, rows: pa.RecordBatch) -> None:
        self._writer.write_batch(rows)

    def finish(self, table: Path) -> None:
        self._writer.close()
        self._file.close()
        _sync(self._temporary)
        # An attempt of another day may have written it before it was killed.
        if not any(table.glob(f"day=*/{self._path.name}")):
            try:
                os.link(self._temporary, self._path)
            except FileExistsError:
                pass
            else:
                _sync(self._path.parent)
        self._temporary.unlink()

    def drop(self) -> None:
        with suppress(OSError):  # the disk may be why
            self._writer.close()
            self._file.close()
        self._temporary.unlink(missing_ok=True)


def _nulls(metadata: pq.FileMetaData, column: str) -> int:
    index = metadata.schema.names.index(column)
    groups = (metadata.row_group(group) for group in range(metadata.num_row_groups))
    return sum(group.column(index).statistics.null_count for group in groups)


def _sync(path: Path) -> None:
    """Make a file's content, or a folder's names, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class WarehouseStore:
    """Tables of BigQuery, by a load job per chunk and table.

    Args:
        warehouse: where the tables are.
        log: reference and definition of the log's table.
        output: reference and definition of the predictions' table.
    """

    def __init__(self, warehouse: Any, log: tuple[str, Table], output: tuple[str, Table]) -> None:
        self._warehouse = warehouse
        self._log = log
        self._output = output

    def written(self, names: Iterable[str]) -> int:
        """Return how many of the chunks are there."""
        count = 0
        for name in names:
            if not self._warehouse.has(self._output[0], name):
                break
            count += 1
        return count

    def clean(self, prefix: str) -> None:
        """A load job leaves nothing unfinished."""

    def failed(self, plan: Plan, streams: Sequence[int]) -> int:
        """Return how many rows are there without a prediction; ids of predictions tell the stream."""
        from google.api_core.exceptions import GoogleAPICallError
        from google.cloud.bigquery import ArrayQueryParameter, QueryJobConfig, ScalarQueryParameter

        # By the client itself: the warehouse's dialect for two worlds is no part of the image.
        config = QueryJobConfig(
            query_parameters=[
                ScalarQueryParameter(
                    "started", "TIMESTAMP", datetime.fromtimestamp(plan.started_us / 1e6, UTC)
                ),
                ScalarQueryParameter("run", "STRING", plan.run),
                ArrayQueryParameter("streams", "STRING", [f"{number:04x}" for number in streams]),
            ]
        )
        sql = (
            f"SELECT COUNTIF(prediction IS NULL) AS failed FROM `{self._output[0]}` "
            "WHERE time >= @started AND run = @run AND SUBSTR(prediction_id, 25, 4) IN UNNEST(@streams)"
        )
        try:
            rows = list(self._warehouse.client.query(sql, job_config=config).result())
        except GoogleAPICallError as error:
            raise WarehouseError(f"{self._output[0]} cannot be read: {error.message}") from error
        return int(rows[0]["failed"])

    def begin(self, name: str) -> "WarehouseChunk":
        """Return a new chunk."""
        return WarehouseChunk(name, self._warehouse, self._log, self._output)


class WarehouseChunk:
    """A chunk in memory until it is whole."""

    def __init__(
        self, name: str, warehouse: Warehouse, log: tuple[str, Table], output: tuple[str, Table]
    ) -> None:
        self.time_us = time.time_ns() // 1000
        self._name = name
        self._warehouse = warehouse
        self._tables = (log, output)
        self._rows: tuple[list[pa.RecordBatch], list[pa.RecordBatch]] = ([], [])

    def add(self, log: pa.RecordBatch, output: pa.RecordBatch) -> None:
        """Keep rows."""
        self._rows[0].append(log)
        self._rows[1].append(output)

    def commit(self) -> None:
        """Load the rows, the log's first."""
        for (ref, table), batches in zip(self._tables, self._rows, strict=True):
            self._warehouse.append(ref, table, pa.Table.from_batches(batches), self._name)
            batches.clear()

    def drop(self) -> None:
        """Forget the rows."""
        self._rows = ([], [])
