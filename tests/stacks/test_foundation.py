"""The foundation is closed, encrypted, audited, and cannot be destroyed by accident."""

import re
from typing import Any

import pytest

from modules.keys import AGENTS
from tests.stacks.shared import logs_all_data_access, of_type

Documents = dict[str, dict[str, Any]]
FOUNDATIONS = pytest.mark.parametrize("stack", ["dev-foundation", "std-foundation"])


@FOUNDATIONS
def test_network_denies_by_default_and_opens_nothing_to_the_internet(
    documents: Documents, stack: str
) -> None:
    rules = of_type(documents[stack], "google_compute_firewall")
    closed = {path: rule for path, rule in rules.items() if "deny" in rule}

    assert {rule["direction"] for rule in closed.values()} == {"INGRESS", "EGRESS"}
    for rule in closed.values():
        assert rule["deny"] == [{"protocol": "all"}]
        assert (rule.get("source_ranges") or rule["destination_ranges"]) == ["0.0.0.0/0"]
    for path, rule in rules.items():
        assert "log_config" in rule
        if path not in closed:
            assert rule["priority"] < min(each["priority"] for each in closed.values())
            assert "0.0.0.0/0" not in rule.get("source_ranges", []) + rule.get("destination_ranges", [])


@FOUNDATIONS
def test_nodes_have_flow_logs_and_a_private_way_to_google(documents: Documents, stack: str) -> None:
    subnets = of_type(documents[stack], "google_compute_subnetwork")
    assert subnets["network/nodes"]["private_ip_google_access"] is True
    assert subnets["network/nodes"]["log_config"]["metadata"] == "INCLUDE_ALL_METADATA"
    assert {r["range_name"] for r in subnets["network/nodes"]["secondary_ip_range"]} == {"pods", "services"}
    assert subnets["network/proxies"]["purpose"] == "REGIONAL_MANAGED_PROXY"
    assert (
        of_type(documents[stack], "google_compute_network")["network/network"]["auto_create_subnetworks"]
        is False
    )

    addresses = {
        address
        for record in of_type(documents[stack], "google_dns_record_set").values()
        if record["type"] == "A"
        for address in record["rrdatas"]
    }
    assert addresses == {f"199.36.153.{last}" for last in (4, 5, 6, 7)}


@FOUNDATIONS
def test_keys_rotate_within_90_days_and_only_service_agents_use_them(
    documents: Documents, stack: str
) -> None:
    keys = of_type(documents[stack], "google_kms_crypto_key")
    assert set(keys) == {f"keys/{purpose}" for purpose in (*AGENTS, "logs")}
    for key in keys.values():
        assert int(key["rotation_period"].removesuffix("s")) <= 90 * 86400
        assert key["lifecycle"]["prevent_destroy"] is True

    for grant in of_type(documents[stack], "google_kms_crypto_key_iam_member").values():
        assert grant["role"] == "roles/cloudkms.cryptoKeyEncrypterDecrypter"
        name = r"(bigquery-encryption|compute-system|container-engine-robot|gcp-sa-\w+|gs-project-accounts)"
        asked = r"\$\{data\.google_logging_project_cmek_settings\."
        assert re.match(rf"serviceAccount:((service|bq)-[^@]+@{name}\.iam|{asked})", grant["member"])


def test_keys_stand_where_the_data_is(documents: Documents) -> None:
    def rings(stack: str) -> set[str]:
        return {ring["location"] for ring in of_type(documents[stack], "google_kms_key_ring").values()}

    assert rings("dev-foundation") == {"europe", "europe-west4"}
    assert rings("std-foundation") == {"europe-west4"}
    bucket = of_type(documents["dev-foundation"], "google_storage_bucket")["artifacts/bucket"]
    assert bucket["location"] == "EU"
    assert "/locations/europe/" in bucket["encryption"]["default_kms_key_name"]


@FOUNDATIONS
def test_whatever_names_a_key_waits_for_its_agent_to_be_granted(documents: Documents, stack: str) -> None:
    resources = documents[stack]["resource"]
    for type_ in ("google_artifact_registry_repository", "google_storage_bucket"):
        for resource in resources[type_].values():
            assert any(
                need.startswith("google_kms_crypto_key_iam_member.") for need in resource["depends_on"]
            )
    bucket = of_type(documents[stack], "google_logging_project_bucket_config")["audit-logs/bucket"]
    assert any(need.startswith("google_kms_crypto_key_iam_member.") for need in bucket["depends_on"])


