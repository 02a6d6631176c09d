"""What the cluster refuses, collects and shows."""

from typing import Any

import pytest
from cel import evaluate

from tests.stacks.shared import environment, of_type

Documents = dict[str, dict[str, Any]]
REGISTRY = "europe-west4-docker.pkg.dev/example-dev/serving-images"
DIGEST = "@sha256:" + 64 * "0"


def policy(documents: Documents, name: str) -> dict[str, Any]:
    manifests = of_type(documents["dev-cluster"], "kubernetes_manifest")
    return dict(manifests[f"admission/{name}/policy"]["manifest"]["spec"])


def admits(spec: dict[str, Any], object_: dict[str, Any]) -> bool:
    variables = {v["name"]: evaluate(v["expression"], {"object": object_}) for v in spec.get("variables", [])}
    known = {"object": object_, "variables": variables}
    return all(evaluate(rule["expression"], known) for rule in spec["validations"])


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ({"containers": [f"{REGISTRY}/rest{DIGEST}"]}, True),
        ({"containers": [f"{REGISTRY}/rest:latest"]}, False),
        ({"containers": [f"{REGISTRY}-2/rest{DIGEST}"]}, False),
        ({"containers": [f"docker.io/library/rest{DIGEST}"]}, False),
        ({"containers": [f"{REGISTRY}/rest{DIGEST}"], "initContainers": ["busybox"]}, False),
        ({"containers": [f"{REGISTRY}/rest{DIGEST}"], "ephemeralContainers": ["busybox"]}, False),
        ({"containers": [f"{REGISTRY}/a{DIGEST}"], "initContainers": [f"{REGISTRY}/b{DIGEST}"]}, True),
    ],
)
def test_pods_run_images_of_the_registry_by_digest(
    documents: Documents, images: dict[str, list[str]], expected: bool
) -> None:
    spec = {kind: [{"name": "c", "image": image} for image in listed] for kind, listed in images.items()}
    assert admits(policy(documents, "images"), {"spec": spec}) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, True),
        ({"type": "ClusterIP"}, True),
        ({"type": "LoadBalancer"}, False),
        ({"type": "NodePort"}, False),
        ({"type": "ClusterIP", "externalIPs": []}, True),
        ({"type": "ClusterIP", "externalIPs": ["203.0.113.1"]}, False),
    ],
)
def test_services_have_no_way_out(documents: Documents, spec: dict[str, Any], expected: bool) -> None:
    assert admits(policy(documents, "services"), {"spec": spec}) == expected


def test_policies_deny_and_cover_all_managed_namespaces(documents: Documents) -> None:
    manifests = of_type(documents["dev-cluster"], "kubernetes_manifest")
    for name in ("images", "services"):
        assert policy(documents, name)["failurePolicy"] == "Fail"
        spec = manifests[f"admission/{name}/binding"]["manifest"]["spec"]
        assert spec["validationActions"] == ["Deny", "Audit"]
        assert spec["matchResources"] == {"namespaceSelector": {"matchLabels": {"managed_by": "modelyard"}}}
    for namespace in of_type(documents["dev-cluster"], "kubernetes_namespace_v1").values():
        labels = namespace["metadata"]["labels"]
        assert labels["managed_by"] == "modelyard"
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_metrics_are_collected_wherever_a_pod_is_labelled(documents: Documents) -> None:
    rule = of_type(documents["dev-cluster"], "kubernetes_manifest")["scraping/models"]["manifest"]
    assert rule["kind"] == "ClusterPodMonitoring"
    assert rule["spec"]["selector"] == {"matchLabels": {"modelyard.dev/metrics": "true"}}
    assert [label["to"] for label in rule["spec"]["targetLabels"]["fromPod"]] == ["team", "model", "version"]


def test_people_look_and_change_nothing(documents: Documents) -> None:
    bindings = of_type(documents["dev-cluster"], "kubernetes_cluster_role_binding_v1")
    people = {path: binding for path, binding in bindings.items() if path.startswith("people/")}
    groups = environment().groups
    granted = {
        (binding["subject"][0]["kind"], binding["subject"][0]["name"], binding["role_ref"]["name"])
        for binding in people.values()
    }
    assert granted == {
        ("Group", groups.platform, "view"),
        ("Group", groups.platform, "modelyard-reader"),
        ("Group", groups.auditors, "view"),
        ("Group", groups.auditors, "modelyard-reader"),
        ("Group", groups.viewers, "view"),
    }


def test_no_token_stands_in_the_configuration(documents: Documents) -> None:
    provider = documents["dev-cluster"]["provider"]["kubernetes"][0]
    assert set(provider) == {"host", "exec"}
    assert provider["host"].startswith("https://europe-west4-connectgateway.googleapis.com/")
