"""The cluster is private, patched and watched in both modes, and told nothing that its mode refuses."""

from typing import Any

import pytest

from tests.stacks.shared import of_type

Documents = dict[str, dict[str, Any]]
PLATFORMS = pytest.mark.parametrize("stack", ["dev-platform", "std-platform"])
# The provider refuses these together with enable_autopilot, whatever their value.
NOT_IN_AUTOPILOT = {
    "default_max_pods_per_node",
    "enable_intranode_visibility",
    "enable_shielded_nodes",
    "network_policy",
    "node_config",
    "node_pool",
    "remove_default_node_pool",
}


def cluster(documents: Documents, stack: str) -> dict[str, Any]:
    return of_type(documents[stack], "google_container_cluster")["cluster/cluster"]


@PLATFORMS
def test_cluster_has_no_public_endpoint_and_no_old_credential(documents: Documents, stack: str) -> None:
    made = cluster(documents, stack)
    private = made["private_cluster_config"]
    assert private["enable_private_endpoint"] is True and private["enable_private_nodes"] is True
    assert made["master_authorized_networks_config"]["gcp_public_cidrs_access_enabled"] is False
    blocks = made["master_authorized_networks_config"]["cidr_blocks"]
    assert [block["cidr_block"] for block in blocks] == ["10.10.0.0/20"]
    assert made["master_auth"]["client_certificate_config"]["issue_client_certificate"] is False
    assert made["enable_legacy_abac"] is False
    assert made["fleet"]["project"] == made["project"], "Connect Gateway is the only way in"
    assert "output" not in documents[stack] or not any(
        "endpoint" in name for name in documents[stack]["output"]
    )


@PLATFORMS
def test_cluster_is_encrypted_admits_signed_images_and_is_watched(documents: Documents, stack: str) -> None:
    made = cluster(documents, stack)
    assert made["database_encryption"]["state"] == "ENCRYPTED"
    assert made["database_encryption"]["key_name"].endswith("/cryptoKeys/cluster")
    assert made["binary_authorization"]["evaluation_mode"] == "PROJECT_SINGLETON_POLICY_ENFORCE"
    assert made["datapath_provider"] == "ADVANCED_DATAPATH"
    assert made["monitoring_config"]["managed_prometheus"]["enabled"] is True
    assert made["cost_management_config"]["enabled"] is True
    assert made["gateway_api_config"]["channel"] == "CHANNEL_STANDARD"
    assert made["release_channel"]["channel"] == "REGULAR"
    assert made["deletion_protection"] is True and made["lifecycle"]["prevent_destroy"] is True


def test_autopilot_is_told_nothing_it_refuses(documents: Documents) -> None:
    made = cluster(documents, "dev-platform")
    assert made["enable_autopilot"] is True
    assert not NOT_IN_AUTOPILOT & set(made)
    assert set(made["cluster_autoscaling"]) == {"auto_provisioning_defaults"}
    account = made["cluster_autoscaling"]["auto_provisioning_defaults"]["service_account"]
    assert account == "modelyard-nodes@example-dev.iam.gserviceaccount.com"
    assert "google_container_node_pool" not in documents["dev-platform"]["resource"]


def test_standard_nodes_are_shielded_and_hide_their_credentials(documents: Documents) -> None:
    made = cluster(documents, "std-platform")
    pools = of_type(documents["std-platform"], "google_container_node_pool")
    assert "enable_autopilot" not in made
    assert made["workload_identity_config"]["workload_pool"] == "example-std.svc.id.goog"
    assert set(pools) == {"cluster/pool-general", "cluster/pool-gpu"}
    for nodes in (made["node_config"], *(pool["node_config"] for pool in pools.values())):
        assert nodes["workload_metadata_config"] == {"mode": "GKE_METADATA"}
        assert nodes["shielded_instance_config"]["enable_secure_boot"] is True
        assert nodes["image_type"] == "COS_CONTAINERD"
        assert nodes["service_account"] == "modelyard-nodes@example-std.iam.gserviceaccount.com"
        assert nodes["boot_disk_kms_key"].endswith("/cryptoKeys/cluster")
    for pool in pools.values():
        assert pool["management"] == {"auto_repair": True, "auto_upgrade": True}
        assert pool["network_config"]["enable_private_nodes"] is True


def test_gpu_nodes_take_only_what_asks_for_them(documents: Documents) -> None:
    pools = of_type(documents["std-platform"], "google_container_node_pool")
    gpu, general = pools["cluster/pool-gpu"]["node_config"], pools["cluster/pool-general"]["node_config"]
    assert gpu["taint"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}]
    assert (gpu["guest_accelerator"][0]["type"], gpu["guest_accelerator"][0]["count"]) == ("nvidia-l4", 1)
    assert "taint" not in general and "guest_accelerator" not in general
    assert pools["cluster/pool-gpu"]["autoscaling"]["min_node_count"] == 0


def test_nodes_are_in_the_zones_that_have_them(documents: Documents) -> None:
    pools = of_type(documents["std-platform"], "google_container_node_pool")
    assert pools["cluster/pool-gpu"]["node_locations"] == ["europe-west4-a", "europe-west4-b"]
    assert "node_locations" not in pools["cluster/pool-general"]


def test_nodes_may_log_and_pull_and_nothing_else(documents: Documents) -> None:
    for stack in ("dev-platform", "std-platform"):
        granted = {
            grant["role"]
            for type_ in documents[stack]["resource"]
            for grant in of_type(documents[stack], type_).values()
            if "modelyard-nodes@" in str(grant.get("member"))
        }
        assert granted == {"roles/container.defaultNodeServiceAccount", "roles/artifactregistry.reader"}


def test_gateway_is_internal_and_serves_https_alone(documents: Documents) -> None:
    address = of_type(documents["dev-platform"], "google_compute_address")["gateway/address"]
    assert address["address_type"] == "INTERNAL"
    zone = of_type(documents["dev-platform"], "google_dns_managed_zone")["gateway/zone"]
    assert (zone["visibility"], zone["dns_name"]) == ("private", "models.dev.example.com.")

    manifests = of_type(documents["dev-cluster"], "kubernetes_manifest")
    spec = manifests["gateway/gateway"]["manifest"]["spec"]
    assert spec["gatewayClassName"] == "gke-l7-rilb"
    assert spec["addresses"] == [{"type": "NamedAddress", "value": address["name"]}]
    assert {listener["protocol"] for listener in spec["listeners"]} == {"HTTPS"}
    certificate = of_type(documents["dev-platform"], "google_certificate_manager_certificate")
    options = spec["listeners"][0]["tls"]["options"]
    assert options == {"networking.gke.io/cert-manager-certs": certificate["gateway/certificate"]["name"]}
    assert certificate["gateway/certificate"]["location"] == address["region"]
