"""Rules that every synthesized stack keeps, those of a team's own `stack.py` included.

They are checked on the synthesized JSON at the end of each synth, so no stack reaches a plan without them.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LABELS = frozenset({"environment", "team", "model", "cost_center"})
# Where each resource type of ours carries labels. Types that have none are not here.
LABEL_FIELDS: Mapping[str, tuple[str, ...]] = {
    "google_artifact_registry_repository": ("labels",),
    "google_bigquery_dataset": ("labels",),
    "google_bigquery_table": ("labels",),
    "google_container_cluster": ("resource_labels",),
    "google_kms_crypto_key": ("labels",),
    "google_monitoring_alert_policy": ("user_labels",),
    "google_monitoring_notification_channel": ("user_labels",),
    "google_project": ("labels",),
    "google_pubsub_subscription": ("labels",),
    "google_pubsub_topic": ("labels",),
    "google_storage_bucket": ("labels",),
    "kubernetes_config_map_v1": ("metadata", "labels"),
    "kubernetes_cron_job_v1": ("metadata", "labels"),
    "kubernetes_deployment_v1": ("metadata", "labels"),
    "kubernetes_horizontal_pod_autoscaler_v2": ("metadata", "labels"),
    "kubernetes_limit_range_v1": ("metadata", "labels"),
    "kubernetes_manifest": ("manifest", "metadata", "labels"),
    "kubernetes_namespace_v1": ("metadata", "labels"),
    "kubernetes_network_policy_v1": ("metadata", "labels"),
    "kubernetes_pod_disruption_budget_v1": ("metadata", "labels"),
    "kubernetes_resource_quota_v1": ("metadata", "labels"),
    "kubernetes_role_binding_v1": ("metadata", "labels"),
    "kubernetes_service_account_v1": ("metadata", "labels"),
    "kubernetes_service_v1": ("metadata", "labels"),
}
# What holds data, or makes it readable: destroying it needs a reviewed change of this protection first.
STATEFUL = frozenset(
    {
        "google_bigquery_dataset",
        "google_bigquery_table",
        "google_container_cluster",
        "google_kms_crypto_key",
        "google_kms_key_ring",
        "google_project",
        "google_pubsub_subscription",
        "google_pubsub_topic",
        "google_storage_bucket",
    }
)
FORBIDDEN = {
    "google_service_account_key": "a key file can be copied; use Workload Identity or federation",
    "kubernetes_secret": "a secret would stand in the state; use Secret Manager through Workload Identity",
    "kubernetes_secret_v1": "a secret would stand in the state; use Secret Manager through Workload Identity",
}
BASIC_ROLES = frozenset({"roles/owner", "roles/editor", "roles/viewer"})
EVERYONE = frozenset({"allUsers", "allAuthenticatedUsers"})


def violations(out: Path) -> list[str]:
    """Return a line for each breach in the stacks synthesized under `out`."""
    found: list[str] = []
    for path in sorted((out / "stacks").glob("*/cdk.tf.json")):
        found += check(path.parent.name, json.loads(path.read_text()))
    return found


def check(stack: str, document: Mapping[str, Any]) -> list[str]:
    """Return a line for each breach in one stack.

    Args:
        stack: id of the stack.
        document: its synthesized Terraform JSON.
    """
    project = document["provider"]["google"][0]["project"]
    team = stack.split("-")[1] == "team"
    return [
        f"{stack}: {type_}.{name}: {problem}"
        for type_, resources in document.get("resource", {}).items()
        for name, resource in resources.items()
        for problem in _problems(type_, resource, project if team else None)
    ]


def _problems(type_: str, resource: Mapping[str, Any], own_project: str | None) -> Iterator[str]:
    if type_ in FORBIDDEN:
        yield f"is not allowed: {FORBIDDEN[type_]}"
    if type_ in LABEL_FIELDS:
        missing = sorted(LABELS - set(_labels(resource, LABEL_FIELDS[type_])))
        if missing:
            yield f"lacks the labels {', '.join(missing)}: pass labels=stack.labels() to the module"
    if (
        type_ in STATEFUL
        and "view" not in resource
        and not resource.get("lifecycle", {}).get("prevent_destroy")
    ):
        yield "holds data and must have lifecycle prevent_destroy"
    role = resource.get("role")
    if role in BASIC_ROLES:
        yield f"grants the basic role {role}: name a role for the task"
    members = {resource.get("member"), *(resource.get("members") or ())}
    for member in sorted(members & EVERYONE):
        yield f"grants {role} to {member}: name a group or service account"
    if own_project and resource.get("project", own_project) != own_project:
        yield f"acts on project {resource['project']}: a team's stack acts on {own_project} alone"


def _labels(resource: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    found: Any = resource
    for step in path:
        found = found.get(step, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}
