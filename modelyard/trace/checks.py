"""Computes digests again, and compares what two records say about the same thing."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from modelyard.artifacts import ArtifactError, open_store, verify
from modelyard.artifacts.digests import digest_of_file
from modelyard.spec.manifest import Manifest, digest_of
from modelyard.trace.record import Check, Deployment, Prediction, Status, Version

# Digests that stand for "not known": a stand-in deployment has no image.
_UNKNOWN = ("", None)


def check(
    prediction: Prediction, version: Version | None, deployment: Deployment | None, registry: str | None
) -> Iterator[Check]:
    """Yield what could be checked about a prediction.

    Args:
        prediction: its row.
        version: the version that made it, where it is registered.
        deployment: of that version, where it is recorded.
        registry: where artefacts lie; None: their bytes are not fetched.
    """
    if version:
        yield _equal("manifest", digest_of(dict(version.document)), version.manifest.digest, "registered")
    if version and prediction.code_digest:
        yield _equal("manifest served", prediction.code_digest, version.manifest.digest, "registered")
    if version and deployment:
        yield _equal("manifest deployed", deployment.manifest_digest, version.manifest.digest, "registered")
    if deployment and prediction.image_digest not in _UNKNOWN and deployment.image_digest not in _UNKNOWN:
        yield _equal("image", str(prediction.image_digest), deployment.image_digest, "deployed")
    if version and registry is not None:
        yield from _files(version.manifest, registry)


def _equal(what: str, found: str, expected: str, source: str) -> Check:
    if found == expected:
        return Check(what, Status.VERIFIED, found)
    return Check(what, Status.DIFFERS, f"it is {found}, {source} is {expected}")


def _files(manifest: Manifest, registry: str) -> Iterator[Check]:
    """Yield the checks of the files: their bytes hashed again, and the signature over them."""
    with tempfile.TemporaryDirectory(prefix="modelyard-trace-") as folder:
        files = {"artefact": (manifest.artifact.uri, manifest.artifact.digest)}
        if manifest.online:
            files["online artefact"] = (manifest.online.uri, manifest.online.digest)
        if manifest.bom:
            files["bill of materials"] = (manifest.bom.uri, manifest.bom.digest)
        fetched: dict[str, Path] = {}
        for what, (uri, digest) in files.items():
            try:
                fetched[what] = _fetch(registry, uri, Path(folder))
            except Exception as error:  # of any store's client: whatever it is, the file is not reachable
                yield Check(what, Status.UNREACHABLE, _line(error))
                continue
            yield _equal(what, digest_of_file(fetched[what]), digest, "registered")
        signed = [fetched[what] for what in ("artefact", "online artefact") if what in fetched]
        if manifest.signing and signed:
            yield _signature(manifest, registry, signed, Path(folder))


def _signature(manifest: Manifest, registry: str, signed: list[Path], folder: Path) -> Check:
    assert manifest.signing
    bundle = manifest.signing.bundle
    try:
        path = _fetch(registry, bundle.uri, folder)
    except Exception as error:
        return Check("signature", Status.UNREACHABLE, _line(error))
    if digest_of_file(path) != bundle.digest:
        return _equal("signature", digest_of_file(path), bundle.digest, "registered")
    try:
        verify(signed, path.read_bytes(), manifest.signing.public_key)
    except ArtifactError as error:
        return Check("signature", Status.DIFFERS, _line(error))
    return Check("signature", Status.VERIFIED, "by the key in the manifest")


def _fetch(registry: str, uri: str, folder: Path) -> Path:
    base, name = registry, uri
    if "://" in uri:
        base, _, name = uri.rpartition("/")
    path = folder / name.rpartition("/")[2]
    open_store(base).download(name, path)
    return path


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
