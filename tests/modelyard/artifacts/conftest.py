"""Stores of every kind, each behind its own protocol."""

import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests import gcs_server

BUCKET = "models"


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A server that speaks S3, with one bucket; the official client finds it by its own variables."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    patch = pytest.MonkeyPatch()
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        patch.setenv(name, value)
    boto3.client("s3").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    yield address
    patch.undo()
    server.stop()


@pytest.fixture(scope="session")
def gcs() -> Iterator[dict[str, gcs_server.Bucket]]:
    """A server that speaks the JSON API of Google Cloud Storage, with one bucket."""
    with gcs_server.serving(BUCKET) as (address, buckets):
        patch = pytest.MonkeyPatch()
        patch.setenv("STORAGE_EMULATOR_HOST", address)
        yield buckets
        patch.undo()


@pytest.fixture(params=["folder", "gs", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind."""
    if request.param == "folder":
        return str(tmp_path / "registry")
    request.getfixturevalue({"gs": "gcs", "s3": "s3"}[request.param])
    return f"{request.param}://{BUCKET}/{os.path.basename(tmp_path)}"
