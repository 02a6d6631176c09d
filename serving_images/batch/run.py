"""A run as one process sees it: settings in, a shard scored, the fact recorded."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

import modelyard.warehouse
from modelyard.tables import arrow_schema, batch_runs
from modelyard.warehouse import WarehouseError
from modelyard.warehouse.names import parse
from serving_images.batch import bigquery, parquet
from serving_images.batch.plan import (
    Agreement,
    FolderAgreement,
    JobAgreement,
    Plan,
    agree,
    checked,
    chunk_rows,
)
from serving_images.batch.progress import Progress
from serving_images.batch.rows import RowMaker, definition
from serving_images.batch.shard import Shard
from serving_images.batch.source import Source
from serving_images.batch.stores import FolderStore, Store, WarehouseStore
from serving_images.runtime import artifact
from serving_images.runtime.config import Config
from serving_images.runtime.errors import Refused
from serving_images.runtime.native import NativeModel


@dataclass(frozen=True)
class Order:
    """What one process is to do.

    Attributes:
        config: the version's settings.
        run: name of the run.
        index: number of the shard.
        shards: how many there are.
        source: table, or path of Parquet; default: the table of the settings.
        key: column that says which row a prediction is of; default: that of the settings.
        threads: how many batches are scored at once, each on one core.
    """

    config: Config
    run: str
    index: int
    shards: int
    source: str | None = None
    key: str | None = None
    threads: int = 1


class _Settings(msgspec.Struct):
    """The part `batch` of `model.json`."""

    source: str
    output: str
    runs: str
    shards: int = 1
    key: str | None = None


def settings(config: Config) -> _Settings:
    """Return the batch settings of a version.

    Raises:
        Refused: they are missing or wrong.
    """
    try:
        return msgspec.convert(config.batch, _Settings)
    except msgspec.ValidationError as error:
        raise Refused(f"{config.key}: the part `batch` of its settings: {error}") from None


class _World:
    """Where source and tables are: folders, or BigQuery."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.settings = settings(order.config)
        config = order.config
        self.project = parse(self.settings.output).project
        local = bool(config.warehouse)
        self.location = None
        self.warehouse: Any = modelyard.warehouse.local(Path(config.warehouse)) if local else self._bigquery()
        self.source = order.source or self.settings.source
        self.key = order.key if order.source else order.key or self.settings.key
        self.path = self._path(config)
        self.columns = [feature.name for feature in config.signature.features]
        if self.key and self.key not in self.columns:
            self.columns.append(self.key)

    def _path(self, config: Config) -> Path | None:
        """Return where the source is as Parquet; None: in BigQuery."""
        if "/" in self.source or Path(self.source).exists():
            path = Path(self.source).absolute()
            if not path.exists():
                raise Refused(f"{path} does not exist: name a Parquet file, a folder of them, or a table")
            return path
        if not config.warehouse:
            return None
        path = Path(config.warehouse).absolute().joinpath(*parse(self.source))
        if not path.is_dir():
            raise Refused(
                f"the local warehouse has no table {self.source}: {path} does not exist. Write Parquet files "
                "there, or name others by --source"
            )
        return path

    def _bigquery(self) -> Any:
        """Return BigQuery at the place of the tables: a job is found only there."""
        from google.api_core.exceptions import GoogleAPICallError

        output = self.settings.output
        try:
            self.location = modelyard.warehouse.bigquery(self.project).client.get_table(output).location
        except GoogleAPICallError as error:
            raise Refused(
                f"{output} cannot be read: {error.message}; the deployment makes this table"
            ) from None
        return modelyard.warehouse.bigquery(self.project, location=self.location)

    def agreement(self) -> Agreement:
        if self.order.config.warehouse:
            return FolderAgreement(self._folder(self.settings.output) / ".runs")
        return JobAgreement(self.warehouse.client, self.settings.output, self.location)

    def plan(self) -> Plan:
        """Return the plan of the run; the first shard makes it."""
        config = self.order.config
        plan = Plan(
            run=self.order.run,
            started_us=time.time_ns() // 1000,
            team=config.team,
            model=config.model,
            version=config.version,
            digest=config.artifact.digest,
            shards=self.order.shards,
            source=str(self.path or self.source),
            key=self.key,
            rows=0,
            chunk_rows=0,
            parts=[],
        )
        agreement = self.agreement()
        if found := agreement.find(plan.run):
            return checked(found, plan)
        parts: list[Any]
        if self.path:
            parts = parquet.parts(self.path)
            rows = sum(part[1] for part in parts)
        else:
            bigquery.refuse_view(self.warehouse.client, self.source)
            client = bigquery.read_client()
            parts, rows = bigquery.open_session(client, self.source, self.columns, plan.shards)
        size = chunk_rows(config, rows)
        return agree(agreement, msgspec.structs.replace(plan, rows=rows, chunk_rows=size, parts=parts))

    def open(self, plan: Plan) -> Source:
        if self.path:
            return parquet.ParquetSource(plan.parts, self.columns, plan.shards)
        return bigquery.BigQuerySource(bigquery.read_client(), plan.parts, plan.shards)

    def store(self, maker: RowMaker) -> Store:
        log, output = self.order.config.log.table, self.settings.output
        if self.order.config.warehouse:
            return FolderStore(self._folder(log), self._folder(output), maker)
        return WarehouseStore(
            self.warehouse,
            (log, definition(log, maker.log_schema)),
            (output, definition(output, maker.output_schema)),
        )

    def record(self, plan: Plan, rows: int, failed: int) -> None:
        """Say that the shard has ended."""
        ref = self.settings.runs
        table = batch_runs(parse(ref).table)
        row = {
            "run": plan.run,
            "shard": self.order.index,
            "shards": plan.shards,
            "version": plan.version,
            "started": datetime.fromtimestamp(plan.started_us / 1e6, UTC),
            "ended": datetime.now(UTC),
            "rows_scored": rows,
            "rows_failed": failed,
        }
        rows_ = pa.Table.from_pylist([row], schema=arrow_schema(table))
        self.warehouse.append(ref, table, rows_, name=f"{plan.run}-{self.order.index:05}")

    def _folder(self, ref: str) -> Path:
        return Path(self.order.config.warehouse).absolute().joinpath(*parse(ref))


