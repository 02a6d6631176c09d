"""The catalog protects what it knows; operations watches it with no more rights than that takes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelyard.monitors import platform
from modelyard.spec.environment import Environment
from modelyard.tables import SHARED_TABLES
from modelyard.tables.history import LOCK
from modelyard.tables.views import FLEET_VIEWS
from tests.modelyard.sample import environment
from tests.modules.synthesis import Resources, by_type

from stacks.catalog import CatalogStack  # isort: skip - the bindings come first
from stacks.foundation import PERSONAS, FoundationStack  # isort: skip
from stacks.operations import OperationsStack  # isort: skip
from stacks.rules import check  # isort: skip
from cdktf import App  # isort: skip

STACKS = {"catalog": CatalogStack, "operations": OperationsStack}
MONITOR = "modelyard-monitor@example-dev.iam.gserviceaccount.com"
CENTER = "modelyard-operations-center@example-dev.iam.gserviceaccount.com"


def document(room: str, spec: Environment | None = None) -> dict[str, Any]:
    """Return the Terraform JSON of one stack."""
    stack = STACKS[room](App(), spec or environment())
    stack.prepare_stack()
    made: dict[str, Any] = stack.to_terraform()
    return made


@pytest.fixture(scope="module")
def catalog() -> Resources:
    return by_type(document("catalog"))


@pytest.fixture(scope="module")
def operations() -> Resources:
    return by_type(document("operations"))


@pytest.mark.parametrize("room", STACKS)
def test_the_rules_of_all_stacks_hold(room: str) -> None:
    assert check(f"dev-{room}", document(room)) == []


def test_the_catalog_has_every_shared_table_in_its_dataset_and_every_view(catalog: Resources) -> None:
    made = {(t["dataset_id"], t["table_id"]) for t in catalog["google_bigquery_table"].values()}
    tables = {(f"modelyard_dev_{table.dataset}", table.name) for table in SHARED_TABLES}
    assert made == tables | {("modelyard_dev_fleet", view.name) for view in FLEET_VIEWS}


def test_each_kind_of_data_is_kept_as_long_as_the_environment_says() -> None:
    made = by_type(document("catalog", environment(retention={"predictions": 30, "monitoring": 90})))
    days = {
        path.split("/")[0]: dataset.get("default_partition_expiration_ms", 0) / 86_400_000
        for path, dataset in made["google_bigquery_dataset"].items()
    }
    assert days == {"metadata": 0, "predictions": 30, "monitoring": 90, "fleet": 0}


def test_viewers_read_views_and_auditors_tables(catalog: Resources) -> None:
    readers: dict[str, set[str]] = {}
    for entry in catalog["google_bigquery_dataset_access"].values():
        if "group_by_email" in entry:
            readers.setdefault(entry["group_by_email"], set()).add(entry["dataset_id"])
    assert readers.pop("auditors@example.com") == {
        f"modelyard_dev_{purpose}" for purpose in ("metadata", "predictions", "monitoring", "fleet")
    }
    assert readers == {
        "viewers@example.com": {"modelyard_dev_fleet"},
        "platform@example.com": {"modelyard_dev_fleet"},
    }


def test_callers_are_counted_as_hashes_and_seen_by_auditors_alone(catalog: Resources) -> None:
    clear = {m["member"] for m in catalog["google_data_catalog_policy_tag_iam_member"].values()}
    masked = {m["member"] for m in catalog["google_bigquery_datapolicy_data_policy_iam_member"].values()}
    masks = {
        policy["data_policy_id"]: policy["data_masking_policy"]["predefined_expression"]
        for policy in catalog["google_bigquery_datapolicy_data_policy"].values()
    }
    assert clear == {"group:auditors@example.com"}
    assert masked == {"group:viewers@example.com", "group:platform@example.com"}
    assert masks["modelyard_example_dev_pii"] == "SHA256"


def test_one_group_for_all_personas_is_granted_once() -> None:
    everyone = dict.fromkeys(("platform", "approvers", "auditors", "viewers"), "ml@example.com")
    made = by_type(document("catalog", environment(groups=everyone)))
    members = [m["member"] for m in made["google_project_iam_member"].values()]
    assert members == ["group:ml@example.com"]
    assert "google_bigquery_datapolicy_data_policy_iam_member" not in made

    stack = FoundationStack(App(), environment(groups=everyone))
    stack.prepare_stack()
    granted = by_type(stack.to_terraform())["google_project_iam_member"].values()
    roles = sorted(grant["role"] for grant in granted if grant["member"] == "group:ml@example.com")
    assert roles == sorted({role for roles in PERSONAS.values() for role in roles})


def test_every_platform_alert_has_a_policy_and_a_runbook_link(operations: Resources) -> None:
    made = {
        path.split("/")[1]: policy for path, policy in operations["google_monitoring_alert_policy"].items()
    }
    assert made.keys() == {monitor.key for monitor in platform.MONITORS}
    for key, policy in made.items():
        assert policy["notification_channels"], key
        url = f"https://github.com/example/models/blob/HEAD/docs/runbooks/{key}.md"
        assert policy["documentation"]["links"] == [{"display_name": "Runbook", "url": url}]


def test_what_watches_has_no_more_rights_than_that_takes(operations: Resources) -> None:
    found: dict[str, set[tuple[str, str]]] = {MONITOR: set(), CENTER: set()}
    for entry in operations["google_bigquery_dataset_access"].values():
        found[entry["user_by_email"]].add((entry["role"], entry["dataset_id"]))
    for entry in operations["google_project_iam_member"].values():
        found[entry["member"].split(":")[1]].add((entry["role"], entry["project"]))
    for entry in operations["google_bigquery_table_iam_member"].values():
        found[entry["member"].split(":")[1]].add((entry["role"], entry["table_id"]))
    assert found == {
        MONITOR: {
            ("roles/bigquery.jobUser", "example-dev"),
            ("roles/monitoring.metricWriter", "example-dev"),
            ("roles/bigquery.dataViewer", "modelyard_dev_metadata"),
            ("roles/bigquery.dataEditor", "modelyard_dev_predictions"),
            ("roles/bigquery.dataEditor", "modelyard_dev_monitoring"),
        },
        CENTER: {
            ("roles/bigquery.jobUser", "example-dev"),
            ("roles/monitoring.viewer", "example-dev"),
            ("roles/bigquery.dataViewer", "modelyard_dev_metadata"),
            ("roles/bigquery.dataViewer", "modelyard_dev_monitoring"),
            ("roles/bigquery.dataViewer", "modelyard_dev_fleet"),
            ("roles/bigquery.dataEditor", "alert_events"),
        },
    }


def test_only_one_kubernetes_account_may_be_each_identity(operations: Resources) -> None:
    members = {
        m["service_account_id"]: m["member"] for m in operations["google_service_account_iam_member"].values()
    }
    pool = "serviceAccount:example-dev.svc.id.goog[modelyard-system"
    assert members == {
        f"projects/example-dev/serviceAccounts/{MONITOR}": f"{pool}/monitor]",
        f"projects/example-dev/serviceAccounts/{CENTER}": f"{pool}/operations-center]",
    }


def test_the_platform_has_a_budget_of_its_own() -> None:
    made = by_type(document("operations", environment(budget={"platform": 1234, "currency": "CHF"})))
    (budget,) = made["google_billing_budget"].values()
    assert budget["amount"]["specified_amount"] == {"currency_code": "CHF", "units": "1234"}
    assert budget["budget_filter"]["projects"] == ["projects/123456789"]
    shares = [rule["threshold_percent"] for rule in budget["threshold_rules"]]
    assert {0.5, 0.9, 1.0} <= set(shares)


def test_a_lost_column_ends_the_synthesis(tmp_path: Path, root: Path) -> None:
    for folder in ("environments", "modelyard", "modules", "stacks", "teams"):
        shutil.copytree(root / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    lock = tmp_path / LOCK.relative_to(root)
    lock.write_text(lock.read_text().replace('"actor": "REQUIRED STRING"', '"agent": "REQUIRED STRING"'))
    finished = subprocess.run(
        [sys.executable, "-m", "stacks"],
        cwd=tmp_path,
        env={**os.environ, "MODELYARD_STACKS": "local-catalog", "CDKTF_OUTDIR": str(tmp_path / "out")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2, finished.stderr
    assert (
        "modelyard/tables/schemas.lock.json:1:1: metadata.deployments.agent: the column was removed; "
        "schemas only grow"
    ) in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not list((tmp_path / "out").glob("stacks/*/cdk.tf.json"))
