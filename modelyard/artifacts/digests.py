"""Digests as manifests write them: `sha256:` and 64 hexadecimal digits."""

import hashlib
from pathlib import Path


def digest_of(content: bytes) -> str:
    """Return the digest of `content`."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def digest_of_file(path: Path) -> str:
    """Return the digest of a file, which is read in pieces."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
