"""What a change does: in place, by replacement, not at all, or refused because the state is protected."""

import json
from typing import Any

import pytest

from tests.plan_review.standin.conftest import Workspace, changed

COLUMNS: list[dict[str, Any]] = [
    {"name": "when", "type": "TIMESTAMP", "mode": "REQUIRED"},
    {"name": "delay", "type": "FLOAT64"},
    {"name": "features", "type": "RECORD", "fields": [{"name": "carrier", "type": "STRING"}]},
]
RESOURCES: dict[str, Any] = {
    "google_storage_bucket": {
        "models": {
            "name": "acme-models",
            "location": "EU",
            "labels": {"team": "flight-ops"},
            "custom_placement_config": {"data_locations": ["EUROPE-WEST1", "EUROPE-WEST4"]},
            "retention_policy": {"retention_period": 86400, "is_locked": True},
        }
    },
    "google_bigquery_dataset": {
        "logs": {
            "dataset_id": "logs",
            "location": "EU",
            "access": [
                {"role": "OWNER", "user_by_email": "a@example.com"},
                {"dataset": [{"dataset": {"project_id": "p", "dataset_id": "d"}, "target_types": ["VIEWS"]}]},
            ],
        }
    },
    "google_bigquery_table": {
        "predictions": {
            "dataset_id": "logs",
            "table_id": "predictions",
            "schema": json.dumps(COLUMNS),
            "time_partitioning": {"type": "DAY", "field": "when"},
            "encryption_configuration": {"kms_key_name": "k"},
            "deletion_protection": False,
        }
    },
    "google_kms_crypto_key": {
        "k": {"name": "k", "key_ring": "projects/p/locations/eu/keyRings/r", "rotation_period": "7776000s"}
    },
    "google_secret_manager_secret": {
        "token": {
            "secret_id": "token",
            "replication": {
                "user_managed": {"replicas": [{"location": "europe-west1"}, {"location": "europe-west4"}]}
            },
        }
    },
    "google_pubsub_topic": {"events": {"name": "events", "labels": {"a": "b"}}},
    "google_container_cluster": {
        "main": {
            "name": "main",
            "location": "europe-west4",
            "deletion_protection": False,
            "initial_node_count": 1,
            "private_cluster_config": {"enable_private_nodes": True, "master_ipv4_cidr_block": "10.0.0.0/28"},
            "node_config": {
                "machine_type": "e2-standard-4",
                "guest_accelerator": [{"type": "t4", "count": 1}],
            },
        }
    },
    "google_compute_firewall": {
        "deny": {
            "name": "deny",
            "network": "main",
            "deny": [{"protocol": "tcp", "ports": ["22"]}, {"protocol": "udp"}],
        }
    },
    "google_compute_subnetwork": {
        "nodes": {"name": "nodes", "network": "main", "ip_cidr_range": "10.2.0.0/20"}
    },
    "google_filestore_instance": {
        "files": {
            "name": "files",
            "location": "europe-west4-a",
            "tier": "BASIC_HDD",
            "file_shares": {"name": "share", "capacity_gb": 1024},
            "networks": {"network": "default", "modes": ["MODE_IPV4"]},
        }
    },
    "google_project_iam_member": {
        "reader": {
            "project": "acme-test",
            "role": "roles/viewer",
            "member": "group:a@example.com",
            "condition": {"title": "until", "expression": "request.time < timestamp('2030-01-01T00:00:00Z')"},
        }
    },
    "kubernetes_deployment_v1": {
        "model": {
            "metadata": {"name": "model", "namespace": "team"},
            "spec": {
                "selector": {"match_labels": {"app": "model"}},
                "template": {
                    "metadata": {"labels": {"app": "model"}},
                    "spec": {"container": [{"name": "model", "image": "example/model:1"}]},
                },
            },
        }
    },
    "kubernetes_config_map_v1": {
        "settings": {"metadata": {"name": "settings"}, "data": {"a": "1"}, "immutable": True}
    },
    "kubernetes_persistent_volume_claim_v1": {
        "cache": {
            "metadata": {"name": "cache"},
            "spec": {"access_modes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
    },
}

BUCKET, TABLE, CLUSTER = (
    "google_storage_bucket.models",
    "google_bigquery_table.predictions",
    "google_container_cluster.main",
)
DEPLOYMENT = "kubernetes_deployment_v1.model"

# what is changed, its new value, the path that Terraform names as the reason
REPLACING: dict[str, tuple[str, Any, list[Any]]] = {
    "argument": (f"{BUCKET}.location", "US", ["location"]),
    "list in a nested block": (
        f"{BUCKET}.custom_placement_config.data_locations",
        ["EUROPE-WEST1", "EUROPE-WEST3"],
        ["custom_placement_config", 0, "data_locations"],
    ),
    "unlocking": (
        f"{BUCKET}.retention_policy",
        {"retention_period": 86400, "is_locked": False},
        ["retention_policy"],
    ),
    "nested argument": (f"{TABLE}.time_partitioning.field", "delay", ["time_partitioning", 0, "field"]),
    "removed block": (f"{TABLE}.encryption_configuration", None, ["encryption_configuration"]),
    "removed block with a replacing argument": (
        f"{TABLE}.time_partitioning",
        None,
        ["time_partitioning", 0, "field"],
    ),
    "retyped column": (
        f"{TABLE}.schema",
        json.dumps([{**COLUMNS[0]}, {"name": "delay", "type": "STRING"}, COLUMNS[2]]),
        ["schema"],
    ),
    "renamed column": (
        f"{TABLE}.schema",
        json.dumps([COLUMNS[0], {"name": "late", "type": "FLOAT64"}, COLUMNS[2]]),
        ["schema"],
    ),
    "new required column": (
        f"{TABLE}.schema",
        json.dumps([*COLUMNS, {"name": "new", "type": "STRING", "mode": "REQUIRED"}]),
        ["schema"],
    ),
    "removed nested column": (
        f"{TABLE}.schema",
        json.dumps([*COLUMNS[:2], {**COLUMNS[2], "fields": [{"name": "x", "type": "STRING"}]}]),
        ["schema"],
    ),
    "dataset moved": ("google_bigquery_dataset.logs.location", "US", ["location"]),
    "key ring of a key": (
        "google_kms_crypto_key.k.key_ring",
        "projects/p/locations/us/keyRings/r",
        ["key_ring"],
    ),
    "name of a topic": ("google_pubsub_topic.events.name", "other", ["name"]),
    "cluster's nested range": (
        f"{CLUSTER}.private_cluster_config.master_ipv4_cidr_block",
        "10.1.0.0/28",
        ["private_cluster_config", 0, "master_ipv4_cidr_block"],
    ),
    "element of a nested list": (
        "google_secret_manager_secret.token.replication.user_managed.replicas.1.location",
        "europe-west3",
        ["replication", 0, "user_managed", 0, "replicas", 1, "location"],
    ),
    "set of a nested block": (
        f"{CLUSTER}.node_config.oauth_scopes",
        ["cloud-platform", "pubsub"],
        ["node_config", 0, "oauth_scopes"],
    ),
    "shrunk range": ("google_compute_subnetwork.nodes.ip_cidr_range", "10.2.0.0/24", ["ip_cidr_range"]),
    "name of a file share": (
        "google_filestore_instance.files.file_shares.name",
        "s",
        ["file_shares", 0, "name"],
    ),
    "set in a list": (
        "google_filestore_instance.files.networks.modes",
        ["MODE_IPV6"],
        ["networks", 0, "modes"],
    ),
    "condition of an IAM member": (
        "google_project_iam_member.reader.condition.title",
        "from",
        ["condition", 0, "title"],
    ),
    "Kubernetes name": (f"{DEPLOYMENT}.metadata.name", "other", ["metadata", 0, "name"]),
    "Kubernetes namespace left out": (f"{DEPLOYMENT}.metadata.namespace", None, ["metadata", 0, "namespace"]),
    "Kubernetes selector": (
        f"{DEPLOYMENT}.spec.selector.match_labels",
        {"app": "other"},
        ["spec", 0, "selector", 0, "match_labels"],
    ),
    "immutable settings": ("kubernetes_config_map_v1.settings.data", {"a": "2"}, ["data"]),
    "set of a volume claim": (
        "kubernetes_persistent_volume_claim_v1.cache.spec.access_modes",
        ["ReadWriteMany"],
        ["spec", 0, "access_modes"],
    ),
    "not known yet": (f"{BUCKET}.name", "${terraform_data.later.output}", ["name"]),
}

IN_PLACE: dict[str, tuple[str, Any]] = {
    "labels": (f"{BUCKET}.labels", {"team": "pricing"}),
    "new column": (f"{TABLE}.schema", json.dumps([*COLUMNS, {"name": "new", "type": "STRING"}])),
    "relaxed column": (f"{TABLE}.schema", json.dumps([{**COLUMNS[0], "mode": "NULLABLE"}, *COLUMNS[1:]])),
    "dropped top-level column, as Google's provider does it": (f"{TABLE}.schema", json.dumps(COLUMNS[:2])),
    "key of a table": (f"{TABLE}.encryption_configuration.kms_key_name", "other"),
    "rotation": ("google_kms_crypto_key.k.rotation_period", "86400s"),
    "grown range": ("google_compute_subnetwork.nodes.ip_cidr_range", "10.2.0.0/16"),
    "element of a set": ("google_compute_firewall.deny.deny.0.ports", ["22", "80"]),
    "element of a set with blocks": ("google_bigquery_dataset.logs.access.0.role", "READER"),
    "image": (f"{DEPLOYMENT}.spec.template.spec.container.0.image", "example/model:2"),
    "default left out again": (f"{TABLE}.deletion_protection", None),
}


OTHER_SPELLING = (f"{BUCKET}.location", "eu")


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory, standin: dict[str, str]) -> Workspace:
    """All resources, applied once."""
    workspace = Workspace(tmp_path_factory.mktemp("changes"), standin)
    workspace.write({**RESOURCES, "terraform_data": {"later": {"input": "x"}}})
    workspace.apply()
    return workspace


@pytest.fixture(scope="module")
def changes(applied: Workspace) -> dict[str, dict[str, Any]]:
    """The planned change of every case. Cases that touch different resources share a plan."""
    cases = {name: (path, value) for name, (path, value, _) in REPLACING.items()}
    cases |= {**IN_PLACE, "other spelling": OTHER_SPELLING}
    rounds: list[dict[str, str]] = []  # address -> case
    for name, (path, _) in cases.items():
        address = ".".join(path.split(".")[:2])
        fitting = next((one for one in rounds if address not in one), None)
        if fitting is None:
            rounds.append(fitting := {})
        fitting[address] = name
    found: dict[str, dict[str, Any]] = {}
    for one in rounds:
        resources = RESOURCES
        for name in one.values():
            resources = changed(resources, *cases[name])
        applied.write({**resources, "terraform_data": {"later": {"input": "y"}}})
        planned = applied.plan()
        touched = {address for address, change in planned.items() if change["actions"] != ["no-op"]}
        assert touched == {*one, "terraform_data.later"}, "only what was changed may change"
        found |= {name: planned[address] for address, name in one.items()}
    return found


def test_a_second_plan_is_empty(applied: Workspace) -> None:
    applied.write({**RESOURCES, "terraform_data": {"later": {"input": "x"}}})

    assert applied.is_clean()


@pytest.mark.parametrize("case", REPLACING)
def test_is_replaced(case: str, changes: dict[str, dict[str, Any]]) -> None:
    assert changes[case]["actions"] == ["delete", "create"]
    assert REPLACING[case][2] in changes[case]["replace_paths"]


@pytest.mark.parametrize("case", IN_PLACE)
def test_changes_in_place(case: str, changes: dict[str, dict[str, Any]]) -> None:
    assert changes[case]["actions"] == ["update"]
    assert not changes[case].get("replace_paths")


def test_another_spelling_of_the_location_is_no_move(changes: dict[str, dict[str, Any]]) -> None:
    assert changes["other spelling"]["actions"] == ["update"]


PROTECTED: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "table, by default": (
        "google_bigquery_table",
        {"dataset_id": "logs", "table_id": "t"},
        {"table_id": "u"},
        {"deletion_protection": False},
    ),
    "cluster, by default": (
        "google_container_cluster",
        {"name": "main", "location": "europe-west4", "initial_node_count": 1},
        {"location": "europe-west1"},
        {"deletion_protection": False},
    ),
    "project, by default": (
        "google_project",
        {"project_id": "acme-x", "name": "x", "org_id": "1"},
        {"project_id": "acme-y"},
        {"deletion_policy": "DELETE"},
    ),
    "Bigtable table, by a word": (
        "google_bigtable_table",
        {"name": "t", "instance_name": "i", "deletion_protection": "PROTECTED"},
        {"instance_name": "j"},
        {"deletion_protection": "UNPROTECTED"},
    ),
    "Redis cluster, by default": (
        "google_redis_cluster",
        {"name": "r", "shard_count": 1, "psc_configs": [{"network": "n"}]},
        {"psc_configs": [{"network": "m"}]},
        {"deletion_protection_enabled": False},
    ),
}


