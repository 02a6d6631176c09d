"""Each kind of wrong configuration is refused, with the place named."""

import json
from typing import Any

import pytest

from tests.plan_review.standin.conftest import Workspace

BUCKET = {"name": "acme-models", "location": "EU"}
TABLE = {"dataset_id": "logs", "table_id": "t"}
MASKING = {"location": "eu", "data_policy_id": "mask", "policy_tag": "t"}
POLICY = {"display_name": "p", "combiner": "OR"}
THRESHOLD: dict[str, Any] = {"filter": "x", "comparison": "COMPARISON_GT", "duration": "60s"}
DEPLOYMENT: dict[str, Any] = {
    "metadata": {"name": "d"},
    "spec": {"template": {"metadata": {}, "spec": {"container": [{"name": "c", "image": "i"}]}}},
}

# kind, resource, what the message says, what the named line holds
CASES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "unknown argument": (
        "google_storage_bucket",
        {**BUCKET, "retention": 3},
        'No argument or block type is named "retention"',
        "retention",
    ),
    "unknown argument in a nested block": (
        "kubernetes_namespace_v1",
        {"metadata": {"name": "n", "owner": "x"}},
        'No argument or block type is named "owner"',
        "owner",
    ),
    "missing required argument": (
        "google_storage_bucket",
        {"name": "acme-models"},
        'The argument "location" is required',
        "",
    ),
    "missing required block": (
        "kubernetes_deployment_v1",
        {"metadata": {"name": "d"}},
        'At least 1 "spec" blocks are required',
        "",
    ),
    "wrong type": (
        "google_storage_bucket",
        {**BUCKET, "labels": "team"},
        "map of string required",
        "labels",
    ),
    "wrong type in a nested block": (
        "google_storage_bucket",
        {**BUCKET, "versioning": {"enabled": "perhaps"}},
        "a bool is required",
        "enabled",
    ),
    "second of a block that may occur once": (
        "google_storage_bucket",
        {**BUCKET, "versioning": [{"enabled": True}, {"enabled": False}]},
        'No more than 1 "versioning" blocks are allowed',
        "",
    ),
    "value that only the provider sets": (
        "google_storage_bucket",
        {**BUCKET, "self_link": "https://example.com"},
        "Value for unconfigurable attribute",
        "self_link",
    ),
    "value that only the provider sets, nested": (
        "kubernetes_namespace_v1",
        {"metadata": {"name": "n", "uid": "1"}},
        "Value for unconfigurable attribute",
        "uid",
    ),
    "not of the enumeration": (
        "google_bigquery_datapolicy_data_policy",
        {**MASKING, "data_policy_type": "MASKING"},
        "data_policy_type must be one of",
        "data_policy_type",
    ),
    "not of the enumeration, in a list": (
        "google_monitoring_alert_policy",
        {
            **POLICY,
            "conditions": [
                {"display_name": "a", "condition_threshold": THRESHOLD},
                {"display_name": "b", "condition_threshold": {**THRESHOLD, "comparison": "GREATER"}},
            ],
        },
        "conditions.condition_threshold.comparison must be one of",
        "GREATER",
    ),
    "not of the enumeration, in Kubernetes": (
        "kubernetes_deployment_v1",
        {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "strategy": {"type": "BlueGreen"}}},
        "spec.strategy.type must be one of",
        "BlueGreen",
    ),
    "conflicting arguments": (
        "google_bigquery_table",
        {
            **TABLE,
            "require_partition_filter": True,
            "time_partitioning": {"type": "DAY", "require_partition_filter": True},
        },
        "Conflicting configuration arguments",
        "require_partition_filter",
    ),
    "conflicting arguments of one block": (
        "kubernetes_pod_disruption_budget_v1",
        {
            "metadata": {"name": "b"},
            "spec": {"min_available": "1", "max_unavailable": "1", "selector": {"match_labels": {"a": "b"}}},
        },
        "spec.max_unavailable conflicts with spec.min_available",
        "max_unavailable",
    ),
    "none of those of which one is needed": (
        "google_storage_bucket_object",
        {"name": "o", "bucket": "b"},
        "exactly one of content, source must be specified",
        "",
    ),
    "two of those of which one is allowed": (
        "google_storage_bucket_object",
        {"name": "o", "bucket": "b", "content": "x", "source": "y"},
        "only one of content, source can be specified",
        "source",
    ),
    "none of those of which some are needed": (
        "google_billing_budget",
        {
            "billing_account": "0",
            "amount": {"specified_amount": {"units": "1"}},
            "threshold_rules": {"threshold_percent": 1},
            "all_updates_rule": {},
        },
        "at least one of all_updates_rule.monitoring_notification_channels",
        "",
    ),
    "a name that Google's provider knows to be illegal": (
        "google_service_account",
        {"account_id": "Serving"},
        "account_id must match",
        "account_id",
    ),
    "a name that Kubernetes knows to be illegal": (
        "kubernetes_namespace_v1",
        {"metadata": {"name": "team_x"}},
        "metadata.name must match",
        "team_x",
    ),
    "text that is no JSON": (
        "google_monitoring_dashboard",
        {"dashboard_json": "{"},
        "dashboard_json contains an invalid JSON",
        "dashboard_json",
    ),
    "a table schema that is no list": (
        "google_bigquery_table",
        {**TABLE, "schema": '{"name": "x"}'},
        "schema is not a JSON array",
        "schema",
    ),
    "manifest without a kind": (
        "kubernetes_manifest",
        {"manifest": {"apiVersion": "v1", "metadata": {"name": "x"}}},
        "'kind' attribute key is missing",
        "manifest",
    ),
    "unknown resource type": (
        "google_storage_bukket",
        BUCKET,
        'does not support resource type "google_storage_bukket"',
        "google_storage_bukket",
    ),
    "dangling reference": (
        "google_storage_bucket_iam_member",
        {"bucket": "${google_storage_bucket.other.name}", "role": "roles/viewer", "member": "allUsers"},
        'A managed resource "google_storage_bucket" "other" has not been declared',
        "google_storage_bucket.other",
    ),
    "reference to an attribute that does not exist": (
        "google_service_account",
        {"account_id": "${google_service_account.x.mail}"},
        'no argument, nested block, or exported attribute named "mail"',
        "mail",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_is_refused(case: str, workspace: Workspace) -> None:
    kind, body, says, line = CASES[case]
    workspace.write({kind: {"x": body}})

    problems = workspace.problems()

    matching = [problem for problem in problems if says in f"{problem['summary']} {problem['detail']}"]
    assert matching, problems
    assert any(line in (problem.get("snippet") or {}).get("code", "") for problem in matching), matching


def test_every_refusal_names_its_resource(workspace: Workspace) -> None:
    kind, body, says, _ = CASES["not of the enumeration"]
    workspace.write({kind: {"right": {**body, "data_policy_type": "DATA_MASKING_POLICY"}, "wrong": body}})

    (problem,) = workspace.problems()

    assert says in problem["summary"]
    assert problem["snippet"]["context"] == f"resource.{kind}.wrong"


def test_all_refusals_are_told_at_once(workspace: Workspace) -> None:
    first, second = CASES["not of the enumeration"], CASES["value that only the provider sets"]
    workspace.write({first[0]: {"x": first[1]}, second[0]: {"x": second[1]}})

    said = " ".join(problem["summary"] for problem in workspace.problems())

    assert first[2] in said
    assert second[2] in said


def test_what_is_not_known_yet_is_not_refused(workspace: Workspace) -> None:
    """An enumeration, a conflict or a choice is only judged once its values are known."""
    unknown = "${terraform_data.later.output}"
    workspace.write(
        {
            "terraform_data": {"later": {"input": "x"}},
            "google_bigquery_datapolicy_data_policy": {"x": {**MASKING, "data_policy_type": unknown}},
            "google_storage_bucket_object": {"x": {"name": "o", "bucket": "b", "content": unknown}},
            "kubernetes_manifest": {"x": {"manifest": unknown}},
        }
    )

    assert workspace.problems() == []


@pytest.mark.parametrize("name", ["project", "region"])
def test_a_provider_without_project_or_region_is_refused(name: str, workspace: Workspace) -> None:
    environment = {key: value for key, value in workspace.environment.items() if "GOOGLE" not in key}
    workspace.environment = environment
    provider = {key: value for key, value in {"project": "p", "region": "r"}.items() if key != name}
    workspace.write({"google_compute_address": {"x": {"name": "a"}}}, provider={"google": provider})

    done = workspace.run("plan", "-json", check=False)

    assert done.returncode == 1
    errors = [line for line in map(json.loads, done.stdout.splitlines()) if line["@level"] == "error"]
    assert [error["diagnostic"]["summary"] for error in errors] == [f"{name}: required field is not set"]
