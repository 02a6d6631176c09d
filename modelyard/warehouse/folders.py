"""The warehouse on one machine: Parquet files in a folder per table and day, read by DuckDB.

A table is `<root>/<project>/<dataset>/<table>/day=YYYY-MM-DD/*.parquet`, the day, in UTC, of its partition
column; `day=all` holds tables that others write without a partition. A file appears whole, named by its
writer, so many processes may write and read at once without a lock.
"""

import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.tables import Table, arrow_schema
from modelyard.warehouse import Days, Result, Statistics
from modelyard.warehouse.errors import WarehouseError
from modelyard.warehouse.names import Ref, checked_name, conform, parse
from modelyard.warehouse.parameters import typed

if TYPE_CHECKING:
    import pyarrow as pa

ALL = "all"


class LocalWarehouse:
    """A `Warehouse` in a folder. Safe to use from several threads and processes."""

    def __init__(
        self,
        root: Path,
        *,
        memory_limit: str | None = None,
        temp_folder: Path | None = None,
        threads: int | None = None,
    ) -> None:
        self.root = root.absolute()
        self._settings = {"memory_limit": memory_limit, "threads": threads}
        self._temp_folder = temp_folder
        self._lock = threading.Lock()
        self._connection: Any = None

    def append(self, ref: str, table: Table, rows: "pa.Table", name: str) -> None:
        """Add rows, one file per day; see `Warehouse.append`.

        The files of several days appear one after the other. A call that was cut short is repeated under the
        same name, and adds what is missing.
        """
        checked_name(name)
        folder = self.folder(parse(ref))
        for day, part in by_day(table, conform(ref, table, rows)).items():
            try:
                write_file(folder / f"day={day}" / f"{name}.parquet", part)
            except OSError as error:
                raise WarehouseError(f"{ref}: cannot write into {folder}: {error.strerror}") from error

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] = {},
        tables: Mapping[str, Table] = {},
        days: Days | Mapping[str, Days] | None = None,
    ) -> "pa.Table":
        """Return the rows that `sql` selects; see `Warehouse.run`."""
        return self.run(sql, parameters, tables, days).rows

    def run(
        self,
        sql: str,
        parameters: Mapping[str, Any] = {},
        tables: Mapping[str, Table] = {},
        days: Days | Mapping[str, Days] | None = None,
    ) -> Result:
        """Run a query; see `Warehouse.run`."""
        import duckdb

        from modelyard.warehouse.dialect import day_range, for_duckdb

        values = typed(parameters)
        cursor = self._cursor()

        def source(ref: str) -> str:
            return self._source(ref, tables.get(ref), day_range(ref, tables, days))

        statement = for_duckdb(sql, values, source)
        if missing := sorted(statement.parameters - values.keys()):
            raise WarehouseError(f"no value for parameter @{', @'.join(missing)}")
        used = {name: values[name].value for name in statement.parameters}
        started = time.monotonic()
        with cursor:
            cursor.execute("PRAGMA enable_profiling = 'no_output'")
            try:
                rows = cursor.sql(statement.sql, params=used).to_arrow_table()
            except duckdb.Error as error:
                raise WarehouseError(f"the statement failed: {error}") from error
            profile = json.loads(cursor.get_profiling_information("json"))
        return Result(in_bigquery_types(rows), _statistics(profile, time.monotonic() - started))

    def folder(self, ref: Ref) -> Path:
        """Return the folder of a table."""
        return self.root.joinpath(*ref)

    def tables(self, project: str = "*", dataset: str = "*", table: str = "*") -> list[str]:
        """Return the references of the tables whose parts fit these patterns, sorted."""
        found = self.root.glob(f"{project}/{dataset}/{table}/")
        return sorted(
            ".".join(path.relative_to(self.root).parts)
            for path in found
            if path.is_dir() and not any(part.startswith(".") for part in path.relative_to(self.root).parts)
        )

    def files(self, ref: str, days: Days | None = None) -> list[Path]:
        """Return the files of a table, sorted, or of its days from the first to the last of `days`."""
        try:
            folders = [entry.name for entry in os.scandir(self.folder(parse(ref))) if entry.is_dir()]
        except FileNotFoundError:
            return []
        wanted = [name for name in sorted(folders) if name.startswith("day=") and _within(name[4:], days)]
        folder = self.folder(parse(ref))
        return [
            folder / name / file
            for name in wanted
            for file in sorted(os.listdir(folder / name))
            if file.endswith(".parquet") and not file.startswith(".")
        ]

    def _source(self, ref: str, table: Table | None, days: Days | None) -> str:
        files = self.files(ref, days)
        if not files and table is None:
            known = ", ".join(self.tables()) or "none"
            raise WarehouseError(f"there is no table {ref} in {self.root}; there are: {known}")
        if table is not None:
            # A file without rows gives the columns that no other file has yet; pushdown stays whole.
            files = [self._without_rows(table), *files]
        listed = ", ".join(_quoted(str(path)) for path in files)
        return f"SELECT * FROM READ_PARQUET([{listed}], union_by_name = TRUE, hive_partitioning = FALSE)"

    def _without_rows(self, table: Table) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = arrow_schema(table)
        digest = hashlib.sha256(schema.to_string().encode()).hexdigest()[:16]
        path = self._scratch / f"{digest}.parquet"
        if not path.exists():
            temporary = path.with_suffix(f".{uuid.uuid4().hex}")
            pq.write_table(pa.Table.from_batches([], schema=schema), temporary)
            temporary.replace(path)
        return path

    def _cursor(self) -> Any:
        import duckdb

        with self._lock:
            if self._connection is None:
                self._connection = self._connect(duckdb)
            return self._connection.cursor()

    def _connect(self, duckdb: Any) -> Any:
        if self._temp_folder:
            self._temp_folder.mkdir(parents=True, exist_ok=True)
        # Of its own: DuckDB's files in it have the same names in every process.
        self._scratch = Path(
            tempfile.mkdtemp(prefix="modelyard-warehouse-", dir=self._temp_folder)
        ).absolute()
        weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        config = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        connection = duckdb.connect(config=config)
        allowed = ", ".join(_quoted(str(path)) for path in (self.root, self._scratch))
        connection.execute(f"SET temp_directory = {_quoted(str(self._scratch))}")
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute("SET preserve_insertion_order = false")
        for setting, value in self._settings.items():
            if value is not None:
                connection.execute(f"SET {setting} = {_quoted(str(value))}")
        # A statement reads the warehouse's files and no others.
        connection.execute(f"SET allowed_directories = [{allowed}]")
        connection.execute("SET enable_external_access = false")
        return connection


