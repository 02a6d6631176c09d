"""The monitor job: on schedule it measures all models, by what each team's namespace says of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_kubernetes import cron_job_v1 as c
from cdktf_cdktf_provider_kubernetes.cluster_role_binding_v1 import (
    ClusterRoleBindingV1,
    ClusterRoleBindingV1Metadata,
    ClusterRoleBindingV1RoleRef,
    ClusterRoleBindingV1Subject,
)
from cdktf_cdktf_provider_kubernetes.cluster_role_v1 import (
    ClusterRoleV1,
    ClusterRoleV1Metadata,
    ClusterRoleV1Rule,
)
from cdktf_cdktf_provider_kubernetes.network_policy_v1 import (
    NetworkPolicyV1,
    NetworkPolicyV1Metadata,
    NetworkPolicyV1Spec,
    NetworkPolicyV1SpecPodSelector,
)
from cdktf_cdktf_provider_kubernetes.service_account_v1 import ServiceAccountV1, ServiceAccountV1Metadata
from constructs import Construct

from modelyard.naming import MONITORING_CONFIG, Names
from modelyard.spec.team import Resources
from modules.kubernetes import RBAC
from modules.namespace.egress import to_google, to_ranges
from modules.workload import PodShape, pod

# Also the purpose of its identity, which the operations stack makes.
NAME = "monitor"
ROLE = "modelyard-monitor"
# What is due is decided by the job: a run finds the windows that have ended since the last one.
SCHEDULE = "*/5 * * * *"
DEADLINE_SECONDS = 3600
RESOURCES = Resources(cpu="1", memory="2Gi")


class MonitorJob(Construct):
    """A CronJob that reads one ConfigMap of each team's namespace, and nothing else of the cluster.

    What it may read and write at Google is granted to its identity in the operations stack.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from modelyard.naming import Names
        from modules.kubernetes import provider
        from modules.monitor_job import MonitorJob

        stack = TerraformStack(App(), "example")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        provider(stack, names)
        MonitorJob(stack, "monitor", names=names, labels={"team": "platform"},
                   image="registry/monitor@sha256:" + 64 * "0", control_plane="10.10.16.0/28")
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment; it runs in `names.system_namespace`, which must exist.
        labels: labels of everything in it.
        image: reference by digest.
        control_plane: address range of the cluster's control plane, which it asks for the ConfigMaps.
        depends_on: what must be there before: the namespace.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: Names,
        labels: Mapping[str, str],
        image: str,
        control_plane: str,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        self._names = names
        self._after = list(depends_on)
        self._where: dict[str, Any] = {
            "name": NAME,
            "namespace": names.system_namespace,
            "labels": dict(labels),
        }
        ServiceAccountV1(
            self,
            "kubernetes-account",
            metadata=ServiceAccountV1Metadata(
                **self._where, annotations={"iam.gke.io/gcp-service-account": names.service_account(NAME)}
            ),
            automount_service_account_token=False,
            depends_on=self._after,
        )
        self._access()
        self._let_out(control_plane)
        self._cron_job(image)

    def _access(self) -> None:
        metadata: dict[str, Any] = {"name": ROLE, "labels": self._where["labels"]}
        ClusterRoleV1(
            self,
            "role",
            metadata=ClusterRoleV1Metadata(**metadata),
            rule=[
                ClusterRoleV1Rule(api_groups=[""], resources=["namespaces"], verbs=["list"]),
                ClusterRoleV1Rule(
                    api_groups=[""],
                    resources=["configmaps"],
                    resource_names=[MONITORING_CONFIG],
                    verbs=["get"],
                ),
            ],
        )
        ClusterRoleBindingV1(
            self,
            "binding",
            metadata=ClusterRoleBindingV1Metadata(**metadata),
            role_ref=ClusterRoleBindingV1RoleRef(api_group=RBAC, kind="ClusterRole", name=ROLE),
            subject=[
                ClusterRoleBindingV1Subject(
                    kind="ServiceAccount", name=NAME, namespace=self._names.system_namespace
                )
            ],
        )

    def _let_out(self, control_plane: str) -> None:
        NetworkPolicyV1(
            self,
            "allow-out",
            metadata=NetworkPolicyV1Metadata(**self._where),
            spec=NetworkPolicyV1Spec(
                pod_selector=NetworkPolicyV1SpecPodSelector(match_labels={"app.kubernetes.io/name": NAME}),
                policy_types=["Egress"],
                egress=[*to_google(), to_ranges([control_plane], ["443"])],
            ),
            depends_on=self._after,
        )

    def _cron_job(self, image: str) -> None:
        selector = {"app.kubernetes.io/name": NAME}
        marked = {**self._where["labels"], **selector}
        shape = PodShape(
            image=image,
            resources=RESOURCES,
            config_map="",
            service_account=NAME,
            args=["run"],
            env={
                "GOOGLE_CLOUD_PROJECT": self._names.project,
                "MODELYARD_ENVIRONMENT": self._names.environment,
                "MODELYARD_DATA_LOCATION": self._names.data_location,
                "MODELYARD_TENANT_PREFIX": self._names.tenant_prefix,
            },
            probes=False,
            restart_policy="Never",
            log_gib=0,
            calls_cluster=True,
        )
        c.CronJobV1(
            self,
            "cron-job",
            metadata=c.CronJobV1Metadata(**self._where),
            depends_on=self._after,
            spec=c.CronJobV1Spec(
                schedule=SCHEDULE,
                timezone="Etc/UTC",
                # A window belongs to one run; a late one covers what the next would have.
                concurrency_policy="Forbid",
                starting_deadline_seconds=240,
                successful_jobs_history_limit=1,
                failed_jobs_history_limit=3,
                job_template=c.CronJobV1SpecJobTemplate(
                    metadata=c.CronJobV1SpecJobTemplateMetadata(labels=marked),
                    spec=c.CronJobV1SpecJobTemplateSpec(
                        # The next run does what this one did not.
                        backoff_limit=0,
                        active_deadline_seconds=DEADLINE_SECONDS,
                        ttl_seconds_after_finished="86400",
                        template=c.CronJobV1SpecJobTemplateSpecTemplate(
                            metadata=c.CronJobV1SpecJobTemplateSpecTemplateMetadata(labels=marked),
                            spec=pod(c, "CronJobV1SpecJobTemplateSpecTemplateSpec", shape, selector),
                        ),
                    ),
                ),
            ),
        )
