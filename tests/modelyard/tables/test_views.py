"""The fleet's views run, and say the truth. They are written for BigQuery and translated for DuckDB."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
import sqlglot

from modelyard.tables import SHARED_TABLES, Table, arrow_schema, duckdb_ddl
from modelyard.tables.views import FLEET_VIEWS, View

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
LOCAL = {table.name: f"{table.dataset}.{table.name}" for table in SHARED_TABLES}
TABLES = {table.name: table for table in SHARED_TABLES}
VIEWS = {view.name: view for view in FLEET_VIEWS}


class Warehouse:
    """The shared tables in DuckDB."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        connection.execute("SET TimeZone = 'UTC'")
        for dataset in sorted({table.dataset for table in SHARED_TABLES}):
            connection.execute(f'CREATE SCHEMA "{dataset}"')
        for table in SHARED_TABLES:
            connection.execute(duckdb_ddl(table))

    def add(self, table: Table | str, *rows: dict[str, Any]) -> None:
        """Insert rows; columns that are not named get a value that fits."""
        found = TABLES[table] if isinstance(table, str) else table
        filled = [
            {column.name: row.get(column.name, _filler(column)) for column in found.columns} for row in rows
        ]
        batch = pa.Table.from_pylist(filled, schema=arrow_schema(found))
        self.connection.register("batch", batch)
        self.connection.execute(f'INSERT INTO "{found.dataset}"."{found.name}" SELECT * FROM batch')
        self.connection.unregister("batch")

    def read(self, view: str) -> list[dict[str, Any]]:
        """Return the rows of a view."""
        rows: list[dict[str, Any]] = self.connection.sql(translated(VIEWS[view])).to_arrow_table().to_pylist()
        return rows


def _filler(column: Any) -> Any:
    if column.mode == "REPEATED":
        return []
    if column.mode == "NULLABLE":
        return None
    if column.fields:
        return {field.name: _filler(field) for field in column.fields}
    return {"BOOL": True, "INT64": 1, "FLOAT64": 1.0, "STRING": "x", "TIMESTAMP": NOW}[column.type]


def translated(view: View) -> str:
    """Return the view's statement as DuckDB takes it."""
    return sqlglot.transpile(view.query(LOCAL), read="bigquery", write="duckdb")[0]


@pytest.fixture
def warehouse() -> Iterator[Warehouse]:
    import duckdb  # here, since a test module that keeps it makes it report leaks at exit

    with duckdb.connect() as connection:
        yield Warehouse(connection)


@pytest.mark.parametrize("view", FLEET_VIEWS, ids=lambda view: view.name)
def test_every_view_runs_on_empty_tables(warehouse: Warehouse, view: View) -> None:
    assert warehouse.read(view.name) == []
    assert view.reads <= TABLES.keys()
    assert view.description


def test_models_names_the_newest_and_the_served_version(warehouse: Warehouse) -> None:
    warehouse.add(
        "model_versions",
        {"team": "a", "model": "m", "version": 3, "created": NOW},
        {"team": "a", "model": "m", "version": 4, "created": NOW},
        {"team": "a", "model": "unserved", "version": 1},
    )
    entry = {"team": "a", "model": "m", "manifest_digest": "d", "image_digest": "i"}
    warehouse.add(
        "deployments",
        {"time": NOW - timedelta(days=2), "models": [{**entry, "version": 2, "percent": 100}]},
        {
            "time": NOW - timedelta(days=1),
            "models": [{**entry, "version": 4, "percent": 10}, {**entry, "version": 3, "percent": 90}],
        },
        {"time": NOW, "succeeded": False, "models": [{**entry, "version": 9, "percent": 100}]},
    )
    rows = {row["model"]: row for row in warehouse.read("models")}
    assert (rows["m"]["newest_version"], rows["m"]["served_version"]) == (4, 3)
    assert rows["m"]["last_deployed"] == NOW - timedelta(days=1)
    assert rows["unserved"]["served_version"] is None


def test_usage_counts_callers_without_naming_them(warehouse: Warehouse) -> None:
    use = {"team": "a", "model": "m", "version": 1, "pattern": "rest", "errors": 1}
    day = NOW.replace(hour=0)
    warehouse.add(
        "prediction_usage",
        {**use, "hour": day, "caller": "x", "predictions": 10},
        {**use, "hour": day + timedelta(hours=1), "caller": "x", "predictions": 5},
        {**use, "hour": day + timedelta(hours=1), "caller": "y", "predictions": 1},
    )
    (row,) = warehouse.read("usage_daily")
    assert (row["predictions"], row["errors"], row["callers"]) == (16, 3, 2)
    assert "caller" not in row


