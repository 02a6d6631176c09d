"""Changes that a review must stop or ask approval for, and what it must say of them."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tests.plan_review.corpus.case import (
    Case,
    Stack,
    add,
    container,
    edit_manifest,
    environment,
    like,
    on_input,
    on_stack,
    one,
    remove,
    replace,
    rows,
    team,
)

PRICING = "prod-team-pricing"
CARE = "prod-team-fleet-care"
FOUNDATION = "prod-foundation"
PLATFORM = "prod-platform"
CLUSTER = "prod-cluster"
CATALOG = "prod-catalog"
TENANT = "prod-tenant-pricing"
DIGEST = "sha256:" + 64 * "4"

Edit = TypeVar("Edit")
CASES: list[Case] = []


def _case(made: Callable[[Edit], Case]) -> Callable[[Edit], Edit]:
    def keep(edit: Edit) -> Edit:
        CASES.append(made(edit))
        return edit

    return keep


# Data loss


@_case(on_stack("the log of a model is destroyed", PRICING, "block", "data-loss/stateful-destroyed"))
def _(stack: Stack) -> None:
    remove(stack, "google_bigquery_table", "diamond_value")


@_case(on_input("a model is taken out of the team file", PRICING, "block", "data-loss/stateful-destroyed"))
def _(root: Path) -> None:
    text = team(root, "pricing").read_text(encoding="utf-8")
    begin = text.index("  # The stock is valued")
    end = text.index("  # Applicants' data")
    team(root, "pricing").write_text(text[:begin] + text[end:], encoding="utf-8")
    (root / "teams" / "pricing" / "diamond-value.json").unlink()


@_case(on_stack("a log is partitioned by another column", PRICING, "block", "data-loss/stateful-replaced"))
def _(stack: Stack) -> None:
    table = one(stack, "google_bigquery_table", "diamond_value")
    table["schema"] = json.dumps([*rows(table), {"name": "arrived", "type": "TIMESTAMP", "mode": "NULLABLE"}])
    table["time_partitioning"]["field"] = "arrived"


@_case(on_stack("the artefact bucket gets another name", FOUNDATION, "block", "data-loss/stateful-replaced"))
def _(stack: Stack) -> None:
    one(stack, "google_storage_bucket")["name"] = "example-models-prod-artifacts-2"


@_case(on_stack("an encryption key is destroyed", FOUNDATION, "block", "data-loss/stateful-destroyed"))
def _(stack: Stack) -> None:
    remove(stack, "google_kms_crypto_key", "keys_pubsub")


@_case(on_stack("a subscription is destroyed", CARE, "block", "data-loss/stateful-destroyed"))
def _(stack: Stack) -> None:
    remove(stack, "google_pubsub_subscription", "dead-letter-subscription")


@_case(on_input("predictions are kept for 30 days", PRICING, "approve", "data-loss/retention-cut"))
def _(root: Path) -> None:
    replace(environment(root), "predictions: 730", "predictions: 30")


@_case(on_stack("artefacts may be deleted after 30 days", FOUNDATION, "approve", "data-loss/retention-cut"))
def _(stack: Stack) -> None:
    one(stack, "google_storage_bucket")["retention_policy"]["retention_period"] = 30 * 86_400


@_case(
    on_stack(
        "a bucket deletes objects after a week", FOUNDATION, "approve", "data-loss/lifecycle-deletes-sooner"
    )
)
def _(stack: Stack) -> None:
    rule = {"action": {"type": "Delete"}, "condition": {"age": 7}}
    one(stack, "google_storage_bucket")["lifecycle_rule"].append(rule)


@_case(on_stack("deletion protection of a log is off", PRICING, "approve", "data-loss/protection-off"))
def _(stack: Stack) -> None:
    one(stack, "google_bigquery_table", "vehicle_price")["deletion_protection"] = False


@_case(on_stack("prevent_destroy of a log is removed", PRICING, "approve", "data-loss/prevent-destroy-off"))
def _(stack: Stack) -> None:
    del one(stack, "google_bigquery_table", "vehicle_price")["lifecycle"]


@_case(on_stack("destroying the bucket deletes its objects", FOUNDATION, "block", "data-loss/force-destroy"))
def _(stack: Stack) -> None:
    one(stack, "google_storage_bucket")["force_destroy"] = True


@_case(on_stack("old versions are no longer kept", FOUNDATION, "approve", "data-loss/versioning-off"))
def _(stack: Stack) -> None:
    one(stack, "google_storage_bucket")["versioning"]["enabled"] = False


@_case(on_stack("a column of a log is removed", PRICING, "block", "data-loss/column-removed"))
def _(stack: Stack) -> None:
    table = one(stack, "google_bigquery_table", "vehicle_price")
    table["schema"] = json.dumps([column for column in rows(table) if column["name"] != "trace_id"])


@_case(on_stack("a column of a log becomes a number", PRICING, "block", "data-loss/column-retyped"))
def _(stack: Stack) -> None:
    table = one(stack, "google_bigquery_table", "vehicle_price")
    columns = rows(table)
    next(column for column in columns if column["name"] == "trace_id")["type"] = "INTEGER"
    table["schema"] = json.dumps(columns)


@_case(on_stack("bad messages are no longer kept", CARE, "approve", "data-loss/dead-letters-off"))
def _(stack: Stack) -> None:
    del one(stack, "google_pubsub_subscription", "topics_subscription")["dead_letter_policy"]


# Exposure


@_case(on_stack("the artefact bucket is public", FOUNDATION, "block", "exposure/public-member"))
def _(stack: Stack) -> None:
    bucket = one(stack, "google_storage_bucket")["name"]
    body = {"bucket": bucket, "role": "roles/storage.objectViewer", "member": "allUsers"}
    add(stack, "google_storage_bucket_iam_member", body)


@_case(on_stack("anyone with an account reads a log", PRICING, "block", "exposure/public-member"))
def _(stack: Stack) -> None:
    body = like(stack, "google_bigquery_table_iam_member", "reader", member="allAuthenticatedUsers")
    add(stack, "google_bigquery_table_iam_member", body)


@_case(on_stack("a private address reads a log", PRICING, "block", "exposure/external-domain"))
def _(stack: Stack) -> None:
    body = like(stack, "google_bigquery_table_iam_member", "reader", member="user:somebody@gmail.com")
    add(stack, "google_bigquery_table_iam_member", body)


@_case(on_stack("another company's service reads a log", PRICING, "block", "exposure/external-domain"))
def _(stack: Stack) -> None:
    member = "serviceAccount:reader@acme-analytics.iam.gserviceaccount.com"
    body = like(stack, "google_bigquery_table_iam_member", "reader", member=member)
    add(stack, "google_bigquery_table_iam_member", body)


@_case(on_stack("a bucket may be made public", FOUNDATION, "block", "exposure/public-access-prevention-off"))
def _(stack: Stack) -> None:
    one(stack, "google_storage_bucket")["public_access_prevention"] = "inherited"


@_case(on_stack("the firewall lets the internet in", FOUNDATION, "block", "exposure/open-firewall"))
def _(stack: Stack) -> None:
    one(stack, "google_compute_firewall", "allow-ingress-proxies")["source_ranges"] = ["0.0.0.0/0"]


@_case(on_stack("the network lets traffic out", FOUNDATION, "approve", "exposure/egress-opened"))
def _(stack: Stack) -> None:
    body = like(
        stack, "google_compute_firewall", "allow-egress-google-apis", destination_ranges=["0.0.0.0/0"]
    )
    add(stack, "google_compute_firewall", body | {"name": "seeded"})


@_case(on_stack("the cluster's API is public", PLATFORM, "block", "exposure/public-endpoint"))
def _(stack: Stack) -> None:
    one(stack, "google_container_cluster")["private_cluster_config"]["enable_private_endpoint"] = False


@_case(on_stack("everyone may call the cluster's API", PLATFORM, "block", "exposure/public-endpoint"))
def _(stack: Stack) -> None:
    blocks = one(stack, "google_container_cluster")["master_authorized_networks_config"]["cidr_blocks"]
    blocks.append({"cidr_block": "0.0.0.0/0", "display_name": "everywhere"})


@_case(on_stack("a model gets a load balancer of its own", PRICING, "block", "exposure/public-service"))
def _(stack: Stack) -> None:
    one(stack, "kubernetes_service_v1", "stable")["spec"]["type"] = "LoadBalancer"


@_case(on_stack("the gateway faces the internet", CLUSTER, "block", "exposure/public-service"))
def _(stack: Stack) -> None:
    gateway = one(stack, "kubernetes_manifest", "gateway")
    gateway["manifest"]["spec"]["gatewayClassName"] = "gke-l7-global-external-managed"


@_case(on_stack("the policy that denies is removed", PRICING, "block", "exposure/network-policy-removed"))
def _(stack: Stack) -> None:
    remove(stack, "kubernetes_network_policy_v1", "default-deny")


@_case(on_stack("pods may talk to the internet", PRICING, "approve", "exposure/egress-opened"))
def _(stack: Stack) -> None:
    policy = one(stack, "kubernetes_network_policy_v1", "allow-serving")
    policy["spec"]["egress"].append({"to": [{"ip_block": {"cidr": "0.0.0.0/0"}}]})


@_case(on_stack("every namespace may call the pods", PRICING, "approve", "exposure/ingress-widened"))
def _(stack: Stack) -> None:
    policy = one(stack, "kubernetes_network_policy_v1", "allow-serving")
    ingress = policy["spec"]["ingress"]
    (ingress[0] if isinstance(ingress, list) else ingress)["from"].append({"namespace_selector": {}})


@_case(on_stack("a container runs privileged", PRICING, "block", "exposure/pod-less-confined"))
def _(stack: Stack) -> None:
    model = container(one(stack, "kubernetes_deployment_v1", "stable"))
    model["security_context"] |= {"privileged": True, "allow_privilege_escalation": True}


@_case(on_stack("the namespace admits any pod", PRICING, "block", "exposure/pod-security-lowered"))
def _(stack: Stack) -> None:
    labels = one(stack, "kubernetes_namespace_v1")["metadata"]["labels"]
    labels["pod-security.kubernetes.io/enforce"] = "privileged"


# Privilege


@_case(on_stack("a group may edit the project", PRICING, "block", "privilege/basic-role"))
def _(stack: Stack) -> None:
    body = like(stack, "google_project_iam_member", "personas_viewer", role="roles/editor")
    add(stack, "google_project_iam_member", body)


@_case(on_stack("a group may make tokens", PRICING, "block", "privilege/impersonation"))
def _(stack: Stack) -> None:
    role = "roles/iam.serviceAccountTokenCreator"
    body = like(stack, "google_project_iam_member", "personas_viewer", role=role)
    add(stack, "google_project_iam_member", body)


@_case(on_stack("a group may use identities", PRICING, "approve", "privilege/acts-as"))
def _(stack: Stack) -> None:
    body = like(stack, "google_project_iam_member", "personas_owner", role="roles/iam.serviceAccountUser")
    add(stack, "google_project_iam_member", body)


@_case(on_stack("a group administers Pub/Sub", PRICING, "approve", "privilege/admin-role"))
def _(stack: Stack) -> None:
    body = like(stack, "google_project_iam_member", "personas_owner", role="roles/pubsub.admin")
    add(stack, "google_project_iam_member", body)


@_case(on_stack("the deployer's role makes tokens", TENANT, "block", "privilege/wildcard-role"))
def _(stack: Stack) -> None:
    permissions = one(stack, "google_project_iam_custom_role", "deployer-role")["permissions"]
    permissions.append("iam.serviceAccounts.getAccessToken")


@_case(on_input("another team reads a log", PRICING, "approve", "privilege/cross-team"))
def _(root: Path) -> None:
    readers = '["group:lending@example.com"]'
    replace(team(root, "pricing"), readers, '["group:lending@example.com", "group:flight-ops@example.com"]')


@_case(on_input("a group of no team reads a log", PRICING, "approve", "privilege/data-reader"))
def _(root: Path) -> None:
    readers = '["group:lending@example.com"]'
    replace(team(root, "pricing"), readers, '["group:lending@example.com", "group:marketing@example.com"]')


@_case(on_input("a group reads personal data in clear", PRICING, "approve", "privilege/pii-reader"))
def _(root: Path) -> None:
    readers = '["group:credit-risk@example.com"]'
    replace(
        team(root, "pricing"), readers, '["group:credit-risk@example.com", "group:marketing@example.com"]'
    )


@_case(on_stack("a key file is made", PRICING, "block", "privilege/service-account-key"))
def _(stack: Stack) -> None:
    account = next(iter(stack["resource"]["google_service_account"]))
    name = f"${{google_service_account.{account}.name}}"
    add(stack, "google_service_account_key", {"service_account_id": name})


@_case(on_stack("a secret is written by Terraform", PRICING, "block", "privilege/secret-in-state"))
def _(stack: Stack) -> None:
    body = {"metadata": {"name": "api", "namespace": "team-pricing"}, "data": {"password": "hunter2hunter2"}}
    add(stack, "kubernetes_secret_v1", body)


@_case(on_stack("a role's members are set as a whole", PRICING, "approve", "privilege/authoritative-iam"))
def _(stack: Stack) -> None:
    body = {
        "project": "example-prod-pricing",
        "role": "roles/monitoring.viewer",
        "members": ["group:pricing@example.com"],
    }
    add(stack, "google_project_iam_binding", body)


@_case(on_stack("the deployer may grant any role", TENANT, "block", "privilege/condition-removed"))
def _(stack: Stack) -> None:
    del one(stack, "google_project_iam_member", "deployer-grants")["condition"]


@_case(on_stack("the deployer may grant one role more", TENANT, "approve", "privilege/condition-changed"))
def _(stack: Stack) -> None:
    condition = one(stack, "google_project_iam_member", "deployer-grants")["condition"]
    condition["expression"] = condition["expression"].replace("'roles/pubsub.viewer'", "'roles/owner'")


@_case(on_stack("another team's pods act as a model", PRICING, "block", "privilege/foreign-workload"))
def _(stack: Stack) -> None:
    member = "serviceAccount:example-models-prod.svc.id.goog[team-flight-ops/model-arrival-delay]"
    body = like(stack, "google_service_account_iam_member", "vehicle-price", member=member)
    add(stack, "google_service_account_iam_member", body)


@_case(on_stack("elevated access without approval", PRICING, "block", "privilege/entitlement-widened"))
def _(stack: Stack) -> None:
    del one(stack, "google_privileged_access_manager_entitlement")["approval_workflow"]


@_case(on_stack("elevated access for a day", PRICING, "approve", "privilege/elevation-longer"))
def _(stack: Stack) -> None:
    one(stack, "google_privileged_access_manager_entitlement")["max_request_duration"] = "86400s"


@_case(on_stack("a group rules the cluster", CLUSTER, "block", "privilege/cluster-admin"))
def _(stack: Stack) -> None:
    body = {
        "metadata": {"name": "seeded"},
        "role_ref": {
            "api_group": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "cluster-admin",
        },
        "subject": [
            {"kind": "Group", "name": "pricing@example.com", "api_group": "rbac.authorization.k8s.io"}
        ],
    }
    add(stack, "kubernetes_cluster_role_binding_v1", body)


@_case(on_input("the owner group changes", PRICING, "approve", "privilege/owner-changed"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), "group: pricing@example.com", "group: used-cars@example.com")


# Governance


@_case(
    on_input(
        "a pii feature is declared internal",
        PRICING,
        "block",
        "governance/sensitivity-lowered",
        "governance/policy-tag-removed",
    )
)
def _(root: Path) -> None:
    replace(team(root, "pricing"), "{price: confidential}", "{price: confidential, home: internal}")


@_case(on_stack("a column loses its policy tag", PRICING, "block", "governance/policy-tag-removed"))
def _(stack: Stack) -> None:
    table = one(stack, "google_bigquery_table", "vehicle_price")
    columns = rows(table)
    del next(column for column in columns if column["name"] == "caller")["policyTags"]
    table["schema"] = json.dumps(columns)


@_case(on_stack("masking is switched off", CATALOG, "block", "governance/masking-off"))
def _(stack: Stack) -> None:
    remove(stack, "google_bigquery_datapolicy_data_policy", "pii")


@_case(on_stack("masking shows the last four characters", PRICING, "block", "governance/masking-off"))
def _(stack: Stack) -> None:
    policy = one(stack, "google_bigquery_datapolicy_data_policy", "pii")
    policy["data_masking_policy"]["predefined_expression"] = "LAST_FOUR_CHARACTERS"


@_case(on_stack("who reads data is not logged", TENANT, "block", "governance/audit-logs-off"))
def _(stack: Stack) -> None:
    config = one(stack, "google_project_iam_audit_config")
    config["audit_log_config"] = [c for c in config["audit_log_config"] if c["log_type"] != "DATA_READ"]


@_case(on_input("audit logs are kept for 90 days", FOUNDATION, "approve", "governance/audit-retention-cut"))
def _(root: Path) -> None:
    replace(environment(root), "audit_logs: 730", "audit_logs: 90")


@_case(on_stack("audit logs are filtered", TENANT, "approve", "governance/log-sink-changed"))
def _(stack: Stack) -> None:
    one(stack, "google_logging_project_sink")["filter"] += ' AND severity>="ERROR"'


@_case(
    on_stack("a log is no longer encrypted with our key", PRICING, "block", "governance/customer-key-removed")
)
def _(stack: Stack) -> None:
    del one(stack, "google_bigquery_dataset")["default_encryption_configuration"]


@_case(on_stack("key rotation is off", FOUNDATION, "block", "governance/key-rotation-off"))
def _(stack: Stack) -> None:
    del one(stack, "google_kms_crypto_key", "keys_bigquery")["rotation_period"]


@_case(on_stack("keys are rotated once a year", FOUNDATION, "approve", "governance/key-rotation-slower"))
def _(stack: Stack) -> None:
    one(stack, "google_kms_crypto_key", "keys_bigquery")["rotation_period"] = f"{365 * 86_400}s"


@_case(on_stack("messages may be stored in America", CARE, "block", "governance/residency-widened"))
def _(stack: Stack) -> None:
    regions = one(stack, "google_pubsub_topic", "topics_input")["message_storage_policy"]
    regions["allowed_persistence_regions"].append("us-central1")


@_case(on_stack("labels are lost", PRICING, "warn", "governance/labels-lost"))
def _(stack: Stack) -> None:
    del one(stack, "google_bigquery_table", "vehicle_price")["labels"]["cost_center"]


@_case(on_input("the cost centre changes", PRICING, "warn", "governance/cost-center-changed"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), 'cost_center: "4720"', 'cost_center: "4999"')


# Monitoring


@_case(on_input("a model loses its drift alerts", PRICING, "approve", "monitoring/alert-removed"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), "drift: {threshold: 0.1, severity: error}", "drift: {enabled: false}")


@_case(on_input("the latency alert is loosened", PRICING, "approve", "monitoring/alert-loosened"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), "{threshold: 120, error_rate", "{threshold: 400, error_rate")


@_case(on_input("the usage alert is loosened", PRICING, "approve", "monitoring/alert-loosened"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), "{window: 6h, threshold: 0.5}", "{window: 6h, threshold: 0.1}")


@_case(on_input("an alert no longer pages", PRICING, "approve", "monitoring/severity-lowered"))
def _(root: Path) -> None:
    old = "latency: {threshold: 120, error_rate: 0.005}"
    replace(team(root, "pricing"), old, "latency: {threshold: 120, error_rate: 0.005, severity: warning}")


@_case(on_stack("an alert is switched off", PRICING, "approve", "monitoring/alert-muted"))
def _(stack: Stack) -> None:
    one(stack, "google_monitoring_alert_policy", "vehicle-price_alerts_latency-p95")["enabled"] = False


@_case(on_stack("an alert tells nobody", PRICING, "approve", "monitoring/alert-muted"))
def _(stack: Stack) -> None:
    one(stack, "google_monitoring_alert_policy", "vehicle-price_alerts_latency-p95")[
        "notification_channels"
    ] = []


@_case(on_stack("an alert has no runbook", PRICING, "approve", "monitoring/alert-without-owner"))
def _(stack: Stack) -> None:
    alert = one(stack, "google_monitoring_alert_policy", "vehicle-price_alerts_latency-p95")
    alert["documentation"] = {"content": "It is slow.", "mime_type": "text/markdown"}


@_case(on_stack("an alert watches something else", PRICING, "approve", "monitoring/alert-query-changed"))
def _(stack: Stack) -> None:
    alert = one(stack, "google_monitoring_alert_policy", "vehicle-price_alerts_latency-p95")
    conditions = alert["conditions"]
    condition = (conditions[0] if isinstance(conditions, list) else conditions)[
        "condition_prometheus_query_language"
    ]
    condition["query"] = condition["query"].replace('"vehicle-price"', '"nothing"')


@_case(on_stack("alerts go to another group", PRICING, "approve", "monitoring/channel-changed"))
def _(stack: Stack) -> None:
    channel = one(stack, "google_monitoring_notification_channel")
    channel["labels"] = {"email_address": "nobody@example.com"}


@_case(on_stack("models' metrics are not collected", CLUSTER, "approve", "monitoring/scraping-off"))
def _(stack: Stack) -> None:
    remove(stack, "kubernetes_manifest", "scraping")


@_case(on_stack("a dashboard is removed", PRICING, "warn", "monitoring/dashboard-removed"))
def _(stack: Stack) -> None:
    remove(stack, "google_monitoring_dashboard", "vehicle-price")


# Reliability


@_case(on_input("a model runs on one replica", PRICING, "approve", "reliability/single-replica"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), "replicas: {min: 3", "replicas: {min: 1")


@_case(on_stack("all replicas may go at once", PRICING, "approve", "reliability/disruption-budget-off"))
def _(stack: Stack) -> None:
    remove(stack, "kubernetes_pod_disruption_budget_v1", "stable")


@_case(on_stack("a model no longer scales", PRICING, "approve", "reliability/autoscaler-removed"))
def _(stack: Stack) -> None:
    remove(stack, "kubernetes_horizontal_pod_autoscaler_v2", "stable")


@_case(on_stack("readiness is no longer asked", PRICING, "approve", "reliability/probe-removed"))
def _(stack: Stack) -> None:
    del container(one(stack, "kubernetes_deployment_v1", "stable"))["readiness_probe"]


@_case(on_input("a canary jumps to most of the traffic", PRICING, "approve", "reliability/canary-jump"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), "percent: 10}", "percent: 60}")


@_case(on_stack("a route is removed", PRICING, "approve", "reliability/stops-serving"))
def _(stack: Stack) -> None:
    remove(stack, "kubernetes_manifest", "route")


@_case(on_stack("a deployment stops before it starts", PRICING, "approve", "reliability/rollout-unsafe"))
def _(stack: Stack) -> None:
    one(stack, "kubernetes_deployment_v1", "stable")["spec"]["strategy"] = {"type": "Recreate"}


@_case(on_stack("a batch is suspended", PRICING, "approve", "reliability/batch-suspended"))
def _(stack: Stack) -> None:
    one(stack, "kubernetes_cron_job_v1", "credit-default")["spec"]["suspend"] = True


@_case(on_input("the cluster is upgraded early", PLATFORM, "approve", "reliability/cluster-upgrades"))
def _(root: Path) -> None:
    replace(environment(root), "release_channel: STABLE", "release_channel: RAPID")


@_case(on_input("a model gets a quarter of its memory", PRICING, "warn", "reliability/resources-cut"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), 'resources: {cpu: "2", memory: 4Gi}', 'resources: {cpu: "2", memory: 1Gi}')


# Cost


@_case(on_input("a pool with more GPUs", PLATFORM, "approve", "cost/gpu-added"))
def _(root: Path) -> None:
    replace(environment(root), "gpu: {type: nvidia-l4, count: 1}", "gpu: {type: nvidia-l4, count: 4}")


@_case(on_input("nine replicas run all the time", PRICING, "warn", "cost/min-replicas-up"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), "replicas: {min: 3", "replicas: {min: 9")


@_case(on_input("a batch asks for three times the cores", PRICING, "warn", "cost/resources-up"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), 'resources: {cpu: "2", memory: 4Gi}', 'resources: {cpu: "6", memory: 4Gi}')


@_case(on_input("the budget is raised", PRICING, "warn", "cost/budget-raised"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), "monthly_budget: 900", "monthly_budget: 9000")


@_case(on_stack("the budget is removed", PRICING, "approve", "cost/budget-removed"))
def _(stack: Stack) -> None:
    remove(stack, "google_billing_budget")


# Supply chain


@_case(on_stack("an image by tag", PRICING, "block", "supply-chain/image-without-digest"))
def _(stack: Stack) -> None:
    model = container(one(stack, "kubernetes_deployment_v1", "stable"))
    model["image"] = model["image"].partition("@")[0] + ":latest"


@_case(on_stack("an image from elsewhere", PRICING, "block", "supply-chain/foreign-registry"))
def _(stack: Stack) -> None:
    container(one(stack, "kubernetes_deployment_v1", "stable"))["image"] = f"docker.io/someone/rest@{DIGEST}"


@_case(on_stack("another artefact under the same version", PRICING, "block", "supply-chain/artifact-swapped"))
def _(stack: Stack) -> None:
    _settings(stack, lambda model: model["artifact"].update(digest=DIGEST))


@_case(on_stack("an artefact without digest", PRICING, "block", "supply-chain/artifact-without-digest"))
def _(stack: Stack) -> None:
    _settings(stack, lambda model: model["artifact"].pop("digest"))


def _settings(stack: Stack, edit: Any) -> None:
    settings = one(stack, "kubernetes_config_map_v1", "diamond-value")
    model = json.loads(settings["data"]["model.json"])
    edit(model)
    settings["data"]["model.json"] = json.dumps(model)


@_case(on_stack("the cluster admits any image", PLATFORM, "block", "supply-chain/admission-weakened"))
def _(stack: Stack) -> None:
    one(stack, "google_container_cluster")["binary_authorization"]["evaluation_mode"] = "DISABLED"


@_case(on_stack("image tags can be moved", FOUNDATION, "approve", "supply-chain/registry-weakened"))
def _(stack: Stack) -> None:
    one(stack, "google_artifact_registry_repository")["docker_config"]["immutable_tags"] = False


# CI identity


@_case(on_stack("any repository may sign in", FOUNDATION, "block", "ci-identity/federation-widened"))
def _(stack: Stack) -> None:
    del one(stack, "google_iam_workload_identity_pool_provider")["attribute_condition"]


@_case(on_stack("another repository may sign in", FOUNDATION, "block", "ci-identity/federation-widened"))
def _(stack: Stack) -> None:
    provider = one(stack, "google_iam_workload_identity_pool_provider")
    provider["attribute_condition"] += " || assertion.repository == 'someone/else'"


@_case(on_stack("every ref may deploy", FOUNDATION, "block", "ci-identity/mapping-changed"))
def _(stack: Stack) -> None:
    mapping = one(stack, "google_iam_workload_identity_pool_provider")["attribute_mapping"]
    mapping["attribute.deploys"] = "assertion.environment"


@_case(on_stack("every workflow may act as deployer", TENANT, "block", "ci-identity/users-widened"))
def _(stack: Stack) -> None:
    users = one(stack, "google_service_account_iam_member", "deployer-users")
    users["member"] = users["member"].partition("/attribute.")[0] + "/*"


@_case(on_stack("the planner may write", TENANT, "block", "ci-identity/planner-writes"))
def _(stack: Stack) -> None:
    member = "serviceAccount:modelyard-planner@example-prod-pricing.iam.gserviceaccount.com"
    body = {"project": "example-prod-pricing", "role": "roles/bigquery.dataEditor", "member": member}
    add(stack, "google_project_iam_member", body)


@_case(on_stack("the deployer may do more", TENANT, "approve", "ci-identity/deployer-role-added"))
def _(stack: Stack) -> None:
    member = "serviceAccount:modelyard-deployer@example-prod-pricing.iam.gserviceaccount.com"
    body = {"project": "example-prod-pricing", "role": "roles/compute.networkUser", "member": member}
    add(stack, "google_project_iam_member", body)


@_case(on_stack("the deployers' role grows", TENANT, "approve", "ci-identity/pipeline-role-widened"))
def _(stack: Stack) -> None:
    one(stack, "google_project_iam_custom_role", "deployer-role")["permissions"].append(
        "pubsub.topics.publish"
    )


# Promotion


def _promoted(root: Path, edit: Any) -> None:
    """Promote diamond-value to version 2."""

    def newer(manifest: dict[str, Any]) -> None:
        manifest["version"] = 2
        manifest["artifact"]["digest"] = DIGEST
        edit(manifest)

    edit_manifest(root / "teams" / "pricing" / "diamond-value.json", newer)
    text = team(root, "pricing").read_text(encoding="utf-8")
    begin = text.index("name: diamond-value")
    text = text[:begin] + text[begin:].replace("version: 1", "version: 2", 1)
    team(root, "pricing").write_text(text, encoding="utf-8")


@_case(on_input("a promotion tests worse", PRICING, "approve", "promotion/metric-worse"))
def _(root: Path) -> None:
    def worse(manifest: dict[str, Any]) -> None:
        metrics = manifest["metrics"]
        factor = 0.5 if metrics["higher_is_better"] else 2
        metrics["values"][metrics["primary"]] *= factor

    _promoted(root, worse)


@_case(on_input("a promotion comes from uncommitted code", PRICING, "approve", "promotion/dirty-code"))
def _(root: Path) -> None:
    _promoted(root, lambda manifest: manifest["code"].update(dirty=True, diff_digest=DIGEST))


@_case(on_input("a promotion brings a known weakness", PRICING, "approve", "promotion/vulnerable-dependency"))
def _(root: Path) -> None:
    _promoted(root, lambda manifest: manifest["dependencies"]["packages"].update(lightgbm="4.5.0"))


@_case(on_input("a promotion takes personal data", PRICING, "approve", "promotion/restricted-feature-added"))
def _(root: Path) -> None:
    def more(manifest: dict[str, Any]) -> None:
        feature = copy.deepcopy(manifest["signature"]["features"][0])
        feature |= {"name": "owner_name", "type": "string", "sensitivity": "pii"}
        feature.pop("range", None)
        feature.pop("categories", None)
        manifest["signature"]["features"].append(feature)

    _promoted(root, more)
    replace(
        team(root, "pricing"),
        '    resources: {cpu: "2", memory: 4Gi}\n',
        '    resources: {cpu: "2", memory: 4Gi}\n    access: {pii_readers: []}\n',
    )


@_case(
    on_input(
        "a promotion leaves a feature and its column out",
        PRICING,
        "block",
        "promotion/features-changed",
        "data-loss/column-removed",
    )
)
def _(root: Path) -> None:
    def fewer(manifest: dict[str, Any]) -> None:
        name = manifest["signature"]["features"].pop()["name"]
        manifest["baselines"]["features"].pop(name, None)

    _promoted(root, fewer)
