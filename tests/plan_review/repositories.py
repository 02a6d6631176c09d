"""Git repositories of input files, for tests."""

import subprocess
from pathlib import Path

from tests.plan_review.conftest import copy_inputs


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder; return what it printed."""
    own = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *own, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def make(root: Path, folder: Path) -> Path:
    """Make a repository of the environment `dev` and all teams, on branch `main`."""
    folder.mkdir(parents=True, exist_ok=True)
    copy_inputs(root, folder)
    for path in (folder / "environments").glob("*.yaml"):
        if path.stem != "dev":
            path.unlink()
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "base")
    return folder


def commit(folder: Path, message: str) -> str:
    """Commit everything; return the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", f"--message={message}")
    return git(folder, "rev-parse", "HEAD")
