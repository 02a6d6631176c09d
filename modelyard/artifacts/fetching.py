"""Brings a registered file to this machine, and refuses it where it is not the registered one."""

import os
import tempfile
from pathlib import Path

from modelyard.artifacts.digests import digest_of_file
from modelyard.artifacts.errors import ArtifactError
from modelyard.artifacts.signing import verify
from modelyard.artifacts.stores import checked, open_store


def fetch(registry: str | Path, uri: str, digest: str, into: Path) -> Path:
    """Return the path, in the folder `into`, of the file at `uri`, whose content has the digest `digest`.

    A file that is there already, with that content, is not fetched again.

    Args:
        registry: a folder, `gs://bucket` or `s3://bucket`, that `uri` is relative to.
        uri: path of the file in the registry, or a `gs://` or `s3://` address of its own.
        digest: `sha256:` and 64 hexadecimal digits.
        into: folder; made where it is missing.

    Raises:
        ArtifactError: the file is not there, cannot be read, or is not the registered one.
    """
    if "://" in uri:
        base, _, name = uri.rpartition("/")
    else:
        base, name = str(registry), uri
    target = into / checked(name).rpartition("/")[2]
    if target.is_file() and digest_of_file(target) == digest:
        return target
    into.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=".", dir=into)
    os.close(handle)
    try:
        open_store(base).download(name, Path(draft))
        actual = digest_of_file(Path(draft))
        if actual != digest:
            raise ArtifactError(
                f"{base}/{name} is not the registered file: its digest is {actual}, registered is {digest}. "
                "It was changed after it was published; do not serve it, find out who changed it"
            )
        os.replace(draft, target)
    finally:
        Path(draft).unlink(missing_ok=True)
    return target


def fetch_signed(
    registry: str | Path,
    uri: str,
    digest: str,
    into: Path,
    *,
    bundle_uri: str,
    bundle_digest: str,
    public_key: str,
) -> Path:
    """Return the path of a fetched file, once its signature, a file of the registry too, is verified.

    Raises:
        ArtifactError: as `fetch` does, or the signature is not that of `public_key` over this file.
    """
    bundle = fetch(registry, bundle_uri, bundle_digest, into)
    path = fetch(registry, uri, digest, into)
    verify([path], bundle.read_bytes(), public_key)
    return path
