"""Where training data came from: reads it, and notes what was there, so that it can be found again."""

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pandas as pd

from modelyard.artifacts import ArtifactError, open_store
from modelyard.artifacts.digests import digest_of_file
from modelyard.capture.errors import PublishError
from modelyard.spec.manifest import DataObject

BIGQUERY = "bigquery://"
# What is said of rows that were made by code.
DATAFRAME = "dataframe"
_PIECE = 1 << 20


@dataclass(frozen=True)
class Source:
    """A source of rows, as it was when it was looked at."""

    uri: str
    objects: tuple[DataObject, ...] = ()
    snapshot: datetime | None = None
    table_rows: int | None = None


def look_at(source: str | Path, root: Path, snapshot: datetime | None = None) -> Source:
    """Return what there is at `source`; objects are read whole, for their digests.

    Args:
        source: a file; `gs://` or `s3://` and bucket, with an object or a prefix that ends in `/`;
            `bigquery://project.dataset.table`; or any other address, which is noted without user, password
            and query.
        root: folder that files are named relative to; others are named without their folder.
        snapshot: time as of which a table was read; default: now.

    Raises:
        PublishError: there is nothing, or it cannot be read.
    """
    text = str(source)
    if isinstance(source, Path) or ("://" not in text and not text.startswith("pkg:") and text != DATAFRAME):
        return _file(Path(source), root)
    if text.startswith(BIGQUERY):
        return _table(text, snapshot)
    if text.startswith("gs://"):
        return Source(text, tuple(_explained(text, _gs)))
    if text.startswith("s3://"):
        return Source(text, tuple(_explained(text, _s3)))
    return Source(_without_secrets(text))


def _without_secrets(address: str) -> str:
    """Return an address without user, password and query: passwords and signatures of links stand there."""
    parts = urlsplit(address)
    if not parts.netloc:
        return address
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", parts.fragment))


def read(source: str | Path, snapshot: datetime | None = None) -> pd.DataFrame:
    """Return the rows of a .csv or .parquet file, here, in gs:// or in s3://, or those of a table.

    Raises:
        PublishError: there are none, or they are in another format.
    """
    text = str(source)
    if text.startswith(BIGQUERY):
        return _rows_of_table(text, snapshot)
    readers: dict[str, Callable[[Any], pd.DataFrame]] = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    reader = readers.get(Path(text).suffix)
    if reader is None:
        raise PublishError(f"{text} is no .csv or .parquet; read it yourself, and name it as the source")
    try:
        if "://" not in text:
            return reader(Path(text))
        folder, _, name = text.rpartition("/")
        return reader(io.BytesIO(open_store(folder).read(name)))
    except (ArtifactError, OSError, ValueError, RuntimeError) as error:
        raise PublishError(f"No rows can be read from {text}: {error}") from None


def _file(path: Path, root: Path) -> Source:
    if not path.is_file():
        raise PublishError(f"source: there is no file {path}")
    whole = path.resolve()
    inside = root.resolve() in whole.parents
    shown = whole.relative_to(root.resolve()).as_posix() if inside else path.name
    return Source(shown, (DataObject(uri=shown, version="", digest=digest_of_file(path)),))


def _explained(uri: str, find: Callable[[str, str], Iterator[DataObject]]) -> list[DataObject]:
    bucket, _, name = uri.partition("://")[2].partition("/")
    try:
        objects = list(find(bucket, name))
    except Exception as error:  # each client has its own errors
        raise PublishError(f"source: {uri} cannot be read: {error}") from None
    if not objects:
        raise PublishError(f"source: there is nothing at {uri}; name an object, or a prefix that ends in '/'")
    return objects


def _gs(bucket: str, name: str) -> Iterator[DataObject]:
    from google.cloud import storage  # type: ignore[attr-defined,unused-ignore]

    for blob in storage.Client().list_blobs(bucket, prefix=name):
        if blob.name != name and not (name.endswith("/") or not name):
            continue
        content = hashlib.sha256()
        with blob.bucket.blob(blob.name, generation=blob.generation).open("rb") as file:
            while piece := file.read(_PIECE):
                content.update(piece)
        yield DataObject(
            uri=f"gs://{bucket}/{blob.name}",
            version=str(blob.generation),
            digest=f"sha256:{content.hexdigest()}",
        )


def _s3(bucket: str, name: str) -> Iterator[DataObject]:
    import boto3

    client = boto3.client("s3")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=name):
        for entry in page.get("Contents", ()):
            if entry["Key"] != name and not (name.endswith("/") or not name):
                continue
            answer = client.get_object(Bucket=bucket, Key=entry["Key"])
            content = hashlib.sha256()
            for piece in answer["Body"].iter_chunks(_PIECE):
                content.update(piece)
            version = answer.get("VersionId", "")
            yield DataObject(
                uri=f"s3://{bucket}/{entry['Key']}",
                version="" if version == "null" else version,
                digest=f"sha256:{content.hexdigest()}",
            )


def _client(uri: str) -> tuple[Any, str]:
    """Return a client of BigQuery, and the table's reference."""
    from google.cloud import bigquery

    reference = uri.removeprefix(BIGQUERY)
    if reference.count(".") < 2:
        raise PublishError(f"source: '{uri}' is not bigquery://project.dataset.table")
    return bigquery.Client(project=reference.rsplit(".", 2)[0]), reference


def _table(uri: str, snapshot: datetime | None) -> Source:
    client, reference = _client(uri)
    try:
        if snapshot is None:
            now = datetime.now(UTC)
            return Source(uri, snapshot=now, table_rows=int(client.get_table(reference).num_rows))
        job = client.query(f"SELECT COUNT(*) AS n {_as_of(reference)}", job_config=_at(snapshot))
        return Source(uri, snapshot=snapshot, table_rows=next(iter(job.result())).n)
    except Exception as error:  # the client's own errors and those of signing in
        raise PublishError(f"source: {uri} cannot be read: {error}") from None


def _rows_of_table(uri: str, snapshot: datetime | None) -> pd.DataFrame:
    client, reference = _client(uri)
    try:
        if snapshot is None:
            rows = client.list_rows(client.get_table(reference))
        else:
            rows = client.query(f"SELECT * {_as_of(reference)}", job_config=_at(snapshot)).result()
        return rows.to_arrow(create_bqstorage_client=False).to_pandas()
    except Exception as error:  # the client's own errors and those of signing in
        raise PublishError(f"{uri} cannot be read: {error}") from None


def _as_of(reference: str) -> str:
    return f"FROM `{reference}` FOR SYSTEM_TIME AS OF @snapshot"


def _at(snapshot: datetime) -> Any:
    from google.cloud import bigquery

    return bigquery.QueryJobConfig(
        query_parameters=[bigquery.ScalarQueryParameter("snapshot", "TIMESTAMP", snapshot)]
    )
