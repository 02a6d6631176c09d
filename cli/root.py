"""Finds the folder that the command works on."""

import os
from pathlib import Path

from cli.errors import CommandError


def find_root(given: Path | None) -> Path:
    """Return the folder that holds `environments/` and `teams/`.

    It is `given` (`--root`), else `MODELYARD_ROOT`, else the nearest of this folder and its parents.

    Raises:
        CommandError: there is none.
    """
    named = given or (Path(os.environ["MODELYARD_ROOT"]) if os.environ.get("MODELYARD_ROOT") else None)
    if named is not None:
        if not named.is_dir():
            raise CommandError(f"There is no folder {named}; --root or MODELYARD_ROOT names it")
        return named
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "environments").is_dir() and (folder / "teams").is_dir():
            return folder
    raise CommandError(
        "Neither this folder nor one above it has environments/ and teams/; name the folder with --root"
    )
