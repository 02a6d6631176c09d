"""Who may do what in the shared cluster: a team's pipelines write in its namespace, people only look."""

from collections.abc import Mapping, Sequence

from cdktf import ITerraformDependable
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
from constructs import Construct

from modelyard.naming import TeamNames
from modules.admission import AdmissionPolicy
from modules.kubernetes import RBAC, VIEW

DEPLOYER = "modelyard-team-deployer"
PLANNER = "modelyard-team-planner"
READER = "modelyard-reader"
READ = ("get", "list", "watch")
WRITE = (*READ, "create", "update", "patch", "delete")
# What a team's stack makes, by API group. No secrets: Workload Identity leaves no use for them.
TEAM_KINDS: Mapping[str, tuple[str, ...]] = {
    "": ("namespaces", "resourcequotas", "limitranges", "serviceaccounts", "configmaps", "services"),
    "apps": ("deployments",),
    "autoscaling": ("horizontalpodautoscalers",),
    "batch": ("cronjobs",),
    "gateway.networking.k8s.io": ("httproutes",),
    "networking.gke.io": ("healthcheckpolicies",),
    "networking.k8s.io": ("networkpolicies",),
    "policy": ("poddisruptionbudgets",),
    RBAC: ("rolebindings",),
}
# What auditors and platform engineers see beyond `view`.
READER_KINDS: Mapping[str, tuple[str, ...]] = {
    "": ("namespaces", "nodes", "persistentvolumes"),
    "admissionregistration.k8s.io": (
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
    ),
    "apiextensions.k8s.io": ("customresourcedefinitions",),
    "gateway.networking.k8s.io": ("gatewayclasses", "gateways", "httproutes"),
    "monitoring.googleapis.com": ("clusterpodmonitorings", "podmonitorings"),
    "networking.gke.io": ("gcpbackendpolicies", "healthcheckpolicies"),
    RBAC: ("clusterroles", "clusterrolebindings", "roles", "rolebindings"),
}


class ClusterRoles(Construct):
    """The cluster roles of pipelines and readers; none of them shows or changes a secret.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from modelyard.naming import Names
        from modules.cluster_access import ClusterRoles
        from modules.kubernetes import provider

        stack = TerraformStack(App(), "example")
        provider(stack, Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example"))
        ClusterRoles(stack, "roles", labels={"team": "platform"})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        labels: labels of the roles.
    """

    def __init__(self, scope: Construct, construct_id: str, *, labels: Mapping[str, str]) -> None:
        super().__init__(scope, construct_id)
        # Terraform looks a manifest's kind up before it plans it.
        kinds = _rules({"apiextensions.k8s.io": ("customresourcedefinitions",)}, ("get", "list"))
        # Without `bind` on a role, Kubernetes lets nobody grant more than he holds himself.
        bind = ClusterRoleV1Rule(
            api_groups=[RBAC], resources=["clusterroles"], resource_names=[VIEW], verbs=["bind"]
        )
        rules = {
            DEPLOYER: [*_rules(TEAM_KINDS, WRITE), *kinds, bind],
            PLANNER: [*_rules(TEAM_KINDS, READ), *kinds],
            READER: _rules(READER_KINDS, READ),
        }
        self.roles: list[ITerraformDependable] = [
            ClusterRoleV1(
                self, name, metadata=ClusterRoleV1Metadata(name=name, labels=dict(labels)), rule=granted
            )
            for name, granted in rules.items()
        ]


