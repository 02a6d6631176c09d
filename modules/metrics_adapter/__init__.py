"""Cloud Monitoring's series as external metrics of the cluster, so that workers scale on their backlog.

The image is Google's `custom-metrics-stackdriver-adapter`, mirrored into the environment's registry and
pinned by digest like every other image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_kubernetes import deployment_v1 as d
from cdktf_cdktf_provider_kubernetes.api_service_v1 import (
    ApiServiceV1,
    ApiServiceV1Metadata,
    ApiServiceV1Spec,
    ApiServiceV1SpecService,
)
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
    NetworkPolicyV1SpecIngress,
    NetworkPolicyV1SpecIngressFrom,
    NetworkPolicyV1SpecIngressFromIpBlock,
    NetworkPolicyV1SpecIngressFromNamespaceSelector,
    NetworkPolicyV1SpecIngressFromPodSelector,
    NetworkPolicyV1SpecIngressPorts,
    NetworkPolicyV1SpecPodSelector,
)
from cdktf_cdktf_provider_kubernetes.role_binding_v1 import (
    RoleBindingV1,
    RoleBindingV1Metadata,
    RoleBindingV1RoleRef,
    RoleBindingV1Subject,
)
from cdktf_cdktf_provider_kubernetes.service_account_v1 import ServiceAccountV1, ServiceAccountV1Metadata
from cdktf_cdktf_provider_kubernetes.service_v1 import (
    ServiceV1,
    ServiceV1Metadata,
    ServiceV1Spec,
    ServiceV1SpecPort,
)
from constructs import Construct

from modelyard.naming import Names
from modules.kubernetes import RBAC
from modules.platform_identity import PlatformIdentity

NAME = "metrics-adapter"
# The one port that GKE opens from a private control plane to pods, besides 443, which needs root.
PORT = 10250


class MetricsAdapter(Construct):
    """The external-metrics API of the cluster, answered from Cloud Monitoring, read-only.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.kubernetes import provider
        from modules.metrics_adapter import MetricsAdapter

        stack = TerraformStack(App(), "example")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        GoogleProvider(stack, "google", project="example-dev"), provider(stack, names)
        MetricsAdapter(stack, "adapter", names=names, labels={"team": "platform"},
                       image="registry/metrics-adapter@sha256:" + 64 * "0", control_plane="10.10.16.0/28")
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment; it runs in `names.system_namespace`, which must exist.
        labels: labels of everything in it.
        image: reference by digest.
        control_plane: address range of the cluster's control plane, which asks it.
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
        self._identity()
        self._bindings()
        self._deployment(image)
        self._api()
        self._let_in(control_plane)

    def _identity(self) -> None:
        names = self._names
        PlatformIdentity(
            self,
            "identity",
            names=names,
            purpose=NAME,
            description="Reads series for autoscaling; each team's project grants it monitoring.viewer.",
        )
        ServiceAccountV1(
            self,
            "kubernetes-account",
            metadata=ServiceAccountV1Metadata(
                **self._where, annotations={"iam.gke.io/gcp-service-account": names.service_account(NAME)}
            ),
            automount_service_account_token=False,
            depends_on=self._after,
        )

    def _bindings(self) -> None:
        labels = self._where["labels"]
        reader = "modelyard-external-metrics-reader"
        ClusterRoleV1(
            self,
            "reader",
            metadata=ClusterRoleV1Metadata(name=reader, labels=labels),
            rule=[
                ClusterRoleV1Rule(
                    api_groups=["external.metrics.k8s.io"], resources=["*"], verbs=["get", "list"]
                )
            ],
        )
        self._cluster_binding("autoscaler-reads", reader, "horizontal-pod-autoscaler", "kube-system")
        self._cluster_binding("delegates-checks", "system:auth-delegator", NAME, self._names.system_namespace)
        RoleBindingV1(
            self,
            "reads-authentication",
            metadata=RoleBindingV1Metadata(
                name="modelyard-metrics-adapter-auth-reader", namespace="kube-system", labels=labels
            ),
            role_ref=RoleBindingV1RoleRef(
                api_group=RBAC, kind="Role", name="extension-apiserver-authentication-reader"
            ),
            subject=[
                RoleBindingV1Subject(kind="ServiceAccount", name=NAME, namespace=self._names.system_namespace)
            ],
        )

    def _cluster_binding(self, construct_id: str, role: str, account: str, namespace: str) -> None:
        ClusterRoleBindingV1(
            self,
            construct_id,
            metadata=ClusterRoleBindingV1Metadata(
                name=f"modelyard-metrics-adapter-{construct_id}", labels=self._where["labels"]
            ),
            role_ref=ClusterRoleBindingV1RoleRef(api_group=RBAC, kind="ClusterRole", name=role),
            subject=[ClusterRoleBindingV1Subject(kind="ServiceAccount", name=account, namespace=namespace)],
        )

    def _deployment(self, image: str) -> None:
        selector = {"app.kubernetes.io/name": NAME}
        amounts = {"cpu": "250m", "memory": "400Mi"}
        container = d.DeploymentV1SpecTemplateSpecContainer(
            name="adapter",
            image=image,
            image_pull_policy="Always",
            command=["/adapter", "--use-new-resource-model=true", f"--secure-port={PORT}", "--cert-dir=/tmp"],
            port=[d.DeploymentV1SpecTemplateSpecContainerPort(name="https", container_port=PORT)],
            resources=d.DeploymentV1SpecTemplateSpecContainerResources(requests=amounts, limits=amounts),
            readiness_probe=self._probe(d.DeploymentV1SpecTemplateSpecContainerReadinessProbe),
            liveness_probe=self._probe(d.DeploymentV1SpecTemplateSpecContainerLivenessProbe),
            security_context=d.DeploymentV1SpecTemplateSpecContainerSecurityContext(
                allow_privilege_escalation=False,
                privileged=False,
                read_only_root_filesystem=True,
                run_as_non_root=True,
                run_as_user="65532",
                capabilities=d.DeploymentV1SpecTemplateSpecContainerSecurityContextCapabilities(drop=["ALL"]),
                seccomp_profile=d.DeploymentV1SpecTemplateSpecContainerSecurityContextSeccompProfile(
                    type="RuntimeDefault"
                ),
            ),
            # It writes its self-signed certificate here at start.
            volume_mount=[d.DeploymentV1SpecTemplateSpecContainerVolumeMount(name="tmp", mount_path="/tmp")],
        )
        d.DeploymentV1(
            self,
            "deployment",
            metadata=d.DeploymentV1Metadata(**self._where),
            depends_on=self._after,
            spec=d.DeploymentV1Spec(
                replicas="2",
                selector=d.DeploymentV1SpecSelector(match_labels=selector),
                template=d.DeploymentV1SpecTemplate(
                    metadata=d.DeploymentV1SpecTemplateMetadata(labels={**self._where["labels"], **selector}),
                    spec=d.DeploymentV1SpecTemplateSpec(
                        service_account_name=NAME,
                        # It serves an API of the cluster and asks the cluster who its callers are.
                        automount_service_account_token=True,
                        security_context=d.DeploymentV1SpecTemplateSpecSecurityContext(
                            run_as_non_root=True,
                            seccomp_profile=d.DeploymentV1SpecTemplateSpecSecurityContextSeccompProfile(
                                type="RuntimeDefault"
                            ),
                        ),
                        container=[container],
                        volume=[
                            d.DeploymentV1SpecTemplateSpecVolume(
                                name="tmp",
                                empty_dir=d.DeploymentV1SpecTemplateSpecVolumeEmptyDir(size_limit="16Mi"),
                            )
                        ],
                    ),
                ),
            ),
        )

    @staticmethod
    def _probe(kind: type) -> Any:
        socket = getattr(d, f"{kind.__name__}TcpSocket")(port=str(PORT))
        return kind(tcp_socket=[socket], period_seconds=10, timeout_seconds=2, failure_threshold=3)

    def _api(self) -> None:
        ServiceV1(
            self,
            "service",
            metadata=ServiceV1Metadata(**self._where),
            depends_on=self._after,
            spec=ServiceV1Spec(
                type="ClusterIP",
                selector={"app.kubernetes.io/name": NAME},
                port=[ServiceV1SpecPort(name="https", port=443, target_port=str(PORT), protocol="TCP")],
            ),
        )
        ApiServiceV1(
            self,
            "api",
            metadata=ApiServiceV1Metadata(
                name="v1beta1.external.metrics.k8s.io", labels=self._where["labels"]
            ),
            spec=ApiServiceV1Spec(
                group="external.metrics.k8s.io",
                version="v1beta1",
                group_priority_minimum=100,
                version_priority=100,
                # The certificate is made by the adapter at start; the connection stays inside the cluster.
                insecure_skip_tls_verify=True,
                service=ApiServiceV1SpecService(name=NAME, namespace=self._names.system_namespace),
            ),
        )

    def _let_in(self, control_plane: str) -> None:
        NetworkPolicyV1(
            self,
            "allow-control-plane",
            metadata=NetworkPolicyV1Metadata(**self._where),
            spec=NetworkPolicyV1Spec(
                pod_selector=NetworkPolicyV1SpecPodSelector(match_labels={"app.kubernetes.io/name": NAME}),
                policy_types=["Ingress"],
                ingress=[
                    NetworkPolicyV1SpecIngress(
                        from_=[
                            NetworkPolicyV1SpecIngressFrom(
                                ip_block=NetworkPolicyV1SpecIngressFromIpBlock(cidr=control_plane)
                            ),
                            # GKE's control plane reaches pods through its agents, from their addresses.
                            NetworkPolicyV1SpecIngressFrom(
                                namespace_selector=NetworkPolicyV1SpecIngressFromNamespaceSelector(
                                    match_labels={"kubernetes.io/metadata.name": "kube-system"}
                                ),
                                pod_selector=NetworkPolicyV1SpecIngressFromPodSelector(
                                    match_labels={"k8s-app": "konnectivity-agent"}
                                ),
                            ),
                        ],
                        ports=[NetworkPolicyV1SpecIngressPorts(port=str(PORT), protocol="TCP")],
                    )
                ],
            ),
            depends_on=self._after,
        )
