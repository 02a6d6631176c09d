"""A bucket of Google Cloud Storage as a write-once store."""

from pathlib import Path

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage  # type: ignore[attr-defined,unused-ignore]

from modelyard.artifacts.errors import ArtifactError, NotStored


class GcsStore:
    """Files below a prefix of a bucket; `STORAGE_EMULATOR_HOST` names another server than Google's."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self.url = f"gs://{bucket}" + (f"/{prefix}" if prefix else "")
        self._prefix = f"{prefix}/" if prefix else ""
        try:
            self._bucket = storage.Client().bucket(bucket)
        except (GoogleAuthError, OSError) as error:
            raise ArtifactError(
                f"No access to {self.url}: {error}. Sign in with `gcloud auth application-default login`"
            ) from None

    def create(self, name: str, content: bytes) -> bool:
        """Write a file, and return False, writing nothing, where there is one of that name."""
        try:
            # Generation 0 is "not there"; after a retry the refusal may come from this very write.
            self._bucket.blob(self._prefix + name).upload_from_string(
                content, content_type="application/octet-stream", if_generation_match=0
            )
        except exceptions.PreconditionFailed:
            return False
        except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
            raise ArtifactError(f"Cannot write {self.url}/{name}: {error}") from None
        return True

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        try:
            return bytes(self._bucket.blob(self._prefix + name).download_as_bytes())
        except exceptions.NotFound:
            raise NotStored(f"There is no file {self.url}/{name}") from None
        except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
            raise ArtifactError(f"Cannot read {self.url}/{name}: {error}") from None

    def download(self, name: str, path: Path) -> None:
        """Write a file's content to `path`."""
        try:
            self._bucket.blob(self._prefix + name).download_to_filename(str(path))
        except exceptions.NotFound:
            raise NotStored(f"There is no file {self.url}/{name}") from None
        except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
            raise ArtifactError(f"Cannot read {self.url}/{name}: {error}") from None

    def names(self, folder: str) -> list[str]:
        """Return the names of all files below `folder`, sorted."""
        try:
            blobs = self._bucket.list_blobs(prefix=f"{self._prefix}{folder}/")
            return sorted(blob.name.removeprefix(self._prefix) for blob in blobs)
        except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
            raise ArtifactError(f"Cannot list {self.url}: {error}") from None