class GroupAccess(Construct):
    """Cluster roles of Google groups.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from modelyard.naming import Names
        from modules.cluster_access import GroupAccess
        from modules.kubernetes import provider

        stack = TerraformStack(App(), "example")
        provider(stack, Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example"))
        GroupAccess(stack, "people", groups={"viewers": ("all@example.com", ["view"])},
                    labels={"team": "platform"})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        groups: for each persona its Google group and its cluster roles.
        labels: labels of the bindings.
        depends_on: what must be there before: the roles.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        groups: Mapping[str, tuple[str, Sequence[str]]],
        labels: Mapping[str, str],
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        for persona, (group, roles) in groups.items():
            for role in roles:
                _binding(
                    self,
                    f"modelyard-{persona}-{role}",
                    role,
                    {"kind": "Group", "name": group},
                    labels,
                    depends_on,
                )


class TeamAccess(Construct):
    """Lets a team's deployer write in the team's own namespace and nowhere else, and its planner read.

    The deployer makes the namespace itself, so its role is one for the whole cluster. The admission policy
    that confines it is there before the role is given: requests of this identity for any other namespace are
    refused, as are a namespace with unrestricted pods and a route outside the team's own path. The roles are
    those that `ClusterRoles` makes in the cluster's own stack.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from modelyard.naming import Names
        from modules.cluster_access import TeamAccess
        from modules.kubernetes import provider

        stack = TerraformStack(App(), "example")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        provider(stack, names)
        TeamAccess(stack, "team-a", names=names.team("a"), labels={"team": "a"})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the team.
        labels: labels of policy and bindings.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: TeamNames,
        labels: Mapping[str, str],
    ) -> None:
        super().__init__(scope, construct_id)
        policy = AdmissionPolicy(
            self,
            "confined",
            name=f"modelyard-confines-{names.namespace}",
            labels=labels,
            resources={"*": ["*/*"]},
            operations=["*"],
            conditions={"deployer": f"request.userInfo.username == '{names.identity('deployer')}'"},
            rules=confinement(names),
        )
        roles: dict[str, tuple[str, list[ITerraformDependable]]] = {
            "deployer": (DEPLOYER, [policy.binding]),
            "planner": (PLANNER, []),
        }
        for purpose, (role, before) in roles.items():
            subject = {"kind": "User", "name": names.identity(purpose)}
            _binding(self, f"modelyard-{names.namespace}-{purpose}", role, subject, labels, before)


def confinement(names: TeamNames) -> dict[str, str]:
    """Return the CEL rules that hold for each request of a team's deployer, with their messages."""
    namespace, path = names.namespace, f"/{names.team}"
    is_namespace = "(request.resource.group == '' && request.resource.resource == 'namespaces')"
    inside = "(has(request.namespace) ? request.namespace : '')"
    named = "(request.operation == 'CREATE' ? object.metadata.name : request.name)"
    labelled = " && ".join(
        f"'{key}' in object.metadata.labels && object.metadata.labels['{key}'] == '{value}'"
        for key, value in {
            "pod-security.kubernetes.io/enforce": "restricted",
            "managed_by": "modelyard",
        }.items()
    )
    matches = (
        "has(r.matches) && r.matches.all(m, has(m.path) && m.path.type != 'RegularExpression'"
        f" && (m.path.value == '{path}' || m.path.value.startsWith('{path}/')))"
    )
    deleted = "request.operation == 'DELETE'"
    return {
        f"{is_namespace} ? {named} == '{namespace}' : {inside} == '{namespace}'": (
            f"this identity changes namespace {namespace} alone"
        ),
        f"!{is_namespace} || {deleted} || (has(object.metadata.labels) && {labelled})": (
            "the namespace keeps its labels: restricted pods, managed by modelyard"
        ),
        (
            f"request.resource.resource != 'httproutes' || {deleted}"
            f" || (has(object.spec.rules) && object.spec.rules.all(r, {matches}))"
        ): f"routes of this team match paths under {path}/",
    }


def _rules(kinds: Mapping[str, Sequence[str]], verbs: Sequence[str]) -> list[ClusterRoleV1Rule]:
    return [
        ClusterRoleV1Rule(api_groups=[group], resources=list(names), verbs=list(verbs))
        for group, names in kinds.items()
    ]


def _binding(
    scope: Construct,
    name: str,
    role: str,
    subject: Mapping[str, str],
    labels: Mapping[str, str],
    depends_on: Sequence[ITerraformDependable],
) -> None:
    ClusterRoleBindingV1(
        scope,
        name,
        metadata=ClusterRoleBindingV1Metadata(name=name, labels=dict(labels)),
        role_ref=ClusterRoleBindingV1RoleRef(api_group=RBAC, kind="ClusterRole", name=role),
        subject=[ClusterRoleBindingV1Subject(api_group=RBAC, **subject)],
        depends_on=list(depends_on),
    )
