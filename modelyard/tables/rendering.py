"""The renderings of a table: BigQuery schema for Terraform, Arrow schema, DuckDB statement."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from modelyard.spec.base import Sensitivity
from modelyard.tables.table import Column, Mode, Table, TableError, Type
from modelyard.terraform_text import literal

if TYPE_CHECKING:
    import pyarrow as pa

# BigQuery's API answers with these names whatever it was given; other words would differ for ever.
_API_TYPES = {Type.BOOL: "BOOLEAN", Type.INT64: "INTEGER", Type.FLOAT64: "FLOAT"}
_DUCKDB_TYPES = {
    Type.BOOL: "BOOLEAN",
    Type.INT64: "BIGINT",
    Type.FLOAT64: "DOUBLE",
    Type.STRING: "VARCHAR",
    Type.TIMESTAMP: "TIMESTAMPTZ",
}


def bigquery_schema(table: Table, policy_tags: Mapping[Sensitivity, str] | None = None) -> str:
    """Return the value of `google_bigquery_table.schema`, in the form in which BigQuery's API gives it back.

    Args:
        table: the table.
        policy_tags: resource name of the policy tag per level, or a reference to one:
            `projects/p/locations/l/taxonomies/1/policyTags/2`. Every level that the table uses must be there.

    Raises:
        TableError: a policy tag is missing.
    """
    tags = policy_tags or {}
    missing = sorted(table.policy_tags - set(tags))
    if missing:
        raise TableError(f"table {table.name}: no policy tag given for {', '.join(missing)}")
    return json.dumps(
        [_bigquery(column, tags) for column in table.columns], ensure_ascii=False, separators=(",", ":")
    )


def _bigquery(column: Column, tags: Mapping[Sensitivity, str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if column.description:
        result["description"] = literal(column.description)
    if column.fields:
        result["fields"] = [_bigquery(child, tags) for child in column.fields]
    result["mode"] = column.mode.value
    result["name"] = column.name
    if column.policy_tag:
        result["policyTags"] = {"names": [tags[column.policy_tag]]}
    result["type"] = _API_TYPES.get(column.type, column.type.value)
    return result


def arrow_schema(table: Table) -> "pa.Schema":
    """Return the schema of Arrow batches of the table's rows; timestamps are in microseconds, UTC."""
    import pyarrow as pa  # slow to import and not needed to synthesize

    leaves: dict[Type, Callable[[], pa.DataType]] = {
        Type.BOOL: pa.bool_,
        Type.INT64: pa.int64,
        Type.FLOAT64: pa.float64,
        Type.STRING: pa.string,
        Type.TIMESTAMP: lambda: pa.timestamp("us", tz="UTC"),
    }

    def field(column: Column) -> pa.Field:
        kind = (
            pa.struct([field(child) for child in column.fields]) if column.fields else leaves[column.type]()
        )
        if column.mode is Mode.REPEATED:
            # BigQuery has neither a null list nor a null in one.
            return pa.field(column.name, pa.list_(pa.field("item", kind, nullable=False)), nullable=False)
        return pa.field(column.name, kind, nullable=column.mode is Mode.NULLABLE)

    return pa.schema([field(column) for column in table.columns])


def duckdb_ddl(table: Table) -> str:
    """Return the statement that makes the table in DuckDB, in the schema named after its dataset."""
    columns = ",\n  ".join(
        f'"{column.name}" {duckdb_type(column)}{" NOT NULL" if column.mode is not Mode.NULLABLE else ""}'
        for column in table.columns
    )
    return f'CREATE TABLE IF NOT EXISTS "{table.dataset}"."{table.name}" (\n  {columns}\n)'


def duckdb_type(column: Column) -> str:
    """Return the type of a column in DuckDB."""
    if column.fields:
        fields = ", ".join(f'"{child.name}" {duckdb_type(child)}' for child in column.fields)
        kind = f"STRUCT({fields})"
    else:
        kind = _DUCKDB_TYPES[column.type]
    return f"{kind}[]" if column.mode is Mode.REPEATED else kind
