"""Files that no editor wrote: each is refused at once, in words, and never waited for."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from modelyard.spec.errors import Path as SpecPath
from modelyard.spec.errors import SpecError
from modelyard.spec.load import check, environment_names, team_names, validate
from modelyard.spec.source import parse_json, parse_yaml, read_json, read_yaml
from tests.strategies import example_tree, manifest_document, team_document, text_of

TEAM = "teams/flight-ops/team.yaml"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The example tree, without its team file."""
    root = example_tree().write(tmp_path / "tree")
    (root / TEAM).unlink()
    return root


def problems_of_team_file(root: Path) -> list[str]:
    """Return what is told of the team file."""
    return [str(problem) for problem in validate(root) if problem.file == TEAM]


def test_nothing(tree: Path) -> None:
    assert problems_of_team_file(tree) == [f"{TEAM}:1:1: There is no such file"]


def test_a_folder(tree: Path) -> None:
    (tree / TEAM).mkdir()
    assert problems_of_team_file(tree) == [f"{TEAM}:1:1: A folder stands here in place of a file"]


def test_a_link_to_itself(tree: Path) -> None:
    (tree / TEAM).symlink_to(tree / TEAM)
    assert problems_of_team_file(tree) == [f"{TEAM}:1:1: A symbolic link here leads back to itself"]


def test_a_link_to_nowhere(tree: Path) -> None:
    (tree / TEAM).symlink_to(tree / "nowhere")
    assert problems_of_team_file(tree) == [f"{TEAM}:1:1: There is no such file"]


def test_a_link_to_a_file(tree: Path) -> None:
    (tree / "elsewhere.yaml").write_text(text_of(team_document()))
    (tree / TEAM).symlink_to(tree / "elsewhere.yaml")
    assert problems_of_team_file(tree) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_nobody_writes_to(tree: Path) -> None:
    os.mkfifo(tree / TEAM)
    assert problems_of_team_file(tree) == [f"{TEAM}:1:1: This is a pipe or device, not a file"]


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no endless device")
def test_an_endless_device(tree: Path) -> None:
    (tree / TEAM).symlink_to("/dev/zero")
    assert problems_of_team_file(tree) == [f"{TEAM}:1:1: This is a pipe or device, not a file"]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no sockets in the file system")
def test_a_socket(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir((tree / TEAM).parent)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("team.yaml")
        assert problems_of_team_file(tree) == [f"{TEAM}:1:1: This is a pipe or device, not a file"]


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="this system has no permissions of this kind")
def test_a_file_that_may_not_be_read() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = example_tree().write(Path(scratch))
        Path(scratch).chmod(0o755)
        (root / TEAM).chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # nobody: the superuser may read everything
        try:
            told = problems_of_team_file(root)
        finally:
            os.seteuid(user)
    assert told == [f"{TEAM}:1:1: The file may not be read: permission denied"]


def test_files_that_are_too_large(tree: Path) -> None:
    with (tree / TEAM).open("wb") as file:
        file.truncate(10 << 20)
    with (tree / "teams/flight-ops/arrival-delay.json").open("wb") as file:
        file.truncate(6 << 20)
    assert [str(problem) for problem in validate(tree)] == [
        "teams/flight-ops/arrival-delay.json:1:1: The file has 6.0 MiB; at most 5 MiB are read",
        f"{TEAM}:1:1: The file has 10.0 MiB; at most 1 MiB are read",
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"team: \xe4\n", "1:7: Byte 0xe4 is not UTF-8; save the file as UTF-8"),
        ("ü: 1\nteam: x".encode() + b"\xff", "2:8: Byte 0xff is not UTF-8; save the file as UTF-8"),
        ("team: x".encode("utf-16"), "1:1: The file is UTF-16; save it as UTF-8"),
        (b"team: a\x00b\n", "1:8: Character U+0000 is not allowed; remove it"),
        (b"a: 1\nteam: a\x1b[2Jb\n", "2:8: Character U+001B is not allowed; remove it"),
        (b'team: "a\\0b"\n', "1:7: Character U+0000 is not allowed; remove it"),
        ("team: a\u2028b\n".encode(), "1:8: Character U+2028 is not allowed; remove it"),
        ("a: 1\n\ufeffteam: b\n".encode(), "2:1: Character U+FEFF is not allowed; remove it"),
        (b"", "1:1: The file is empty; expected keys with values, such as 'team: flight-ops'"),
        (b"\xef\xbb\xbf", "1:1: The file is empty; expected keys with values, such as 'team: flight-ops'"),
        (b"---\n...\n", "1:1: The file is empty; expected keys with values, such as 'team: flight-ops'"),
        (b"- " * 5000, "1:33: Lists and groups are nested more than 16 deep"),
        (b"a: [" + b"1, " * 200_000 + b"]", "1:299990: The file has more than 100,000 values"),
    ],
)
def test_bytes_that_are_no_text(tree: Path, content: bytes, told: str) -> None:
    (tree / TEAM).write_bytes(content)
    assert problems_of_team_file(tree) == [f"{TEAM}:{told}"]


