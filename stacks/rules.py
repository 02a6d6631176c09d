"""Rules that every synthesized stack keeps, those of a team's own `stack.py` included.

They are checked on the synthesized JSON at the end of each synth, so no stack reaches a plan without them.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modelyard.iam import BASIC_ROLES, EVERYONE

LABELS = frozenset({"environment", "team", "model", "cost_center"})
# Where each resource type of ours carries labels. Types that have none are not here.
LABEL_FIELDS: Mapping[str, tuple[str, ...]] = {
    "google_artifact_registry_repository": ("labels",),
    "google_bigquery_dataset": ("labels",),
    "google_bigquery_table": ("labels",),
    "google_certificate_manager_certificate": ("labels",),
    "google_certificate_manager_dns_authorization": ("labels",),
    "google_compute_address": ("labels",),
    "google_container_cluster": ("resource_labels",),
    "google_container_node_pool": ("node_config", "resource_labels"),
    "google_dns_managed_zone": ("labels",),
    "google_kms_crypto_key": ("labels",),
    "google_monitoring_alert_policy": ("user_labels",),
    "google_monitoring_notification_channel": ("user_labels",),
    "google_project": ("labels",),
    "google_pubsub_subscription": ("labels",),
    "google_pubsub_topic": ("labels",),
    "google_storage_bucket": ("labels",),
    "kubernetes_api_service_v1": ("metadata", "labels"),
    "kubernetes_cluster_role_binding_v1": ("metadata", "labels"),
    "kubernetes_cluster_role_v1": ("metadata", "labels"),
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
# What holds data, makes it readable, or hides it: destroying it needs a reviewed change of this protection.
STATEFUL = frozenset(
    {
        "google_artifact_registry_repository",
        "google_bigquery_datapolicy_data_policy",
        "google_bigquery_dataset",
        "google_bigquery_table",
        "google_container_cluster",
        "google_data_catalog_policy_tag",
        "google_data_catalog_taxonomy",
        "google_kms_crypto_key",
        "google_kms_key_ring",
        "google_logging_project_bucket_config",
        "google_project",
        "google_pubsub_subscription",
        "google_pubsub_topic",
        "google_storage_bucket",
        "google_storage_managed_folder",
    }
)
FORBIDDEN = {
    "google_service_account_key": "a key file can be copied; use Workload Identity or federation",
    "kubernetes_secret": "a secret would stand in the state; use Secret Manager through Workload Identity",
    "kubernetes_secret_v1": "a secret would stand in the state; use Secret Manager through Workload Identity",
}


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
    providers = document["provider"]["google"]
    # The stack's own is the first; one that a team adds would be the way around the rule on projects.
    project = providers[0]["project"] if stack.split("-")[1] == "team" else None
    others = {str(provider.get("project")) for provider in providers} - {project} if project else set()
    found = [
        f"{stack}: provider.google: acts on project {other}: a team's stack acts on {project} alone"
        for other in sorted(others)
    ]
    found += [
        f"{stack}: {type_}.{name}: {problem}"
        for type_, resources in document.get("resource", {}).items()
        for name, resource in resources.items()
        for problem in _problems(type_, resource, project)
    ]
    return found


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
    # Anywhere: besides `member` there are `special_group`, `entity`, and lists of access entries.
    for member in sorted(EVERYONE & set(_texts(resource))):
        yield f"grants {role or 'access'} to {member}: name a group or service account"
    if own_project and resource.get("project", own_project) != own_project:
        yield f"acts on project {resource['project']}: a team's stack acts on {own_project} alone"


def _texts(value: object) -> Iterator[str]:
    """Yield all texts in a resource."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _labels(resource: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    found: Any = resource
    for step in path:
        found = found.get(step, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}