def by_day(table: Table, rows: "pa.Table") -> "dict[str, pa.Table]":
    """Return the rows by the day, UTC, of the table's partition column; rows without a time under `all`."""
    import pyarrow.compute as pc

    if not rows.num_rows:
        return {}
    days = pc.fill_null(pc.strftime(rows.column(table.partition.column), format="%Y-%m-%d"), ALL)
    distinct = days.unique().to_pylist()
    if len(distinct) == 1:
        return {distinct[0]: rows}
    return {day: rows.filter(pc.equal(days, day)) for day in sorted(distinct)}


def write_file(path: Path, rows: "pa.Table") -> bool:
    """Write a Parquet file, whole and durable; return False where it is there already.

    Raises:
        OSError: it cannot be written; then nothing is there.
    """
    import pyarrow.parquet as pq

    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as file:
            pq.write_table(rows, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # of two writers one wins; a rename would let the later one win
        except FileExistsError:
            return False
    finally:
        temporary.unlink(missing_ok=True)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return True


def in_bigquery_types(rows: "pa.Table") -> "pa.Table":
    """Return a result in the types in which BigQuery gives it: INT64, FLOAT64, TIMESTAMP in UTC."""
    import pyarrow as pa

    return rows.cast(pa.schema([pa.field(field.name, _bigquery_type(field.type)) for field in rows.schema]))


def _bigquery_type(kind: "pa.DataType") -> "pa.DataType":
    import pyarrow as pa

    if pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0):
        return pa.int64()  # a sum of integers is a wide DECIMAL in DuckDB
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz=kind.tz and "UTC")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(pa.field("item", _bigquery_type(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _bigquery_type(field.type)) for field in kind])
    return kind


def _statistics(profile: Mapping[str, Any], seconds: float) -> Statistics:
    scanned = sum(_scans(profile.get("operator", [])))
    return Statistics(int(profile.get("io", {}).get("total_bytes_read", 0)), scanned, seconds)


def _scans(nodes: Iterable[Mapping[str, Any]]) -> Iterable[int]:
    for node in nodes:
        if node.get("type") == "TABLE_SCAN":
            yield int(node.get("rows_scanned", 0))
        yield from _scans(node.get("children", []))


def _within(day: str, days: Days | None) -> bool:
    if days is None:
        return True
    try:
        return days[0] <= date.fromisoformat(day) <= days[1]
    except ValueError:
        return False


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
