"""A deployment is recorded once, with every column of its table."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pytest

from modelyard.tables.metadata import DEPLOYMENTS
from modelyard.tables.table import Column, Mode, Type
from modelyard.warehouse import local, reference
from plan_review.deployment_record import make_row, read_report, record, record_applied, to_bigquery
from plan_review.errors import ReviewError
from plan_review.fleet import Fleet
from plan_review.render import FORMATS
from plan_review.review import Sources, review
from tests.plan_review import plans


@pytest.fixture
def report(inputs: Path, tmp_path: Path) -> Path:
    plan = plans.plan(
        plans.change("google_storage_bucket.b", {"labels": {"a": "b"}}, {"labels": {"a": "c"}}),
        stack="dev-team-pricing",
    )
    path = tmp_path / "report.json"
    path.write_text(FORMATS["json"](review([plan], Sources(root=inputs))))
    return path


def made(inputs: Path, given: Path, to: str, **more: Any) -> str:
    settings: dict[str, Any] = {
        "environment": "dev",
        "report": given,
        "actor": "modelyard-deployer@example-dev-pricing.iam.gserviceaccount.com",
        "repository": "example/models",
        "commit": "c" * 40,
        "approved_by": ["bob", "alice", "bob"],
        "succeeded": True,
    }
    return record(inputs, to=to, **(settings | more))


def check(columns: tuple[Column, ...], row: dict[str, Any], where: str = "") -> None:
    """Check that a row has the columns of a table, each of its type."""
    assert set(row) == {column.name for column in columns}, where
    types = {Type.STRING: str, Type.TIMESTAMP: str, Type.INT64: int, Type.BOOL: bool, Type.RECORD: dict}
    for column in columns:
        value = row[column.name]
        values: list[Any] = value if column.mode is Mode.REPEATED else [value]
        for one in values:
            fits = isinstance(one, types[column.type])
            assert fits, f"{where}{column.name}"
            if column.fields:
                check(column.fields, one, f"{column.name}.")


def test_the_row_has_the_columns_of_the_table(inputs: Path, report: Path) -> None:
    fleet = Fleet(inputs)
    row = make_row(
        fleet,
        fleet.environments["dev"],
        read_report(report),
        actor="a",
        repository="r",
        commit="c",
        approved_by=["b"],
        succeeded=False,
    )
    check(DEPLOYMENTS.columns, row)
    assert row["stacks"] == ["dev-team-pricing"]
    served = {(model["model"], model["version"]): model["percent"] for model in row["models"]}
    assert served[("vehicle-price", 1)] == 90
    assert served[("vehicle-price", 2)] == 10
    assert served[("diamond-value", 1)] == 100
    assert all(model["manifest_digest"].startswith("sha256:") for model in row["models"])
    assert row["plan_digest"] == json.loads(report.read_text())["digest"]


def test_lines_are_written_once(inputs: Path, report: Path, tmp_path: Path) -> None:
    path = tmp_path / "out" / "deployments.jsonl"
    assert made(inputs, report, str(path)).startswith("Recorded")
    assert made(inputs, report, str(path)).startswith("Already")
    assert made(inputs, report, str(path), commit="d" * 40).startswith("Recorded")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["commit"][0] for row in rows] == ["c", "d"]
    assert rows[0]["approved_by"] == ["alice", "bob"]


def test_duckdb_takes_the_row(inputs: Path, report: Path, tmp_path: Path) -> None:
    path = tmp_path / "local.duckdb"
    assert made(inputs, report, str(path)).startswith("Recorded")
    assert made(inputs, report, str(path)).startswith("Already")
    with duckdb.connect(str(path)) as connection:
        teams = "list_distinct(list_transform(models, lambda m: m.team))"
        rows = connection.execute(
            f"SELECT environment, succeeded, {teams} FROM metadata.deployments"
        ).fetchall()
    assert rows == [("dev", True, ["pricing"])]


def test_the_local_warehouse_takes_the_row(
    inputs: Path, report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_WAREHOUSE", str(tmp_path / "warehouse"))
    assert made(inputs, report, "local", succeeded=False).startswith("Recorded")
    assert made(inputs, report, "local").startswith("Recorded"), "one that failed before is another"
    assert made(inputs, report, "local").startswith("Already")
    ref = reference(Fleet(inputs).environments["dev"].names, DEPLOYMENTS)
    rows = local(tmp_path / "warehouse").query(
        f"SELECT d.succeeded, d.approved_by, entry.team FROM `{ref}` AS d, UNNEST(d.models) AS entry "
        "WHERE entry.model = 'diamond-value' ORDER BY d.succeeded"
    )
    assert rows.to_pylist() == [
        {"succeeded": succeeded, "approved_by": ["alice", "bob"], "team": "pricing"}
        for succeeded in (False, True)
    ]


def test_a_deployment_to_the_standin_is_recorded_without_a_review(inputs: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "environment": "dev",
        "stacks": ["dev-team-pricing", "dev-platform"],
        "plan_digest": "sha256:" + "0" * 64,
        "actor": "me",
        "repository": "models",
        "commit": "c" * 40,
        "folder": tmp_path,
    }
    assert record_applied(inputs, **settings).startswith("Recorded")
    assert record_applied(inputs, **settings).startswith("Already")
    ref = reference(Fleet(inputs).environments["dev"].names, DEPLOYMENTS)
    [row] = local(tmp_path).query(f"SELECT * FROM `{ref}`").to_pylist()
    assert (row["actor"], row["approved_by"], row["succeeded"]) == ("me", [], True)
    assert {(model["team"], model["percent"]) for model in row["models"]} == {
        ("pricing", 10), ("pricing", 90), ("pricing", 100),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"environment": "nowhere"}, "no such environment"),
        ({"to": "deployments.csv"}, "neither"),
        ({"report": Path("nothing.json")}, "cannot be read"),
        ({"report": Path(__file__)}, "no review in JSON"),
    ],
)
def test_bad_input_is_refused(
    inputs: Path, report: Path, tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    to = more.pop("to", str(tmp_path / "x.jsonl"))
    with pytest.raises(ReviewError, match=words):
        made(inputs, report, to, **more)
    assert not (tmp_path / "x.jsonl").exists()


class BigQuery(BaseHTTPRequestHandler):
    """Takes rows as BigQuery's REST API does."""

    rows: ClassVar[list[dict[str, Any]]] = []
    refuses: ClassVar[bool] = False

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Authorization"] == "Bearer a-token"
        self.rows.append({"path": self.path, **body["rows"][0]})
        problems = {"insertErrors": [{"index": 0, "errors": [{"reason": "invalid"}]}]}
        text = json.dumps(
            problems if self.refuses else {"kind": "bigquery#tableDataInsertAllResponse"}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def bigquery(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    BigQuery.rows.clear()
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "a-token")
    server = ThreadingHTTPServer(("127.0.0.1", 0), BigQuery)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_bigquery_takes_the_row(
    inputs: Path, report: Path, bigquery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = Fleet(inputs).environments["dev"]
    row = {"deployment_id": "1", "stacks": []}
    assert to_bigquery(row, facts, bigquery).startswith(
        "Recorded in example-models-dev.modelyard_dev_metadata."
    )
    assert BigQuery.rows[0]["insertId"] == "1"
    assert BigQuery.rows[0]["path"].endswith("/datasets/modelyard_dev_metadata/tables/deployments/insertAll")
    monkeypatch.setattr(BigQuery, "refuses", True)
    with pytest.raises(ReviewError, match="refuses the row"):
        to_bigquery(row, facts, bigquery)
    with pytest.raises(ReviewError, match="does not answer"):
        to_bigquery(row, facts, "http://127.0.0.1:1")


def test_without_an_identity_there_is_no_row(
    inputs: Path, report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_OAUTH_ACCESS_TOKEN", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ReviewError, match="no identity at hand"):
        made(inputs, report, "bigquery")
