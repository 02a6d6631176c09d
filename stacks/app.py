"""The app: which stacks there are, in which order they deploy, and the rules they all keep."""

import os
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from cdktf import App

from modelyard.naming import Names
from modelyard.spec.environment import Environment
from modelyard.spec.errors import SpecError
from modelyard.spec.load import environment_names, load_environment, load_team, team_names
from stacks import rules
from stacks.base import BaseStack
from stacks.catalog import CatalogStack
from stacks.cluster import ClusterStack
from stacks.foundation import FoundationStack
from stacks.operations import OperationsStack
from stacks.platform import PlatformStack
from stacks.team import TeamStack

ROOMS = ("foundation", "platform", "cluster", "catalog", "operations")


def selected(stack_id: str, patterns: Sequence[str]) -> bool:
    """Return whether `stack_id` matches one of `patterns`, as a shell would match file names."""
    return any(fnmatchcase(stack_id, pattern) for pattern in patterns)


def add_environment(app: App, root: Path, environment: Environment, patterns: Sequence[str]) -> None:
    """Add the selected stacks of one environment to `app`.

    A stack depends on those it needs deployed before it; dependencies that are not selected are left out, so
    one stack can be deployed alone.

    Raises:
        SpecError: a team file or manifest that is needed is wrong.
    """
    names = Names.of(environment)
    wanted = {room for room in ROOMS if selected(names.stack(room), patterns)}
    all_teams = team_names(root)
    wanted_teams = [team for team in all_teams if selected(names.team(team).stack, patterns)]
    # The shared stacks know the teams' names and cost centres, so that a changed model changes only its
    # team's stack.
    load = all_teams if wanted & {"foundation", "cluster"} else wanted_teams
    teams = {team: load_team(root, team, environment) for team in load}
    tenants = [(team, loaded.cost_center) for team, loaded in teams.items()]

    stacks: dict[str, BaseStack] = {}
    if "foundation" in wanted:
        stacks["foundation"] = FoundationStack(app, environment, tenants)
    if "platform" in wanted:
        stacks["platform"] = PlatformStack(app, environment)
    if "cluster" in wanted:
        stacks["cluster"] = ClusterStack(app, environment, tenants)
    if "catalog" in wanted:
        stacks["catalog"] = CatalogStack(app, environment)
    if "operations" in wanted:
        stacks["operations"] = OperationsStack(app, environment)
    for team in wanted_teams:
        stacks[team] = TeamStack(app, environment, teams[team])
    order = {"platform": ["foundation"], "cluster": ["platform"], "catalog": ["foundation"]}
    order["operations"] = ["cluster", "catalog"]
    for name, stack in stacks.items():
        for needed in order.get(name, [] if name == "foundation" else ["cluster", "catalog"]):
            if needed in stacks:
                stack.add_dependency(stacks[needed])


def build(app: App, root: Path, patterns: Sequence[str]) -> None:
    """Add the selected stacks of every environment under `root` to `app`.

    Raises:
        SpecError: a file is wrong, or no stack matches.
    """
    names = environment_names(root)
    for name in names:
        if any(_may_match(pattern, name) for pattern in patterns):
            add_environment(app, root, load_environment(root, name), patterns)


def _may_match(pattern: str, environment: str) -> bool:
    """Return whether `pattern` could match a stack of `environment`, to leave other environments unread."""
    literal = pattern.split("-", 1)[0]
    return fnmatchcase(environment, literal) or "*" in literal or "?" in literal or "[" in literal


def main() -> int:
    """Synthesize the stacks that `MODELYARD_STACKS` selects; return the exit code."""
    root = Path(os.environ.get("MODELYARD_ROOT") or Path(__file__).parent.parent)
    patterns = [p.strip() for p in os.environ.get("MODELYARD_STACKS", "*").split(",") if p.strip()]
    app = App()
    try:
        build(app, root, patterns)
    except SpecError as error:
        print(error, file=sys.stderr)
        return 2
    app.synth()
    broken = rules.violations(Path(app.outdir))
    for line in broken:
        print(line, file=sys.stderr)
    return 2 if broken else 0
