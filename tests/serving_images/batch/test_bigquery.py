"""A batch run on BigQuery: its Storage Read API by a server of the tests, its REST API by an emulator."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modelyard.warehouse
from modelyard.tables import batch_runs
from modelyard.warehouse.cloud import BigQueryWarehouse
from serving_images.batch import bigquery, plan
from serving_images.batch.rows import RowMaker, definition
from serving_images.runtime.config import load
from tests.bigquery_emulator import bigquery_client, bigquery_endpoint, create_table
from tests.serving_images.batch.batches import BATCH, Runner, configured, environment, rows, run
from tests.serving_images.batch.storage_server import StorageServer

__all__ = ["bigquery_client", "bigquery_endpoint", "run"]
ROWS = 600


class Killed(BaseException):
    """Stands for a process that dies: nothing of it runs after that."""


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[StorageServer]:
    with StorageServer() as server:
        monkeypatch.setenv(bigquery.ENDPOINT_VARIABLE, server.address)
        yield server


class Cloud:
    """The tables of the sample model in a project of its own."""

    def __init__(self, client: Any, storage: StorageServer, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.client = client
        self.storage = storage
        project = client.project
        self.tables: dict[str, Any] = {
            key: value.replace("test.", f"{project}.") if isinstance(value, str) else value
            for key, value in BATCH.items()
        }
        self.log = f"{project}.predictions.delay"
        self.config = configured(folder, batch=self.tables, log={"table": self.log})
        self.config.write_text(json.dumps(json.loads(self.config.read_text()) | {"warehouse": ""}))
        (settings,) = load(self.config)
        made = plan.Plan(
            run="", started_us=0, team="", model="", version=1, digest="", shards=1, source="", key=None,
            rows=0, chunk_rows=1, parts=[],
        )  # fmt: skip
        maker = RowMaker(settings, made)
        create_table(client, self.log, definition(self.log, maker.log_schema))
        create_table(client, self.output, definition(self.output, maker.output_schema))
        create_table(client, self.tables["runs"], batch_runs("delay_runs"))
        storage.tables[self.tables["source"]] = rows(ROWS, odd=0.05)
        self.warehouse = modelyard.warehouse.bigquery(project, client)
        original = modelyard.warehouse.bigquery
        patch.setattr(
            modelyard.warehouse,
            "bigquery",
            lambda project, location=None: original(project, client, location=location),
        )
        # Many chunks of few rows.
        patch.setattr(plan, "CHUNK_ROWS", (70, 70))

    @property
    def output(self) -> str:
        return str(self.tables["output"])

    def query(self, sql: str) -> dict[str, Any]:
        (row,) = self.warehouse.query(sql).to_pylist()
        return dict(row)

    def once(self, runs: int = 1) -> None:
        """Assert that each row has one prediction and one row in the log of each run."""
        row = self.query(
            f"SELECT COUNT(*) AS n, COUNT(DISTINCT prediction_id) AS ids, COUNT(DISTINCT row_id) AS keys, "
            f"COUNTIF(prediction IS NULL) AS failed FROM `{self.output}`"
        )
        assert (row["n"], row["ids"], row["keys"]) == (ROWS * runs, ROWS * runs, ROWS)
        log = self.query(
            f"SELECT COUNT(*) AS n, COUNT(DISTINCT prediction_id) AS ids, "
            f"COUNTIF(prediction IS NULL) AS failed FROM `{self.log}`"
        )
        assert (log["n"], log["ids"], log["failed"]) == (row["n"], row["ids"], row["failed"])
        ended = self.query(
            f"SELECT SUM(rows_scored) AS n, SUM(rows_failed) AS failed, COUNT(*) AS shards "
            f"FROM `{self.tables['runs']}`"
        )
        assert (ended["n"], ended["failed"], ended["shards"]) == (row["n"], row["failed"], 2 * runs)
        assert row["failed"] > 0


@pytest.fixture
def cloud(
    bigquery_client: Any, storage: StorageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Cloud:
    return Cloud(bigquery_client, storage, tmp_path, monkeypatch)


def test_every_row_is_scored_once_also_over_lost_connections(cloud: Cloud, run: Runner) -> None:
    cloud.storage.broken.extend([1, 2, 0])
    done = run(cloud.config, "--run", "a")
    assert done.returncode == 0, done.stderr
    assert cloud.storage.sessions == 1  # of both shards
    cloud.once()
    assert run(cloud.config, "--run", "a").returncode == 0
    assert cloud.storage.sessions == 1
    cloud.once()


def test_a_killed_shard_goes_on_where_it_was(
    cloud: Cloud, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies before, between and after the loads of a chunk; rows that come meanwhile are the next run's."""
    append = BigQueryWarehouse.append
    appended = 0
    deaths = [1, 2, 7, 12, 13]

    def dying(self: BigQueryWarehouse, *arguments: Any, **named: Any) -> None:
        nonlocal appended
        appended += 1
        if deaths and appended == deaths[0]:
            deaths.pop(0)
            if len(deaths) % 2:
                append(self, *arguments, **named)
            raise Killed
        append(self, *arguments, **named)

    monkeypatch.setattr(BigQueryWarehouse, "append", dying)
    killed = 0
    for _ in range(20):
        try:
            with monkeypatch.context() as image:
                image.setitem(sys.modules, "sqlglot", None)  # the image does not have it
                image.delitem(sys.modules, "modelyard.warehouse.dialect", raising=False)
                done = run(cloud.config, "--run", "a")
        except Killed:
            killed += 1
            cloud.storage.tables[cloud.tables["source"]] = rows(ROWS, odd=0.05, seed=killed)
            continue
        assert done.returncode == 0, done.stderr
        break
    assert killed == 5
    assert cloud.storage.sessions == 1
    assert any(offset for _, offset in cloud.storage.reads)
    cloud.once()


