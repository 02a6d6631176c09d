"""Where the tables are: BigQuery, or Parquet folders that DuckDB reads; the same SQL on both.

warehouse = modelyard.warehouse.local()
warehouse.append("acme-ml.modelyard_prod_metadata.deployments", DEPLOYMENTS, rows, name="deploy-42")
warehouse.query("SELECT COUNT(*) AS n FROM `acme-ml.modelyard_prod_metadata.deployments`")
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from modelyard.tables import Table
from modelyard.warehouse.errors import WarehouseError
from modelyard.warehouse.names import reference

if TYPE_CHECKING:
    import pyarrow as pa

    from modelyard.warehouse.cloud import BigQueryWarehouse
    from modelyard.warehouse.folders import LocalWarehouse

Days = tuple[date, date]

__all__ = [
    "Days",
    "Result",
    "Statistics",
    "Warehouse",
    "WarehouseError",
    "bigquery",
    "find_root",
    "local",
    "reference",
]


@dataclass(frozen=True)
class Statistics:
    """What a query cost.

    `bytes_scanned` are the bytes that BigQuery would bill before rounding, or, locally, that were read from
    files. `rows_scanned` are the rows read from tables; BigQuery does not tell them, so there they are None.
    """

    bytes_scanned: int
    rows_scanned: int | None
    seconds: float


@dataclass(frozen=True)
class Result:
    """The rows of a query, and what they cost."""

    rows: "pa.Table"
    statistics: Statistics


class Warehouse(Protocol):
    """Where the tables are. `ref` is always `project.dataset.table`, as `modelyard.naming` computes it."""

    def append(self, ref: str, table: Table, rows: "pa.Table", name: str) -> None:
        """Add rows, once: a second call with the same `name` adds nothing, whatever its rows are.

        Args:
            ref: the table, `project.dataset.table`.
            table: its definition; `rows` are cast to its Arrow schema.
            rows: what to add. Returns when they are durable.
            name: of this addition, unique within the table: letters, digits, `.`, `_`, `=` and `-`.

        Raises:
            WarehouseError: the rows do not fit the table, or the store does not take them. Then a repetition
                under the same name is right.
        """

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] = {},
        tables: Mapping[str, Table] = {},
        days: "Days | Mapping[str, Days] | None" = None,
    ) -> "pa.Table":
        """Return the rows that `sql` selects; `run` says also what they cost."""

    def run(
        self,
        sql: str,
        parameters: Mapping[str, Any] = {},
        tables: Mapping[str, Table] = {},
        days: "Days | Mapping[str, Days] | None" = None,
    ) -> Result:
        """Run a query.

        Args:
            sql: one SELECT in BigQuery's dialect, with each table as `` `project.dataset.table` ``.
            parameters: by name, what stands for `@name`: str, bool, int, float, date, aware datetime, lists
                of them, or an Arrow scalar or array, which also gives the type of what is empty or null.
            tables: by reference, the definitions of tables that are read. A table without rows yet reads as
                empty, and columns that it grew by read as null in older rows.
            days: first and last day, UTC, that are read of tables in `tables` that are partitioned by day or
                hour; or the same by reference. Other days are neither read nor paid.

        Raises:
            WarehouseError: the statement cannot run; the message says why.
        """


def find_root(given: Path | None = None, under: Path | None = None) -> Path:
    """Return `given`, else the folder `MODELYARD_WAREHOUSE`, else `.modelyard/warehouse` in `under`."""
    named = os.environ.get("MODELYARD_WAREHOUSE")
    return given or (Path(named) if named else (under or Path()) / ".modelyard" / "warehouse")


def local(
    root: Path | None = None,
    *,
    memory_limit: str | None = None,
    temp_folder: Path | None = None,
    threads: int | None = None,
) -> "LocalWarehouse":
    """Return the warehouse in a folder of this machine.

    Args:
        root: its folder; see `find_root`.
        memory_limit: of a query, such as `1GB`; beyond it DuckDB spills to `temp_folder`.
        temp_folder: for what does not fit into memory; default: the system's.
        threads: that a query may use; default: one per processor.
    """
    from modelyard.warehouse.folders import LocalWarehouse

    return LocalWarehouse(
        find_root(root), memory_limit=memory_limit, temp_folder=temp_folder, threads=threads
    )


def bigquery(
    project: str, client: Any = None, *, location: str | None = None, maximum_bytes_billed: int | None = None
) -> "BigQueryWarehouse":
    """Return the warehouse in BigQuery.

    Args:
        project: that pays for the queries.
        client: a `google.cloud.bigquery.Client`; default: one with the identity at hand.
        location: of the datasets, such as `EU`; default: BigQuery finds it.
        maximum_bytes_billed: above it a query fails before it costs anything; default: 1 TiB.
    """
    from modelyard.warehouse.cloud import MAXIMUM_BYTES_BILLED, BigQueryWarehouse

    limit = MAXIMUM_BYTES_BILLED if maximum_bytes_billed is None else maximum_bytes_billed
    return BigQueryWarehouse(project, client, location=location, maximum_bytes_billed=limit)
