"""What a team's stack makes, its deployer may make: rights and stacks are written apart and must agree."""

import json
from typing import Any

from cel import evaluate

from modules.cluster_access import TEAM_KINDS
from modules.gateway import ACCESS_LABEL
from modules.tenant import DEPLOYER_PERMISSIONS, DEPLOYER_ROLES, GRANTABLE_ROLES, PLANNER_ROLES
from tests.stacks.shared import of_type

Documents = dict[str, dict[str, Any]]

# What lets a deployer make each type: a role or a permission.
GOOGLE = {
    "google_bigquery_datapolicy_data_policy": "roles/bigquerydatapolicy.admin",
    "google_bigquery_datapolicy_data_policy_iam_member": "roles/bigquerydatapolicy.admin",
    "google_bigquery_dataset": "roles/bigquery.dataOwner",
    "google_bigquery_dataset_access": "roles/bigquery.dataOwner",
    "google_bigquery_table": "roles/bigquery.dataOwner",
    "google_bigquery_table_iam_member": "roles/bigquery.dataOwner",
    "google_billing_budget": "billing.resourcebudgets.write",
    "google_data_catalog_policy_tag": "roles/datacatalog.categoryAdmin",
    "google_data_catalog_policy_tag_iam_member": "roles/datacatalog.categoryAdmin",
    "google_data_catalog_taxonomy": "roles/datacatalog.categoryAdmin",
    "google_monitoring_alert_policy": "roles/monitoring.alertPolicyEditor",
    "google_monitoring_dashboard": "roles/monitoring.dashboardEditor",
    "google_monitoring_notification_channel": "roles/monitoring.notificationChannelEditor",
    "google_privileged_access_manager_entitlement": "roles/privilegedaccessmanager.admin",
    "google_pubsub_subscription": "pubsub.subscriptions.create",
    "google_pubsub_subscription_iam_member": "pubsub.subscriptions.setIamPolicy",
    "google_pubsub_topic": "pubsub.topics.create",
    "google_pubsub_topic_iam_member": "pubsub.topics.setIamPolicy",
    "google_service_account": "iam.serviceAccounts.create",
    "google_service_account_iam_member": "iam.serviceAccounts.setIamPolicy",
}
BY_FOLDER = {"google_storage_managed_folder_iam_member"}
BY_CONDITION = {"google_project_iam_member"}
KUBERNETES = {
    "kubernetes_config_map_v1": ("", "configmaps"),
    "kubernetes_cron_job_v1": ("batch", "cronjobs"),
    "kubernetes_deployment_v1": ("apps", "deployments"),
    "kubernetes_horizontal_pod_autoscaler_v2": ("autoscaling", "horizontalpodautoscalers"),
    "kubernetes_limit_range_v1": ("", "limitranges"),
    "kubernetes_namespace_v1": ("", "namespaces"),
    "kubernetes_network_policy_v1": ("networking.k8s.io", "networkpolicies"),
    "kubernetes_pod_disruption_budget_v1": ("policy", "poddisruptionbudgets"),
    "kubernetes_resource_quota_v1": ("", "resourcequotas"),
    "kubernetes_role_binding_v1": ("rbac.authorization.k8s.io", "rolebindings"),
    "kubernetes_service_account_v1": ("", "serviceaccounts"),
    "kubernetes_service_v1": ("", "services"),
}
MANIFESTS = {
    "HTTPRoute": ("gateway.networking.k8s.io", "httproutes"),
    "HealthCheckPolicy": ("networking.gke.io", "healthcheckpolicies"),
}


def team_stacks(documents: Documents) -> dict[str, dict[str, Any]]:
    found = {stack: document for stack, document in documents.items() if stack.split("-")[1] == "team"}
    assert found
    return found


