"""What a team's identities may do outside their team: read, and nothing more."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from cel import evaluate

from modelyard.naming import Names
from modules.cluster_access import DEPLOYER, PLANNER, READER, TEAM_KINDS, WRITE, confinement
from modules.tenant import GRANTABLE_ROLES
from tests.stacks.shared import TEAMS, TENANTS, environment, of_type

Documents = dict[str, dict[str, Any]]
EACH = pytest.mark.parametrize(("name", "team"), TENANTS)
# The way to the cluster's API, where the cluster's own rules decide; it writes nothing by itself.
TRANSPORT = {"roles/gkehub.gatewayEditor", "roles/gkehub.gatewayReader"}
NAMES = Names.of(environment())
OWN = NAMES.team("flight-ops")


def grants(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield type, path and resource of each grant to an identity of a team."""
    identity = re.compile(r"serviceAccount:modelyard-(planner|deployer)@example-\w+-(flight-ops|pricing)\.")
    for type_ in document["resource"]:
        for path, resource in of_type(document, type_).items():
            if identity.match(str(resource.get("member"))):
                yield type_, path, resource


@EACH
def test_writing_roles_of_a_team_stand_in_its_own_project_and_folders_alone(
    documents: Documents, name: str, team: str
) -> None:
    document = documents[f"{name}-tenant-{team}"]
    seen = set()
    for type_, _, grant in grants(document):
        seen.add(type_)
        project = grant["member"].split("@")[1].split(".")[0]
        assert project == f"example-{name}-{team}", "a team's stack grants something to another's identity"
        if type_ == "google_project_iam_member":
            assert grant["project"] == project or grant["role"] in TRANSPORT
        elif type_ == "google_bigquery_table_iam_member":
            # It adds rows to the record of deployments, and can neither read nor change one.
            assert grant["table_id"] == "deployments"
            assert grant["role"].endswith("/roles/modelyardRecorder")
        else:
            assert type_ == "google_storage_managed_folder_iam_member"
            folder = grant["managed_folder"].strip("${}").removesuffix(".name").split(".")[1]
            made = document["resource"]["google_storage_managed_folder"][folder]["name"]
            assert made in (f"{team}/", f"{name}-team-{team}/")
    assert seen == {
        "google_bigquery_table_iam_member",
        "google_project_iam_member",
        "google_storage_managed_folder_iam_member",
    }


def test_shared_stacks_grant_nothing_to_a_team(documents: Documents) -> None:
    for stack, document in documents.items():
        if "-tenant-" not in stack:
            assert not list(grants(document)), stack


@EACH
def test_planners_only_read(documents: Documents, name: str, team: str) -> None:
    document = documents[f"{name}-tenant-{team}"]
    reading = re.compile(r"[Vv]iewer$|[Rr]eader$|[Rr]eviewer$|[Rr]eader\}?$|serviceUsageConsumer$")
    custom = of_type(document, "google_project_iam_custom_role")
    seen = 0
    for _, path, grant in grants(document):
        if "-planner@" not in grant["member"]:
            continue
        seen += 1
        role = grant["role"]
        if role.startswith("${"):
            role_path = path.replace("planner-own", "planner-role")
            assert not [p for p in custom[role_path]["permissions"] if not p.endswith((".get", ".read"))]
        else:
            assert reading.search(role), f"{path}: {role}"
    assert seen


@EACH
def test_deployers_grant_only_the_roles_of_people_and_models(
    documents: Documents, name: str, team: str
) -> None:
    assert len(GRANTABLE_ROLES) <= 10, "IAM takes at most ten roles in such a condition"
    document = documents[f"{name}-tenant-{team}"]
    roles = of_type(document, "google_project_iam_custom_role")
    grant = of_type(document, "google_project_iam_member")["tenant/deployer-grants"]
    assert tuple(re.findall(r"'(roles/[^']+)'", grant["condition"]["expression"])) == GRANTABLE_ROLES
    for purpose in ("deployer", "planner"):
        own = roles[f"tenant/{purpose}-role"]["permissions"]
        assert "resourcemanager.projects.setIamPolicy" not in own
    made = roles["tenant/deployer-role"]["permissions"]
    assert not [p for p in made if "Keys" in p or p.endswith((".actAs", ".getAccessToken", ".consume"))]


@EACH
def test_states_of_other_stacks_are_out_of_reach(documents: Documents, name: str, team: str) -> None:
    document = documents[f"{name}-tenant-{team}"]
    folders = of_type(document, "google_storage_managed_folder")
    states = {path: folder for path, folder in folders.items() if path.endswith("/state/folder")}
    if name == "std":
        assert not states, "local states need no access"
    else:
        assert {folder["name"] for folder in states.values()} == {f"dev-team-{team}/"}
        members = of_type(document, "google_storage_managed_folder_iam_member")
        assert members["tenant/state/planner"]["role"] == "roles/storage.objectViewer"
        assert members["tenant/state/deployer"]["role"] == "roles/storage.objectUser"
    assert not of_type(document, "google_storage_bucket_iam_member")


@pytest.mark.parametrize("team", [team for team, _ in TEAMS])
def test_policy_confines_a_deployer_before_its_role_is_given(documents: Documents, team: str) -> None:
    document, names = documents[f"dev-tenant-{team}"], NAMES.team(team)
    bindings = of_type(document, "kubernetes_cluster_role_binding_v1")
    binding = bindings[f"cluster-access/modelyard-{names.namespace}-deployer"]
    assert binding["role_ref"]["name"] == DEPLOYER
    assert [subject["name"] for subject in binding["subject"]] == [names.identity("deployer")]
    assert any(re.search(r"kubernetes_manifest\.\S*confined_binding", need) for need in binding["depends_on"])

    policy = of_type(document, "kubernetes_manifest")["cluster-access/confined/policy"]["manifest"]
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert policy["spec"]["matchConstraints"]["resourceRules"] == [
        {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}
    ]
    condition = policy["spec"]["matchConditions"][0]["expression"]
    assert evaluate(condition, {"request": {"userInfo": {"username": names.identity("deployer")}}})
    assert not evaluate(condition, {"request": {"userInfo": {"username": names.identity("planner")}}})


