"""How far a review reaches: which teams, models and stacks it moves."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from plan_review.context import Context


@dataclass(frozen=True)
class Blast:
    """What is touched, each sorted by name."""

    stacks: tuple[str, ...]
    teams: tuple[str, ...]
    models: tuple[str, ...]
    environments: tuple[str, ...]
    shared: tuple[str, ...]
    """Files that many stacks are made of, where such were changed."""


def blast(context: Context, changed_files: Iterable[str] = ()) -> Blast:
    """Return what the changes under review touch.

    Args:
        context: the review.
        changed_files: files that differ between the checkouts, as paths in the repository.
    """
    stacks: set[str] = set()
    teams: set[str] = set()
    models: set[str] = set()
    environments: set[str] = set()
    for change in context.changes():
        subject = context.subject(change)
        stacks.add(change.stack)
        if subject.team:
            teams.add(subject.team)
        if subject.model:
            models.add(f"{subject.team}/{subject.model}" if subject.team else subject.model)
        if subject.environment:
            environments.add(subject.environment)
    return Blast(
        tuple(sorted(stacks)),
        tuple(sorted(teams)),
        tuple(sorted(models)),
        tuple(sorted(environments)),
        tuple(sorted(path for path in changed_files if is_shared(path))),
    )


# Folders that every stack is made of.
SHARED = ("modules", "stacks", "modelyard")


def is_shared(path: str) -> bool:
    """Return whether a file is one that many stacks are made of."""
    parts = PurePosixPath(path).parts
    return len(parts) > 1 and parts[0] in SHARED
