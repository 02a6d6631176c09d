"""A version has one row, whoever registers it and how often, on one machine and in BigQuery."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modelyard.warehouse
from modelyard.capture.errors import PublishError
from modelyard.capture.records import register, registered
from modelyard.spec.manifest import digest_of
from modelyard.tables import MODEL_VERSIONS
from modelyard.warehouse import Warehouse, reference
from tests.bigquery_emulator import bigquery_client, bigquery_endpoint, create_table
from tests.modelyard.sample import HASH, NAMES, manifest

__all__ = ["bigquery_client", "bigquery_endpoint"]


def document(version: int = 1, **changes: Any) -> dict[str, Any]:
    """A manifest as plain JSON."""
    made = manifest(version).model_dump(mode="json", exclude_none=True) | changes
    made["digest"] = digest_of(made)
    return made


@pytest.fixture(params=["local", "bigquery"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Warehouse, str]]:
    """A warehouse and the reference of its table of versions."""
    if request.param == "local":
        yield modelyard.warehouse.local(tmp_path), reference(NAMES, MODEL_VERSIONS)
        return
    client = request.getfixturevalue("bigquery_client")
    ref = f"{client.project}.modelyard_dev_metadata.model_versions"
    create_table(client, ref, MODEL_VERSIONS)
    yield modelyard.warehouse.bigquery(client.project, client), ref


def count(place: tuple[Warehouse, str]) -> int:
    warehouse, ref = place
    return int(warehouse.query(f"SELECT COUNT(*) AS n FROM `{ref}`").to_pylist()[0]["n"])


def test_a_version_is_registered_once_with_all_that_is_known(place: tuple[Warehouse, str]) -> None:
    given = document(data={"uri": "gs://b/d", "digest": HASH, "rows": 100})
    assert register(given, *place)
    assert not register(given, *place)
    assert count(place) == 1
    row = registered(*place, "flights", "delay", 1)
    assert row is not None
    assert row["manifest_digest"] == given["digest"] == digest_of(json.loads(row["manifest"]))
    assert row["artifact"] == {"uri": "gs://b/o", "digest": HASH, "format": "onnx", "size_bytes": 1}
    assert row["features"][2] == {"name": "age", "type": "int64", "unit": None, "sensitivity": "pii"}
    assert row["metrics"] == [{"name": "mae", "value": 1.0, "is_primary": True}]
    assert row["data"]["row_count"] == 100
    assert row["code"]["commit"] == "c"
    assert registered(*place, "flights", "delay", 2) is None


def test_other_content_under_the_same_version_is_refused(place: tuple[Warehouse, str]) -> None:
    register(document(), *place)
    with pytest.raises(PublishError, match=r"flights/delay@1 is registered already, with manifest sha256:.*"):
        register(document(description="another"), *place)
    assert register(document(version=2, description="another"), *place)
    assert count(place) == 2


def test_a_changed_manifest_is_refused(place: tuple[Warehouse, str]) -> None:
    given = document()
    given["metrics"]["values"]["mae"] = 0.5
    with pytest.raises(PublishError, match="but its content has sha256:"):
        register(given, *place)
    assert count_or_none(place) == 0


def count_or_none(place: tuple[Warehouse, str]) -> int:
    warehouse, ref = place
    found = warehouse.query(f"SELECT COUNT(*) AS n FROM `{ref}`", tables={ref: MODEL_VERSIONS})
    return int(found.to_pylist()[0]["n"])


def test_of_many_publishers_at_once_one_wins(place: tuple[Warehouse, str]) -> None:
    """Each has other content: one version stays, and each of the others gets an error."""
    barrier = threading.Barrier(5)
    won: list[str] = []
    lost: list[Exception] = []

    def publish(number: int) -> None:
        given = document(description=f"publisher {number}")
        barrier.wait()
        try:
            register(given, *place)
            won.append(given["digest"])
        except PublishError as error:
            lost.append(error)

    publishers = [threading.Thread(target=publish, args=(number,)) for number in range(5)]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
    assert (len(won), len(lost)) == (1, 4)
    row = registered(*place, "flights", "delay", 1)
    assert row is not None
    assert row["manifest_digest"] == won[0]
    assert count(place) == 1