@pytest.mark.parametrize("case", PROTECTED)
def test_protected_state_is_neither_destroyed_nor_replaced(case: str, workspace: Workspace) -> None:
    kind, body, moved, waived = PROTECTED[case]
    workspace.write({kind: {"x": body}})
    workspace.apply()
    before = workspace.state()

    for resources in ({kind: {"x": {**body, **moved}}}, {}):
        workspace.write(resources)
        done = workspace.run("apply", "-auto-approve", "-no-color", check=False)
        assert done.returncode == 1
        assert f"cannot destroy {kind}" in done.stderr
        assert workspace.state() == before

    workspace.write({kind: {"x": {**body, **waived}}})
    workspace.apply()
    workspace.run("destroy", "-auto-approve")
    assert workspace.state() == {}


def test_prevent_destroy_is_kept(workspace: Workspace) -> None:
    bucket = {"name": "acme", "location": "EU", "lifecycle": {"prevent_destroy": True}}
    workspace.write({"google_storage_bucket": {"x": bucket}})
    workspace.apply()

    workspace.write({"google_storage_bucket": {"x": {**bucket, "location": "US"}}})
    done = workspace.run("plan", "-no-color", check=False)

    assert done.returncode == 1
    assert "Instance cannot be destroyed" in done.stderr
