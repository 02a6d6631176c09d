"""A namespace of the platform's own, as closed as a team's."""

from collections.abc import Mapping

from cdktf_cdktf_provider_kubernetes.namespace_v1 import NamespaceV1, NamespaceV1Metadata
from cdktf_cdktf_provider_kubernetes.network_policy_v1 import (
    NetworkPolicyV1,
    NetworkPolicyV1Metadata,
    NetworkPolicyV1Spec,
    NetworkPolicyV1SpecPodSelector,
)
from constructs import Construct


class SystemNamespace(Construct):
    """A namespace with restricted pods, into which no traffic comes that nothing else allows.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from modelyard.naming import Names
        from modules.kubernetes import provider
        from modules.system_namespace import SystemNamespace

        stack = TerraformStack(App(), "example")
        provider(stack, Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example"))
        SystemNamespace(stack, "system", name="modelyard-system", labels={"team": "platform"})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        name: name of the namespace.
        labels: labels of everything in it.
    """

    def __init__(self, scope: Construct, construct_id: str, *, name: str, labels: Mapping[str, str]) -> None:
        super().__init__(scope, construct_id)
        restricted = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        self.namespace = NamespaceV1(
            self, "namespace", metadata=NamespaceV1Metadata(name=name, labels={**labels, **restricted})
        )
        NetworkPolicyV1(
            self,
            "default-deny",
            metadata=NetworkPolicyV1Metadata(name="default-deny", namespace=name, labels=dict(labels)),
            spec=NetworkPolicyV1Spec(pod_selector=NetworkPolicyV1SpecPodSelector(), policy_types=["Ingress"]),
            depends_on=[self.namespace],
        )
