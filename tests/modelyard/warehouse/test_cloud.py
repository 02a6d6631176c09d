"""The warehouse in BigQuery: load jobs that run once, and what a query may cost."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

import modelyard.warehouse
from modelyard.tables import Column, Mode, Partition, Table, Type, arrow_schema
from modelyard.warehouse import WarehouseError
from tests.bigquery_emulator import bigquery_client, bigquery_endpoint, create_table

__all__ = ["bigquery_client", "bigquery_endpoint"]

TABLE = Table(
    "delays",
    "predictions",
    "Predictions.",
    (Column("time", Type.TIMESTAMP, "Time", Mode.REQUIRED), Column("value", Type.FLOAT64, "Value")),
    Partition("time"),
)
ROWS = pa.Table.from_pylist(
    [{"time": datetime(2026, 3, 1, tzinfo=UTC), "value": 1.5}], schema=arrow_schema(TABLE)
)


def count(warehouse: Any, ref: str) -> int:
    return int(warehouse.query(f"SELECT COUNT(*) AS n FROM `{ref}`").to_pylist()[0]["n"])


def test_a_job_that_failed_is_followed_by_another(bigquery_client: Any) -> None:
    """A failed load has used its id up; the repetition must not take the failure for its own success."""
    ref = f"{bigquery_client.project}.predictions.delays"
    warehouse = modelyard.warehouse.bigquery(bigquery_client.project, bigquery_client)
    for _ in range(2):
        with pytest.raises(WarehouseError, match=r"BigQuery does not take the rows: .*Not found"):
            warehouse.append(ref, TABLE, ROWS, "first")
    create_table(bigquery_client, ref, TABLE)
    assert not warehouse.has(ref, "first")
    warehouse.append(ref, TABLE, ROWS, "first")
    warehouse.append(ref, TABLE, ROWS, "first")
    assert count(warehouse, ref) == 1
    assert warehouse.has(ref, "first")
    assert not warehouse.has(ref, "second")


def test_another_client_sees_the_job_of_the_first(bigquery_client: Any, bigquery_endpoint: str) -> None:
    ref = f"{bigquery_client.project}.predictions.delays"
    create_table(bigquery_client, ref, TABLE)
    for _ in range(3):
        modelyard.warehouse.bigquery(bigquery_client.project, bigquery_client).append(
            ref, TABLE, ROWS, "first"
        )
    warehouse = modelyard.warehouse.bigquery(bigquery_client.project, bigquery_client)
    assert count(warehouse, ref) == 1


def test_no_rows_are_no_job(bigquery_client: Any) -> None:
    warehouse = modelyard.warehouse.bigquery(bigquery_client.project, bigquery_client)
    warehouse.append("p.no_dataset.delays", TABLE, ROWS.slice(0, 0), "first")


def test_a_query_says_what_it_may_cost(bigquery_client: Any) -> None:
    warehouse = modelyard.warehouse.bigquery(
        bigquery_client.project, bigquery_client, maximum_bytes_billed=10 * 2**20
    )
    result = warehouse.run("SELECT 1 AS one")
    assert result.rows.to_pylist() == [{"one": 1}]
    assert result.statistics.bytes_scanned == 0
    jobs = [bigquery_client.get_job(job) for job in made_jobs(warehouse)]
    assert [job.maximum_bytes_billed for job in jobs] == [10 * 2**20]


def made_jobs(warehouse: Any) -> list[str]:
    """Run a query and return the id of its job."""
    seen: list[str] = []
    original = warehouse.client.query

    def query(*arguments: Any, **options: Any) -> Any:
        job = original(*arguments, **options)
        seen.append(job.job_id)
        return job

    warehouse.client.query = query
    try:
        warehouse.run("SELECT 2 AS two")
    finally:
        del warehouse.client.query
    return seen


def test_without_an_identity_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(WarehouseError, match="gcloud auth application-default login"):
        modelyard.warehouse.bigquery("acme-ml").query("SELECT 1 AS one")
