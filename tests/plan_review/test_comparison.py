"""Two revisions are compared: only what is affected is synthesized, planned on the stand-in, and reported."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plan_review.command import run
from plan_review.comparison import compare
from plan_review.errors import ReviewError
from plan_review.fleet import Fleet
from plan_review.plan import PlanFile
from plan_review.pruning import prune
from plan_review.standin import launch
from plan_review.standin_plan import Pair, plan
from plan_review.synthesis import affected, stack_ids
from tests.plan_review import conftest, plans, repositories
from tests.plan_review.corpus.case import replace, team

PRICING = "dev-team-pricing"


@pytest.fixture(scope="module")
def base(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repositories.make(root, tmp_path_factory.mktemp("base") / "repository")


@pytest.fixture
def repository(base: Path, tmp_path: Path) -> Path:
    """A repository with a branch `change` checked out."""
    folder = tmp_path / "repository"
    shutil.copytree(base, folder)
    repositories.git(folder, "checkout", "--quiet", "-b", "change")
    return folder


def document(folder: Path, **more: Any) -> tuple[int, dict[str, Any]]:
    """Review `change` against `main`; return exit code and report."""
    out = folder.parent / "report.json"
    code = run(
        folder, base="main", head=more.pop("head", "HEAD"), outputs=[("json", out)], quiet=True, **more
    )
    return code, json.loads(out.read_text()) if out.is_file() else {}


def test_a_changed_team_moves_its_own_stack_alone(repository: Path) -> None:
    replace(team(repository, "pricing"), "{threshold: 120, error_rate", "{threshold: 400, error_rate")
    repositories.commit(repository, "loosen")
    code, report = document(repository)
    assert code == 3
    assert [entry["stack"] for entry in report["stacks"]] == [PRICING]
    assert report["stacks"][0]["plan"] == "stand-in"
    assert report["blast_radius"]["teams"] == ["pricing"]
    assert report["blast_radius"]["models"] == ["pricing/vehicle-price"]
    loosened = [f for f in report["findings"] if f["rule"] == "monitoring/alert-loosened"]
    assert [f["message"].partition(" loosened ")[2] for f in loosened] == ["from 120 ms to 400 ms"]
    assert any("Google was not asked" in note for note in report["notes"])


def test_a_change_that_moves_nothing(repository: Path) -> None:
    (repository / "README.md").write_text("hello")
    repositories.commit(repository, "document")
    code, report = document(repository)
    assert (code, report["stacks"], report["findings"]) == (0, [], [])


def test_the_work_tree_can_be_reviewed_as_it_is(repository: Path) -> None:
    replace(team(repository, "pricing"), "replicas: {min: 3", "replicas: {min: 1")
    assert run(repository, base="main", head="HEAD", outputs=[], quiet=True) == 2
    code, report = document(repository, head=".")
    assert code == 3
    assert {f["rule"] for f in report["findings"]} >= {"reliability/single-replica"}


def test_a_removed_team_loses_its_data(repository: Path) -> None:
    shutil.rmtree(repository / "teams" / "flight-ops")
    repositories.commit(repository, "remove")
    code, report = document(repository, stacks=["dev-team-*"])
    assert code == 4
    assert {f["stack"] for f in report["findings"]} == {"dev-team-flight-ops"}
    assert "data-loss/stateful-destroyed" in {f["rule"] for f in report["findings"]}
    assert any("no longer declared" in note for note in report["notes"])


def test_bad_input_of_head_is_told_as_validation_tells_it(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(team(repository, "pricing"), "pattern: rest", "pattern: rst")
    repositories.commit(repository, "typo")
    code, report = document(repository)
    assert (code, report) == (2, {})
    said = capsys.readouterr().err
    assert "Did you mean 'rest'?" in said
    assert "teams/pricing/team.yaml:" in said
    assert "Traceback" not in said


def test_code_of_a_team_that_fails_ends_without_a_traceback(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "def extend(stack):\n    raise RuntimeError('no such thing')\n"
    (repository / "teams" / "pricing" / "stack.py").write_text(code)
    repositories.commit(repository, "extend")
    assert document(repository)[0] == 2
    said = capsys.readouterr().err
    assert "no such thing" in said
    assert "Traceback" not in said


def test_code_under_review_gets_no_credentials(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "GITHUB_TOKEN",
        "MY_SECRET",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "AWS_ACCESS_KEY_ID",
        "DB_PASSWORD",
    ):
        monkeypatch.setenv(name, "do-not-show")
    spy = repository.parent / "seen.txt"
    text = f"import os\ndef extend(stack):\n    open({str(spy)!r}, 'w').write(repr(dict(os.environ)))\n"
    (repository / "teams" / "pricing" / "stack.py").write_text(text)
    repositories.commit(repository, "spy")
    assert document(repository)[0] == 0
    assert "MODELYARD_ROOT" in spy.read_text()
    assert "do-not-show" not in spy.read_text()


def test_a_real_plan_is_preferred(repository: Path, tmp_path: Path) -> None:
    replace(team(repository, "pricing"), "replicas: {min: 3", "replicas: {min: 1")
    repositories.commit(repository, "one replica")
    bucket = plans.change("google_storage_bucket.b", {"name": "b"}, {"name": "b", "force_destroy": True})
    real = plans.write(tmp_path / f"{PRICING}.json", bucket)
    code, report = document(repository, plans=[str(real)])
    assert code == 4
    assert [(entry["stack"], entry["plan"]) for entry in report["stacks"]] == [(PRICING, "real")]
    assert {f["rule"] for f in report["findings"]} == {"data-loss/force-destroy"}


def test_waivers_come_from_head_and_new_ones_need_an_approver(repository: Path) -> None:
    replace(team(repository, "pricing"), "replicas: {min: 3", "replicas: {min: 1")
    (repository / "waivers.yaml").write_text(
        "- rule: reliability/single-replica\n  resource: '*-team-pricing:*'\n"
        "  reason: It is summer, nobody buys cars.\n  owner: pricing@example.com\n  expires: 2999-01-01\n"
    )
    repositories.commit(repository, "waive")
    code, report = document(repository)
    assert code == 3
    by_rule = {f["rule"]: f for f in report["findings"]}
    assert by_rule["reliability/single-replica"]["waived_by"]
    assert by_rule["review/waiver-added"]["severity"] == "approve"


def test_nothing_is_left_behind(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    replace(team(repository, "pricing"), "replicas: {min: 3", "replicas: {min: 4")
    repositories.commit(repository, "more")
    assert document(repository)[0] == 0
    assert not [path for path in scratch.iterdir() if path.name.startswith("modelyard-review-")]


def test_refs_are_checked_before_anything_runs(repository: Path) -> None:
    with pytest.raises(ReviewError, match="no such commit"), compare(repository, "main", "nothing"):
        pass


def test_affected_stacks_follow_from_the_files(base: Path) -> None:
    fleet = Fleet(base)
    everything = set(stack_ids(fleet))
    assert affected(fleet, fleet, ["teams/pricing/vehicle-price.json"]) == {PRICING}
    assert affected(fleet, fleet, ["environments/dev.yaml"]) == everything
    assert affected(fleet, fleet, ["environments/other.yaml"]) == set()
    assert affected(fleet, fleet, ["docs/architecture.md", "tests/x.py", "README.md"]) == set()
    for path in ("modules/alerts/__init__.py", "stacks/team.py", "modelyard/naming/__init__.py"):
        assert affected(fleet, fleet, [path]) == everything


def test_a_teams_cost_centre_moves_its_project_too(base: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(base, changed)
    replace(team(changed, "pricing"), 'cost_center: "4720"', 'cost_center: "4999"')
    found = affected(Fleet(base), Fleet(changed), ["teams/pricing/team.yaml"])
    assert found == {PRICING, "dev-tenant-pricing"}


EDITS: list[Callable[[dict[str, Any]], None]] = [
    lambda stack: next(iter(stack["resource"]["google_bigquery_dataset"].values())).update(description="x"),
    lambda stack: next(iter(stack["resource"]["google_data_catalog_policy_tag"].values())).update(
        description="x"
    ),
    lambda stack: next(iter(stack["resource"]["google_data_catalog_taxonomy"].values())).update(region="us"),
    lambda stack: next(iter(stack["resource"]["kubernetes_namespace_v1"].values()))["metadata"].update(
        name="n"
    ),
    lambda stack: stack["resource"].pop("google_billing_budget") and None,
    lambda stack: next(iter(stack["resource"]["google_service_account"].values())).update(
        account_id="another"
    ),
]


def test_leaving_out_what_does_not_change_changes_no_plan(root: Path, inputs: Path, tmp_path: Path) -> None:
    """The same stacks planned whole and pruned: the same changes, value by value."""
    conftest.synthesize(
        root, [{"root": str(inputs), "stacks": [PRICING], "out": str(tmp_path / "out")}], tmp_path
    )
    before = conftest.read(tmp_path / "out")[PRICING]
    pairs = []
    for number, edit in enumerate(EDITS):
        after = json.loads(json.dumps(before))
        edit(after)
        pairs.append(Pair(f"{PRICING}-{number}", before, after))
        left_out = prune(before, after)[2]
        assert left_out, "something is left out"
    with launch.running() as environment:
        pruned = plan(pairs, tmp_path / "pruned", environment)
        # A local value that only one side has bears on everything, so nothing is left out.
        whole = [Pair(pair.stack, pair.base, {**pair.head, "locals": {"whole": "yes"}}) for pair in pairs]
        complete = plan(whole, tmp_path / "whole", environment)
    for small, large in zip(pruned, complete, strict=True):
        assert changes(small) == changes(large)
        assert changes(small), "the edit is seen"


def changes(file: PlanFile) -> dict[str, Any]:
    """Return what a plan changes, by address."""
    return {
        change.address: (change.change.actions, json.loads(bytes(change.change.after)))
        for change in file.document.resource_changes
        if change.change.actions != ("no-op",) and change.mode == "managed"
    }
