"""Loads `environments/` and `teams/`: every problem of every file at once, or frozen, valid objects."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from modelyard.naming import Names
from modelyard.naming.checks import illegal, platform_claims, shared, team_claims
from modelyard.spec import resolve
from modelyard.spec.base import NAME_PATTERN
from modelyard.spec.environment import Environment
from modelyard.spec.errors import Path, Problem, SpecError, in_order, nearest, path_text
from modelyard.spec.explain import validated
from modelyard.spec.pinned import (
    Pinned,
    canary_file,
    leftover_problems,
    match_problems,
    read_pinned,
    stable_file,
)
from modelyard.spec.retired import SUFFIX, RetiredFile, conflicts, read_retired, retired_file
from modelyard.spec.source import Document, read_yaml
from modelyard.spec.team import DeployedModel, DeployedTeam, Model, Team

ENVIRONMENTS, TEAMS, TEAM_FILE = "environments", "teams", "team.yaml"


def environment_names(root: FilePath) -> list[str]:
    """Return the names of the environments under `root`, sorted.

    Raises:
        SpecError: there is no folder `environments/`, or none in it.
    """
    names = sorted(path.stem for path in _entries(root, ENVIRONMENTS) if path.suffix == ".yaml")
    if not names:
        raise SpecError(
            [Problem(ENVIRONMENTS, 1, 1, "", "There is no environment: no file environments/*.yaml")]
        )
    return names


def team_names(root: FilePath) -> list[str]:
    """Return the names of the teams under `root`, sorted.

    Raises:
        SpecError: there is no folder `teams/`.
    """
    return sorted(path.name for path in _entries(root, TEAMS) if path.is_dir())


def load_environment(root: FilePath, name: str) -> Environment:
    """Return the environment `name`.

    Raises:
        SpecError: there is none, or its file has problems.
    """
    known = environment_names(root)
    if name not in known:
        message = f"There is no environment '{name}'; there are {', '.join(known)}.{nearest(name, known)}"
        raise SpecError([Problem(f"{ENVIRONMENTS}/{name}.yaml", 1, 1, "", message.removesuffix("."))])
    file = _read_environment(root, name)
    if file.value is None or file.problems:
        raise SpecError(file.problems)
    return file.value


def load_team(root: FilePath, team: str, environment: Environment) -> DeployedTeam:
    """Return the team `team` as `environment` deploys it.

    Names that two teams would share are found by `validate` alone, since that needs all teams.

    Raises:
        SpecError: there is no such team, or its files have problems.
    """
    known = team_names(root)
    if team not in known:
        message = f"There is no team '{team}'; there are {', '.join(known) or 'none'}.{nearest(team, known)}"
        raise SpecError([Problem(f"{TEAMS}/{team}/{TEAM_FILE}", 1, 1, "", message.removesuffix("."))])
    file = _read_team(root, team)
    deployed, problems = _deploy(file, environment)
    if problems or file.problems or deployed is None:
        raise SpecError([*file.problems, *problems])
    return deployed


@dataclass(frozen=True)
class Counts:
    """How much was validated."""

    environments: int
    teams: int
    models: int


def validate(root: FilePath, environment: str | None = None) -> list[Problem]:
    """Return every problem of every file under `root`, sorted.

    Args:
        root: folder that holds `environments/` and `teams/`.
        environment: the only environment to look at; default: all.
    """
    return check(root, environment)[0]


def check(root: FilePath, environment: str | None = None) -> tuple[list[Problem], Counts]:
    """Return what `validate` does, and how much was validated."""
    problems: list[Problem] = []
    environments: list[_EnvironmentFile] = []
    teams: list[_TeamFile] = []
    try:
        known = environment_names(root)
        if environment is not None and environment not in known:
            load_environment(root, environment)
        chosen = [environment] if environment is not None else known
        environments = [_read_environment(root, name) for name in chosen]
    except SpecError as error:
        problems += error.problems
    try:
        teams = [_read_team(root, name) for name in team_names(root)]
    except SpecError as error:
        problems += error.problems
    problems += _misplaced(root)
    problems += [problem for environment_file in environments for problem in environment_file.problems]
    problems += [problem for team_file in teams for problem in team_file.problems]
    for value in (file.value for file in environments):
        if value is not None:
            for team in teams:
                problems += _deploy(team, value)[1]
            problems += _team_name_problems(teams, value)
    problems += _project_problems(environments, teams)
    models = sum(len(team.models) for team in teams)
    return in_order(problems), Counts(len(environments), len(teams), models)


@dataclass
class _EnvironmentFile:
    """An environment's file; `value` is None where it cannot be used."""

    document: Document
    value: Environment | None
    problems: list[Problem]