@FOUNDATIONS
def test_artifacts_are_private_versioned_encrypted_and_kept(documents: Documents, stack: str) -> None:
    bucket = of_type(documents[stack], "google_storage_bucket")["artifacts/bucket"]
    assert bucket["uniform_bucket_level_access"] is True
    assert bucket["public_access_prevention"] == "enforced"
    assert bucket["versioning"] == {"enabled": True}
    assert bucket["retention_policy"]["retention_period"] == 400 * 86400
    assert bucket["soft_delete_policy"]["retention_duration_seconds"] >= 7 * 86400
    assert bucket["force_destroy"] is False
    assert bucket["lifecycle"]["prevent_destroy"] is True


@FOUNDATIONS
def test_images_are_scanned_immutable_and_the_only_ones_admitted(documents: Documents, stack: str) -> None:
    repository = of_type(documents[stack], "google_artifact_registry_repository")["images/repository"]
    assert repository["docker_config"]["immutable_tags"] is True
    assert repository["vulnerability_scanning_config"]["enablement_config"] == "INHERITED"
    deleting = [policy for policy in repository["cleanup_policies"] if policy["action"] == "DELETE"]
    assert [policy["condition"]["tag_state"] for policy in deleting] == ["UNTAGGED"], (
        "a tag marks what is used"
    )

    policy = of_type(documents[stack], "google_binary_authorization_policy")["image-policy/policy"]
    assert policy["default_admission_rule"] == {
        "enforcement_mode": "ENFORCED_BLOCK_AND_AUDIT_LOG",
        "evaluation_mode": "ALWAYS_DENY",
    }
    project = repository["project"]
    registry = f"europe-west4-docker.pkg.dev/{project}/{repository['repository_id']}/*"
    assert policy["admission_whitelist_patterns"] == [{"name_pattern": registry}]


@FOUNDATIONS
def test_data_access_is_logged_into_a_bucket_with_a_key_and_a_retention(
    documents: Documents, stack: str
) -> None:
    (configuration,) = of_type(documents[stack], "google_project_iam_audit_config").values()
    (sink,) = of_type(documents[stack], "google_logging_project_sink").values()

    assert configuration["project"] == sink["project"] == documents[stack]["provider"]["google"][0]["project"]
    logs_all_data_access(configuration)
    assert sink["destination"].endswith("/locations/europe-west4/buckets/modelyard-audit")
    bucket = of_type(documents[stack], "google_logging_project_bucket_config")["audit-logs/bucket"]
    assert bucket["retention_days"] == 400
    assert bucket["cmek_settings"]["kms_key_name"].endswith("/cryptoKeys/logs")


@FOUNDATIONS
def test_only_the_repository_is_trusted_and_deploying_needs_ref_and_environment(
    documents: Documents, stack: str
) -> None:
    provider = of_type(documents[stack], "google_iam_workload_identity_pool_provider")["ci/github"]
    assert provider["attribute_condition"] == "assertion.repository == 'example/models'"
    assert provider["attribute_mapping"]["attribute.deploys"] == (
        "assertion.ref == 'refs/heads/main' && has(assertion.environment) ? assertion.environment : 'nothing'"
    )


def test_no_key_no_basic_role_nobody_from_outside(documents: Documents) -> None:
    for document in documents.values():
        resources = document["resource"]
        assert "google_service_account_key" not in resources
        assert not [type_ for type_ in resources if type_.endswith(("_iam_binding", "_iam_policy"))]
        for of_one_type in resources.values():
            for resource in of_one_type.values():
                assert resource.get("role") not in {"roles/owner", "roles/editor", "roles/viewer"}
                assert resource.get("member") not in {"allUsers", "allAuthenticatedUsers"}


def test_images_are_pushed_by_one_identity_that_can_do_nothing_else(documents: Documents) -> None:
    document = documents["dev-foundation"]
    email = "serviceAccount:modelyard-image-publisher@example-dev.iam.gserviceaccount.com"
    granted = [
        (type_, grant["role"])
        for type_ in document["resource"]
        if type_.endswith("_iam_member")
        for grant in of_type(document, type_).values()
        if grant.get("member") == email
    ]
    assert granted == [("google_artifact_registry_repository_iam_member", "roles/artifactregistry.writer")]
    users = of_type(document, "google_service_account_iam_member")["image-publisher/users"]
    assert users["member"].endswith("/attribute.deploys/dev-images")
