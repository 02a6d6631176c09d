"""A version says which code made it, also where that was never committed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modelyard.capture import PublishError, provenance

ROOT = Path(__file__).resolve().parents[3]


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
        ("git@git.example.com:group/models.git", "ssh://git.example.com/group/models.git"),
        ("user:secret@git.example.com:group/models.git", "ssh://git.example.com/group/models.git"),
        (
            "https://git.example.com/group/models.git?private_token=secret",
            "https://git.example.com/group/models.git",
        ),
        ("https://secret@git.example.com/group/models.git", "https://git.example.com/group/models.git"),
        ("file:///somewhere/on/this/machine", "somewhere"),
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


def test_what_git_does_not_know_counts_whatever_it_is_called_or_is(checkout: Path) -> None:
    (checkout / os.fsdecode(b"caf\xe9.csv")).write_bytes(b"1")
    (checkout / "link").symlink_to(checkout.parent)
    (checkout / "dangling").symlink_to("nowhere")
    first = provenance.code(checkout / "train.py")
    (checkout / "dangling").unlink()
    (checkout / "dangling").symlink_to("elsewhere")
    assert first.dirty and provenance.code(checkout / "train.py").diff_digest != first.diff_digest


def test_a_file_of_gigabytes_needs_no_gigabytes(checkout: Path) -> None:
    """What is hashed is read in pieces: neither a new file nor a diff is ever in memory as a whole."""
    large = checkout / "rows.bin"
    with large.open("wb") as file:
        file.truncate(300 << 20)
    script = (
        "import resource, sys\n"
        "from modelyard.capture import provenance\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit := 1 << 30, limit))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert provenance.code(provenance.Path(sys.argv[1])).dirty\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(checkout / "train.py")],
        capture_output=True, text=True, cwd=ROOT, check=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert int(done.stdout) < 100 << 10, "KiB"


def test_detached_heads_hooks_and_submodules(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(checkout, "checkout", "-q", "--detach")
    assert not provenance.code(checkout / "train.py").dirty
    other = checkout.parent / "other"
    other.mkdir()
    git(other, "init", "-q")
    with monkeypatch.context() as hook:  # git sets this where it calls a hook
        hook.setenv("GIT_DIR", str(other / ".git"))
        assert provenance.checkout(checkout / "train.py") == checkout.resolve()
    (other / "part.py").write_text("1\n")
    git(other, "add", ".")
    git(other, "commit", "-q", "-m", "Begin")
    git(checkout, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "part")
    git(checkout, "commit", "-q", "-m", "Add a part")
    assert not provenance.code(checkout / "train.py").dirty
    digests = []
    for text in ("2\n", "3\n"):
        (checkout / "part" / "part.py").write_text(text)
        digests.append(provenance.code(checkout / "train.py").diff_digest)
    assert None not in digests and len(set(digests)) == 2, "what changed in a submodule, not that it did"
    inside = provenance.code(checkout / "part" / "part.py")
    assert (inside.entry_point, inside.dirty) == ("part.py", True)