@dataclass
class _TeamFile:
    """A team's folder. What of the file is valid is checked further even when other parts are not."""

    name: str
    document: Document
    team: Team | None = None
    pinned: dict[str, Pinned] = field(default_factory=dict)
    retired: dict[str, RetiredFile] = field(default_factory=dict)
    models: list[int] = field(default_factory=list)
    """Positions of the models that are valid by themselves."""
    has_owners: bool = False
    stack_py: str | None = None
    problems: list[Problem] = field(default_factory=list)

    def manifest(self, file: str) -> Pinned | None:
        """Return the manifest in `file`, if it can be used."""
        found = self.pinned.get(file)
        return found if found and found.manifest else None


def _read_environment(root: FilePath, name: str) -> _EnvironmentFile:
    shown = f"{ENVIRONMENTS}/{name}.yaml"
    document = read_yaml(root / ENVIRONMENTS / f"{name}.yaml", shown)
    problems = list(document.problems)
    if document.data is None:
        return _EnvironmentFile(document, None, problems)
    value, found = validated(Environment, document.data, document)
    problems += _besides(found, problems)
    written = document.data.get("environment")
    if isinstance(written, str) and written != name:
        message = (
            f"'{written}' is not the name of the file; write {name}, or rename the file to {written}.yaml"
        )
        problems.append(document.problem(("environment",), message))
    return _EnvironmentFile(document, value, problems)


def _read_team(root: FilePath, name: str) -> _TeamFile:
    folder = root / TEAMS / name
    shown = f"{TEAMS}/{name}/{TEAM_FILE}"
    file = _TeamFile(name, read_yaml(folder / TEAM_FILE, shown))
    document, data = file.document, file.document.data
    file.problems += document.problems
    file.pinned = read_pinned(folder, f"{TEAMS}/{name}")
    file.problems += [problem for found in file.pinned.values() for problem in found.problems]
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        file.retired[path.name] = read_retired(path, f"{TEAMS}/{name}/{path.name}")
        file.problems += file.retired[path.name].problems
    if (folder / "stack.py").is_file():
        file.stack_py = str(folder / "stack.py")
    if (folder / "team.yml").exists():
        message = f"Nothing reads this file; rename it to {TEAM_FILE}"
        file.problems.append(Problem(f"{TEAMS}/{name}/team.yml", 1, 1, "", message))
    if data is None:
        return file
    file.team, found = validated(Team, data, document, partial=True)
    file.problems += _besides(found, document.problems)
    if isinstance(data.get("team"), str) and data["team"] != name:
        message = f"'{data['team']}' is not the name of the folder; write {name}, or rename the folder"
        file.problems.append(document.problem(("team",), message))
    models = data.get("models")
    models = models if isinstance(models, list) else []
    wrong = {problem.path for problem in found}
    file.has_owners = not _any_under(("owners",), wrong) and isinstance(data.get("owners"), dict)
    if not _any_under(("defaults",), wrong):
        file.models = [i for i in range(len(models)) if not _any_under(("models", i), wrong)]
    file.problems += _model_problems(file, models)
    return file


def _model_problems(file: _TeamFile, models: list[Any]) -> Iterator[Problem]:
    """Yield what is wrong between the models of a file, and between them and their manifests."""
    document = file.document
    names = [
        model["name"] for model in models if isinstance(model, dict) and isinstance(model.get("name"), str)
    ]
    seen: Counter[str] = Counter()
    for index, model in enumerate(models):
        name = model.get("name") if isinstance(model, dict) else None
        if isinstance(name, str):
            if seen[name]:
                yield document.problem(("models", index, "name"), f"Model '{name}' is here twice")
            seen[name] += 1
    for index in file.models:
        yield from resolve.pattern_problems(document, index, models[index])
        yield from match_problems(file.name, index, models[index], document, file.pinned)
        yield from _retired_problems(file, models[index]["name"])
    if len(names) == len(models) and all(re.fullmatch(NAME_PATTERN, name) for name in names):
        canaries = {m["name"] for m in models if m.get("canary") is not None}
        yield from leftover_problems(names, canaries, file.pinned)
        for name in sorted(file.retired.keys() - {retired_file(name) for name in names}):
            message = "No model of team.yaml has this file's log; remove it, or rename it"
            yield file.retired[name].document.problem((), message)


def _retired_problems(file: _TeamFile, model: str) -> Iterator[Problem]:
    """Yield retired features that the pinned version has again, with another type."""
    retired, pinned = file.retired.get(retired_file(model)), file.pinned.get(stable_file(model))
    if retired and pinned and pinned.manifest:
        for position, message in conflicts(retired.features, pinned.manifest):
            yield retired.document.problem(("features", position, "type"), message)


