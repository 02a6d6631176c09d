"""A folder as a write-once store."""

import os
import shutil
import tempfile
from pathlib import Path

from modelyard.artifacts.errors import ArtifactError, NotStored


class LocalStore:
    """Files in a folder, which is made on first use; several processes may write at once."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = str(root)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file, and return False, writing nothing, where there is one of that name."""
        path = self.root / name
        if path.exists():
            return False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._hide_from_git()
            handle, draft = tempfile.mkstemp(prefix=".", dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(draft, 0o644)  # mkstemp makes files that only their owner may read
                os.link(draft, path)  # unlike a rename, this fails where the name is taken
            except FileExistsError:
                return False
            finally:
                os.unlink(draft)
        except OSError as error:
            raise ArtifactError(
                f"Cannot write {path}: {error.strerror}. Mend it, or name another folder"
            ) from None
        return True

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise _unread(self.root / name, error) from None

    def download(self, name: str, path: Path) -> None:
        """Copy a file to `path`."""
        try:
            with (self.root / name).open("rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
        except OSError as error:
            raise _unread(self.root / name, error) from None

    def names(self, folder: str) -> list[str]:
        """Return the names of all files below `folder`, sorted."""
        found = (self.root / folder).rglob("*")
        paths = (path.relative_to(self.root) for path in found if path.is_file())
        return sorted(path.as_posix() for path in paths if not path.name.startswith("."))

    def _hide_from_git(self) -> None:
        # What is published must not make a checkout look changed.
        ignored = self.root / ".gitignore"
        if not ignored.exists():
            ignored.write_text("*\n")


def _unread(path: Path, error: OSError) -> ArtifactError:
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return NotStored(f"There is no file {path}")
    return ArtifactError(f"Cannot read {path}: {error.strerror}")
