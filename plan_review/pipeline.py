"""What a pipeline needs to know of a change: which stacks to plan, as which identities, in what order."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from plan_review import git, synthesis
from plan_review.fleet import Fleet

Entry = dict[str, str]


def affected(root: Path, base: str, head: str, patterns: Sequence[str] = ("*-team-*",)) -> list[Entry]:
    """Return the stacks that a change can move and that a pipeline may deploy.

    Stacks of environments on the stand-in have no pipeline, and stacks that the change takes away are
    destroyed by hand. Only teams' stacks are named: platform engineers deploy what teams share themselves.

    Args:
        root: folder with `environments/` and `teams/`, in a git repository, at `head`.
        base: ref to compare with.
        head: ref under review.
        patterns: patterns of stack ids to name.

    Raises:
        ReviewError: a ref is not there.
    """
    folder = root.resolve()
    repository = git.top_level(folder).resolve()
    after = git.resolve(repository, head)
    before = git.common(repository, git.resolve(repository, base), after)
    files = git.changed_files(repository, folder, before, after)
    fleet = Fleet(folder)
    # A team that base does not have is new: comparing with itself names its stacks by its files.
    moved = synthesis.affected(fleet, fleet, files)
    return [
        entry
        for entry in entries(fleet)
        if entry["stack"] in moved and any(fnmatchcase(entry["stack"], p) for p in patterns)
    ]


def entries(fleet: Fleet) -> list[Entry]:
    """Return every team's stack with the identities that plan and deploy it."""
    found = []
    for environment in fleet.environments.values():
        if environment.raw.get("stand_in") is True:
            continue
        names = environment.names
        pools = f"projects/{names.project_number}/locations/global/workloadIdentityPools"
        provider = f"{pools}/{names.ci_pool}/providers/github"
        for team in fleet.teams:
            own = names.team(team)
            found.append(
                {
                    "stack": own.stack,
                    "environment": environment.name,
                    "team": team,
                    "project": own.project,
                    "provider": provider,
                    "planner": own.identity("planner"),
                    "deployer": own.identity("deployer"),
                }
            )
    return found
