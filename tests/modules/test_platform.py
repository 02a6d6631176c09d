"""Behaviour of the platform's modules beyond their examples."""

from typing import Any

import pytest
from cel import evaluate

from modelyard.naming import Names
from modelyard.spec.environment import Network as Ranges
from modules.admission import AdmissionPolicy
from modules.budget import ProjectBudget
from modules.cluster import disk_type, maintenance
from modules.keys import KeyUse
from modules.metrics_adapter import MetricsAdapter
from modules.namespace import TeamNamespace
from modules.network import Network
from modules.project_access import ProjectAccess
from modules.services import Services
from modules.tenant import Tenant
from tests.modules.synthesis import Resources, synthesized

NAMES = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
LABELS = {"team": "platform"}


def test_a_named_egress_opens_its_ranges_alone() -> None:
    resources = synthesized(
        lambda stack: Network(
            stack, "net", names=NAMES, ranges=Ranges(), labels=LABELS, egress={"partner": ["198.51.100.0/24"]}
        )
    )
    rule = resources["google_compute_firewall"]["net/allow-egress-partner"]
    assert rule["destination_ranges"] == ["198.51.100.0/24"]
    assert rule["allow"] == [{"ports": ["443"], "protocol": "tcp"}]


@pytest.mark.parametrize("role", ["roles/owner", "roles/editor", "roles/viewer"])
def test_basic_roles_are_refused(role: str) -> None:
    with pytest.raises(ValueError, match="basic role"):
        synthesized(
            lambda stack: ProjectAccess(stack, "a", project="p", member="group:g@example.com", roles=[role])
        )


def test_what_was_not_switched_on_cannot_be_depended_on() -> None:
    with pytest.raises(KeyError):
        synthesized(lambda stack: Services(stack, "s", project="p", services=["pubsub"]).of("bigquery"))


def test_an_unknown_purpose_has_no_key() -> None:
    with pytest.raises(KeyError):
        synthesized(
            lambda stack: KeyUse(
                stack, "k", names=NAMES, project="p", project_number="1", purposes=["secrets"]
            )
        )


@pytest.mark.parametrize(
    ("start", "begin", "end"),
    [
        ("22:00", "2025-01-04T22:00:00Z", "2025-01-05T04:00:00Z"),
        ("00:00", "2025-01-04T00:00:00Z", "2025-01-04T06:00:00Z"),
    ],
)
def test_maintenance_is_six_hours_on_weekends(start: str, begin: str, end: str) -> None:
    window = maintenance(start).recurring_window
    assert window is not None
    assert (window.start_time, window.end_time, window.recurrence) == (begin, end, "FREQ=WEEKLY;BYDAY=SA,SU")


@pytest.mark.parametrize(
    ("machine", "disk"),
    [
        ("n2-standard-4", "pd-balanced"),
        ("g2-standard-8", "pd-balanced"),
        ("c4-standard-8", "hyperdisk-balanced"),
    ],
)
def test_each_machine_gets_a_disk_it_takes(machine: str, disk: str) -> None:
    assert disk_type(machine) == disk


def tenant(parent: str, state_bucket: str | None) -> Resources:
    return synthesized(
        lambda stack: Tenant(
            stack,
            "t",
            names=NAMES.team("a"),
            labels={"team": "a"},
            parent=parent,
            billing_account="000000-AAAAAA-000000",
            repository="example/models",
            state_bucket=state_bucket,
        )
    )


@pytest.mark.parametrize(("parent", "key"), [("folders/1", "folder_id"), ("organizations/1", "org_id")])
def test_a_tenant_stands_under_its_parent(parent: str, key: str) -> None:
    project = tenant(parent, None)["google_project"]["t/project"]
    assert {name: project[name] for name in ("folder_id", "org_id") if name in project} == {key: "1"}


def test_a_tenant_needs_no_state_folder_for_local_states() -> None:
    assert set(tenant("folders/1", None)["google_storage_managed_folder"]) == {"t/artifacts/folder"}
    with_state = tenant("folders/1", "states")["google_storage_managed_folder"]
    assert with_state["t/state/folder"]["name"] == "dev-team-a/"


def test_pods_are_reached_by_the_collectors_and_reach_the_resolvers_of_either_kind_of_cluster() -> None:
    resources = synthesized(
        lambda stack: TeamNamespace(
            stack, "n", name="team-a", labels=LABELS, quota={"pods": "1"}, callers=[], viewers=[]
        )
    )
    policy = resources["kubernetes_network_policy_v1"]["n/allow-serving"]["spec"]
    (ingress,) = policy["ingress"]
    namespaces = {
        peer["namespace_selector"]["match_labels"]["kubernetes.io/metadata.name"]
        for peer in ingress["from"]
        if "namespace_selector" in peer
    }
    assert namespaces == {"gmp-system", "gke-gmp-system"}  # standard cluster, Autopilot
    (dns,) = (rule for rule in policy["egress"] if {"port": "53", "protocol": "UDP"} in rule["ports"])
    ranges = {peer["ip_block"]["cidr"] for peer in dns["to"] if "ip_block" in peer}
    assert ranges == {"169.254.20.10/32", "169.254.169.254/32"}  # node-local cache, Cloud DNS


def test_the_control_plane_reaches_the_metrics_adapter_through_its_agents_too() -> None:
    resources = synthesized(
        lambda stack: MetricsAdapter(
            stack, "m", names=NAMES, labels=LABELS, image="i@sha256:0", control_plane="10.10.16.0/28"
        )
    )
    policy = resources["kubernetes_network_policy_v1"]["m/allow-control-plane"]["spec"]
    (rule,) = policy["ingress"]
    assert {"ip_block": {"cidr": "10.10.16.0/28"}} in rule["from"]
    # Both selectors in one peer: these pods of that namespace.
    assert {
        "namespace_selector": {"match_labels": {"kubernetes.io/metadata.name": "kube-system"}},
        "pod_selector": {"match_labels": {"k8s-app": "konnectivity-agent"}},
    } in rule["from"]


def test_a_budget_is_named_and_set_as_the_api_takes_it() -> None:
    resources = synthesized(
        lambda stack: ProjectBudget(
            stack,
            "b",
            name=f"modelyard production {'a' * 40}",
            billing_account="000000-AAAAAA-000000",
            project_number="1",
            amount=0.2,
            currency="EUR",
            channel="projects/p/notificationChannels/1",
        )
    )
    budget = resources["google_billing_budget"]["b/budget"]
    assert len(budget["display_name"]) == 60
    assert budget["amount"]["specified_amount"]["units"] == "1"


def test_a_policy_is_bound_after_it_exists_and_holds_what_it_says() -> None:
    resources = synthesized(
        lambda stack: AdmissionPolicy(
            stack,
            "p",
            name="two-replicas",
            labels=LABELS,
            resources={"apps": ["deployments"]},
            rules={"object.spec.replicas >= 2": "run at least two replicas"},
        )
    )
    manifests = resources["kubernetes_manifest"]
    assert any("p_policy" in need for need in manifests["p/binding"]["depends_on"])
    spec: dict[str, Any] = manifests["p/policy"]["manifest"]["spec"]
    assert "matchConditions" not in spec and "variables" not in spec
    (rule,) = spec["validations"]
    assert evaluate(rule["expression"], {"object": {"spec": {"replicas": 2}}})
    assert not evaluate(rule["expression"], {"object": {"spec": {"replicas": 1}}})
