"""Problems in input files: where, what, and how to mend it."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]
_MOST_PER_FILE = 500


def path_text(path: Path) -> str:
    """Return a path as people write it: `models[0].monitors.drift`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + _cut(part)
    return text


@dataclass(frozen=True, order=True)
class Problem:
    """One problem: file relative to the root, line and column from 1, path in the file, and what to do.

    Printed as `teams/x/team.yaml:14:9 models[0].pattern: 'rst' is not one of ...`.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{_printable(self.file)}:{self.line}:{self.column}"
        return f"{place} {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class SpecError(Exception):
    """Input that cannot be used. `problems` are sorted by file and place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__("\n".join(map(str, self.problems)))


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems without repetitions, sorted by file and place; of one file, at most 500."""
    kept: list[Problem] = []
    counts: dict[str, int] = {}
    for problem in sorted(set(problems)):
        counts[problem.file] = counts.get(problem.file, 0) + 1
        if counts[problem.file] <= _MOST_PER_FILE:
            kept.append(problem)
    for file, count in counts.items():
        if count > _MOST_PER_FILE:
            last = next(problem for problem in reversed(kept) if problem.file == file)
            more = f"and {count - _MOST_PER_FILE} more problems in this file"
            kept.insert(kept.index(last) + 1, Problem(file, last.line, last.column, "", more))
    return kept


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean '...'?` with the nearest of the known names, or nothing when none is near."""
    plain = {_plain(other): other for other in known}
    near = difflib.get_close_matches(_plain(name), plain, 1, 0.6)
    if not near and len(name) > 1:
        near = [other for other in plain if _plain(name) in other]
    return f" Did you mean '{plain[near[0]]}'?" if len(near) == 1 else ""


def shown(value: Any) -> str:
    """Return a value as messages show it: text in quotes, long text cut."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return f"'{_cut(value)}'"
        case int() | float():
            return f"{value:.15g}" if isinstance(value, float) else str(value)
        case dict():
            return "a group of keys"
        case list():
            return "a list"
        case _:
            return str(value)


def _cut(text: str) -> str:
    """Return text on one line, printable, of at most 60 characters."""
    flat = _printable(text[:100]).strip()
    return flat if len(flat) <= 60 else flat[:57] + "..."


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_").replace(" ", "_")
