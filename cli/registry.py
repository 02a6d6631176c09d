"""The registry of published model versions: `<registry>/<team>/<model>/<version>/manifest.json`.

It is a folder, `gs://bucket` or `s3://bucket`.
"""

import os
import re
import tempfile
from pathlib import Path

from cli.errors import CommandError
from modelyard.artifacts import ArtifactError, open_store
from modelyard.spec.errors import SpecError
from modelyard.spec.manifest import Manifest
from modelyard.spec.pinned import read_manifest

MANIFEST = "manifest.json"


def find_registry(root: Path, given: Path | None) -> Path:
    """Return the registry's folder: `given`, else `MODELYARD_REGISTRY`, else `.modelyard/registry`.

    Raises:
        CommandError: it is a bucket.
    """
    found = find_store(root, given)
    if isinstance(found, str):
        raise CommandError(
            f"The registry {found} is a bucket; this needs a folder. Copy it, or name one with --registry"
        )
    return found


def find_store(root: Path, given: Path | None) -> Path | str:
    """Return the registry as `find_registry` does; a bucket as its address, `gs://...` or `s3://...`."""
    if named := str(given or "") or os.environ.get("MODELYARD_REGISTRY"):
        bucket = re.match(r"(gs|s3):/+(.+)", named)  # a path has lost one of the slashes
        return f"{bucket[1]}://{bucket[2]}" if bucket else Path(named)
    return root / ".modelyard" / "registry"


def versions(registry: Path | str, team: str, model: str) -> list[int]:
    """Return the published versions of a model, ascending.

    Raises:
        CommandError: the registry cannot be read.
    """
    if isinstance(registry, str):
        try:
            files = [Path(name) for name in open_store(registry).names(f"{team}/{model}")]
        except ArtifactError as error:
            raise CommandError(str(error)) from None
        names = [file.parent.name for file in files if file.name == MANIFEST]
    else:
        try:
            names = [entry.name for entry in (registry / team / model).iterdir()]
        except OSError:
            return []
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def published(registry: Path | str, team: str, model: str, version: int) -> tuple[Manifest, bytes]:
    """Return a published version's manifest, and its file as it is.

    Raises:
        CommandError: the registry has no such version, or cannot be read.
        SpecError: the manifest has problems.
    """
    known = versions(registry, team, model)
    if version not in known:
        have = f"it has {', '.join(map(str, known))}" if known else "it has no version of that model"
        raise CommandError(
            f"There is no version {version} of {team}/{model} in the registry {registry}; {have}. "
            "Publish it, or name another registry with --registry or MODELYARD_REGISTRY"
        )
    name = f"{team}/{model}/{version}/{MANIFEST}"
    if isinstance(registry, Path):
        return _checked(registry / name, f"{registry / name}", team, model, version)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / MANIFEST
        try:
            open_store(registry).download(name, copy)
        except ArtifactError as error:
            raise CommandError(str(error)) from None
        return _checked(copy, f"{registry}/{name}", team, model, version)


def _checked(path: Path, shown: str, team: str, model: str, version: int) -> tuple[Manifest, bytes]:
    found = read_manifest(path, shown)
    if found.manifest is None:
        raise SpecError(found.problems)
    manifest = found.manifest
    if (manifest.team, manifest.model, manifest.version) != (team, model, version):
        raise CommandError(
            f"{shown} is the manifest of {manifest.team}/{manifest.model}@{manifest.version}, not of "
            f"{team}/{model}@{version}"
        )
    return manifest, path.read_bytes()
