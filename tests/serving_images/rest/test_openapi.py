"""The OpenAPI document, and whether the running server does what it says."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from tests.serving_images import sample
from tests.serving_images.rest.serving import Served, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("openapi")
    documents = (
        sample.settings(folder, 1),
        sample.settings(folder, 2, canary=True, serving={"out_of_range": "reject"}),
    )
    with served(folder, sample.write(folder, *documents)) as running:
        yield running


def test_the_document_is_valid_and_names_all_features(server: Served) -> None:
    document = server.ask("GET", "/openapi.json").json
    validate(document)
    row = document["components"]["schemas"]["delay-1-row"]
    assert list(row["properties"]) == [feature["name"] for feature in sample.FEATURES]
    assert "wind" not in row["required"]
    strict = document["components"]["schemas"]["delay-2-row"]["properties"]
    assert strict["carrier"]["enum"] == ["AA", "B6", "UA"] and strict["distance"]["maximum"] == 5000


def test_schemathesis_finds_nothing(server: Served, tmp_path: Path) -> None:
    """Every check of schemathesis, on answers of the running server to valid and invalid requests."""
    program = shutil.which("schemathesis", path=Path(sys.executable).parent)
    assert program
    done = subprocess.run(
        [
            *(
                program,
                "run",
                f"http://127.0.0.1:{server.port}/openapi.json",
                "--checks",
                "all",
                "--no-color",
            ),
            *("--max-examples", "20", "--phases", "examples,coverage,fuzzing", "--seed", "1"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    assert json.loads(server.ask("GET", "/healthz").body) == {"live": True}
