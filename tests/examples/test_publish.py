"""Publishing writes a version whole or not at all, never changes one, and records where it came from."""

import io
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from examples import evaluate, provenance, publish
from examples.describe import About
from examples.errors import PublishError
from modelyard.spec.manifest import FeatureType, Manifest, Prediction, Task, digest_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=60,
)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELYARD_REGISTRY", str(tmp_path / "registry"))
    return tmp_path / "registry"


def line(slope: float = 2.0, version: int = 1, **changes: Any) -> publish.Published:
    """Publish a straight line."""
    features = pd.DataFrame({"x": np.arange(20.0)})
    target = pd.Series(slope * features["x"] + 1)
    model = LinearRegression().fit(features, target)
    arguments: dict[str, Any] = {
        "model": model,
        "task": Task.REGRESSION,
        "features": features,
        "about": {"x": About("Where", "m")},
        "target": target,
        "prediction": Prediction(name="y", type=FeatureType.FLOAT64),
        "predictions": model.predict(features),
        "metrics": evaluate.regression(target, model.predict(features), naive=target.mean()),
        "source": "pkg:pypi/lines@1#straight",
        "source_is": "A line",
        "description": "A straight line",
        "entry_point": __file__,
    }
    return publish.publish("geometry/line", version, **arguments | changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_version_is_the_model_and_its_manifest(registry: Path) -> None:
    published = line()
    assert published.new
    assert set(contents(registry)) == {
        ".gitignore",
        "geometry/line/1/manifest.json",
        "geometry/line/1/model.skops",
    }
    document = json.loads((published.folder / "manifest.json").read_bytes())
    assert digest_of(document) == document["digest"]
    manifest = Manifest.model_validate(document)
    assert manifest.artifact.uri == "geometry/line/1/model.skops"
    file = registry / manifest.artifact.uri
    assert manifest.artifact.size_bytes == file.stat().st_size
    assert skops.io.load(file).predict(pd.DataFrame({"x": [3.0]})) == pytest.approx([7.0])
    assert manifest.code.entry_point == "tests/examples/test_publish.py"
    assert {"numpy", "pandas", "pytest", "scikit-learn", "skops", "hypothesis"} <= set(
        manifest.dependencies.packages
    )


def test_same_version_again_changes_nothing(registry: Path) -> None:
    line()
    before = contents(registry)
    again = line()
    assert not again.new
    assert contents(registry) == before


def test_version_is_never_overwritten(registry: Path) -> None:
    line()
    before = contents(registry)
    with pytest.raises(PublishError, match=r"geometry/line@1 is published already, with other artifact, "):
        line(slope=3.0)
    assert contents(registry) == before
    assert line(slope=3.0, version=2).new


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "not a model"},
        {"about": {}},
        {"prediction": Prediction(name="y", type=FeatureType.FLOAT64, classes=("a", "b"))},
    ],
)
def test_nothing_is_written_when_something_is_wrong(registry: Path, changes: dict[str, Any]) -> None:
    with pytest.raises((PublishError, ValueError)):
        line(**changes)
    assert not list(registry.rglob("model*"))


def test_half_written_version_is_removed(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        line()
    monkeypatch.undo()
    assert list((registry / "geometry/line").iterdir()) == []


def test_race_for_a_version_keeps_the_first(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process publishes the same number between our look and our rename."""
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        line(slope=5.0)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(PublishError, match="is published already"):
        line(slope=2.0)
    assert skops.io.load(registry / "geometry/line/1/model.skops").coef_ == pytest.approx([5.0])
    assert [path.name for path in (registry / "geometry/line").iterdir()] == ["1"]


def test_skops_archive_is_the_same_whenever_and_wherever_it_is_made() -> None:
    def archive() -> bytes:
        model = LinearRegression().fit(pd.DataFrame({"x": [0.0, 1.0, 2.0]}), [1.0, 2.0, 4.0])
        return publish._serialize(model)[0]

    keep_memory_busy = [archive()]
    assert archive() == keep_memory_busy[0]
    with zipfile.ZipFile(io.BytesIO(archive())) as content:
        assert {entry.date_time for entry in content.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@given(JSON)
def test_rendered_json_reads_back_as_it_was(value: Any) -> None:
    text = publish.render(value)
    assert json.loads(text) == value
    assert text.endswith("\n")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one commit, in which provenance looks."""
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "train.py").write_text("import numpy\nfrom helper import one\n")
    (root / "helper.py").write_text("def one():\n    import yaml\n")
    (root / "pyproject.toml").write_text('[project]\nname = "somewhere"\n')
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "Begin")
    monkeypatch.setattr(provenance, "ROOT", root)
    return root


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(root), *who, *arguments], check=True, capture_output=True, text=True
    ).stdout


def test_commit_and_uncommitted_changes_are_recorded(checkout: Path) -> None:
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
    assert len(set(digests)) == 4, "every change counts, in tracked files and in new ones"


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
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(PublishError, match="a version records the commit that trained it, but git says: "):
        provenance.code(tmp_path / "train.py")


def test_dependencies_are_the_packages_imported_here_and_in_what_is_used(checkout: Path) -> None:
    packages = provenance.dependencies(checkout / "train.py").packages
    assert set(packages) == {"numpy", "PyYAML"}
    assert packages["numpy"] == np.__version__


def test_time_is_that_of_the_code(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert provenance.created().timestamp() == int(git(checkout, "show", "-s", "--format=%ct", "HEAD"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert provenance.created().isoformat() == "1970-01-02T00:00:00+00:00"