def test_marks_and_line_ends_of_other_systems(tree: Path) -> None:
    text = text_of(team_document(cost_center=4711))
    for content in (
        b"\xef\xbb\xbf" + text.encode(),
        text.replace("\n", "\r\n").encode(),
        text.replace("\n", "\r").encode(),
    ):
        (tree / TEAM).write_bytes(content)
        (told,) = problems_of_team_file(tree)
        assert told.startswith(f"{TEAM}:7:17 cost_center: 4711 is read as a number")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 17 + "]" * 17])
def test_deep_json(text: str) -> None:
    (problem,) = parse_json(text, "f").problems
    assert problem.message == "Lists and groups are nested more than 16 deep"


def test_json_limits() -> None:
    assert "too many digits" in parse_json('{"a": ' + "9" * 5000 + "}", "f").problems[0].message
    assert "100,000 values" in parse_json('{"a": [' + "1," * 200_000 + "1]}", "f").problems[0].message
    assert parse_json('{"a": {"b": 1, "b": 2}}', "f").problems[0].column == 16
    assert parse_json('{"a": "\\ud83d\\ude00"}', "f").data == {"a": "😀"}


def test_places_in_json() -> None:
    text = text_of(manifest_document())
    document = parse_json(text, "f")
    lines = text.split("\n")
    places: dict[SpecPath, str] = {
        ("signature", "features", 1, "type"): '"string"',
        ("baselines", "prediction", "counts", 1): "2",
        ("metrics", "values"): "{",
    }
    for path, expected in places.items():
        problem = document.problem(path, "x")
        assert lines[problem.line - 1][problem.column - 1 :].startswith(expected)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1", 1),
        ("-0", 0),
        (".5", 0.5),
        ("1.", 1.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("nope", "nope"),
        ("'no'", "no"),
        ('"4711"', "4711"),
        ("0a1", "0a1"),
        ("1.2.3", "1.2.3"),
        ("y", "y"),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("[a, 'b', {c: d}]", ["a", "b", {"c": "d"}]),
    ],
)
def test_what_values_are(written: str, read: object) -> None:
    document = parse_yaml(f"key: {written}\n", "f")
    assert document.problems == []
    assert document.data is not None
    assert document.data["key"] == read
    assert type(document.data["key"]) is type(read)


@pytest.mark.parametrize(
    "written",
    [
        "no",
        "Off",
        "YES",
        "0o17",
        "017",
        "0x1F",
        "0b1",
        "1_000",
        "12:30",
        "-1:30:00.5",
        ".inf",
        ".NaN",
        "2024-01-01",
        "2024-01-01T00:00:00Z",
        "1e3",
        "1.5E+3",
        "1e999",
    ],
)
def test_what_readers_disagree_on(written: str) -> None:
    document = parse_yaml(f"key: {written}\n", "f")
    (problem,) = document.problems
    assert (problem.line, problem.column, problem.path) == (1, 6, "key")
    assert f'"{written}" in quotes' in problem.message


def test_folders_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"^environments:1:1: There is no such folder"):
        environment_names(tmp_path)
    with pytest.raises(SpecError, match=r"^teams:1:1: There is no such folder"):
        team_names(tmp_path)
    assert [problem.file for problem in validate(tmp_path)] == ["environments", "teams"]
    (tmp_path / "environments").mkdir()
    (tmp_path / "teams").write_text("")
    assert [problem.message.split(";")[0] for problem in validate(tmp_path)] == [
        "There is no environment: no file environments/*.yaml",
        "Not a directory",
    ]


def test_counts(tmp_path: Path) -> None:
    problems, counts = check(example_tree().write(tmp_path))
    assert problems == []
    assert (counts.environments, counts.teams, counts.models) == (1, 1, 1)


def test_readers_name_the_file(tmp_path: Path) -> None:
    for read in (read_yaml, read_json):
        assert str(read(tmp_path / "x", "shown").problems[0]) == "shown:1:1: There is no such file"
