"""The app: which stacks there are, in which order they deploy, and the rules they all keep."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path

from cdktf import App

from modelyard.naming import Names
from modelyard.spec.environment import Environment
from modelyard.spec.errors import Problem, SpecError
from modelyard.spec.load import environment_names, load_environment, load_team, team_names
from modelyard.spec.team import DeployedTeam
from stacks import rules
from stacks.base import BaseStack

# The stacks that an environment's teams share.
ROOMS = ("foundation", "platform", "cluster", "catalog", "operations")
# What a stack needs deployed before it; the first deployment goes in this order.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "foundation": (),
    "platform": ("foundation",),
    "cluster": ("platform",),
    "catalog": ("foundation",),
    "operations": ("cluster", "catalog"),
    "tenant": ("cluster", "catalog"),
    "team": ("operations",),  # whose identities it grants access, and the tenant stack of the same team
}


@dataclass(frozen=True)
class Selection:
    """The stacks of one environment that are to be synthesized.

    Args:
        environment: the environment.
        rooms: selected shared stacks.
        tenants: teams whose tenant stacks are selected.
        teams: teams whose own stacks are selected.
    """

    environment: Environment
    rooms: frozenset[str]
    tenants: tuple[DeployedTeam, ...]
    teams: tuple[DeployedTeam, ...]


def select(root: Path, patterns: Sequence[str]) -> list[Selection]:
    """Read what the stacks that match `patterns` need, and nothing else, from the files under `root`.

    Args:
        root: folder that holds `environments/` and `teams/`.
        patterns: stack ids, as a shell matches file names.

    Raises:
        SpecError: a file that is needed is wrong, or no stack matches one of the patterns.
    """
    selections: list[Selection] = []
    matched: set[str] = set()
    problems: list[Problem] = []
    known = environment_names(root)
    for name in known:
        if any(_may_match(pattern, name) for pattern in patterns):
            try:
                selections.append(_select(root, load_environment(root, name), patterns, matched))
            except SpecError as error:
                problems += error.problems
    if problems:
        raise SpecError(problems)
    idle = [pattern for pattern in patterns if pattern not in matched]
    if idle or not patterns:
        there = ", ".join(f"{name}-*" for name in known)
        message = f"no stack matches {', '.join(idle) or 'nothing'}; there are {there}"
        raise SpecError([Problem("MODELYARD_STACKS", 1, 1, "", message)])
    return selections


def _select(root: Path, environment: Environment, patterns: Sequence[str], matched: set[str]) -> Selection:
    """Return what is selected of one environment; the patterns that match go into `matched`."""
    names = Names.of(environment)

    def wanted(stack: str) -> bool:
        hits = {pattern for pattern in patterns if fnmatchcase(stack, pattern)}
        matched.update(hits)
        return bool(hits)

    rooms = frozenset(room for room in ROOMS if wanted(names.stack(room)))
    teams = team_names(root)
    tenants = [team for team in teams if wanted(names.team(team).tenant_stack)]
    chosen = [team for team in teams if wanted(names.team(team).stack)]
    loaded: dict[str, DeployedTeam] = {}
    problems: list[Problem] = []
    for team in sorted({*tenants, *chosen}):
        try:
            loaded[team] = load_team(root, team, environment)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return Selection(
        environment, rooms, tuple(loaded[team] for team in tenants), tuple(loaded[team] for team in chosen)
    )


def _may_match(pattern: str, environment: str) -> bool:
    """Return whether `pattern` could match a stack of `environment`, to leave other environments unread."""
    literal = pattern.split("-", 1)[0]
    return fnmatchcase(environment, literal) or any(sign in literal for sign in "*?[")


def _class_of(kind: str) -> Callable[..., BaseStack]:
    """Return a stack's class, such as `stacks.team.TeamStack`.

    Imported when it is needed: each brings the bindings of its resources, and one stack alone is quick then.
    """
    made: Callable[..., BaseStack] = getattr(import_module(f"stacks.{kind}"), f"{kind.title()}Stack")
    return made


def build(app: App, selection: Selection) -> None:
    """Add the selected stacks of one environment to `app`.

    A stack depends on those it needs deployed before it; those that are not selected are left out, so one
    stack can be deployed alone.

    Raises:
        SpecError: a team's `stack.py` is wrong.
    """
    environment = selection.environment
    stacks = {room: _class_of(room)(app, environment) for room in ROOMS if room in selection.rooms}
    needs = [(stack, NEEDS[room]) for room, stack in stacks.items()]
    for team in selection.tenants:
        tenant = _class_of("tenant")(app, environment, team.team, team.cost_center)
        stacks[f"tenant-{team.team}"] = tenant
        needs.append((tenant, NEEDS["tenant"]))
    for team in selection.teams:
        own = _class_of("team")(app, environment, team)
        needs.append((own, (f"tenant-{team.team}", *NEEDS["team"])))
    for stack, before in needs:
        for room in before:
            if room in stacks:
                stack.add_dependency(stacks[room])


def _make(out: Path) -> None:
    try:
        (out / "stacks").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"no stacks can be written under {out}: {error.strerror}"
        raise SpecError([Problem("CDKTF_OUTDIR", 1, 1, "", message)]) from None


def main() -> int:
    """Synthesize the stacks that `MODELYARD_STACKS` selects; return the exit code."""
    root = Path(os.environ.get("MODELYARD_ROOT") or Path(__file__).parent.parent)
    patterns = [p.strip() for p in os.environ.get("MODELYARD_STACKS", "*").split(",") if p.strip()]
    out = Path(os.environ.get("CDKTF_OUTDIR") or "cdktf.out")
    try:
        selections = select(root, patterns)
        _make(out)
        app = App(outdir=str(out))
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
