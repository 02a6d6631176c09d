"""A team's namespace: quota, limits, and no traffic but what models need."""

from collections.abc import Mapping, Sequence
from typing import Any

from cdktf_cdktf_provider_kubernetes.limit_range_v1 import (
    LimitRangeV1,
    LimitRangeV1Metadata,
    LimitRangeV1Spec,
    LimitRangeV1SpecLimit,
)
from cdktf_cdktf_provider_kubernetes.namespace_v1 import NamespaceV1, NamespaceV1Metadata
from cdktf_cdktf_provider_kubernetes.network_policy_v1 import (
    NetworkPolicyV1,
    NetworkPolicyV1Metadata,
    NetworkPolicyV1Spec,
    NetworkPolicyV1SpecIngress,
    NetworkPolicyV1SpecIngressFrom,
    NetworkPolicyV1SpecIngressFromIpBlock,
    NetworkPolicyV1SpecIngressFromNamespaceSelector,
    NetworkPolicyV1SpecIngressPorts,
    NetworkPolicyV1SpecPodSelector,
)
from cdktf_cdktf_provider_kubernetes.resource_quota_v1 import (
    ResourceQuotaV1,
    ResourceQuotaV1Metadata,
    ResourceQuotaV1Spec,
)
from cdktf_cdktf_provider_kubernetes.role_binding_v1 import (
    RoleBindingV1,
    RoleBindingV1Metadata,
    RoleBindingV1RoleRef,
    RoleBindingV1Subject,
)
from constructs import Construct

from modules.gateway import ACCESS_LABEL
from modules.kubernetes import RBAC, VIEW
from modules.namespace.egress import to_google
from modules.network import HEALTH_CHECKS
from modules.workload import HTTP_PORT

# Where the collectors of Managed Prometheus run: a standard cluster has the first, Autopilot the second.
COLLECTORS = ("gmp-system", "gke-gmp-system")


class TeamNamespace(Construct):
    """A namespace that starts closed.

    Pods get no traffic in but on the serving port from the gateway's proxies, Google's health checks and the
    metrics collector, and none out but to DNS, the metadata server and Google's APIs. Members of `viewers`
    may look. `name` of the construct is what workloads take as their namespace.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from modelyard.naming import Names
        from modules.kubernetes import provider
        from modules.namespace import TeamNamespace

        stack = TerraformStack(App(), "example")
        provider(stack, Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example"))
        TeamNamespace(stack, "namespace", name="team-a", labels={"team": "a"}, quota={"pods": "20"},
                      callers=["10.10.18.0/23"], viewers=["a@example.com"])
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        name: name of the namespace.
        labels: labels of everything in it.
        quota: hard limits, as a ResourceQuota takes them.
        callers: address ranges that may call the serving port.
        viewers: Google groups with Kubernetes' `view` role, which shows no secrets.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        labels: Mapping[str, str],
        quota: Mapping[str, str],
        callers: Sequence[str],
        viewers: Sequence[str],
    ) -> None:
        super().__init__(scope, construct_id)
        enforced = {
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/warn": "restricted",
            ACCESS_LABEL: "true",
        }
        self.resource = NamespaceV1(
            self, "namespace", metadata=NamespaceV1Metadata(name=name, labels={**labels, **enforced})
        )
        # A reference, not the plain name: what is put into the namespace waits for it.
        self.name: str = self.resource.metadata.name
        inside: dict[str, Any] = {"namespace": self.name, "labels": dict(labels)}
        ResourceQuotaV1(
            self,
            "quota",
            metadata=ResourceQuotaV1Metadata(name="team", **inside),
            spec=ResourceQuotaV1Spec(hard=dict(quota)),
        )
        LimitRangeV1(
            self,
            "limits",
            metadata=LimitRangeV1Metadata(name="defaults", **inside),
            spec=LimitRangeV1Spec(
                limit=[
                    LimitRangeV1SpecLimit(
                        type="Container",
                        default={"cpu": "500m", "memory": "512Mi"},
                        default_request={"cpu": "500m", "memory": "512Mi"},
                    )
                ]
            ),
        )
        NetworkPolicyV1(
            self,
            "default-deny",
            metadata=NetworkPolicyV1Metadata(name="default-deny", **inside),
            spec=NetworkPolicyV1Spec(
                pod_selector=NetworkPolicyV1SpecPodSelector(), policy_types=["Ingress", "Egress"]
            ),
        )
        NetworkPolicyV1(
            self,
            "allow-serving",
            metadata=NetworkPolicyV1Metadata(name="allow-serving", **inside),
            spec=NetworkPolicyV1Spec(
                pod_selector=NetworkPolicyV1SpecPodSelector(),
                policy_types=["Ingress", "Egress"],
                ingress=[self._ingress(callers)],
                egress=to_google(),
            ),
        )
        RoleBindingV1(
            self,
            "viewers",
            metadata=RoleBindingV1Metadata(name="viewers", **inside),
            role_ref=RoleBindingV1RoleRef(api_group=RBAC, kind="ClusterRole", name=VIEW),
            subject=[RoleBindingV1Subject(kind="Group", name=group, api_group=RBAC) for group in viewers],
        )

    @staticmethod
    def _ingress(callers: Sequence[str]) -> NetworkPolicyV1SpecIngress:
        blocks = [
            NetworkPolicyV1SpecIngressFrom(ip_block=NetworkPolicyV1SpecIngressFromIpBlock(cidr=cidr))
            for cidr in (*callers, *HEALTH_CHECKS)
        ]
        collectors = [
            NetworkPolicyV1SpecIngressFrom(
                namespace_selector=NetworkPolicyV1SpecIngressFromNamespaceSelector(
                    match_labels={"kubernetes.io/metadata.name": namespace}
                )
            )
            for namespace in COLLECTORS
        ]
        return NetworkPolicyV1SpecIngress(
            from_=[*blocks, *collectors],
            ports=[NetworkPolicyV1SpecIngressPorts(port=str(HTTP_PORT), protocol="TCP")],
        )