def test_adoption_compares_thirty_days_with_the_thirty_before(warehouse: Warehouse) -> None:
    use = {"team": "a", "model": "m"}
    for days, caller, predictions in ((1, "x", 10), (2, "y", 20), (40, "x", 5), (100, "z", 999)):
        hour = NOW - timedelta(days=days)
        warehouse.add("prediction_usage", {**use, "hour": hour, "caller": caller, "predictions": predictions})
    (row,) = warehouse.read("adoption")
    assert (row["predictions"], row["predictions_before"]) == (30, 5)
    assert (row["callers"], row["callers_before"]) == (2, 1)


def test_metrics_takes_the_last_computation_of_a_window(warehouse: Warehouse) -> None:
    window = {"window_start": NOW - timedelta(hours=1), "window_end": NOW, "metric": "psi", "feature": "f"}
    warehouse.add(
        "metric_values",
        {**window, "value": 0.1, "computed": NOW},
        {**window, "value": 0.2, "computed": NOW + timedelta(hours=1)},
        {**window, "feature": None, "value": 0.3, "computed": NOW},
    )
    assert sorted(row["value"] for row in warehouse.read("metrics")) == [0.2, 0.3]


def test_alerts_joins_the_events_of_an_alert(warehouse: Warehouse) -> None:
    alert = {
        "alert_id": "1",
        "key": "latency-p95",
        "team": "a",
        "model": "m",
        "severity": "critical",
        "owner": "g",
    }
    warehouse.add(
        "alert_events",
        {**alert, "event": "opened", "time": NOW},
        {**alert, "event": "acknowledged", "time": NOW + timedelta(minutes=5), "actor": "p"},
        {**alert, "event": "closed", "time": NOW + timedelta(minutes=30), "cause": "deployment"},
        {**alert, "alert_id": "2", "event": "opened", "time": NOW},
        {**alert, "alert_id": "2", "event": "joined", "model": "n", "time": NOW + timedelta(minutes=1)},
        {**alert, "alert_id": "3", "event": "opened", "time": NOW},
        {**alert, "alert_id": "3", "event": "closed", "time": NOW + timedelta(minutes=9)},
        {**alert, "alert_id": "3", "event": "opened", "time": NOW + timedelta(minutes=40)},
    )
    rows = {row["alert_id"]: row for row in warehouse.read("alerts")}
    assert rows["1"]["closed"] - rows["1"]["opened"] == timedelta(minutes=30)
    assert rows["1"]["acknowledged"] == NOW + timedelta(minutes=5)
    assert rows["1"]["cause"] == "deployment"
    assert rows["2"]["closed"] is None
    assert rows["2"]["model"] == "m", "whose it is, not whose it is too"
    assert rows["3"]["closed"] is None, "it is back"


def test_monitor_health_shows_the_last_success_apart(warehouse: Warehouse) -> None:
    run = {"team": "a", "model": "m", "family": "drift"}
    warehouse.add(
        "monitor_runs",
        {**run, "ended": NOW - timedelta(days=1), "succeeded": True, "window_end": NOW - timedelta(days=2)},
        {**run, "ended": NOW, "succeeded": False, "window_end": NOW},
    )
    (row,) = warehouse.read("monitor_health")
    assert (row["last_run"], row["last_success"]) == (NOW, NOW - timedelta(days=1))
    assert row["covered_until"] == NOW - timedelta(days=2)


def test_deployed_models_has_a_row_per_version_in_service(warehouse: Warehouse) -> None:
    entry = {"team": "a", "model": "m", "manifest_digest": "d", "image_digest": "i"}
    models = [{**entry, "version": 3, "percent": 90}, {**entry, "version": 4, "percent": 10}]
    warehouse.add("deployments", {"actor": "ci", "approved_by": ["p", "q"], "models": models})
    rows = warehouse.read("deployed_models")
    assert sorted(row["version"] for row in rows) == [3, 4]
    assert rows[0]["approved_by"] == ["p", "q"]