def _deploy(file: _TeamFile, environment: Environment) -> tuple[DeployedTeam | None, list[Problem]]:
    """Return a team as an environment deploys it, and what is wrong only there."""
    document, data = file.document, file.document.data
    if data is None:
        return None, []
    problems: list[Problem] = []
    if file.has_owners:
        problems += resolve.owner_problems(document, file.name, data["owners"], environment)
    models: dict[int, Model] = {}
    deployed: list[DeployedModel] = []
    for index in file.models:
        model, settings, found = resolve.resolved(document, index, environment)
        problems += found
        if model is None:
            continue
        models[index] = model
        stable = file.manifest(stable_file(model.name))
        canary = file.manifest(canary_file(model.name)) if model.canary else None
        manifests = [pinned.manifest for pinned in (stable, canary) if pinned and pinned.manifest]
        noted = file.retired.get(retired_file(model.name))
        retired = noted.features if noted else ()
        problems += resolve.model_problems(document, index, model, settings, manifests, retired, environment)
        if stable and stable.manifest:
            other = canary.manifest if canary else None
            deployed.append(
                DeployedModel.model_construct(
                    spec=model, manifest=stable.manifest, canary=other, retired=retired
                )
            )
    problems += resolve.name_problems(document, models, Names.of(environment), file.name)
    if file.team is None or file.problems or problems:
        return None, problems
    team = DeployedTeam.model_construct(
        team=file.team.team,
        owners=file.team.owners,
        cost_center=file.team.cost_center,
        monthly_budget=file.team.monthly_budget or environment.budget.team,
        models=tuple(deployed),
        stack_py=file.stack_py,
    )
    return team, []


def _team_name_problems(teams: Iterable[_TeamFile], environment: Environment) -> Iterator[Problem]:
    """Yield teams whose names a service refuses, or that share a name once it is cut to its limit."""
    names = Names.of(environment)
    claims = list(platform_claims(names))
    documents: dict[str, Document] = {}
    where = f" in environment {environment.environment}"
    for file in teams:
        mine = list(team_claims(names.team(file.name)))
        documents[mine[0].owner] = file.document
        claims += mine
        for claim in mine:
            if wrong := illegal(claim):
                yield file.document.problem(("team",), f"'{file.name}' cannot be used{where}: {wrong}")
    for claim, first in shared(claims):
        message = (
            f"{claim.owner.capitalize()} and {first.owner} would share the {claim.kind} '{claim.name}'{where}"
        )
        yield documents[claim.owner].problem(("team",), f"{message}; choose another name")


def _project_problems(files: Iterable[_EnvironmentFile], teams: Iterable[_TeamFile]) -> Iterator[Problem]:
    """Yield projects that two environments would share."""
    owners: dict[str, str] = {}
    for file in files:
        if file.value is None:
            continue
        name = file.value.environment
        projects: list[tuple[Path, str]] = [(("project",), file.value.project)]
        team_names = [team.name for team in teams]
        projects += [(("tenants", "prefix"), Names.of(file.value).team(team).project) for team in team_names]
        for path, project in projects:
            owner = owners.setdefault(project, name)
            if owner != name:
                message = f"Project '{project}' belongs to environment {owner}; environments share none"
                yield file.document.problem(path, message)


def _misplaced(root: FilePath) -> Iterator[Problem]:
    """Yield files that somebody may take for an environment or a team, and that nothing reads."""
    for folder, right in ((ENVIRONMENTS, "environments/{}.yaml"), (TEAMS, "teams/{}/team.yaml")):
        paths = (root / folder).iterdir() if (root / folder).is_dir() else ()
        for path in paths:
            wrong = {".yml"} if folder == ENVIRONMENTS else {".yml", ".yaml"}
            if path.suffix in wrong and not path.is_dir():
                message = f"Nothing reads this file; move it to {right.format(path.stem)}"
                yield Problem(f"{folder}/{path.name}", 1, 1, "", message)
            elif path.is_symlink() and not path.exists():
                yield Problem(f"{folder}/{path.name}", 1, 1, "", "A symbolic link here leads nowhere")


def _entries(root: FilePath, folder: str) -> list[FilePath]:
    try:
        paths = list((root / folder).iterdir())
    except OSError as error:
        reason = "There is no such folder" if isinstance(error, FileNotFoundError) else str(error.strerror)
        message = f"{reason}; run in a checkout that has environments/ and teams/, or name it with --root"
        raise SpecError([Problem(folder, 1, 1, "", message)]) from None
    return [path for path in paths if not path.name.startswith((".", "_"))]


def _besides(problems: Iterable[Problem], known: Iterable[Problem]) -> list[Problem]:
    """Return problems at other places than those of the known ones: one message each place is enough."""
    places = {(problem.line, problem.column) for problem in known}
    return [problem for problem in problems if (problem.line, problem.column) not in places]


def _any_under(path: Path, wrong: set[str]) -> bool:
    """Return whether one of the wrong places lies at or under `path`."""
    prefix = path_text(path)
    return any(place == prefix or place.startswith((f"{prefix}.", f"{prefix}[")) for place in wrong)