def test_processes_that_are_killed_lose_no_row_and_repeat_none(
    cloud: Cloud, bigquery_endpoint: str, tmp_path: Path
) -> None:
    """Both shards get SIGKILL while they read, score and load; rows that come meanwhile wait."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    server = [sys.executable, "-m", "tests.serving_images.batch.cloud_shard"]
    given = [bigquery_endpoint, cloud.client.project, "score", "--config", str(cloud.config), "--threads=1"]
    left, killed, sessions = {0, 1}, 0, 0
    while left:
        before = cloud.query(f"SELECT COUNT(*) AS n FROM `{cloud.log}`")["n"]
        processes = {
            index: subprocess.Popen(
                [*server, *given, "--run=a", "--shards=2", f"--index={index}"],
                env=environment(tmp_path), stderr=subprocess.PIPE, text=True,
            )
            for index in left
        }  # fmt: skip
        if not killed:
            end = time.monotonic() + 60
            while time.monotonic() < end and all(process.poll() is None for process in processes.values()):
                if cloud.query(f"SELECT COUNT(*) AS n FROM `{cloud.log}`")["n"] > before:
                    break
            time.sleep(chance.uniform(0, 0.2))
            for process in processes.values():
                process.send_signal(signal.SIGKILL)
            killed += len(processes)
            sessions = cloud.storage.sessions  # of two shards that begin at once each may open one
            cloud.storage.tables[cloud.tables["source"]] = rows(ROWS, odd=0.05, seed=killed)
        for index, process in processes.items():
            _, said = process.communicate(timeout=120)
            assert process.returncode in (0, -signal.SIGKILL), f"seed {seed}: {said}"
            if process.returncode == 0:
                left.discard(index)
    assert cloud.storage.sessions == sessions <= 2
    cloud.once()


def test_a_session_at_its_end_is_told(cloud: Cloud, run: Runner) -> None:
    cloud.storage.expired = True
    done = run(cloud.config, "--run", "a")
    assert done.returncode == 2
    assert "A session lives for six hours: give the model more shards" in done.stderr
    # The run stays as it is; a new one scores every row.
    cloud.storage.expired = False
    assert run(cloud.config, "--run", "b").returncode == 0
    cloud.once()


def test_a_view_is_refused_at_the_start(cloud: Cloud, run: Runner) -> None:
    source = cloud.tables["source"]
    cloud.client.query(f"CREATE VIEW `{source}` AS SELECT * FROM `{cloud.output}`").result()
    done = run(cloud.config, "--run", "a")
    assert done.returncode == 2
    assert "delay_input is no stored table but of the kind VIEW" in done.stderr
    assert not cloud.storage.sessions


def test_what_cannot_be_read_is_told(cloud: Cloud, run: Runner) -> None:
    cloud.storage.tables[cloud.tables["source"]] = rows(5).drop_columns(["wind"])
    done = run(cloud.config, "--run", "a")
    assert done.returncode == 2
    assert "cannot be read: no such field: wind. The source is a table, not a view" in done.stderr
    cloud.client.delete_table(cloud.output)
    done = run(cloud.config, "--run", "b")
    assert done.returncode == 2
    assert f"{cloud.output} cannot be read" in done.stderr


def test_shards_that_begin_at_once_take_one_plan(cloud: Cloud) -> None:
    first, second = (plan.JobAgreement(cloud.client, cloud.output) for _ in range(2))
    assert first.find("a") is None
    assert first.settle("a", b'"first"') == b'"first"'
    assert second.settle("a", b'"second"') == b'"first"'
    assert second.find("a") == b'"first"'
    assert second.settle("b", b'"second"') == b'"second"'


def test_a_source_without_rows_is_a_complete_run(cloud: Cloud, run: Runner) -> None:
    cloud.storage.tables[cloud.tables["source"]] = rows(0)
    done = run(cloud.config, "--run", "a")
    assert done.returncode == 0, done.stderr
    ended = cloud.query(f"SELECT COUNT(*) AS n, SUM(rows_scored) AS rows_ FROM `{cloud.tables['runs']}`")
    assert (ended["n"], ended["rows_"]) == (2, 0)
