"""Write-once stores: a folder, `gs://bucket/prefix` or `s3://bucket/prefix`.

A file appears whole under its name or not at all, and is never overwritten: the store itself decides which of
two writers was first. A store needs the right to list, read and create, and neither to change nor to delete.
"""

import re
from pathlib import Path
from typing import Protocol

from modelyard.artifacts.errors import ArtifactError, NameTaken

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


class Store(Protocol):
    """Files by name; a name is a path of letters, digits, dots, hyphens and underscores, with `/` between."""

    url: str
    """The folder, `gs://...` or `s3://...`."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a file, and return False, writing nothing, where there is one of that name."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            NotStored: there is none of that name.
        """
        ...

    def download(self, name: str, path: Path) -> None:
        """Write a file's content to `path`.

        Raises:
            NotStored: there is none of that name.
        """
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names of all files below `folder`, sorted."""
        ...


def open_store(url: str | Path) -> Store:
    """Return the store at `url`: a folder, `gs://bucket[/prefix]` or `s3://bucket[/prefix]`.

    Google's usual credentials and variables apply to gs, those of AWS, such as `AWS_ENDPOINT_URL`, to s3.

    Raises:
        ArtifactError: there is no such kind of store, or its client is not installed.
    """
    text = str(url)
    scheme, separator, rest = text.partition("://")
    if not separator:
        from modelyard.artifacts.local import LocalStore

        return LocalStore(Path(text))
    bucket, _, prefix = rest.partition("/")
    if scheme not in ("gs", "s3") or not bucket:
        raise ArtifactError(f"'{text}' is no store: name a folder, gs://bucket or s3://bucket")
    try:
        if scheme == "gs":
            from modelyard.artifacts.gcs import GcsStore

            return GcsStore(bucket, prefix.strip("/"))
        from modelyard.artifacts.s3 import S3Store

        return S3Store(bucket, prefix.strip("/"))
    except ImportError as error:
        package = "google-cloud-storage" if scheme == "gs" else "boto3"
        raise ArtifactError(
            f"'{text}' needs the package {package}, which is not installed here ({error}). The serving "
            "images read folders and gs://, and have no client of s3://"
        ) from None


def create_or_same(store: Store, name: str, content: bytes) -> bool:
    """Write a file unless it is there with this very content; return whether it is new.

    Raises:
        NameTaken: it is there with other content.
    """
    if store.create(checked(name), content):
        return True
    if store.read(name) != content:
        raise NameTaken(f"{store.url}/{name} is there already, with other content; files never change")
    return False


def checked(name: str) -> str:
    """Return `name` if it is one that a store takes, and so leads out of no folder.

    Raises:
        ArtifactError: it is not.
    """
    if not _NAME.fullmatch(name):
        raise ArtifactError(
            f"'{name}' is no name in a store: names are letters, digits, '.', '-' and '_', with '/' between"
        )
    return name
