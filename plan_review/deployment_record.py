"""Records a deployment: who, when, approved by whom, commit, stacks, model versions and the plan's digest.

The row has the columns of `deployments` in `modelyard.tables`. It goes to BigQuery, or, where there is no
cloud, to the local warehouse, a file of JSON lines or a DuckDB database.
"""

import datetime
import hashlib
import json
import os
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard.tables.metadata import DEPLOYMENTS
from modelyard.tables.rendering import arrow_schema, duckdb_ddl
from modelyard.warehouse import find_root, local, reference
from plan_review.errors import ReviewError
from plan_review.fleet import EnvironmentFacts, Fleet
from plan_review.render.json_document import FORMAT

Row = dict[str, Any]
BIGQUERY = "https://bigquery.googleapis.com/bigquery/v2"
_TIMEOUT_SECONDS = 60


def record(
    root: Path,
    *,
    environment: str,
    report: Path,
    actor: str,
    repository: str,
    commit: str,
    approved_by: Sequence[str],
    succeeded: bool,
    to: str,
) -> str:
    """Write the row of a deployment and return where it went.

    Args:
        root: the checkout that was deployed.
        environment: the environment that it was deployed to.
        report: the review of the plan that was applied, in JSON.
        actor: identity that applied.
        repository: repository deployed from.
        commit: commit deployed.
        approved_by: people who approved.
        succeeded: whether the apply ended without error.
        to: `bigquery`, `local` for the local warehouse, or a file that ends in .jsonl or .duckdb.

    Raises:
        ReviewError: the environment or the report is not there, or the row cannot be written.
    """
    fleet = Fleet(root)
    facts = fleet.environments.get(environment)
    if facts is None:
        known = ", ".join(fleet.environments) or "none"
        raise ReviewError(environment, f"there is no such environment; there are: {known}.")
    row = make_row(
        fleet, facts, read_report(report), actor=actor, repository=repository, commit=commit,
        approved_by=approved_by, succeeded=succeeded,
    )  # fmt: skip
    if to == "bigquery":
        return to_bigquery(row, facts)
    if to == "local":
        return to_warehouse(row, facts, find_root(under=root))
    path = Path(to)
    if path.suffix == ".jsonl":
        return to_lines(row, path)
    if path.suffix == ".duckdb":
        return to_duckdb(row, path)
    raise ReviewError(to, "this is neither `bigquery` nor `local` nor a file that ends in .jsonl or .duckdb.")


def record_applied(
    root: Path,
    *,
    environment: str,
    stacks: Sequence[str],
    plan_digest: str,
    actor: str,
    repository: str,
    commit: str,
    folder: Path,
    approved_by: Sequence[str] = (),
) -> str:
    """Write the row of a deployment to the stand-in into the local warehouse in `folder`; return where it is.

    Args:
        root: the checkout that was deployed.
        environment: the environment that it was deployed to.
        stacks: that were applied without error.
        plan_digest: `sha256:<hex>` of what was applied.
        actor: who applied.
        repository: repository deployed from.
        commit: commit deployed.
        folder: the local warehouse.
        approved_by: people who approved.
    """
    fleet = Fleet(root)
    facts = fleet.environments[environment]
    report = {"stacks": [{"stack": stack} for stack in stacks], "digest": plan_digest}
    row = make_row(
        fleet, facts, report, actor=actor, repository=repository, commit=commit, approved_by=approved_by,
        succeeded=True,
    )  # fmt: skip
    return to_warehouse(row, facts, folder)


