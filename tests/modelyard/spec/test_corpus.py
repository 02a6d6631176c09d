"""What people write: good trees are accepted, bad ones told in exactly these words."""

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from modelyard.spec.load import environment_names, load_environment, load_team, team_names, validate
from modelyard.spec.schemas import schema
from tests.corpus import BAD, EXPECTED, GOOD, REFRESH, build, told

ROOT = Path(__file__).resolve().parents[3]
TREES = [*GOOD, ROOT]


@pytest.mark.parametrize("case", BAD, ids=lambda path: path.name)
def test_bad_input_is_told_in_these_words(case: Path, tmp_path: Path) -> None:
    expected = (case / EXPECTED).read_text(encoding="utf-8")
    assert expected, f"{case.name} is not bad"
    assert told(build(case, tmp_path)) == expected, f"to accept the new words: {REFRESH}"


@pytest.mark.parametrize("tree", TREES, ids=lambda path: path.name)
def test_good_input_is_loaded(tree: Path) -> None:
    assert [str(problem) for problem in validate(tree)] == []
    for name in environment_names(tree):
        environment = load_environment(tree, name)
        for team in team_names(tree):
            assert load_team(tree, team, environment).team == team


def files(tree: Path) -> list[tuple[str, Path]]:
    """Return (kind, path) of a tree's input files."""
    found = [("environment", path) for path in sorted(tree.glob("environments/*.yaml"))]
    found += [("team", path) for path in sorted(tree.glob("teams/*/team.yaml"))]
    return found + [("manifest", path) for path in sorted(tree.glob("teams/*/*.json"))]


def read(path: Path) -> Any:
    """Read a file as an editor does: another reader than ours."""
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)


@pytest.mark.parametrize("tree", TREES, ids=lambda path: path.name)
def test_editors_accept_good_input(tree: Path) -> None:
    assert files(tree)
    for kind, path in files(tree):
        jsonschema.Draft202012Validator(schema(kind)).validate(read(path))


# Cases in which the form of one file is wrong, so that the editor can show it.
STRUCTURAL = """
    cluster environment-unknown-keys environment-wrong-words list-in-place-of-groups manifest-baselines
    manifest-fields missing-keys names-too-long node-pools out-of-range retention-and-budget unknown-keys
    wrong-names wrong-pattern wrong-sensitivity wrong-types wrong-words
"""


@pytest.mark.parametrize("name", STRUCTURAL.split())
def test_editors_refuse_input_of_a_wrong_form(name: str) -> None:
    (case,) = (case for case in BAD if case.name == name)
    wrong = [
        kind
        for kind, path in files(case)
        if not jsonschema.Draft202012Validator(schema(kind)).is_valid(read(path))
    ]
    assert wrong


def test_each_file_names_its_schema() -> None:
    for kind, path in files(ROOT):
        if kind != "manifest":
            modeline, _, named = path.read_text(encoding="utf-8").partition("\n")[0].partition("$schema=")
            assert modeline == "# yaml-language-server: "
            assert (path.parent / named).resolve() == ROOT / "schemas" / f"{kind}.schema.json"


def test_a_tree_of_another_user_is_not_changed(tmp_path: Path) -> None:
    tree = shutil.copytree(GOOD[0], tmp_path / "tree")
    before = {path: path.stat().st_mtime_ns for path in tree.rglob("*")}
    validate(tree)
    assert {path: path.stat().st_mtime_ns for path in tree.rglob("*")} == before