def test_a_deployer_may_make_what_its_stack_holds(fleet_documents: Documents) -> None:
    rights = {*DEPLOYER_ROLES, *DEPLOYER_PERMISSIONS}
    assert set(GOOGLE.values()) <= rights
    for stack, document in team_stacks(fleet_documents).items():
        for type_ in document["resource"]:
            if type_ == "kubernetes_manifest":
                for path, resource in of_type(document, type_).items():
                    group, plural = MANIFESTS[resource["manifest"]["kind"]]
                    assert resource["manifest"]["apiVersion"].split("/")[0] == group, f"{stack}: {path}"
                    assert plural in TEAM_KINDS[group]
            elif type_.startswith("kubernetes_"):
                group, plural = KUBERNETES[type_]
                assert plural in TEAM_KINDS[group], f"{stack} makes {type_}"
            else:
                assert type_ in {*GOOGLE, *BY_FOLDER, *BY_CONDITION}, f"{stack} makes {type_}"


def test_every_right_is_used(fleet_documents: Documents) -> None:
    made = {type_ for document in team_stacks(fleet_documents).values() for type_ in document["resource"]}
    used = {GOOGLE[type_] for type_ in made & set(GOOGLE)}
    writing = {role for role in DEPLOYER_ROLES if role != "roles/serviceusage.serviceUsageConsumer"}
    assert writing <= used, "a role that no team's stack needs is one too many"


def test_a_deployer_may_grant_what_its_stack_grants(fleet_documents: Documents) -> None:
    for stack, document in team_stacks(fleet_documents).items():
        granted = {grant["role"] for grant in of_type(document, "google_project_iam_member").values()}
        assert granted <= set(GRANTABLE_ROLES), stack
        bound = {
            binding["role_ref"]["name"]
            for binding in of_type(document, "kubernetes_role_binding_v1").values()
        }
        assert bound <= {"view"}, f"{stack}: the deployer may bind `view` alone"


def test_a_planner_may_read_every_kind_of_resource() -> None:
    families = {
        "bigquery",
        "bigquerydatapolicy",
        "datacatalog",
        "monitoring",
        "privilegedaccessmanager",
        "pubsub",
    }
    assert families <= {role.removeprefix("roles/").split(".")[0] for role in PLANNER_ROLES}


def admitted(document: dict[str, Any], policy: str, **known: Any) -> bool:
    """Return whether all rules of one of the policies in a stack hold for a request."""
    manifest = of_type(document, "kubernetes_manifest")[f"{policy}/policy"]["manifest"]
    spec = manifest["spec"]
    variables = {v["name"]: evaluate(v["expression"], known) for v in spec.get("variables", [])}
    return all(
        evaluate(rule["expression"], {**known, "variables": variables}) for rule in spec["validations"]
    )


def test_the_cluster_admits_what_a_team_stack_holds(fleet_documents: Documents) -> None:
    for stack, document in team_stacks(fleet_documents).items():
        environment, _, team = stack.split("-", 2)
        cluster = fleet_documents[f"{environment}-cluster"]
        (namespace,) = of_type(document, "kubernetes_namespace_v1").values()
        name = namespace["metadata"]["name"]
        tenant, confined = fleet_documents[f"{environment}-tenant-{team}"], "cluster-access/confined"

        made = {"metadata": namespace["metadata"]}
        request: dict[str, Any] = {
            "operation": "CREATE",
            "resource": {"group": "", "resource": "namespaces"},
        }
        assert admitted(tenant, confined, request=request, object=made), stack
        assert namespace["metadata"]["labels"][ACCESS_LABEL] == "true"

        for path, resource in of_type(document, "kubernetes_manifest").items():
            group, plural = MANIFESTS[resource["manifest"]["kind"]]
            # By reference, so that it waits for the namespace.
            assert resource["manifest"]["metadata"]["namespace"].startswith(
                "${kubernetes_namespace_v1.namespace_"
            )
            request = {
                "operation": "CREATE",
                "resource": {"group": group, "resource": plural},
                "namespace": name,
            }
            assert admitted(tenant, confined, request=request, object=resource["manifest"]), (
                f"{stack}: {path}"
            )

        for path, resource in of_type(document, "kubernetes_deployment_v1").items():
            containers = resource["spec"]["template"]["spec"]["container"]
            pod = {"spec": {"containers": [{"image": container["image"]} for container in containers]}}
            assert admitted(cluster, "admission/images", object=pod), f"{stack}: {path}"
        for path, resource in of_type(document, "kubernetes_service_v1").items():
            service = {"spec": {"type": resource["spec"]["type"]}}
            assert admitted(cluster, "admission/services", object=service), f"{stack}: {path}"


