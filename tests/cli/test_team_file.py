"""Edits of a team file: the data become what was asked for, and the rest of the text stays."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.errors import CommandError
from cli.team_file import TeamFile, scalar
from modelyard.spec.source import parse_yaml

ENTRY: dict[str, Any] = {"name": "new", "pattern": "rest", "version": 7}
BLOCK = "  - name: new\n    pattern: rest\n    version: 7               # pinned in new.json\n"


@pytest.fixture
def edit(tmp_path: Path) -> Any:
    """Opens text as a team file."""

    def opened(text: str) -> TeamFile:
        (tmp_path / "team.yaml").write_text(text, encoding="utf-8")
        return TeamFile(tmp_path / "team.yaml", "team.yaml")

    return opened


OF_TEXT = "models:\n  - name: a\n    x: |\n      text\n"
OF_LISTS = "models:\n  - name: a\n    x:\n      - y\n      - z: [1,\n         2]\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("models: []\n", "models:\n" + BLOCK),
        ("models:   [ ] # none\nteam: x\n", "models:\n" + BLOCK.rstrip("\n") + " # none\nteam: x\n"),
        ("models:\n  - name: a\n    version: 1\n", "models:\n  - name: a\n    version: 1\n" + BLOCK),
        ("models:\n  - name: a\n    version: 1", "models:\n  - name: a\n    version: 1\n" + BLOCK),
        ("models:\n- name: a\n", "models:\n- name: a\n" + BLOCK.replace("\n  ", "\n")[2:]),
        (
            "models:\n  - {name: a, x: {y: 1}}\nx: y\n",
            "models:\n  - {name: a, x: {y: 1}}\n" + BLOCK + "x: y\n",
        ),
        ("models: [{name: a}]\n", "models: [{name: a}, {name: new, pattern: rest, version: 7}]\n"),
        (OF_TEXT + "\nteam: x\n", OF_TEXT + BLOCK + "\nteam: x\n"),
        (
            "models:\n  - name: a\n\n  - name: b  # last\n# end\n",
            "models:\n  - name: a\n\n  - name: b  # last\n\n" + BLOCK + "# end\n",
        ),
        (OF_LISTS, OF_LISTS + BLOCK),
    ],
)
def test_add_model(edit: Any, before: str, after: str) -> None:
    file = edit(before)
    file.add_model(ENTRY)
    assert file.content.decode() == after


CANARY = "canary: {version: 4, percent: 10}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("- version: 3\n  name: a\n", f"- version: 3\n  {CANARY}\n  name: a\n"),
        ("- {name: a, version: 3}\n", f"- {{name: a, version: 3, {CANARY}}}\n"),
        ("- {version: 3,\n   name: a}\n", f"- {{version: 3, {CANARY},\n   name: a}}\n"),
        (
            "- version: 3 # x\n  canary:\n    version: 2 # y\n    percent: 50\n",
            "- version: 3 # x\n  canary:\n    version: 4 # y\n    percent: 50\n",
        ),
        ("- version: 3\n  canary: # none yet\n", f"- version: 3\n  {CANARY}\n"),
    ],
)
def test_set_canary(edit: Any, before: str, after: str) -> None:
    file = edit("models:\n" + before)
    file.set_canary(0, 4, 10)
    assert file.content.decode() == "models:\n" + after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "models:\n- version: 3\n  canary: {version: 2}  # x\n  name: a\n",
            "models:\n- version: 3\n  name: a\n",
        ),
        (
            "models:\n- version: 3\n  canary:\n    # soon\n    version: 2\n    percent: 3\n",
            "models:\n- version: 3\n",
        ),
        (
            "models:\n- {version: 3, canary: {version: 2, percent: 3}, name: a}\n",
            "models:\n- {version: 3, name: a}\n",
        ),
        ("models:\n- {canary: {version: 2}, name: a}\n", "models:\n- {name: a}\n"),
        ("models:\n- {name: a, canary: {version: 2}}\n", "models:\n- {name: a}\n"),
    ],
)
def test_remove_canary(edit: Any, before: str, after: str) -> None:
    file = edit(before)
    file.remove_canary(0)
    assert file.content.decode() == after


def test_what_cannot_be_edited_is_told_and_left(edit: Any) -> None:
    text = "models:\n- canary: {version: 2}\n  version: 3\n"
    file = edit(text)
    with pytest.raises(CommandError, match="by hand"):
        file.remove_canary(0)
    assert file.content.decode() == text
    with pytest.raises(CommandError, match="by hand"):
        edit("models: 3\n").add_model(ENTRY)


@given(st.text(max_size=20))
def test_scalars_are_read_back(text: str) -> None:
    document = parse_yaml(f"key: {scalar(text)}\n", "f")
    if document.problems:  # characters that may stand in no file
        assert "is not allowed" in document.problems[0].message
    else:
        assert document.data == {"key": text}


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.booleans())
def test_versions(old: int, new: int, flow: bool) -> None:
    import tempfile

    line = (
        f"{{name: ä, version: {old}, x: 1}}"
        if flow
        else f"name: ä\n    version: {old}   # {old}\n    x: {old}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "team.yaml"
        path.write_text(f"models:\n  - {line}\n", encoding="utf-8")
        file = TeamFile(path, "team.yaml")
        file.set_version(0, new)
        assert file.content.decode() == f"models:\n  - {line}\n".replace(f"version: {old}", f"version: {new}")
