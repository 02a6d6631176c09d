"""A bucket of S3 as a write-once store."""

from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from modelyard.artifacts.errors import ArtifactError, NotStored


class S3Store:
    """Files below a prefix of a bucket; `AWS_ENDPOINT_URL` names another server than Amazon's."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self.url = f"s3://{bucket}" + (f"/{prefix}" if prefix else "")
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        try:
            self._client = boto3.client("s3")
        except BotoCoreError as error:
            raise ArtifactError(f"No access to {self.url}: {error}. Sign in with `aws configure`") from None

    def create(self, name: str, content: bytes) -> bool:
        """Write a file, and return False, writing nothing, where there is one of that name."""
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + name, Body=content, IfNoneMatch="*"
            )
        except ClientError as error:
            # A conflict is another writer at this very moment, who was first.
            if error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict"):
                return False
            raise ArtifactError(f"Cannot write {self.url}/{name}: {error}") from None
        except BotoCoreError as error:
            raise ArtifactError(f"Cannot write {self.url}/{name}: {error}") from None
        return True

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            return bytes(answer["Body"].read())
        except (ClientError, BotoCoreError) as error:
            raise self._unread(name, error) from None

    def download(self, name: str, path: Path) -> None:
        """Write a file's content to `path`."""
        try:
            self._client.download_file(self._bucket, self._prefix + name, str(path))
        except (ClientError, BotoCoreError) as error:
            raise self._unread(name, error) from None

    def names(self, folder: str) -> list[str]:
        """Return the names of all files below `folder`, sorted."""
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}{folder}/"
            )
            keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        except (ClientError, BotoCoreError) as error:
            raise ArtifactError(f"Cannot list {self.url}: {error}") from None
        return sorted(key.removeprefix(self._prefix) for key in keys)

    def _unread(self, name: str, error: Exception) -> ArtifactError:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
        if code in ("NoSuchKey", "404"):
            return NotStored(f"There is no file {self.url}/{name}")
        return ArtifactError(f"Cannot read {self.url}/{name}: {error}")
