"""Checks two revisions out of a repository, without touching its work tree or its index."""

import io
import os
import re
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plan_review.errors import ReviewError

# What stacks are made of; nothing else of a revision is read.
PATHS = ("environments", "teams", "stacks", "modules", "modelyard", "cdktf.json", "waivers.yaml")
WORK_TREE = "."
_TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Revision:
    """A commit, and what people call it."""

    name: str
    commit: str
    """Full hash; empty for the files as they are."""

    def __str__(self) -> str:
        if not self.commit:
            return "the files as they are"
        return f"{self.name} ({self.commit[:12]})" if self.name != self.commit else self.commit[:12]


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    # A repository under review must not decide what runs here: no hooks, no pager, no file-system monitor.
    safe = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=false"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        return subprocess.run(
            ["git", *safe, *arguments],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise ReviewError(
            "git", "there is no git on PATH.", "Install it, or name plans with --plan."
        ) from None
    except subprocess.TimeoutExpired:
        raise ReviewError("git", f"`git {arguments[0]}` took longer than {_TIMEOUT_SECONDS} s.") from None


def top_level(root: Path) -> Path:
    """Return the folder that holds the repository of `root`.

    Raises:
        ReviewError: `root` is in no repository.
    """
    found = _git(root, "rev-parse", "--show-toplevel")
    if found.returncode:
        detail = found.stderr.decode("utf-8", "replace")
        if "dubious ownership" in detail:
            mend = f"Run: git config --global --add safe.directory {root}"
            raise ReviewError(str(root), "git does not trust this folder: another user owns it.", mend)
        raise ReviewError(str(root), "this is no git repository.", "Name plans with --plan instead of refs.")
    return Path(found.stdout.decode().strip())


def resolve(repository: Path, name: str) -> Revision:
    """Return the commit that `name` means.

    Raises:
        ReviewError: there is no such commit here.
    """
    if name == WORK_TREE:
        return Revision(name, "")
    if not name or name.startswith("-") or re.search(r"[\s\x00-\x1f]", name):
        raise ReviewError(repr(name), "this is no git ref.", "Name a branch, a tag or a commit.")
    found = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if found.returncode:
        hint = "Does it exist? `git branch -a` lists the branches"
        if is_shallow(repository):
            hint = "This clone is shallow: run `git fetch --unshallow`, or set fetch-depth: 0"
        elif "/" not in name and _exists(repository, f"origin/{name}"):
            hint = f"There is origin/{name}: name that, or run `git branch {name} origin/{name}`"
        raise ReviewError(name, "there is no such commit here.", f"{hint}.")
    return Revision(name, found.stdout.decode().strip())


def _exists(repository: Path, name: str) -> bool:
    return _git(repository, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").returncode == 0


def is_shallow(repository: Path) -> bool:
    """Return whether the clone lacks older commits."""
    return _git(repository, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true"


def common(repository: Path, base: Revision, head: Revision) -> Revision:
    """Return the commit at which `head` left `base`: what came to `base` since is not what `head` changes.

    Raises:
        ReviewError: the two have none in common, or the clone is too shallow to see it.
    """
    found = _git(repository, "merge-base", base.commit, head.commit or "HEAD")
    commit = found.stdout.decode().strip()
    if found.returncode or not commit:
        hint = "Name the base that the branch was made from."
        if is_shallow(repository):
            hint = "This clone is shallow: run `git fetch --unshallow`, or set fetch-depth: 0."
        raise ReviewError(f"{base.name}..{head.name}", "the two have no commit in common here.", hint)
    return Revision(base.name, commit)


def refuse_dirty(repository: Path, folder: Path) -> None:
    """Refuse changes that are not committed: a review of HEAD would not see them.

    Raises:
        ReviewError: there are some in what stacks are made of.
    """
    inside = [str(folder / path) for path in PATHS]
    found = _git(repository, "status", "--porcelain", "-z", "--untracked-files=all", "--", *inside)
    names = [entry[3:] for entry in found.stdout.decode("utf-8", "replace").split("\0") if len(entry) > 3]
    if names:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise ReviewError(
            "work tree",
            f"there are changes that are not committed: {shown}.",
            "Commit them, or review the files as they are with --head .",
        )


def changed_files(repository: Path, folder: Path, base: Revision, head: Revision) -> tuple[str, ...]:
    """Return the files that differ between two revisions, as paths below `folder`."""
    revisions = [base.commit, head.commit] if head.commit else [base.commit]
    found = _git(repository, "diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", *revisions, "--")
    if found.returncode:
        raise ReviewError("git", found.stderr.decode("utf-8", "replace").strip()[:500])
    names = found.stdout.decode("utf-8", "replace").split("\0")
    if not head.commit:
        extra = _git(repository, "ls-files", "--others", "--exclude-standard", "-z")
        names += extra.stdout.decode("utf-8", "replace").split("\0")
    prefix = folder.relative_to(repository).as_posix()
    lead = "" if prefix == "." else f"{prefix}/"
    return tuple(sorted({name.removeprefix(lead) for name in names if name and name.startswith(lead)}))


def check_out(repository: Path, folder: Path, revision: Revision, target: Path) -> Path:
    """Write what stacks are made of at `revision` into `target`; return where `folder` is in it.

    Raises:
        ReviewError: the revision cannot be read, or holds a path that would leave `target`.
    """
    prefix = folder.relative_to(repository)
    wanted = [(prefix / path).as_posix() for path in PATHS]
    there = _existing(repository, revision, wanted)
    target.mkdir(parents=True, exist_ok=True)
    if there:
        packed = _git(repository, "archive", "--format=tar", revision.commit, "--", *there)
        if packed.returncode:
            raise ReviewError(str(revision), packed.stderr.decode("utf-8", "replace").strip()[:500])
        try:
            with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
                archive.extractall(target, filter="data")
        except tarfile.TarError as error:
            raise ReviewError(str(revision), f"it cannot be checked out: {error}.") from None
    return target / prefix


def _existing(repository: Path, revision: Revision, wanted: Sequence[str]) -> list[str]:
    found = _git(repository, "ls-tree", "-z", "--name-only", revision.commit, "--", *wanted)
    return [name for name in found.stdout.decode("utf-8", "replace").split("\0") if name]