def test_pods_wait_for_the_settings_they_read(fleet_documents: Documents) -> None:
    seen = 0
    for stack, document in team_stacks(fleet_documents).items():
        for type_ in ("kubernetes_deployment_v1", "kubernetes_cron_job_v1"):
            for path, resource in of_type(document, type_).items():
                spec = resource["spec"].get("job_template", {}).get("spec") or resource["spec"]
                (config,) = (
                    v["config_map"]["name"] for v in spec["template"]["spec"]["volume"] if "config_map" in v
                )
                assert config.startswith("${kubernetes_config_map_v1."), f"{stack}: {path}"
                logical_id = config.split(".")[1]
                made = document["resource"]["kubernetes_config_map_v1"][logical_id]["metadata"]
                assert made["name"] == resource["metadata"]["name"]
                seen += 1
    assert seen


def test_what_is_read_is_granted_where_it_lies_in_the_teams_project(fleet_documents: Documents) -> None:
    document = fleet_documents["local-team-pricing"]
    (project,) = {t["project"] for t in of_type(document, "google_bigquery_table").values()}
    viewers = {
        (grant["dataset_id"], grant["table_id"], grant["member"].partition("@")[0])
        for grant in of_type(document, "google_bigquery_table_iam_member").values()
        if grant["role"] == "roles/bigquery.dataViewer" and grant["project"] == project
    }
    model, monitor = "serviceAccount:model-", "serviceAccount:modelyard-monitor"
    assert {
        ("stock", "diamonds", f"{model}diamond-value"),
        ("lending", "applications", f"{model}credit-default"),
        ("lending", "outcomes", monitor),
    } <= viewers
    queries = {
        (grant["member"].partition("@")[0].removeprefix(model), grant["role"])
        for grant in of_type(document, "google_project_iam_member").values()
        if grant["member"].startswith(model)
    }
    assert queries == {
        (name, role)
        for name in ("diamond-value", "credit-default")
        for role in ("roles/bigquery.jobUser", "roles/bigquery.readSessionUser")
    }


def test_the_monitor_job_may_read_what_each_team_says_of_its_models(fleet_documents: Documents) -> None:
    for stack, document in team_stacks(fleet_documents).items():
        cluster = fleet_documents[f"{stack.split('-')[0]}-cluster"]
        role = of_type(cluster, "kubernetes_cluster_role_v1")["monitor/role"]
        made = of_type(document, "kubernetes_config_map_v1")["monitoring"]
        assert [made["metadata"]["name"]] == role["rule"][1]["resource_names"]
        said = json.loads(made["data"]["monitoring.json"])
        assert said["team"] == stack.split("-", 2)[2]
        (job,) = of_type(cluster, "kubernetes_cron_job_v1").values()
        pod = job["spec"]["job_template"]["spec"]["template"]["spec"]
        images = {"spec": {"containers": [{"image": container["image"]} for container in pod["container"]]}}
        assert admitted(cluster, "admission/images", object=images)


def test_settings_and_the_image_reach_the_pods(fleet_documents: Documents) -> None:
    document = fleet_documents["local-team-pricing"]
    config = of_type(document, "kubernetes_config_map_v1")["models/vehicle-price/stable/config"]
    settings = json.loads(config["data"]["model.json"])
    assert settings["serving"]["max_rows"] == 1000
    deployment = of_type(document, "kubernetes_deployment_v1")["models/vehicle-price/stable/rest/deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["container"]
    assert container["image"].endswith(f"rest@{settings['image_digest']}")
