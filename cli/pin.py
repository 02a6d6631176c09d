"""`modelyard pin`: a published version becomes the one that is deployed, or its canary."""

import re
from pathlib import Path

from cli import changes, registry
from cli.errors import CommandError
from cli.team_file import TeamFile
from modelyard.spec.base import NAME_PATTERN
from modelyard.spec.changes import version_changes
from modelyard.spec.errors import SpecError, nearest
from modelyard.spec.load import TEAM_FILE, TEAMS, team_names
from modelyard.spec.manifest import Feature, Manifest
from modelyard.spec.pinned import canary_file, read_manifest, stable_file
from modelyard.spec.retired import after_pin, conflicts, read_retired, rendered, retired_file
from modelyard.spec.team import Canary

_NAME = NAME_PATTERN.removeprefix("^").removesuffix("$")


def parse_model(text: str) -> tuple[str, str]:
    """Return team and model of `TEAM/MODEL`.

    Raises:
        CommandError: it is not of that form.
    """
    match = re.fullmatch(rf"({_NAME})/({_NAME})", text)
    if not match:
        raise CommandError(f"'{text}' is not TEAM/MODEL, such as flight-ops/arrival-delay")
    team, _, model = text.partition("/")
    return team, model


def parse_version(text: str) -> tuple[str, str, int]:
    """Return team, model and version of `TEAM/MODEL@VERSION`.

    Raises:
        CommandError: it is not of that form.
    """
    name, at, version = text.rpartition("@")
    if not at or not re.fullmatch(r"[1-9][0-9]{0,6}", version):
        raise CommandError(f"'{text}' is not TEAM/MODEL@VERSION, such as flight-ops/arrival-delay@4")
    return *parse_model(name), int(version)


def team_folder(root: Path, team: str) -> Path:
    """Return a team's folder.

    Raises:
        CommandError: there is no such team.
    """
    known = team_names(root)
    if team not in known:
        raise CommandError(
            f"There is no team '{team}' under {root / TEAMS}.{nearest(team, known)} "
            f"Make it with: modelyard new team {team}"
        )
    return root / TEAMS / team


def pin(root: Path, target: str, *, as_canary: bool, registry_folder: Path | str) -> list[str]:
    """Pin `TEAM/MODEL@VERSION` and return what changed, a line each.

    A version that was the canary and becomes the served one is no canary any more. Features that the version
    drops are noted beside the manifest, since the prediction log keeps their columns.

    Raises:
        CommandError: there is no such team, model or version.
        SpecError: the manifest, or the team file with it, has problems. Nothing is written.
    """
    team, model, version = parse_version(target)
    folder = team_folder(root, team)
    file = TeamFile(folder / TEAM_FILE, f"{TEAMS}/{team}/{TEAM_FILE}")
    index = file.index(model)
    manifest, content = registry.published(registry_folder, team, model, version)
    entry = file.models[index]
    canary = entry.get("canary")
    files: dict[str, bytes | None] = {}
    if as_canary:
        if version == entry.get("version"):
            raise CommandError(
                f"Version {version} of {team}/{model} is served already; a canary is another one"
            )
        role, beside = "canary", canary_file(model)
        before = canary.get("version") if isinstance(canary, dict) else None
        compared = _pinned(folder, stable_file(model))
        file.set_canary(index, version, Canary.model_fields["percent"].default)
    else:
        role, beside = "version", stable_file(model)
        before = entry.get("version")
        compared = _pinned(folder, stable_file(model))
        _refuse_retyped(compared, manifest)
        files[retired_file(model)] = rendered(after_pin(_retired(folder, team, model), compared, manifest))
        file.set_version(index, version)
        if isinstance(canary, dict) and canary.get("version") == version:
            file.remove_canary(index)
            files[canary_file(model)] = None
    files |= {TEAM_FILE: file.content, beside: content}
    files = {name: new for name, new in files.items() if _current(folder / name) != new}
    if not files:
        return [f"{team}/{model}: {role} {version} is pinned already; nothing to do"]
    changes.apply(root, team, files)
    was = f"{before} -> " if before is not None and before != version else ""
    lines = [f"{team}/{model}: {role} {was}{version}"]
    if compared is not None and compared.version == version:
        compared = None
    if compared is not None and as_canary:
        lines.append(f"  compared with version {compared.version}, which is served:")
    lines += [f"  {line}" for line in version_changes(compared, manifest)]
    lines += [
        f"{'Removed' if new is None else 'Written'}: {TEAMS}/{team}/{name}" for name, new in files.items()
    ]
    return lines


def _refuse_retyped(before: Manifest | None, now: Manifest) -> None:
    """Refuse what would replace the prediction log's table, and with it lose its rows."""
    if before is None:
        return
    reasons = [reason for _, reason in conflicts(before.signature.features, now)]
    old, new = before.signature.prediction.type, now.signature.prediction.type
    if old is not new:
        reasons.append(
            f"The prediction is {old} in the prediction log and {new} now; publish it as a new model"
        )
    if reasons:
        raise CommandError("\n".join(reasons))


def _retired(folder: Path, team: str, model: str) -> tuple[Feature, ...]:
    """Return the features noted as retired.

    Raises:
        SpecError: the file is there and cannot be used; to write it anew would forget what it notes.
    """
    name = retired_file(model)
    if not (folder / name).exists():
        return ()
    found = read_retired(folder / name, f"{TEAMS}/{team}/{name}")
    if found.problems:
        raise SpecError(found.problems)
    return found.features


def _pinned(folder: Path, name: str) -> Manifest | None:
    return read_manifest(folder / name, name).manifest if (folder / name).exists() else None


def _current(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
