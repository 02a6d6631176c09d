"""The app: which stacks there are, in which order they deploy, and the rules they all keep."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from cdktf import App

from modelyard.naming import Names
from modelyard.spec.environment import Environment
from modelyard.spec.errors import Problem, SpecError
from modelyard.spec.load import environment_names, load_environment, load_team, team_names
from modelyard.spec.team import DeployedTeam
from stacks import rules
from stacks.base import BaseStack
from stacks.catalog import CatalogStack
from stacks.cluster import ClusterStack
from stacks.foundation import FoundationStack
from stacks.operations import OperationsStack
from stacks.platform import PlatformStack
from stacks.team import TeamStack

ROOMS = ("foundation", "platform", "cluster", "catalog", "operations")
# What a stack needs deployed before it; the first deployment goes in this order.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "foundation": (),
    "platform": ("foundation",),
    "cluster": ("platform",),
    "catalog": ("foundation",),
    "operations": ("cluster", "catalog"),
    "team": ("cluster", "catalog"),
}


@dataclass(frozen=True)
class Selection:
    """The stacks of one environment that are to be synthesized.

    Args:
        environment: the environment.
        rooms: selected shared stacks.
        teams: teams whose stacks are selected.
        tenants: name and cost centre of every team, where a selected stack makes their projects or access.
    """

    environment: Environment
    rooms: frozenset[str]
    teams: tuple[DeployedTeam, ...]
    tenants: tuple[tuple[str, str], ...]


def select(root: Path, patterns: Sequence[str]) -> list[Selection]:
    """Read what the stacks that match `patterns` need, and nothing else, from the files under `root`.

    Args:
        root: folder that holds `environments/` and `teams/`.
        patterns: stack ids, as a shell matches file names.

    Raises:
        SpecError: a file that is needed is wrong, or no stack matches.
    """
    selections: list[Selection] = []
    problems: list[Problem] = []
    known = environment_names(root)
    for name in known:
        if any(_may_match(pattern, name) for pattern in patterns):
            try:
                selections.append(_select(root, load_environment(root, name), patterns))
            except SpecError as error:
                problems += error.problems
    if problems:
        raise SpecError(problems)
    if not any(selection.rooms or selection.teams for selection in selections):
        there = ", ".join(f"{name}-*" for name in known)
        message = f"no stack matches {', '.join(patterns) or 'nothing'}; there are {there}"
        raise SpecError([Problem("MODELYARD_STACKS", 1, 1, "", message)])
    return selections


def _select(root: Path, environment: Environment, patterns: Sequence[str]) -> Selection:
    names = Names.of(environment)

    def wanted(stack: str) -> bool:
        return any(fnmatchcase(stack, pattern) for pattern in patterns)

    rooms = frozenset(room for room in ROOMS if wanted(names.stack(room)))
    teams = team_names(root)
    chosen = [team for team in teams if wanted(names.team(team).stack)]
    # The shared stacks know names and cost centres only, so a changed model changes its team's stack alone.
    everyone = bool(rooms & {"foundation", "cluster"})
    loaded: dict[str, DeployedTeam] = {}
    problems: list[Problem] = []
    for team in teams if everyone else chosen:
        try:
            loaded[team] = load_team(root, team, environment)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    tenants = tuple((name, team.cost_center) for name, team in loaded.items()) if everyone else ()
    return Selection(environment, rooms, tuple(loaded[team] for team in chosen), tenants)


def _may_match(pattern: str, environment: str) -> bool:
    """Return whether `pattern` could match a stack of `environment`, to leave other environments unread."""
    literal = pattern.split("-", 1)[0]
    return fnmatchcase(environment, literal) or any(sign in literal for sign in "*?[")


def build(app: App, selection: Selection) -> None:
    """Add the selected stacks of one environment to `app`.

    A stack depends on those it needs deployed before it; those that are not selected are left out, so one
    stack can be deployed alone.

    Raises:
        SpecError: a team's `stack.py` is wrong.
    """
    environment, rooms, tenants = selection.environment, selection.rooms, selection.tenants
    stacks: dict[str, BaseStack] = {}
    if "foundation" in rooms:
        stacks["foundation"] = FoundationStack(app, environment, tenants)
    if "platform" in rooms:
        stacks["platform"] = PlatformStack(app, environment)
    if "cluster" in rooms:
        stacks["cluster"] = ClusterStack(app, environment, tenants)
    if "catalog" in rooms:
        stacks["catalog"] = CatalogStack(app, environment)
    if "operations" in rooms:
        stacks["operations"] = OperationsStack(app, environment)
    needs = [(stack, NEEDS[room]) for room, stack in stacks.items()]
    needs += [(TeamStack(app, environment, team), NEEDS["team"]) for team in selection.teams]
    for stack, rooms_before in needs:
        for room in rooms_before:
            if room in stacks:
                stack.add_dependency(stacks[room])


def main() -> int:
    """Synthesize the stacks that `MODELYARD_STACKS` selects; return the exit code."""
    root = Path(os.environ.get("MODELYARD_ROOT") or Path(__file__).parent.parent)
    patterns = [p.strip() for p in os.environ.get("MODELYARD_STACKS", "*").split(",") if p.strip()]
    try:
        selections = select(root, patterns)
        app = App()
        for selection in selections:
            build(app, selection)
    except SpecError as error:
        print(error, file=sys.stderr)
        return 2
    app.synth()
    broken = rules.violations(Path(app.outdir))
    for line in broken:
        print(line, file=sys.stderr)
    return 2 if broken else 0
