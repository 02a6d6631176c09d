"""Serves BigQuery's REST API on this machine: crucible's emulator, and what the warehouse needs beyond it.

Runs with the Python of `.venv-emulator`, on a port that it prints; ends when its input ends. Crucible takes
neither query parameters nor Parquet in load jobs, so these two are added here, at the places where it
refuses them; all else is crucible's: SQL, jobs, ids of jobs that run once, uploads, the encoding of rows.
"""

import json
import os
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import duckdb
import uvicorn
from crucible.dialects.bigquery import metadata
from crucible.dialects.bigquery.dialect import DIALECT
from crucible.engine import CrucibleError, Engine, ErrorKind, ExecContext
from crucible.engine.catalog import qualified
from crucible.server.app import create_app
from crucible.server.bigquery import jobs
from sqlglot import exp, parse_one


class Runner(jobs.Runner):  # type: ignore[misc]
    """Runs jobs: queries with parameters, and loads of Parquet."""

    def run_query(self, job: Any) -> Any:
        """Run a query with its parameters put in as literals of their types."""
        config = job.configuration["query"]
        given = config.pop("queryParameters", [])
        config.pop("parameterMode", None)
        if given:
            values = {
                entry["name"]: literal(entry["parameterType"], entry["parameterValue"]) for entry in given
            }
            tree = parse_one(config["query"], read="bigquery")
            for node in list(tree.find_all(exp.Parameter)):
                if node.name in values:
                    node.replace(parse_one(values[node.name], read="bigquery"))
            config["query"] = tree.sql("bigquery")
        return super().run_query(job)

    def _load(self, job: Any, config: dict[str, Any], data: bytes) -> None:
        if config.get("sourceFormat") != "PARQUET":
            super()._load(job, config, data)
            return
        target = config["destinationTable"]
        name = metadata.Name(target["projectId"], target["datasetId"], target["tableId"])
        columns, rows = read_parquet(data)
        with self.engine.cursor(DIALECT.new_session(name.project)) as cursor:
            context = ExecContext(self.engine, DIALECT, None, cursor, None)
            stored = {column.name for column in metadata.find_table(context, name).columns}
            if unknown := sorted(set(columns) - stored):
                message = (
                    f"Provided Schema does not match Table {name}. Cannot add fields: {', '.join(unknown)}"
                )
                raise CrucibleError(ErrorKind.INVALID_QUERY, message)
            quoted = ", ".join(qualified(column) for column in columns)
            into = f"{qualified(name.project, name.dataset, name.table)} ({quoted})"
            marks = ", ".join("?" for _ in columns)
            cursor.execute("BEGIN")
            try:
                cursor.executemany(f"INSERT INTO {into} VALUES ({marks})", rows)
                cursor.execute("COMMIT")
            except duckdb.Error as error:
                cursor.execute("ROLLBACK")
                raise CrucibleError(ErrorKind.INVALID_QUERY, str(error)) from error
        sizes = {"inputFileBytes": str(len(data)), "outputRows": str(len(rows))}
        job.load_statistics = {"inputFiles": "1", "badRecords": "0", **sizes}


def literal(kind: dict[str, Any], value: dict[str, Any]) -> str:
    """Return a query parameter of the REST API as an expression in BigQuery's dialect."""
    if kind["type"] == "ARRAY":
        element = kind["arrayType"]
        items = ", ".join(literal(element, item) for item in value.get("arrayValues", []))
        return f"[{items}]" if items else f"CAST([] AS ARRAY<{element['type']}>)"
    text = value.get("value")
    quoted = "NULL" if text is None else json.dumps(text)
    return quoted if kind["type"] == "STRING" and text is not None else f"CAST({quoted} AS {kind['type']})"


def read_parquet(data: bytes) -> tuple[list[str], list[list[Any]]]:
    """Return the columns and rows of a Parquet file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "load.parquet"
        path.write_bytes(data)
        with duckdb.connect(":memory:") as connection:
            connection.execute("SET TimeZone = 'UTC'")
            found = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
            columns = [column[0] for column in found.description]
            return columns, [list(row) for row in found.fetchall()]


def end_with_input() -> None:
    """End this process when who started it closes its input, or dies."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Serve until the input ends."""
    jobs.Runner = Runner
    sys.modules["crucible.server.bigquery.app"].Runner = Runner  # type: ignore[attr-defined]
    threading.Thread(target=end_with_input, daemon=True).start()
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app("bigquery", Engine()), access_log=False, log_level="warning")
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
