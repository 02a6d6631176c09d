"""The app synthesizes what is selected, in order, and stops at what is wrong."""

import json
import shutil
from pathlib import Path

import pytest

from stacks.base import NOWHERE
from tests.stacks.conftest import Documents
from tests.stacks.fleet import ROOT, copy_tree, run_app, synthesized

ENVIRONMENTS = ("dev", "local", "prod", "staging")
LOCAL = ["foundation", "platform", "cluster", "catalog", "operations"]


def test_all_stacks_of_all_environments(fleet_documents: Documents) -> None:
    names = [path.parent.name for path in (ROOT / "teams").glob("*/team.yaml")]
    teams = [f"{room}-{name}" for room in ("tenant", "team") for name in names]
    environments = [path.stem for path in (ROOT / "environments").glob("*.yaml")]
    expected = {f"{environment}-{room}" for environment in environments for room in [*LOCAL, *teams]}
    assert set(fleet_documents) == expected


def test_order_of_deployment(fleet_out: Path) -> None:
    stacks = json.loads((fleet_out / "manifest.json").read_text())["stacks"]
    needs = {name: set(stack["dependencies"]) for name, stack in stacks.items()}
    assert needs["local-foundation"] == set()
    assert needs["local-platform"] == {"local-foundation"}
    assert needs["local-cluster"] == {"local-platform"}
    assert needs["local-catalog"] == {"local-foundation"}
    assert needs["local-operations"] == {"local-cluster", "local-catalog"}
    assert needs["local-tenant-pricing"] == {"local-cluster", "local-catalog"}
    assert needs["local-team-pricing"] == {"local-tenant-pricing", "local-operations"}
    assert not {name for name, others in needs.items() if any(o[:3] != name[:3] for o in others)}


def test_one_stack_alone_is_the_same_as_among_all(tmp_path: Path, fleet_documents: Documents) -> None:
    alone = synthesized(tmp_path / "out", "prod-team-pricing")
    assert alone == {"prod-team-pricing": fleet_documents["prod-team-pricing"]}
    stacks = json.loads((tmp_path / "out" / "manifest.json").read_text())["stacks"]
    assert stacks["prod-team-pricing"]["dependencies"] == []


def test_no_stack_reads_the_state_of_another(fleet_documents: Documents) -> None:
    for name, document in fleet_documents.items():
        assert "terraform_remote_state" not in json.dumps(document), name
        if name.split("-")[1] == "team":
            assert set(document["data"]) == {"google_project"}, name


def test_state_is_where_the_environment_says(fleet_documents: Documents) -> None:
    for name, document in fleet_documents.items():
        backend = document["terraform"]["backend"]
        if name.startswith("local-"):
            assert backend == {"local": {"path": f"../../../build/state/{name}.tfstate"}}
        else:
            assert backend["gcs"]["prefix"] == name


def test_what_is_for_the_standin_names_no_place_of_google_or_of_a_cluster(fleet_documents: Documents) -> None:
    for name, document in fleet_documents.items():
        google = document["provider"]["google"][0]
        hosts = [provider["host"] for provider in document["provider"].get("kubernetes", [])]
        if name.startswith("local-"):
            assert google["universe_domain"] == NOWHERE, name
            assert set(hosts) <= {f"https://{NOWHERE}"}, name
        else:
            assert "universe_domain" not in google, name
            assert all("connectgateway.googleapis.com" in host for host in hosts), name
    assert NOWHERE.endswith(".invalid")


def test_a_change_of_one_team_changes_its_stack_alone(tmp_path: Path, fleet_documents: Documents) -> None:
    root = copy_tree(tmp_path)
    path = root / "teams" / "flight-ops" / "team.yaml"
    path.write_text(path.read_text() + "defaults: {replicas: {max: 7}}\n")

    after = synthesized(tmp_path / "out", "local-*", root)

    changed = {name for name, document in after.items() if document != fleet_documents[name]}
    assert changed == {"local-team-flight-ops"}


def test_a_team_that_leaves_or_comes_changes_no_other_stack(
    tmp_path: Path, fleet_documents: Documents
) -> None:
    root = copy_tree(tmp_path)
    shutil.rmtree(root / "teams" / "pricing")

    without = synthesized(tmp_path / "out", "local-*", root)

    pricing = {"local-tenant-pricing", "local-team-pricing"}
    assert without == {
        name: document
        for name, document in fleet_documents.items()
        if name.startswith("local-") and name not in pricing
    }


