"""`modelyard review` as people run it: exit codes, files, and words in place of tracebacks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from plan_review.command import run
from tests.plan_review import plans

OPEN = plans.change(
    "google_storage_bucket_iam_member.m", None, {"bucket": "b", "role": "r", "member": "allUsers"}
)
ALERT = plans.change(
    "google_monitoring_alert_policy.a", {"display_name": "a", "user_labels": plans.LABELS}, None
)
LABEL = plans.change("google_storage_bucket.b", {"labels": {"a": "b"}}, {"labels": {"a": "c"}})


def review(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", "review", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("change", "code"), [(OPEN, 4), (ALERT, 3), (LABEL, 0)])
def test_the_exit_code_says_what_is_asked_for(
    root: Path, tmp_path: Path, change: dict[str, object], code: int
) -> None:
    path = plans.write(tmp_path / "plan.json", change)
    done = review(root, "--plan", str(path))
    assert done.returncode == code, done.stderr
    assert done.stdout


def test_several_forms_at_once(root: Path, tmp_path: Path) -> None:
    path = plans.write(tmp_path / "plan.json", OPEN)
    forms = [f"--also={form}={tmp_path / 'out' / form}" for form in ("markdown", "html", "sarif", "text")]
    done = review(root, "--plan", str(path), "--format", "json", "-o", str(tmp_path / "out" / "json"), *forms)
    assert done.returncode == 4, done.stderr
    assert json.loads((tmp_path / "out" / "json").read_text())["exit_code"] == 4
    assert sorted(found.name for found in (tmp_path / "out").iterdir()) == [
        "html",
        "json",
        "markdown",
        "sarif",
        "text",
    ]
    assert all(found.read_text() for found in (tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to review"),
        (["--plan", "nowhere.json"], "no such file"),
        (["--head", "HEAD"], "needs a base"),
        (["--base", "no-such-branch"], "no such commit"),
        (["--base", "main", "--plan", "README.md"], "not valid JSON"),
        (["--plan", "README.md", "--also", "html"], "FORMAT=FILE"),
    ],
)
def test_bad_input_ends_in_words(root: Path, arguments: list[str], words: str) -> None:
    done = review(root, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_plans_are_reviewed_outside_of_any_checkout(tmp_path: Path, root: Path) -> None:
    path = plans.write(tmp_path / "plan.json", OPEN)
    command = [
        sys.executable,
        "-c",
        "import sys; from cli.main import main; main()",
        "review",
        "--plan",
        str(path),
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(root), "PATH": ""},
    )
    assert done.returncode == 4, done.stderr
    assert "allUsers" in done.stdout


def test_an_output_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plans.write(tmp_path / "plan.json", OPEN)
    (tmp_path / "taken").write_text("a file")
    assert run(None, plans=[str(path)], outputs=[("json", tmp_path / "taken" / "x.json")]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert run(None, plans=[str(path)], outputs=[("yaml", tmp_path / "x")]) == 2
    assert sorted(found.name for found in tmp_path.iterdir()) == ["plan.json", "taken"]


def test_bad_waivers_end_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = plans.write(tmp_path / "plan.json", OPEN)
    waivers = tmp_path / "waivers.yaml"
    waivers.write_text("- rule: nothing\n")
    assert run(None, plans=[str(path)], waiver_file=waivers) == 2
    assert "waivers.yaml: entry 0" in capsys.readouterr().err


def test_a_large_plan_is_read_within_bounds(tmp_path: Path) -> None:
    """Prior state and planned values are skipped: memory follows what changes, not the file's size."""
    padding = "x" * 2_000
    values = [{"address": f"google_thing.t{i}", "values": {"note": padding}} for i in range(20_000)]
    document = plans.document(OPEN, prior_state={"values": values}, planned_values={"root_module": values})
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document))
    size = path.stat().st_size / 1e6
    assert size > 80
    code = (
        "import sys; from plan_review.command import run; from pathlib import Path; "
        "code = run(None, plans=[sys.argv[1]], outputs=[]); "
        # Not ru_maxrss, which also knows the size of the process that started this one.
        "peak = Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]; print(code, peak)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    found, peak = map(int, done.stdout.split())
    assert found == 4
    assert peak / 1024 < 2 * size + 150
