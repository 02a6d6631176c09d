"""A version says which code made it, also where that was never committed."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from modelyard.capture import PublishError, provenance


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit."""
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "train.py").write_text("import numpy\nimport modelyard.capture\nfrom helper import one\n")
    (root / "helper.py").write_text("def one():\n    import yaml\n")
    (root / "pyproject.toml").write_text('[project]\nname = "somewhere"\n')
    (root / ".gitignore").write_text("ignored/\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "Begin")
    return root


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(root), *who, *arguments], check=True, capture_output=True, text=True
    ).stdout


def test_commit_and_uncommitted_changes_are_recorded(checkout: Path) -> None:
    (checkout / "ignored").mkdir()
    (checkout / "ignored" / "rows.csv").write_text("1\n")
    clean = provenance.code(checkout / "train.py")
    assert (clean.commit, clean.dirty, clean.diff_digest) == (
        git(checkout, "rev-parse", "HEAD").strip(),
        False,
        None,
    )
    digests = []
    for name, text in (
        ("train.py", "import numpy\n"),
        ("train.py", "import json\n"),
        ("new.py", "1\n"),
        ("new.py", "2\n"),
    ):
        (checkout / name).write_text(text)
        changed = provenance.code(checkout / "train.py")
        assert changed.dirty
        digests.append(changed.diff_digest)
    git(checkout, "add", "new.py")
    assert provenance.code(checkout / "train.py").dirty, "what is staged is not committed"
    assert len(set(digests)) == 4, "every change counts, in tracked files and in new ones"


def test_code_below_the_root_is_named_from_the_root(checkout: Path) -> None:
    (checkout / "models").mkdir()
    (checkout / "models" / "fit.py").write_text("")
    code = provenance.code(checkout / "models" / "fit.py")
    assert (code.entry_point, code.dirty) == ("models/fit.py", True)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:secret@git.example.com/group/models.git", "https://git.example.com/group/models.git"),
        ("ssh://git@git.example.com/group/models.git", "ssh://git.example.com/group/models.git"),
        ("/somewhere/on/this/machine", "somewhere"),
    ],
)
def test_repository_is_named_without_secrets_or_local_paths(checkout: Path, address: str, shown: str) -> None:
    git(checkout, "remote", "add", "origin", address)
    assert provenance.code(checkout / "train.py").repository == shown


def test_code_without_a_commit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    message = "A version records the commit that trained it, but git says about .* Commit the training code"
    with pytest.raises(PublishError, match=message):
        provenance.code(tmp_path / "train.py")
    git(tmp_path, "init", "-q")
    with pytest.raises(PublishError, match=message):
        provenance.code(tmp_path / "train.py")


def test_dependencies_are_the_packages_imported_here_and_in_what_is_used(checkout: Path) -> None:
    packages = provenance.dependencies(checkout / "train.py", object()).packages
    assert set(packages) == {"numpy", "PyYAML"}
    assert packages["numpy"] == np.__version__


def test_entry_point_is_the_file_that_calls(tmp_path: Path) -> None:
    assert provenance.entry_point() == Path(__file__).resolve()


def test_time_is_now_or_what_a_build_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert provenance.created().utcoffset() is not None
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert provenance.created().isoformat() == "1970-01-02T00:00:00+00:00"
