"""Changes to a team's folder: tried on a copy first, then written as a whole."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from modelyard.spec.errors import Problem, SpecError
from modelyard.spec.load import ENVIRONMENTS, TEAMS, validate


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold a lock on the teams' folder, so that no other command changes what this one has read."""
    try:
        descriptor = os.open(root / TEAMS, os.O_RDONLY)
    except OSError:  # what reads the folder next says what is wrong with it
        yield
        return
    try:
        with contextlib.suppress(OSError):  # file systems that have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def apply(root: Path, team: str, files: Mapping[str, bytes | None]) -> None:
    """Write files of a team's folder, None to remove one; nothing is written unless all can be.

    Raises:
        SpecError: the changed folder would have problems that it does not have now.
        OSError: the folder cannot be written; it is as it was.
    """
    before = {_identity(problem) for problem in validate(root)}
    with tempfile.TemporaryDirectory(prefix="modelyard-") as scratch:
        trial = Path(scratch)
        _mirror(root / ENVIRONMENTS, trial / ENVIRONMENTS)
        (trial / TEAMS).mkdir()
        for folder in (root / TEAMS).iterdir():
            if folder.name != team:
                _mirror(folder, trial / TEAMS / folder.name)
        if (root / TEAMS / team).is_dir():
            shutil.copytree(root / TEAMS / team, trial / TEAMS / team)
        (trial / TEAMS / team).mkdir(exist_ok=True)
        _write(trial / TEAMS / team, files)
        new = [problem for problem in validate(trial) if _identity(problem) not in before]
    if new:
        raise SpecError(new)
    folder = root / TEAMS / team
    if folder.is_dir():
        _replace(folder, files)
    else:
        _create(folder, files)


def _identity(problem: Problem) -> tuple[str, str, str]:
    """Return what makes a problem the same one when lines above it were added."""
    return problem.file, problem.path, problem.message


def _mirror(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.resolve())
    except OSError:  # file systems and users that have no links
        if source.is_dir():
            shutil.copytree(source, target)


def _write(folder: Path, files: Mapping[str, bytes | None]) -> None:
    for name, content in files.items():
        if content is None:
            (folder / name).unlink(missing_ok=True)
        else:
            (folder / name).write_bytes(content)


def _create(folder: Path, files: Mapping[str, bytes | None]) -> None:
    """Make a folder that appears with all its files, or not at all."""
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        _write(draft, files)
        draft.chmod(0o755)  # mkdtemp makes folders that only their owner may read
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _replace(folder: Path, files: Mapping[str, bytes | None]) -> None:
    """Replace files one by one, each in one step; put back what was replaced if one fails."""
    drafts: dict[str, Path] = {}
    replaced: dict[str, bytes | None] = {}
    try:
        for name, content in files.items():
            if content is not None:
                drafts[name] = _draft(folder, name, content)
        for name in files:
            path = folder / name
            replaced[name] = path.read_bytes() if path.exists() else None
            if name in drafts:
                drafts[name].replace(path)
                del drafts[name]
            else:
                path.unlink(missing_ok=True)
    except BaseException:  # Ctrl-C among them
        with contextlib.suppress(OSError):
            _write(folder, replaced)
        raise
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _draft(folder: Path, name: str, content: bytes) -> Path:
    """Write content to a new file beside the one it will replace, with its permissions."""
    descriptor, path = tempfile.mkstemp(prefix=f".{name}-", dir=folder)
    draft = Path(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        existing = folder / name
        draft.chmod(existing.stat().st_mode & 0o777 if existing.exists() else 0o644)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft
