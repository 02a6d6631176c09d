"""Runs the command in this process, on a tree of its own."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cli.main import main
from tests.strategies import Document, example_tree, manifest_document, text_of


class Told(NamedTuple):
    """What a run of the command told."""

    code: int
    out: str
    err: str


Run = Callable[..., Told]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The example tree."""
    return example_tree().write(tmp_path / "tree")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry without versions, the one that the command finds."""
    folder = tmp_path / "registry"
    monkeypatch.setenv("MODELYARD_REGISTRY", str(folder))
    return folder


@pytest.fixture
def modelyard(tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `modelyard` with arguments, in the tree."""
    monkeypatch.chdir(tree)
    monkeypatch.delenv("MODELYARD_ROOT", raising=False)

    def run(*arguments: str) -> Told:
        monkeypatch.setattr(sys, "argv", ["modelyard", *arguments])
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        assert isinstance(code, int)
        out, err = capfd.readouterr()
        return Told(code, out, err)

    return run


def publish(registry: Path, document: Document) -> Path:
    """Put a manifest into the registry."""
    folder = registry / str(document["team"]) / str(document["model"]) / str(document["version"])
    folder.mkdir(parents=True)
    path = folder / "manifest.json"
    path.write_text(text_of(document), encoding="utf-8")
    return path


def publish_version(registry: Path, version: int, **changed: Any) -> Path:
    """Publish a version of the example model."""
    return publish(registry, manifest_document(version=version, **changed))


def snapshot(tree: Path) -> dict[str, bytes]:
    """Return the files of a tree."""
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    return {str(path.relative_to(tree)): path.read_bytes() for path in files}
