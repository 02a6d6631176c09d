"""BigQuery for tests: an emulator of its REST API in a process of its own, and Google's client to it.

    from tests.bigquery_emulator import bigquery_client, create_table  # the import makes the fixture known

`tests/bigquery_emulator_server.py` says what the emulator is. Its tables have no REQUIRED columns, no
partitions and no policy tags, and its queries scan 0 bytes.
"""

import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.tables import Table, bigquery_schema

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv-emulator" / "bin" / "python"
SERVER = Path(__file__).with_name("bigquery_emulator_server.py")


@pytest.fixture(scope="session")
def bigquery_endpoint() -> Iterator[str]:
    """The address of a running emulator."""
    if not PYTHON.exists():
        pytest.fail(
            f"{PYTHON.parent.parent.name} is missing: make it with `python3 -m scripts.setup emulator`"
        )
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [str(PYTHON), "-I", str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
        try:
            assert process.stdout
            port = process.stdout.readline().strip()
            if not port:
                process.wait()
                log.seek(0)
                pytest.fail(f"the emulator did not start:\n{log.read().decode()}")
            yield f"http://127.0.0.1:{int(port)}"
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def bigquery_client(bigquery_endpoint: str) -> Iterator[Any]:
    """Google's client to the emulator, in a project of its own that nothing else uses."""
    from google.api_core.client_options import ClientOptions
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery

    nobody: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client: Any = bigquery.Client(
        project=f"test-{uuid.uuid4().hex[:8]}",
        credentials=nobody,
        client_options=ClientOptions(api_endpoint=bigquery_endpoint),
    )
    yield client
    client.close()


def create_table(client: Any, ref: str, table: Table) -> None:
    """Make a table, and its dataset where it is missing, as Terraform would in the cloud."""
    import json

    from google.cloud import bigquery

    def plain(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = ("name", "type", "fields")
        made = [{key: field[key] for key in kept if key in field} for field in fields]
        for field, given in zip(made, fields, strict=True):
            field["mode"] = "REPEATED" if given["mode"] == "REPEATED" else "NULLABLE"
            if "fields" in field:
                field["fields"] = plain(field["fields"])
        return made

    project, dataset, _ = ref.split(".")
    tags = {level: f"projects/p/locations/l/taxonomies/1/policyTags/{level}" for level in table.policy_tags}
    fields = plain(json.loads(bigquery_schema(table, tags)))
    client.create_dataset(f"{project}.{dataset}", exists_ok=True)
    client.create_table(bigquery.Table(ref, [bigquery.SchemaField.from_api_repr(field) for field in fields]))
