"""The command itself: help, roots, errors, and what it leaves alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.spec.errors import SpecError
from tests.cli.conftest import Run, snapshot
from tests.corpus import BAD, GOOD, build

ROOT = Path(__file__).resolve().parents[2]


def test_help_tells_the_commands(modelyard: Run) -> None:
    told = modelyard("--help")
    assert told.code == 0
    for command in ("validate", "new", "pin", "schemas", "standin", "demo"):
        assert command in told.out


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['modelyard', '--help']\n"
        "from cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'pydantic', 'yaml', 'grpc', 'cdktf', 'modelyard.spec.load'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_valid(modelyard: Run) -> None:
    assert modelyard("validate") == (0, "1 environment, 1 team, 1 model: no problems\n", "")
    assert modelyard("validate", "--environment", "dev").code == 0
    told = modelyard("validate", "--format", "json")
    assert json.loads(told.out) == {"problems": [], "environments": 1, "teams": 1, "models": 1}


def test_problems(modelyard: Run, tree: Path) -> None:
    (tree / "teams/flight-ops/arrival-delay.json").unlink()
    told = modelyard("validate")
    assert told.code == 2
    assert told.out.startswith("teams/flight-ops/team.yaml:12:15 models[0].version: Version 3 is not pinned")
    assert told.err == "1 problem in 1 file\n"
    told = modelyard("validate", "--format", "json")
    assert told.code == 2
    (problem,) = json.loads(told.out)["problems"]
    assert (problem["line"], problem["column"], problem["path"]) == (12, 15, "models[0].version")


def test_unknown_environment(modelyard: Run) -> None:
    told = modelyard("validate", "-e", "dve")
    assert told.code == 2
    assert "There is no environment 'dve'; there are dev. Did you mean 'dev'?" in told.out


@pytest.mark.parametrize("case", BAD, ids=lambda path: path.name)
def test_bad_input_ends_with_2_and_changes_nothing(case: Path, tmp_path: Path, modelyard: Run) -> None:
    root = build(case, tmp_path / "bad")
    before = snapshot(root)
    told = modelyard("--root", str(root), "validate")
    assert told.code == 2
    assert told.out.splitlines()
    assert "Traceback" not in told.out + told.err
    assert snapshot(root) == before


def test_roots(modelyard: Run, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "teams/flight-ops")
    assert modelyard("validate").code == 0
    monkeypatch.chdir(tmp_path)
    told = modelyard("validate")
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("modelyard: Neither this folder nor one above it has environments/ and teams/")
    assert modelyard("--root", str(tree), "validate").code == 0
    monkeypatch.setenv("MODELYARD_ROOT", str(GOOD[0]))
    assert modelyard("validate").code == 0
    assert "no folder" in modelyard("--root", "nowhere", "validate").err


@pytest.mark.parametrize(
    "arguments", [["nope"], ["validate", "--nope"], ["validate", "--format", "xml"], ["pin"]]
)
def test_wrong_usage_ends_with_2(modelyard: Run, arguments: list[str]) -> None:
    told = modelyard(*arguments)
    assert told.code == 2
    assert "Traceback" not in told.err


def test_schemas(modelyard: Run, tree: Path) -> None:
    assert modelyard("schemas", "--check").code == 2
    assert "Written: schemas/team.schema.json" in modelyard("schemas").out
    assert modelyard("schemas").out == "All are current\n"
    assert modelyard("schemas", "--check").code == 0
    (tree / "schemas/team.schema.json").write_text("{}")
    told = modelyard("schemas", "--check")
    assert told.err == "modelyard: Not current: schemas/team.schema.json. Run: modelyard schemas\n"
    assert not (tree / "docs").exists()
    (tree / "docs").mkdir()
    assert "Written: docs/reference/team-file.md" in modelyard("schemas").out


def test_the_checkout_is_valid_and_current() -> None:
    for arguments in (["validate"], ["schemas", "--check"]):
        command = [sys.executable, "-m", "cli.main", "--root", str(ROOT), *arguments]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


def test_terminals_without_unicode(tree: Path) -> None:
    team = tree / "teams/flight-ops/team.yaml"
    team.write_text(team.read_text().replace("rest", "räst€"), encoding="utf-8")
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "cli.main", "validate"]
    run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert run.returncode == 2
    assert "'r\\xe4st\\u20ac' is not one of rest" in run.stdout


def test_standin_runs_a_command(modelyard: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in itself is tested where it lives: here it matters what reaches it, and its exit code."""
    import plan_review.standin.launch as launch

    seen: list[list[str]] = []

    def run_command(command: list[str]) -> int:
        seen.append(list(command))
        return 7

    monkeypatch.setattr(launch, "run_command", run_command)
    assert modelyard("standin", "--", "terraform", "plan", "-no-color", "--help").code == 7
    assert seen == [["terraform", "plan", "-no-color", "--help"]]


def test_errors_of_the_system_are_told(modelyard: Run, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "schemas/x")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert modelyard("schemas") == (2, "", "modelyard: schemas/x: No space left on device\n")


def test_faults_of_the_program_are_not_hidden(modelyard: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("modelyard.spec.load.check", fault)
    with pytest.raises(ZeroDivisionError):
        modelyard("validate")


def test_spec_errors_print_as_their_problems() -> None:
    assert str(SpecError([])) == ""
