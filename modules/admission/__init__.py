"""What the cluster refuses from everyone: images that could change, and services that face the internet."""

from collections.abc import Mapping, Sequence
from typing import Any

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_kubernetes.manifest import Manifest
from constructs import Construct

_API = "admissionregistration.k8s.io/v1"
_IMAGES = " + ".join(
    [
        "object.spec.containers.map(c, c.image)",
        *(
            f"(has(object.spec.{kind}) ? object.spec.{kind}.map(c, c.image) : [])"
            for kind in ("initContainers", "ephemeralContainers")
        ),
    ]
)


class AdmissionPolicy(Construct):
    """A ValidatingAdmissionPolicy and its binding: the API server itself refuses what breaks a rule.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from modelyard.naming import Names
        from modules.admission import AdmissionPolicy
        from modules.kubernetes import provider

        stack = TerraformStack(App(), "example")
        provider(stack, Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example"))
        AdmissionPolicy(stack, "policy", name="two-replicas", labels={"team": "platform"},
                        resources={"apps": ["deployments"]},
                        rules={"object.spec.replicas >= 2": "run at least two replicas"})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        name: name of the policy and of its binding.
        labels: labels of both.
        resources: what is checked when it is created or changed: resources per API group.
        rules: CEL expressions that must hold, each with the message that is shown when it does not.
        operations: which operations are checked.
        conditions: CEL expressions that say whether a request is checked at all, by name.
        variables: CEL expressions that rules refer to as `variables.<name>`.
        namespace_labels: only namespaces with these labels are covered; None: everything is.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        labels: Mapping[str, str],
        resources: Mapping[str, Sequence[str]],
        rules: Mapping[str, str],
        operations: Sequence[str] = ("CREATE", "UPDATE"),
        conditions: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        namespace_labels: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        metadata = {"name": name, "labels": dict(labels)}
        spec: dict[str, Any] = {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [group],
                        "apiVersions": ["*"],
                        "operations": list(operations),
                        "resources": list(kinds),
                    }
                    for group, kinds in resources.items()
                ]
            },
            "matchConditions": _named(conditions),
            "variables": _named(variables),
            "validations": [
                {"expression": expression, "message": message} for expression, message in rules.items()
            ],
        }
        policy = Manifest(
            self,
            "policy",
            manifest={
                "apiVersion": _API,
                "kind": "ValidatingAdmissionPolicy",
                "metadata": metadata,
                "spec": {key: value for key, value in spec.items() if value},
            },
        )
        scoped = {"matchResources": {"namespaceSelector": {"matchLabels": dict(namespace_labels or {})}}}
        self.binding: ITerraformDependable = Manifest(
            self,
            "binding",
            manifest={
                "apiVersion": _API,
                "kind": "ValidatingAdmissionPolicyBinding",
                "metadata": metadata,
                "spec": {
                    "policyName": name,
                    "validationActions": ["Deny", "Audit"],
                    **(scoped if namespace_labels else {}),
                },
            },
            depends_on=[policy],
        )


class WorkloadAdmission(Construct):
    """Refuses images without a digest and services with a way out, where `managed_by: modelyard` is set.

    Binary Authorization decides which registry images come from; that they come by digest, it cannot ask for.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from modelyard.naming import Names
        from modules.admission import WorkloadAdmission
        from modules.kubernetes import provider

        stack = TerraformStack(App(), "example")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        provider(stack, names)
        WorkloadAdmission(stack, "admission", registry=names.registry, labels={"team": "platform"})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        registry: prefix of the references of all images.
        labels: labels of the policies.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, registry: str, labels: Mapping[str, str]
    ) -> None:
        super().__init__(scope, construct_id)
        managed = {"managed_by": "modelyard"}
        AdmissionPolicy(
            self,
            "images",
            name="modelyard-images",
            labels=labels,
            resources={"": ["pods", "pods/ephemeralcontainers"]},
            variables={"images": _IMAGES},
            rules={
                f"variables.images.all(i, i.startsWith('{registry}/') && i.contains('@sha256:'))": (
                    f"images come from {registry}, by digest"
                )
            },
            namespace_labels=managed,
        )
        AdmissionPolicy(
            self,
            "services",
            name="modelyard-services",
            labels=labels,
            resources={"": ["services"]},
            rules={
                "!has(object.spec.type) || object.spec.type == 'ClusterIP'": (
                    "services are of type ClusterIP: callers come through the gateway"
                ),
                "!has(object.spec.externalIPs) || size(object.spec.externalIPs) == 0": (
                    "services have no external addresses"
                ),
            },
            namespace_labels=managed,
        )


def _named(expressions: Mapping[str, str] | None) -> list[dict[str, str]]:
    return [{"name": name, "expression": expression} for name, expression in (expressions or {}).items()]
