"""Properties of all inputs: valid ones are accepted, any others are refused in words and in place."""

import copy
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from modelyard.spec import explain
from modelyard.spec.environment import Environment
from modelyard.spec.errors import Problem, SpecError
from modelyard.spec.load import load_environment, load_team, team_names, validate
from modelyard.spec.source import JSON_LIMIT, YAML_LIMIT
from tests.strategies import (
    Tree,
    environments,
    example_tree,
    manifest_document,
    signed,
    team_document,
    teams,
    text_of,
    trees,
)

FILES = ["environments/dev.yaml", "teams/flight-ops/team.yaml", "teams/flight-ops/arrival-delay.json"]
ROOT = Path(__file__).resolve().parents[3]


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(trees())
def test_valid_trees_are_accepted(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = tree.write(Path(scratch))
        assert validate(root) == []
        environment = load_environment(root, *tree.environments)
        for name in team_names(root):
            team = load_team(root, name, environment)
            assert [model.name for model in team.models] == [
                m["name"] for m in tree.teams[name].document["models"]
            ]


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_loaded_objects_can_be_drawn(data: st.DataObject) -> None:
    environment = data.draw(environments())
    team = data.draw(teams(environment))
    assert isinstance(environment, Environment)
    assert team.monthly_budget > 0


def positions_exist(root: Path, problems: list[Problem]) -> bool:
    """Return whether each problem is at a place in its file; the end of a line is a place too."""
    for problem in problems:
        path = root / problem.file
        text = path.read_bytes().decode("utf-8-sig", errors="replace") if path.is_file() else ""
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if not (1 <= problem.line <= len(lines) and 1 <= problem.column <= len(lines[problem.line - 1]) + 1):
            return False
    return True


def refuses(file: str, content: bytes) -> list[Problem]:
    """Return the problems of the example tree with other content of one file; their places are there."""
    with tempfile.TemporaryDirectory() as scratch:
        root = example_tree().write(Path(scratch))
        (root / file).write_bytes(content)
        problems = validate(root)
        assert positions_exist(root, problems), [str(problem) for problem in problems]
        for problem in problems:
            assert "\n" not in str(problem)
            assert len(problem.message) < 2000
        try:
            load_team(root, "flight-ops", load_environment(root, "dev"))
        except SpecError as error:
            assert error.problems
        else:
            assert not problems
        return problems


@settings(max_examples=150)
@given(st.sampled_from(FILES), st.binary(max_size=200))
@example(FILES[0], b"\xef\xbb\xbf")
@example(FILES[1], b"a: \xe4")
@example(FILES[0], b"\r\x80")
@example(FILES[2], b'{"a": "\\ud800"}')
@example(FILES[1], b"a: \r\n  b: *x\r")
@example(FILES[1], "a: 'ä\u0085".encode())
def test_any_bytes_are_refused_in_words(file: str, content: bytes) -> None:
    assert refuses(file, content)


@settings(max_examples=150)
@given(st.sampled_from(FILES[:2]), st.text(st.sampled_from("ab:-,[]{}'\"#&*!|>%@`? \n0"), max_size=40))
def test_any_yaml_is_refused_in_words(file: str, content: str) -> None:
    assert refuses(file, content.encode())


BLOCK = {
    FILES[0]: (ROOT / "environments" / "dev.yaml").read_text(encoding="utf-8"),
    FILES[1]: (ROOT / "teams" / "fleet-care" / "team.yaml").read_text(encoding="utf-8"),
    FILES[2]: text_of(manifest_document()),
}


@settings(max_examples=200)
@given(st.sampled_from(FILES), st.integers(0, 3000), st.integers(0, 30), st.text(max_size=5))
def test_any_edit_is_accepted_or_refused_in_words(file: str, at: int, length: int, new: str) -> None:
    text = BLOCK[file]
    refuses(file, (text[:at] + new + text[at + length :]).encode(errors="surrogatepass"))


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield every path in a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
RICH_TEAM = team_document(
    models=[
        {
            "name": "arrival-delay",
            "pattern": "rest",
            "version": 3,
            "description": "x",
            "resources": {"cpu": "1", "memory": "1Gi", "gpu": 0},
            "replicas": {"min": 1, "max": 2, "target_cpu": 50},
            "sensitivity": {"distance": "public"},
            "label": {"table": "a.b", "key": "k", "column": "c", "delay": "1d"},
            "impact": {"kpi": "x", "unit_value": 1, "currency": "EUR", "stakeholders": ["a@example.com"]},
            "monitors": {"drift": {"enabled": True, "threshold": 0.1, "severity": "error", "window": "1d"}},
            "access": {"callers": ["serviceAccount:a@example-a.iam.gserviceaccount.com"]},
        },
    ],
    defaults={"batch": {"schedule": "0 3 * * *", "shards": 3}, "streaming": {"retention": "1d"}},
)
RICH_MANIFEST = manifest_document(
    baselines={
        "features": {
            "distance": {
                "kind": "numeric",
                "edges": [1, 2],
                "counts": [1, 1, 1],
                "missing": 0,
                "mean": 0,
                "std": 0,
            },
            "carrier": {"kind": "categorical", "counts": {"AA": 1}, "missing": 0.5},
        },
        "prediction": {"kind": "numeric", "edges": [], "counts": [1], "missing": 0, "mean": 0, "std": 0},
    },
    features=[
        {"name": "distance", "type": "float64", "range": [0, 1]},
        {"name": "carrier", "type": "string", "categories": ["AA"]},
    ],
)
DOCUMENTS = {FILES[0]: example_tree().environments["dev"], FILES[1]: RICH_TEAM, FILES[2]: RICH_MANIFEST}


@settings(max_examples=400)
@given(st.data())
def test_any_value_anywhere_is_accepted_or_explained(data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(FILES))
    document = copy.deepcopy(DOCUMENTS[file])
    path = data.draw(st.sampled_from(list(places(document))[1:]))
    holder: Any = document
    for part in path[:-1]:
        holder = holder[part]
    new = data.draw(values)
    if isinstance(holder, dict) and data.draw(st.booleans()):
        if data.draw(st.booleans()):
            del holder[path[-1]]
        else:
            holder[data.draw(st.text(max_size=9))] = new
    else:
        holder[path[-1]] = new
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain, "unexplained", lambda detail: pytest.fail(f"nobody explains {detail}"))
        refuses(
            file, text_of(signed(document) if file == FILES[2] else document).encode(errors="surrogatepass")
        )


def test_large_files_are_refused_unread() -> None:
    for file, limit in ((FILES[0], YAML_LIMIT), (FILES[1], YAML_LIMIT), (FILES[2], JSON_LIMIT)):
        (problem, *_) = refuses(file, b"a" * (2 * limit))
        assert problem.message.startswith("The file has ")
        assert refuses(file, b" " * limit)[0].message.startswith("The file is empty")


def test_problems_are_sorted_and_told_once() -> None:
    document = team_document(models=[{"name": "b-b"}, {"name": "a-a"}])
    problems = refuses(FILES[1], json.dumps(document, indent=1).encode())
    assert problems == sorted(set(problems))
    assert [problem.path for problem in problems if problem.file == FILES[1]] == [
        "models[0].pattern",
        "models[0].version",
        "models[1].pattern",
        "models[1].version",
    ]
