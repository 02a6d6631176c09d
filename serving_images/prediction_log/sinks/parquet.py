"""Rows as Parquet files of the local warehouse: `<warehouse>/<project>/<dataset>/<table>/day=YYYY-MM-DD/`."""

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from serving_images.prediction_log.disk import sync_folder
from serving_images.prediction_log.sinks import StoreAwayError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIQUE = ("prediction_id", "trace_id")
_GROUP_ROWS = 16_384  # bounds the writer's memory


class ParquetSink:
    """One file per name and day. The same rows under the same name leave one file, so a row is there once."""

    def __init__(self, warehouse: Path) -> None:
        self._warehouse = warehouse

    def write(self, table: str, rows: pa.Table, name: str) -> None:
        """Write a file for each day of the rows; see `Sink`."""
        folder = self._warehouse.joinpath(*table.split("."))
        try:
            for day, part in _by_day(rows):
                _write_whole(folder / f"day={day}", f"{name}.parquet", part)
        except OSError as error:
            raise StoreAwayError(f"{folder} cannot be written: {error}") from error

    def idle(self) -> None:
        """Hold nothing open."""

    def close(self) -> None:
        """Hold nothing open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _by_day(rows: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    """Yield each day, UTC, with its rows."""
    times = [memoryview(chunk.buffers()[1]).cast("q")[chunk.offset :][: len(chunk)] for chunk in _times(rows)]
    if not times:
        return
    first, last = (_day(choose(choose(chunk) for chunk in times)) for choose in (min, max))
    if first == last:
        yield first, rows
        return
    import pyarrow.compute as pc  # 8 MB, needed at midnight

    days = pc.floor_temporal(rows.column("time"), unit="day")
    for day in days.unique():
        yield day.as_py().date(), rows.filter(pc.equal(days, day))


def _times(rows: pa.Table) -> list[pa.Array]:
    return [chunk for chunk in rows.column("time").chunks if len(chunk)]


def _day(time_us: int) -> date:
    return (_EPOCH + timedelta(microseconds=time_us)).date()


def _leaves(fields: Iterable[pa.Field], path: str = "") -> Iterator[tuple[str, pa.DataType]]:
    for field in fields:
        if pa.types.is_struct(field.type):
            yield from _leaves(field.type, f"{path}{field.name}.")
        else:
            yield path + field.name, field.type


def _write_whole(folder: Path, name: str, rows: pa.Table) -> None:
    """Make the file appear whole and durable."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{name}"  # its writer is one process: two shippers never share a folder
    try:
        with part.open("wb") as file:
            # A dictionary of what seldom repeats takes memory and time, and is given up in the end.
            leaves = _leaves(rows.schema)
            texts = [name for name, kind in leaves if pa.types.is_string(kind) and name not in _UNIQUE]
            pq.write_table(rows, file, compression="zstd", use_dictionary=texts, row_group_size=_GROUP_ROWS)
            file.flush()
            os.fsync(file.fileno())
        part.rename(folder / name)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(folder)