def test_pipelines_touch_no_secret_and_planners_write_nothing(documents: Documents) -> None:
    roles = of_type(documents["dev-cluster"], "kubernetes_cluster_role_v1")
    ours = {path: role for path, role in roles.items() if path.startswith("roles/")}
    assert set(ours) == {f"roles/{name}" for name in (DEPLOYER, PLANNER, READER)}
    for path, role in ours.items():
        text = json.dumps(role["rule"])
        assert "secrets" not in text and '"*"' not in text
        for rule in role["rule"]:
            writes = set(rule["verbs"]) - {"get", "list", "watch"}
            if path != f"roles/{DEPLOYER}":
                assert not writes
            elif "bind" in writes:
                assert rule["resource_names"] == ["view"], "binding any role would reach cluster-admin"
            elif writes:
                assert rule["resources"] == list(TEAM_KINDS[rule["api_groups"][0]])
                assert set(rule["verbs"]) == set(WRITE)


def admitted(request: dict[str, Any], object_: dict[str, Any] | None) -> bool:
    """Return whether all rules of the team's policy hold; an error refuses, as `failurePolicy: Fail` does."""
    resource = {"group": "", "version": "v1", **request.pop("resource")}
    try:
        return all(
            evaluate(rule, {"request": {"resource": resource, **request}, "object": object_})
            for rule in confinement(OWN)
        )
    except (KeyError, RuntimeError, TypeError, ValueError):
        return False


def of_kind(resource: str, group: str = "") -> dict[str, dict[str, str]]:
    return {"resource": {"resource": resource, "group": group}}


LABELS = {"pod-security.kubernetes.io/enforce": "restricted", "managed_by": "modelyard"}


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE", "DELETE"])
@pytest.mark.parametrize("namespace", [OWN.namespace, "team-pricing", "kube-system", ""])
def test_a_deployer_changes_objects_in_its_own_namespace_alone(operation: str, namespace: str) -> None:
    request = {**of_kind("deployments", "apps"), "operation": operation, "name": "m", "namespace": namespace}
    thing = None if operation == "DELETE" else {"metadata": {"name": "m"}, "spec": {}}
    assert admitted(request, thing) == (namespace == OWN.namespace)


def test_a_deployer_changes_nothing_outside_namespaces() -> None:
    request = {**of_kind("clusterroles", "rbac.authorization.k8s.io"), "operation": "CREATE", "name": "r"}
    assert not admitted(request, {"metadata": {"name": "r"}})


@pytest.mark.parametrize(
    ("operation", "name", "labels", "expected"),
    [
        ("CREATE", OWN.namespace, LABELS, True),
        ("UPDATE", OWN.namespace, LABELS, True),
        ("DELETE", OWN.namespace, None, True),
        ("CREATE", "team-pricing", LABELS, False),
        ("UPDATE", "team-pricing", LABELS, False),
        ("DELETE", "team-pricing", None, False),
        ("CREATE", OWN.namespace, {**LABELS, "pod-security.kubernetes.io/enforce": "privileged"}, False),
        ("UPDATE", OWN.namespace, {"pod-security.kubernetes.io/enforce": "restricted"}, False),
        ("UPDATE", OWN.namespace, {}, False),
    ],
)
def test_a_deployer_makes_its_own_namespace_restricted(
    operation: str, name: str, labels: dict[str, str] | None, expected: bool
) -> None:
    request = {**of_kind("namespaces"), "operation": operation, "namespace": name}
    # The API server names the object of a request by its URL, which at a creation has none yet.
    request |= {} if operation == "CREATE" else {"name": name}
    made = None if labels is None else {"metadata": {"name": name, "labels": labels}}
    assert admitted(request, made) == expected


@pytest.mark.parametrize(
    ("paths", "kind", "expected"),
    [
        (["/flight-ops/arrival-delay"], "PathPrefix", True),
        (["/flight-ops"], "Exact", True),
        (["/flight-ops/a", "/pricing/b"], "PathPrefix", False),
        (["/"], "PathPrefix", False),
        (["/flight-ops-2/a"], "PathPrefix", False),
        (["/flight-ops/.*|/pricing/.*"], "RegularExpression", False),
        ([], "PathPrefix", False),
    ],
)
def test_a_deployer_routes_its_own_paths_alone(paths: list[str], kind: str, expected: bool) -> None:
    matches = [{"path": {"type": kind, "value": path}} for path in paths]
    rule = {"matches": matches} if matches else {}
    request = {
        **of_kind("httproutes", "gateway.networking.k8s.io"),
        "operation": "CREATE",
        "namespace": OWN.namespace,
    }
    assert admitted(request, {"metadata": {"name": "m"}, "spec": {"rules": [rule]}}) == expected


def test_a_route_that_matches_by_header_alone_is_refused() -> None:
    rule = {"matches": [{"headers": [{"name": "x", "value": "y"}]}]}
    request = {
        **of_kind("httproutes", "gateway.networking.k8s.io"),
        "operation": "UPDATE",
        "namespace": OWN.namespace,
    }
    assert not admitted(request, {"metadata": {"name": "m"}, "spec": {"rules": [rule]}})
