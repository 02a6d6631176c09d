"""The three renderings of a table describe the same rows."""

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.spec.base import Sensitivity
from modelyard.tables import (
    SHARED_TABLES,
    Column,
    Mode,
    Partition,
    Table,
    TableError,
    Type,
    arrow_schema,
    bigquery_schema,
    duckdb_ddl,
    prediction_log,
)
from tests.modelyard.sample import deployed

TAGS = {Sensitivity.CONFIDENTIAL: "projects/p/tags/1", Sensitivity.PII: "projects/p/tags/2"}
LOG = prediction_log(*deployed()[1:])
TABLES = [*SHARED_TABLES, LOG]
VALUES: dict[Type, Any] = {
    Type.BOOL: True,
    Type.INT64: -(2**63),
    Type.FLOAT64: 0.1,
    Type.STRING: "Zürich '\"\\ 🚲",
    Type.TIMESTAMP: datetime(2026, 3, 29, 1, 59, 59, 999999, tzinfo=UTC),
}
BIGQUERY = {"BOOLEAN": Type.BOOL, "INTEGER": Type.INT64, "FLOAT": Type.FLOAT64}


def row(columns: tuple[Column, ...], absent: bool) -> dict[str, Any]:
    """Return a row with a value in each column, or with none in those that may lack one."""

    def value(column: Column) -> Any:
        if absent and column.mode is Mode.NULLABLE:
            return None
        single = row(column.fields, absent) if column.fields else VALUES[column.type]
        if column.mode is Mode.REPEATED:
            return [] if absent else [single, single]
        return single

    return {column.name: value(column) for column in columns}


def inserted(table: Table, batch: pa.RecordBatch | pa.Table) -> list[dict[str, Any]]:
    """Make the table in DuckDB, insert the batch, and return the rows as DuckDB then has them."""
    import duckdb  # here, since a test module that keeps it makes it report leaks at exit

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f'CREATE SCHEMA "{table.dataset}"')
        connection.execute(duckdb_ddl(table))
        connection.execute(f'INSERT INTO "{table.dataset}"."{table.name}" SELECT * FROM batch')
        found = connection.sql(f'FROM "{table.dataset}"."{table.name}"').to_arrow_table()
        rows: list[dict[str, Any]] = found.to_pylist()
    return rows


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_duckdb_takes_an_arrow_batch_and_gives_it_back(table: Table) -> None:
    rows = [row(table.columns, absent=False), row(table.columns, absent=True)]
    batch = pa.Table.from_pylist(rows, schema=arrow_schema(table))
    assert inserted(table, batch) == rows


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_bigquery_and_arrow_agree_on_names_types_and_modes(table: Table) -> None:
    def bigquery(fields: list[dict[str, Any]]) -> list[Any]:
        return [
            (
                field["name"],
                BIGQUERY.get(field["type"], field["type"]),
                field["mode"],
                bigquery(field.get("fields", [])),
            )
            for field in fields
        ]

    def arrow(fields: Any) -> list[Any]:
        found = []
        for field in fields:
            repeated = pa.types.is_list(field.type)
            mode = Mode.REPEATED if repeated else Mode.NULLABLE if field.nullable else Mode.REQUIRED
            kind = field.type.value_type if repeated else field.type
            struct = pa.types.is_struct(kind)
            found.append(
                (
                    field.name,
                    ARROW[str(kind)] if not struct else Type.RECORD,
                    mode,
                    arrow(kind) if struct else [],
                )
            )
        return found

    schema = json.loads(bigquery_schema(table, TAGS))
    assert bigquery(schema) == arrow(arrow_schema(table))


ARROW = {
    "bool": Type.BOOL,
    "int64": Type.INT64,
    "double": Type.FLOAT64,
    "string": Type.STRING,
    "timestamp[us, tz=UTC]": Type.TIMESTAMP,
}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_bigquery_schema_is_in_the_words_of_its_api(table: Table) -> None:
    def check(fields: list[dict[str, Any]]) -> None:
        for field in fields:
            assert list(field) == sorted(field), "the API answers with sorted keys"
            assert field["type"] in {"BOOLEAN", "INTEGER", "FLOAT", "STRING", "TIMESTAMP", "RECORD"}
            assert field["mode"] in {"NULLABLE", "REQUIRED", "REPEATED"}
            assert "" not in field.values(), "the API leaves out what is empty"
            check(field.get("fields", []))

    check(json.loads(bigquery_schema(table, TAGS)))


def test_required_columns_refuse_nulls_in_duckdb() -> None:
    rows = [row(LOG.columns, absent=False) | {"time": None}]
    nullable = pa.schema([field.with_nullable(True) for field in arrow_schema(LOG)])
    import duckdb

    with pytest.raises(duckdb.ConstraintException, match="time"):
        inserted(LOG, pa.Table.from_pylist(rows, schema=nullable))


def test_policy_tags_stand_on_protected_columns_alone() -> None:
    schema = {field["name"]: field for field in json.loads(bigquery_schema(LOG, TAGS))}
    features = {field["name"]: field for field in schema["features"]["fields"]}
    tagged = {name for name, field in (schema | features).items() if "policyTags" in field}
    assert tagged == {"caller", "age"}
    assert features["age"]["policyTags"] == {"names": [TAGS[Sensitivity.PII]]}


def test_a_missing_policy_tag_is_an_error() -> None:
    with pytest.raises(TableError, match="no policy tag given for pii"):
        bigquery_schema(LOG)


def test_what_people_write_is_not_evaluated_by_terraform() -> None:
    column = Column("a", Type.STRING, '${file("/etc/passwd")} and %{ if true }')
    time = Column("time", Type.TIMESTAMP, "")
    schema = bigquery_schema(Table("t", "d", "", (time, column), Partition("time")))
    assert "$${file" in schema and "%%{ if" in schema


LEAVES = [Type.BOOL, Type.INT64, Type.FLOAT64, Type.STRING, Type.TIMESTAMP]
NAMES = st.from_regex(r"f[A-Za-z0-9_]{0,20}", fullmatch=True)
COLUMNS = st.recursive(
    st.builds(Column, NAMES, st.sampled_from(LEAVES), st.just("x"), st.sampled_from(Mode)),
    lambda inner: st.builds(
        lambda name, mode, fields: Column(name, Type.RECORD, "x", mode, fields=tuple(fields)),
        NAMES,
        st.sampled_from(Mode),
        st.lists(inner, min_size=1, max_size=3, unique_by=lambda column: column.name.lower()),
    ),
    max_leaves=8,
)


@given(st.lists(COLUMNS, max_size=5, unique_by=lambda column: column.name.lower()))
def test_any_table_goes_round(columns: list[Column]) -> None:
    table = Table("t", "d", "x", (Column("time", Type.TIMESTAMP, "x"), *columns), Partition("time"))
    rows = [row(table.columns, absent=False), row(table.columns, absent=True)]
    assert inserted(table, pa.Table.from_pylist(rows, schema=arrow_schema(table))) == rows
