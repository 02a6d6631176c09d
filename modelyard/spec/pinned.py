"""The pinned manifests in a team's folder: read, checked, and compared with the team file."""

from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from modelyard.spec.errors import Path, Problem, nearest
from modelyard.spec.explain import validated
from modelyard.spec.manifest import Manifest, digest_of
from modelyard.spec.retired import SUFFIX
from modelyard.spec.source import Document, read_json


@dataclass
class Pinned:
    """A manifest's file; `manifest` is None where it cannot be used."""

    document: Document
    manifest: Manifest | None
    problems: list[Problem]


def stable_file(model: str) -> str:
    """Return the name of the file that pins a model's version."""
    return f"{model}.json"


def canary_file(model: str) -> str:
    """Return the name of the file that pins a model's canary."""
    return f"{model}.canary.json"


def read_manifest(path: FilePath, file: str) -> Pinned:
    """Read a manifest; problems name it `file`, and say where it is not whole or was altered."""
    document = read_json(path, file)
    if document.data is None:
        return Pinned(document, None, document.problems)
    manifest, problems = validated(Manifest, document.data, document)
    written, actual = document.data.get("digest"), digest_of(document.data)
    if isinstance(written, str) and written != actual:
        message = f"The file was changed after it was published: its content has the digest {actual}"
        problems.append(document.problem(("digest",), f"{message}. Pin the version again: modelyard pin"))
    return Pinned(document, None if problems else manifest, problems)


def read_pinned(folder: FilePath, shown: str) -> dict[str, Pinned]:
    """Return the manifests in a team's folder by file name."""
    try:
        names = (path for path in folder.iterdir() if path.suffix == ".json")
        paths = sorted(path for path in names if not path.name.endswith(SUFFIX))
    except OSError:
        return {}  # reading team.yaml says why
    return {path.name: read_manifest(path, f"{shown}/{path.name}") for path in paths}


def match_problems(
    team: str, index: int, model: dict[str, Any], document: Document, pinned: dict[str, Pinned]
) -> list[Problem]:
    """Return what does not fit between a model of a team file and the manifests beside it."""
    name, version, canary = model["name"], model["version"], model.get("canary")
    at: Path = ("models", index)
    problems = _pin_problems(team, name, version, (*at, "version"), document, pinned, stable_file(name), "")
    if isinstance(canary, dict):
        where = (*at, "canary", "version")
        if canary["version"] == version:
            message = f"Version {version} is served already; the canary must be another version"
            problems.append(document.problem(where, message))
        else:
            file = canary_file(name)
            problems += _pin_problems(
                team, name, canary["version"], where, document, pinned, file, " --canary"
            )
            stable, other = (pinned[f].manifest if f in pinned else None for f in (stable_file(name), file))
            if (
                stable
                and other
                and other.version == canary["version"]
                and (differences := signature_differences(stable, other))
            ):
                message = (
                    f"Version {other.version} cannot be a canary of version {stable.version}, since both get "
                    f"the same requests: {'; '.join(differences)}"
                )
                problems.append(document.problem(where, message))
    return problems


def leftover_problems(names: list[str], with_canary: set[str], pinned: dict[str, Pinned]) -> list[Problem]:
    """Return a problem for each manifest that no model pins."""
    expected = {stable_file(name) for name in names} | {canary_file(name) for name in with_canary}
    problems = []
    for file, found in pinned.items():
        if file not in expected:
            message = (
                f"No model of team.yaml pins this file; remove it, or rename it.{nearest(file, expected)}"
            )
            problems.append(found.document.problem((), message.removesuffix(".")))
    return problems


def signature_differences(stable: Manifest, other: Manifest) -> list[str]:
    """Return in words where two versions take other requests, or give other answers."""
    old = {feature.name: feature.type for feature in stable.signature.features}
    new = {feature.name: feature.type for feature in other.signature.features}
    differences = [f"feature '{name}' is added" for name in new if name not in old]
    differences += [f"feature '{name}' is missing" for name in old if name not in new]
    differences += [
        f"feature '{name}' is {new[name]}, not {old[name]}"
        for name in old
        if new.get(name, old[name]) != old[name]
    ]
    before, after = stable.signature.prediction.type, other.signature.prediction.type
    if before != after:
        differences.append(f"the prediction is {after}, not {before}")
    return differences


def _pin_problems(
    team: str,
    name: str,
    version: int,
    at: Path,
    document: Document,
    pinned: dict[str, Pinned],
    file: str,
    option: str,
) -> list[Problem]:
    command = f"modelyard pin {team}/{name}@{version}{option}"
    if file not in pinned:
        message = f"Version {version} is not pinned: there is no {file} beside this file. Run: {command}"
        return [document.problem(at, message)]
    data = pinned[file].document.data or {}
    problems = []
    held = data.get("version")
    if isinstance(held, int) and held != version:
        message = f"Version {version} is not pinned: {file} holds version {held}. Run: {command}"
        problems.append(document.problem(at, message))
    for key, expected in (("team", team), ("model", name)):
        if isinstance(data.get(key), str) and data[key] != expected:
            message = f"The manifest belongs to {key} '{data[key]}', not to '{expected}'. Run: {command}"
            problems.append(pinned[file].document.problem((key,), message))
    return problems