def read_report(path: Path) -> dict[str, Any]:
    """Return a review in JSON.

    Raises:
        ReviewError: the file is none.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise ReviewError(str(path), f"cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ReviewError(str(path), "this is no review in JSON.", "Make it with --format json.")
    return document


def make_row(
    fleet: Fleet,
    facts: EnvironmentFacts,
    report: dict[str, Any],
    *,
    actor: str,
    repository: str,
    commit: str,
    approved_by: Sequence[str],
    succeeded: bool,
    time: datetime.datetime | None = None,
) -> Row:
    """Return the row of a deployment, all of its columns."""
    now = time or datetime.datetime.now(datetime.UTC)
    stacks = sorted(
        {entry["stack"] for entry in report["stacks"] if entry["stack"].startswith(f"{facts.name}-")}
    )
    digest = str(report["digest"])
    # The same deployment recorded twice has the same id, so that a repeated step adds no second row; one that
    # failed and then succeeds is another.
    parts = (facts.name, commit, digest, str(succeeded), *stacks)
    identity = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return {
        "deployment_id": identity[:32],
        "time": now.isoformat(timespec="seconds"),
        "environment": facts.name,
        "actor": actor,
        "approved_by": sorted(set(approved_by)),
        "repository": repository,
        "commit": commit,
        "stacks": stacks,
        "models": _models(fleet, facts, stacks),
        "plan_digest": digest,
        "succeeded": succeeded,
    }


def _models(fleet: Fleet, facts: EnvironmentFacts, stacks: Sequence[str]) -> list[Row]:
    """Return the model versions in service in the stacks deployed."""
    images = facts.raw.get("images")
    rows = []
    for team, declared in sorted(fleet.teams.items()):
        if facts.names.team(team).stack not in stacks:
            continue
        for name, model in sorted(declared.models.items()):
            canary = model.get("canary")
            share = int(canary.get("percent", 10)) if isinstance(canary, dict) else 0
            shares = {"": 100 - share} | ({".canary": share} if share else {})
            image = images.get(model.get("pattern"), "") if isinstance(images, dict) else ""
            for suffix, percent in shares.items():
                manifest = fleet.manifest(team, name, canary=bool(suffix))
                if isinstance(manifest.get("version"), int):
                    rows.append(
                        {
                            "team": team,
                            "model": name,
                            "version": manifest["version"],
                            "manifest_digest": str(manifest.get("digest", "")),
                            "image_digest": str(image),
                            "percent": percent,
                        }
                    )
    return rows


def to_warehouse(row: Row, facts: EnvironmentFacts, folder: Path) -> str:
    """Add the row to the local warehouse in `folder`, unless it is there already."""
    import pyarrow as pa

    ref = reference(facts.names, DEPLOYMENTS)
    time = datetime.datetime.fromisoformat(row["time"])
    rows = pa.Table.from_pylist([{**row, "time": time}], schema=arrow_schema(DEPLOYMENTS))
    warehouse = local(folder)
    known = warehouse.query(
        f"SELECT deployment_id FROM `{ref}` WHERE deployment_id = @id",
        {"id": row["deployment_id"]},
        {ref: DEPLOYMENTS},
    )
    if known.num_rows:
        return f"Already recorded in {folder}: {row['deployment_id']}"
    warehouse.append(ref, DEPLOYMENTS, rows, row["deployment_id"])
    return f"Recorded in {folder}: {row['deployment_id']}"


def to_lines(row: Row, path: Path) -> str:
    """Append the row to a file of JSON lines, unless it is there already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(row, sort_keys=True)
    known = f'"deployment_id": "{row["deployment_id"]}"'
    if path.is_file() and any(known in old for old in path.read_text(encoding="utf-8").splitlines()):
        return f"Already recorded in {path}: {row['deployment_id']}"
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    return f"Recorded in {path}: {row['deployment_id']}"


def to_duckdb(row: Row, path: Path) -> str:
    """Insert the row into a DuckDB database, unless it is there; make the table where it is missing."""
    try:
        import duckdb
    except ImportError:
        raise ReviewError(
            "duckdb", "this package is not installed.", "Install it: pip install duckdb"
        ) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(path)) as connection:
        table = f'"{DEPLOYMENTS.dataset}"."{DEPLOYMENTS.name}"'
        exists = connection.execute(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = ? AND table_name = ?",
            [DEPLOYMENTS.dataset, DEPLOYMENTS.name],
        ).fetchone()
        if not exists or not exists[0]:
            connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{DEPLOYMENTS.dataset}"')
            connection.execute(duckdb_ddl(DEPLOYMENTS))
        found = connection.execute(
            f"SELECT count(*) FROM {table} WHERE deployment_id = ?", [row["deployment_id"]]
        ).fetchone()
        if found and found[0]:
            return f"Already recorded in {path}: {row['deployment_id']}"
        names = ", ".join(f'"{column.name}"' for column in DEPLOYMENTS.columns)
        marks = ", ".join("?" for _ in DEPLOYMENTS.columns)
        values = [row[column.name] for column in DEPLOYMENTS.columns]
        connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)
    return f"Recorded in {path}: {row['deployment_id']}"


def to_bigquery(row: Row, facts: EnvironmentFacts, endpoint: str = BIGQUERY) -> str:
    """Insert the row into the environment's table, with the identity that is at hand.

    By the REST API: the client library needs another protobuf than the stand-in provider.
    """
    names = facts.names
    dataset = names.dataset(DEPLOYMENTS.dataset)
    table = f"{names.project}.{dataset}.{DEPLOYMENTS.name}"
    path = f"/projects/{names.project}/datasets/{dataset}/tables/{DEPLOYMENTS.name}/insertAll"
    # BigQuery drops a row that comes twice under one id within minutes.
    body = {"rows": [{"insertId": row["deployment_id"], "json": row}]}
    headers = {"Authorization": f"Bearer {_token()}", "Content-Type": "application/json"}
    request = urllib.request.Request(endpoint + path, json.dumps(body).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            problems = json.loads(answer.read() or b"{}").get("insertErrors")
    except urllib.error.HTTPError as error:
        hint = "May this identity write to that table?" if error.code in (401, 403) else ""
        raise ReviewError(table, f"BigQuery answers {error.code} {error.reason}.", hint) from None
    except (OSError, ValueError) as error:
        raise ReviewError(table, f"BigQuery does not answer: {getattr(error, 'reason', error)}.") from None
    if problems:
        reasons = re.sub(r"\s+", " ", json.dumps(problems))[:500]
        raise ReviewError(table, f"BigQuery refuses the row: {reasons}.")
    return f"Recorded in {table}: {row['deployment_id']}"


def _token() -> str:
    """Return a short-lived token of the identity at hand, as Terraform's provider finds it too."""
    if token := os.environ.get("GOOGLE_OAUTH_ACCESS_TOKEN"):
        return token
    command = ["gcloud", "auth", "application-default", "print-access-token"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        mend = (
            "Sign in with gcloud, set GOOGLE_OAUTH_ACCESS_TOKEN, or write a file with --to deployments.jsonl."
        )
        raise ReviewError("bigquery", "there is no identity at hand.", mend) from None
    return done.stdout.strip()