def score(order: Order, progress: Progress, planned: Callable[[Plan], None] = lambda plan: None) -> None:
    """Score one shard of a run, once: what earlier attempts have written stays.

    Args:
        order: what to do.
        progress: is kept up to date.
        planned: is told the plan before the first row is read.

    Raises:
        Refused: source, model or settings are not fit for it; the message says how to mend that.
    """
    if not 0 <= order.index < order.shards:
        raise Refused(f"there is no shard {order.index} of {order.shards}: they count from 0")
    try:
        _score(order, progress, planned)
    except WarehouseError as error:
        raise Refused(str(error)) from None


def _score(order: Order, progress: Progress, planned: Callable[[Plan], None]) -> None:
    config = order.config
    fetched = artifact.begin([config], "native")
    world = _World(order)
    plan = world.plan()
    model = NativeModel(config, fetched()[config.key])
    source = world.open(plan)
    streams = source.streams(order.index)
    known = [stream.rows for stream in streams if stream.rows is not None]
    progress.total = sum(known) if len(known) == len(streams) else plan.rows // plan.shards
    planned(plan)
    store = world.store(RowMaker(config, plan))
    Shard(plan, order.index, config, source, store, model, progress, order.threads).run()
    progress.total = progress.done
    failed = progress.failed
    if progress.resumed:
        failed = store.failed(plan, [stream.number for stream in streams])
    world.record(plan, progress.done, failed)


def cores() -> int:
    """Return how many cores this process may use: of its affinity, and of its container's limit."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, round(int(quota) / int(period))))