def test_a_changed_cost_center_changes_the_stacks_of_the_team_alone(
    tmp_path: Path, fleet_documents: Documents
) -> None:
    root = copy_tree(tmp_path)
    path = root / "teams" / "flight-ops" / "team.yaml"
    path.write_text(path.read_text().replace('cost_center: "4711"', 'cost_center: "4799"'))

    after = synthesized(tmp_path / "out", "local-*", root)

    changed = {name for name, document in after.items() if document != fleet_documents[name]}
    assert changed == {"local-tenant-flight-ops", "local-team-flight-ops"}


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("local-team-*", {"local-team-fleet-care", "local-team-flight-ops", "local-team-pricing"}),
        ("dev-tenant-*", {"dev-tenant-fleet-care", "dev-tenant-flight-ops", "dev-tenant-pricing"}),
        ("*-pricing", {f"{name}-{room}-pricing" for name in ENVIRONMENTS for room in ("team", "tenant")}),
        ("*-catalog", {f"{name}-catalog" for name in ENVIRONMENTS}),
        ("local-platform, dev-platform", {"local-platform", "dev-platform"}),
    ],
)
def test_stacks_are_selected_as_files_are(tmp_path: Path, patterns: str, expected: set[str]) -> None:
    assert set(synthesized(tmp_path / "out", patterns)) == expected


def test_a_pattern_that_matches_nothing_is_an_error(tmp_path: Path) -> None:
    for others in ("", "local-platform, ", "prod-*, "):
        finished = run_app(tmp_path / "out", f"{others}local-team-pircing")
        assert finished.returncode == 2
        assert "no stack matches local-team-pircing;" in finished.stderr
        assert "Traceback" not in finished.stderr
        assert not (tmp_path / "out" / "stacks").exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    finished = run_app(tmp_path / "out", "local-platform")
    assert finished.returncode == 2
    assert f"no stacks can be written under {tmp_path / 'out'}: Not a directory" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_without_node_the_app_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JSII_NODE", str(tmp_path / "no-node"))
    finished = run_app(tmp_path / "out", "local-platform")
    assert finished.returncode == 2
    assert 'Run: eval "$(make -s env)"' in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_wrong_file_stops_the_app_and_writes_nothing(tmp_path: Path) -> None:
    root = copy_tree(tmp_path)
    path = root / "teams" / "flight-ops" / "team.yaml"
    path.write_text(path.read_text().replace("pattern: rest ", "pattern: rst "))

    finished = run_app(tmp_path / "out", "local-*", root)

    assert finished.returncode == 2
    assert "teams/flight-ops/team.yaml:7:14 models[0].pattern: 'rst' is not one of" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "out").exists()


EXTENSION = """
from cdktf_cdktf_provider_google.storage_bucket import StorageBucket

def extend(stack):
    StorageBucket(stack, "exports", name=f"{stack.team_names.project}-exports", location="EU",
                  labels=stack.labels(), lifecycle={"prevent_destroy": True})
"""


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            EXTENSION.replace("labels=stack.labels(), ", ""),
            "lacks the labels cost_center, environment, model",
        ),
        (
            EXTENSION.replace("extend", "extends"),
            "stack.py:1:1 extend: a team's stack.py defines extend(stack)",
        ),
        (EXTENSION.replace('"exports", name', '"exports", project="other", name'), "acts on project other"),
        (EXTENSION.replace("(stack):", "(stack):\n    1 / 0"), "stack.py:5:1 extend: division by zero"),
        (EXTENSION.replace("def ", "deff "), "stack.py:4:6 extend: invalid syntax"),
    ],
)
def test_what_is_wrong_in_a_teams_own_resources_is_said(tmp_path: Path, source: str, says: str) -> None:
    root = copy_tree(tmp_path)
    (root / "teams" / "flight-ops" / "stack.py").write_text(source)

    finished = run_app(tmp_path / "out", "local-team-flight-ops", root)

    assert finished.returncode == 2
    assert says in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_team_adds_resources_of_its_own(tmp_path: Path) -> None:
    root = copy_tree(tmp_path)
    (root / "teams" / "flight-ops" / "stack.py").write_text(EXTENSION)

    stack = synthesized(tmp_path / "out", "local-team-flight-ops", root)["local-team-flight-ops"]

    (bucket,) = stack["resource"]["google_storage_bucket"].values()
    assert bucket["name"] == "example-local-flight-ops-exports"
