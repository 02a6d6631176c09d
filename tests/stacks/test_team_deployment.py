"""Terraform deploys teams, catalog and operations to the stand-in, then has nothing to do, and protects data.

The stand-in is not Google: it proves arguments, types, references and states, not what Google accepts.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelyard.toolchain import find_terraform
from plan_review.standin.launch import running
from tests.stacks.fleet import ROOT, synthesized

TEAMS = ("team-fleet-care", "team-flight-ops", "team-pricing")
# The other rooms of both modes are deployed in test_shared_deployment.
STACKS = [f"{name}-{room}" for name in ("local", "prod") for room in ("catalog", "operations", *TEAMS)]
Terraform = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def terraform() -> Iterator[Terraform]:
    """Run Terraform on a folder, with a stand-in beside it."""
    command = find_terraform(ROOT)
    with running() as added:
        environment = os.environ | added

        def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [command, *arguments, "-no-color"],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
            )

        yield run


def with_local_state(out: Path, stack: str, folder: Path) -> Path:
    """Copy a synthesized stack to `folder`, with its state beside it."""
    document = json.loads((out / "stacks" / stack / "cdk.tf.json").read_text())
    document["terraform"]["backend"] = {"local": {"path": "terraform.tfstate"}}
    folder.mkdir(exist_ok=True)
    (folder / "cdk.tf.json").write_text(json.dumps(document))
    return folder


def deploy(terraform: Terraform, folder: Path) -> None:
    for arguments in (["init", "-input=false"], ["apply", "-input=false", "-auto-approve"]):
        finished = terraform(folder, *arguments)
        assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("stack", STACKS)
def test_deploys_and_plans_nothing_more(
    stack: str, fleet_out: Path, terraform: Terraform, tmp_path: Path
) -> None:
    folder = with_local_state(fleet_out, stack, tmp_path)
    deploy(terraform, folder)

    again = terraform(folder, "plan", "-input=false", "-detailed-exitcode")

    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.parametrize("stack", ["local-catalog", "local-team-fleet-care"])
def test_refuses_to_destroy_what_holds_data(
    stack: str, fleet_out: Path, terraform: Terraform, tmp_path: Path
) -> None:
    folder = with_local_state(fleet_out, stack, tmp_path)
    deploy(terraform, folder)
    before = (folder / "terraform.tfstate").read_text()

    destroyed = terraform(folder, "destroy", "-input=false", "-auto-approve")

    assert destroyed.returncode != 0
    assert "prevent_destroy" in destroyed.stdout + destroyed.stderr
    assert (folder / "terraform.tfstate").read_text() == before


def test_a_promotion_adds_columns_to_the_log_and_replaces_no_table(
    fleet_out: Path, terraform: Terraform, tmp_path: Path
) -> None:
    folder = with_local_state(fleet_out, "local-team-pricing", tmp_path)
    deploy(terraform, folder)
    document = json.loads((folder / "cdk.tf.json").read_text())
    (table,) = (
        t for t in document["resource"]["google_bigquery_table"].values() if t["table_id"] == "vehicle_price"
    )
    schema = json.loads(table["schema"])
    features = next(column for column in schema if column["name"] == "features")["fields"]

    def plan_with(fields: list[dict[str, object]]) -> str:
        changed = [{**c, "fields": fields} if c["name"] == "features" else c for c in schema]
        table["schema"] = json.dumps(changed)
        (folder / "cdk.tf.json").write_text(json.dumps(document))
        planned = terraform(folder, "plan", "-input=false")
        return planned.stdout + planned.stderr

    added = plan_with([*features, {"name": "doors", "type": "INTEGER", "mode": "NULLABLE"}])
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in added
    assert "Instance cannot be destroyed" in plan_with(features[1:])


def test_the_same_stack_goes_to_google_by_its_environment_alone(tmp_path: Path) -> None:
    documents = synthesized(tmp_path / "out", "*-team-flight-ops")
    local, dev = documents["local-team-flight-ops"], documents["dev-team-flight-ops"]
    assert {t: len(r) for t, r in local["resource"].items()} == {
        t: len(r) for t, r in dev["resource"].items()
    }
    assert local["terraform"]["required_providers"] == dev["terraform"]["required_providers"]
