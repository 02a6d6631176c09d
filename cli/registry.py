"""The registry of published model versions: `<registry>/<team>/<model>/<version>/manifest.json`."""

import os
from pathlib import Path

from cli.errors import CommandError
from modelyard.spec.errors import SpecError
from modelyard.spec.manifest import Manifest
from modelyard.spec.pinned import read_manifest


def find_registry(root: Path, given: Path | None) -> Path:
    """Return the registry: `given`, else `MODELYARD_REGISTRY`, else `.modelyard/registry` under `root`."""
    if given is not None:
        return given
    named = os.environ.get("MODELYARD_REGISTRY")
    return Path(named) if named else root / ".modelyard" / "registry"


def versions(registry: Path, team: str, model: str) -> list[int]:
    """Return the published versions of a model, ascending."""
    try:
        names = [entry.name for entry in (registry / team / model).iterdir()]
    except OSError:
        return []
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def published(registry: Path, team: str, model: str, version: int) -> tuple[Manifest, bytes]:
    """Return a published version's manifest, and its file as it is.

    Raises:
        CommandError: the registry has no such version.
        SpecError: the manifest has problems.
    """
    known = versions(registry, team, model)
    if version not in known:
        have = f"it has {', '.join(map(str, known))}" if known else "it has no version of that model"
        raise CommandError(
            f"There is no version {version} of {team}/{model} in the registry {registry}; {have}. "
            "Publish it, or name another registry with --registry or MODELYARD_REGISTRY"
        )
    path = registry / team / model / str(version) / "manifest.json"
    found = read_manifest(path, str(path))
    if found.manifest is None:
        raise SpecError(found.problems)
    manifest = found.manifest
    if (manifest.team, manifest.model, manifest.version) != (team, model, version):
        raise CommandError(
            f"{path} is the manifest of {manifest.team}/{manifest.model}@{manifest.version}, not of "
            f"{team}/{model}@{version}"
        )
    return manifest, path.read_bytes()
