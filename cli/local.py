"""Runs the images' code on this machine: settings from the team's file, artefacts from the local registry."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cli.errors import CommandError
from cli.pin import parse_model, parse_version
from cli.registry import published
from cli.registry import versions as known_versions
from modelyard.naming import Names
from modelyard.spec.base import Pattern
from modelyard.spec.container import Local, container_config, rendered
from modelyard.spec.environment import Environment
from modelyard.spec.errors import nearest
from modelyard.spec.load import environment_names, load_environment, load_team
from modelyard.spec.manifest import Artifact, Manifest, StoredFile
from modelyard.spec.team import DeployedModel, DeployedTeam


@dataclass(frozen=True)
class Folders:
    """Where things lie on this machine."""

    registry: Path
    warehouse: Path
    log: Path
    """Folder of the write-ahead prediction log; what was not sent stays there for the next start."""

    @classmethod
    def of(cls, root: Path, registry: Path, warehouse: Path | None = None) -> "Folders":
        """Return the folders that are named, else those under `.modelyard`."""
        named = warehouse or os.environ.get("MODELYARD_WAREHOUSE")
        own = root / ".modelyard"
        return cls(
            registry.absolute(),
            Path(named).absolute() if named else own / "warehouse",
            own / "log",
        )


@dataclass(frozen=True)
class Chosen:
    """One version to run."""

    model: DeployedModel
    manifest: Manifest
    canary: bool = False


@dataclass(frozen=True)
class Choice:
    """Versions of a team, as an environment would deploy them."""

    team: DeployedTeam
    names: Names
    versions: tuple[Chosen, ...]


def environment_of(root: Path, name: str | None) -> Environment:
    """Return the environment `name`; default: that for laptops, else the first.

    Raises:
        SpecError: there is none, or its file has problems.
    """
    if name:
        return load_environment(root, name)
    loaded = [load_environment(root, each) for each in environment_names(root)]
    return next((each for each in loaded if each.stand_in), loaded[0])


def choose(root: Path, target: str, *, pattern: Pattern, environment: str | None, registry: Path) -> Choice:
    """Return what `TEAM`, `TEAM/MODEL` or `TEAM/MODEL@VERSION` means: pinned versions, or the one named.

    Raises:
        CommandError: there is no such model, or none of that pattern, or the registry lacks its files.
        SpecError: an input has problems.
    """
    spec = environment_of(root, environment)
    name, _, version = target.partition("@")
    team_name, slash, model_name = name.partition("/")
    if slash:
        parse_model(name)
    team = load_team(root, team_name, spec)
    models = [model for model in team.models if not slash or model.name == model_name]
    if not models:
        known = [model.name for model in team.models]
        raise CommandError(
            f"Team {team_name} has no model '{model_name}'; it has {', '.join(known) or 'none'}."
            f"{nearest(model_name, known)}"
        )
    fitting = [model for model in models if model.spec.pattern is pattern]
    if not fitting:
        has = ", ".join(f"{model.name} ({model.spec.pattern})" for model in models)
        other = {"rest": "score batch models with: modelyard score", "batch": "serve REST models with:"}
        raise CommandError(f"{target} has no {pattern} model: {has}; {other[pattern.value]} TEAM/MODEL")
    versions = []
    for model in fitting:
        if version:
            manifest, _ = published(registry, *parse_version(target))
            versions.append(Chosen(model, manifest))
            continue
        versions.append(Chosen(model, _as_trained_here(model.manifest, registry)))
        if model.canary:
            versions.append(Chosen(model, _as_trained_here(model.canary, registry), canary=True))
    for chosen in versions:
        _check_files(chosen.manifest, registry)
    return Choice(team, Names.of(spec), tuple(versions))


def _as_trained_here(pinned: Manifest, registry: Path) -> Manifest:
    """Return the manifest by which this registry has the pinned model files.

    Who trains a version again gets the same files, and signs them with a key of his own: what is pinned names
    a signature that only the registry of its publisher has.
    """
    parts = pinned.team, pinned.model, pinned.version
    if pinned.version not in known_versions(registry, pinned.team, pinned.model):
        return pinned
    held, _ = published(registry, *parts)
    same = (held.artifact, held.online, held.signature) == (pinned.artifact, pinned.online, pinned.signature)
    return held if same else pinned


def _check_files(manifest: Manifest, registry: Path) -> None:
    name = f"{manifest.team}/{manifest.model}@{manifest.version}"
    files: list[Artifact | StoredFile] = [manifest.artifact]
    if manifest.online:
        files.append(manifest.online)
    if manifest.signing:
        files.append(manifest.signing.bundle)
    for file in files:
        if "://" in file.uri or (registry / file.uri).is_file():
            continue
        if manifest.version in known_versions(registry, manifest.team, manifest.model):
            raise CommandError(
                f"The registry {registry} has a {name} that is not the pinned one: {file.uri} is missing. "
                f"Run what it has by naming {name}, pin that with `modelyard pin {name}`, or name another "
                "registry with --registry or MODELYARD_REGISTRY"
            )
        raise CommandError(
            f"The registry {registry} lacks {file.uri}, a file of {name}. Publish that version to it,"
            " the examples with: make train; or name another with --registry or MODELYARD_REGISTRY"
        )


def write(choice: Choice, folders: Folders, into: Path) -> None:
    """Write a `model.json` for each version into a folder, as the ConfigMaps of a cluster hold them."""
    into.mkdir(parents=True, exist_ok=True)
    for chosen in choice.versions:
        config = container_config(
            chosen.model,
            chosen.manifest,
            choice.names.team(choice.team.team).model(chosen.model.name),
            canary=chosen.canary,
            local=Local(str(folders.registry), str(folders.warehouse)),
        )
        name = f"{choice.team.team}-{chosen.model.name}-{chosen.manifest.version}.json"
        (into / name).write_text(rendered(config), encoding="utf-8")


@contextmanager
def settings(choice: Choice, folders: Folders) -> Iterator[Path]:
    """Yield a folder with the settings of all versions, which is removed afterwards."""
    with TemporaryDirectory(prefix="modelyard-settings-") as folder:
        write(choice, folders, Path(folder))
        yield Path(folder)
