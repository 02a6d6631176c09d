"""Terraform deploys teams, catalog and operations to the stand-in, then has nothing to do, and protects data.

The stand-in is not Google: it proves arguments, types, references and states, not what Google accepts.
"""

import json
from pathlib import Path

import pytest

from tests.stacks.conftest import Documents
from tests.stacks.deployment import (
    Terraform,
    deploy,
    plans_nothing_more,
    refuses_to_destroy,
    succeeds,
    write,
)

TEAMS = ("team-fleet-care", "team-flight-ops", "team-pricing")
# The other rooms of both modes are deployed in test_shared_deployment.
STACKS = [f"{name}-{room}" for name in ("local", "prod") for room in ("catalog", "operations", *TEAMS)]


@pytest.mark.parametrize("stack", STACKS)
def test_deploys_plans_nothing_more_and_keeps_what_holds_data(
    stack: str, fleet_documents: Documents, terraform: Terraform, tmp_path: Path
) -> None:
    folder = write(fleet_documents[stack], tmp_path)
    deploy(terraform, folder)
    plans_nothing_more(terraform, folder)
    if stack.endswith("-operations"):
        succeeds(terraform, folder, "destroy", "-input=false", "-auto-approve")
    else:
        refuses_to_destroy(terraform, folder)


def test_a_promotion_adds_columns_to_the_log_and_replaces_no_table(
    fleet_documents: Documents, terraform: Terraform, tmp_path: Path
) -> None:
    folder = write(fleet_documents["local-team-pricing"], tmp_path)
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


def test_the_same_stack_goes_to_google_by_its_environment_alone(fleet_documents: Documents) -> None:
    local, dev = fleet_documents["local-team-flight-ops"], fleet_documents["dev-team-flight-ops"]
    assert {t: len(r) for t, r in local["resource"].items()} == {
        t: len(r) for t, r in dev["resource"].items()
    }
    assert local["terraform"]["required_providers"] == dev["terraform"]["required_providers"]
