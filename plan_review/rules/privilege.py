"""Roles that let someone do more than a task needs."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.iam import BASIC_ROLES
from plan_review.changes import Action, Change, at
from plan_review.context import Context, as_list
from plan_review.iam import Grant
from plan_review.rules.exposure import IAM_TYPES
from plan_review.rules.registry import Hit, Severity, rule
from plan_review.words import as_number, in_days

IMPERSONATION = frozenset(
    (
        "roles/iam.serviceAccountTokenCreator",
        "roles/iam.serviceAccountOpenIdTokenCreator",
        "roles/iam.serviceAccountKeyAdmin",
        "roles/iam.workforcePoolAdmin",
        "roles/iam.workloadIdentityPoolAdmin",
    )
)
ACT_AS = frozenset(("roles/iam.serviceAccountUser", "roles/iam.serviceAccountAdmin", "roles/run.invoker"))
_ADMIN = re.compile(r"roles/(.*\.)?(\w*[aA]dmin|\w*[oO]wner|admin\w*|securityAdmin|organizationRoleAdmin)$")
READS_DATA = frozenset(
    (
        "roles/bigquery.dataViewer",
        "roles/bigquery.dataEditor",
        "roles/bigquery.dataOwner",
        "roles/bigquery.filteredDataViewer",
        "roles/pubsub.subscriber",
        "roles/storage.objectAdmin",
        "roles/storage.objectUser",
        "roles/storage.objectViewer",
        "READER",
        "WRITER",
        "OWNER",
        "authorized to read",
    )
)
PIPELINE = re.compile(
    r"serviceAccount:modelyard-(planner|deployer)@(?P<project>[a-z0-9-]+)\.iam\.gserviceaccount\.com"
)
# Permissions that lead to all others.
_DANGEROUS = re.compile(
    r"\*|.*\.setIamPolicy|iam\.serviceAccounts\.(actAs|getAccessToken|signBlob|signJwt|implicitDelegation)"
    r"|iam\.serviceAccountKeys\.create|iam\.roles\.(create|update)|deploymentmanager\..*|orgpolicy\..*\.set"
)


def new_tenant(change: Change, context: Context, grant: Grant) -> bool:
    """Return whether a grant is the own pipeline identity's of a team whose project this very plan makes."""
    match = PIPELINE.fullmatch(grant.principal)
    return match is not None and any(
        project.action is Action.CREATE and project.now("project_id") == match["project"]
        for project in context.of_type("google_project", stack=change.stack)
    )


def _hit(change: Change, context: Context, grant: Grant, more: str = "") -> Hit:
    who, where = context.principal(grant), context.granted_on(change, grant)
    return Hit(f"{who} gains {grant.role} on {where}{more}", grant.principal, grant.role, grant.on)


@rule(
    "privilege/basic-role",
    Severity.BLOCK,
    *IAM_TYPES,
    title="A basic role is granted",
    rationale="Owner, editor and viewer hold thousands of permissions on every service, data included.",
    fix="Name the predefined role for the task.",
)
def basic_role(change: Change, context: Context) -> Iterator[Hit]:
    """Find owner, editor and viewer on projects, folders and organisations."""
    for grant in context.gained(change):
        if grant.role in BASIC_ROLES:
            yield _hit(change, context, grant)


@rule(
    "privilege/impersonation",
    Severity.BLOCK,
    *IAM_TYPES,
    title="Someone may become a service account, or make keys for one",
    rationale="Whoever makes tokens of an identity has all its rights, and the audit log shows the identity.",
    fix="Grant the rights themselves to the group that needs them, or use an entitlement for a while.",
)
def impersonation(change: Change, context: Context) -> Iterator[Hit]:
    """Find token creators, key administrators and administrators of identity pools."""
    for grant in context.gained(change):
        if grant.role in IMPERSONATION:
            yield _hit(change, context, grant)


@rule(
    "privilege/acts-as",
    Severity.APPROVE,
    *IAM_TYPES,
    title="Someone may run things as a service account",
    rationale="Whoever may attach an identity to a workload can use all its rights.",
    fix="Grant it on the single identity that is meant, not on the project.",
)
def acts_as(change: Change, context: Context) -> Iterator[Hit]:
    """Find grants to use service accounts."""
    for grant in context.gained(change):
        if grant.role in ACT_AS and not new_tenant(change, context, grant):
            yield _hit(change, context, grant)


@rule(
    "privilege/admin-role",
    Severity.APPROVE,
    *IAM_TYPES,
    title="An administrator's role is granted",
    rationale="Administrators can change who has access, or destroy what they administer.",
    fix="Name a role for the task, or make it an entitlement for a while and on approval.",
)
def admin_role(change: Change, context: Context) -> Iterator[Hit]:
    """Find roles that administer."""
    for grant in context.gained(change):
        known = grant.role in BASIC_ROLES or grant.role in IMPERSONATION or grant.role in ACT_AS
        if grant.kind == "kubernetes" or known or new_tenant(change, context, grant):
            continue
        # A dataset names its owner when it is made; that is who the stack says it is.
        if grant.role == "OWNER" and change.type == "google_bigquery_dataset" and change.made:
            continue
        if _ADMIN.fullmatch(grant.role) or grant.role == "OWNER":
            yield _hit(change, context, grant)


@rule(
    "privilege/wildcard-role",
    Severity.BLOCK,
    "google_*_iam_custom_role",
    "kubernetes_role*",
    "kubernetes_cluster_role*",
    "kubernetes_manifest",
    title="A custom role allows everything, or leads to everything",
    rationale="Setting policies, acting as identities and wildcards are ways to any other permission.",
    fix="List the permissions that the task needs.",
)
def wildcard_role(change: Change, context: Context) -> Iterator[Hit]:
    """Find custom roles with permissions that lead to all others."""
    if change.type.startswith("google_"):
        if _new_pipeline_role(change, context):
            return
        gained = set(as_list(change.after.get("permissions"))) - set(
            as_list(change.before.get("permissions"))
        )
        dangerous = sorted(p for p in gained if isinstance(p, str) and _DANGEROUS.fullmatch(p))
        if dangerous:
            yield Hit(f"role {context.name(change)} gains {', '.join(dangerous)}")
        return
    rules, old = (_rules(change, values) for values in (change.after, change.before))
    for entry in rules:
        if entry not in old and _all(entry):
            yield Hit(f"{context.name(change)} allows everything on everything in Kubernetes")


def _new_pipeline_role(change: Change, context: Context) -> bool:
    """Return whether a role is of the pipeline of a team whose project this very plan makes."""
    role, project = str(change.now("role_id")), change.now("project")
    return role.startswith("modelyard") and any(
        made.action is Action.CREATE and made.now("project_id") == project
        for made in context.of_type("google_project", stack=change.stack)
    )


def _rules(change: Change, values: Mapping[str, Any]) -> list[Any]:
    if change.type == "kubernetes_manifest":
        if at(values, "manifest.kind") not in ("Role", "ClusterRole"):
            return []
        return as_list(at(values, "manifest.rules"))
    return as_list(values.get("rule")) if "binding" not in change.type else []


def _all(entry: Any) -> bool:
    return (
        isinstance(entry, Mapping)
        and "*" in as_list(entry.get("verbs"))
        and "*" in as_list(entry.get("resources"))
    )


@rule(
    "privilege/cluster-admin",
    Severity.BLOCK,
    "kubernetes_*role_binding*",
    "kubernetes_manifest",
    title="Someone may do anything in the cluster",
    rationale="cluster-admin reads every team's secrets and changes every team's workloads.",
    fix="Bind a role that names what is needed, in the namespace where it is needed.",
)
def cluster_admin(change: Change, context: Context) -> Iterator[Hit]:
    """Find bindings of cluster-admin, and of admin or edit to the whole cluster."""
    for grant in context.gained(change):
        name = grant.role.rpartition("/")[2]
        wide = grant.on == "the whole cluster" and name in ("admin", "edit")
        if grant.kind == "kubernetes" and (name == "cluster-admin" or wide):
            yield _hit(change, context, grant)


@rule(
    "privilege/cross-team",
    Severity.APPROVE,
    *IAM_TYPES,
    title="A team gets access to what belongs to another",
    rationale="Teams are isolated by their projects; each grant across is a hole that somebody must want.",
    fix="Let the owner of the data approve; or share a view that holds what is needed.",
)
def cross_team(change: Change, context: Context) -> Iterator[Hit]:
    """Find grants to another team's group or service accounts."""
    owner = context.subject(change).team
    for grant in context.gained(change):
        team = context.team_of(grant)
        on_project = context.fleet.team_of_project(grant.on.removeprefix("project "))
        of = on_project or owner
        if team and of and team != of:
            yield _hit(change, context, grant)


@rule(
    "privilege/data-reader",
    Severity.APPROVE,
    *IAM_TYPES,
    title="Someone outside the team may read its data",
    rationale="Prediction logs hold what callers sent, often about people.",
    fix="Let the owner of the data approve, or grant masked reading.",
)
def data_reader(change: Change, context: Context) -> Iterator[Hit]:
    """Find readers of a team's data that are no team of the fleet."""
    subject = context.subject(change)
    for grant in context.gained(change):
        outsider = context.team_of(grant) is None and not context.fleet.persona_of_group(grant.email)
        person = grant.principal.startswith(("group:", "user:", "domain:")) or _foreign_account(
            grant, context
        )
        if subject.team and grant.role in READS_DATA and outsider and person and grant.kind != "entitlement":
            if grant.kind == "pubsub_topic":
                continue
            yield _hit(change, context, grant)


def _foreign_account(grant: Grant, context: Context) -> bool:
    """Return whether a service account is of neither the platform nor a team, where those are known."""
    project = grant.account_project
    return bool(project) and context.fleet.is_foreign(grant.email)


@rule(
    "privilege/pii-reader",
    Severity.APPROVE,
    "google_data_catalog_*_iam_*",
    "google_bigquery_datapolicy_*_iam_*",
    title="Someone may read protected columns in clear",
    rationale="Columns are tagged because their values are personal or confidential; this lifts the tag.",
    fix="Let the data's owner approve; grant masked reading where counts are enough.",
)
def pii_reader(change: Change, context: Context) -> Iterator[Hit]:
    """Find readers of columns that carry a policy tag."""
    for grant in context.gained(change):
        if grant.role.endswith("categoryFineGrainedReader") and not _new_tag(change, context):
            subject = context.subject(change)
            level = _level(change, context)
            yield Hit(
                f"{context.principal(grant)} gains {grant.role}: reads {level} columns of {subject} in clear",
                grant.principal,
                grant.role,
                grant.on,
            )


def _tags(change: Change, context: Context) -> list[Change]:
    name = change.values.get("policy_tag")
    tags = list(context.of_type("google_data_catalog_policy_tag", stack=change.stack))
    exact = [tag for tag in tags if isinstance(name, str) and tag.values.get("name") == name]
    beside = [tag for tag in tags if _parent(tag) == _parent(change)]
    return exact or beside or tags


def _parent(change: Change) -> str:
    """Return the construct a resource stands in, by its path or else by its logical id."""
    if change.construct:
        return change.construct.rpartition("/")[0]
    return re.sub(r"(_tag|_clear-.*)?_[0-9A-F]{8}$", "", change.name)


def _new_tag(change: Change, context: Context) -> bool:
    """Return whether the tag itself is new: then so is every column under it."""
    tags = _tags(change, context)
    return bool(tags) and all(tag.made and not tag.before for tag in tags)


def _level(change: Change, context: Context) -> str:
    levels = {str(tag.values.get("display_name")) for tag in _tags(change, context)}
    return "/".join(sorted(levels)) or "protected"


@rule(
    "privilege/service-account-key",
    Severity.BLOCK,
    "google_service_account_key",
    "google_storage_hmac_key",
    "google_apikeys_key",
    title="A key file is made",
    rationale="A key can be copied, does not expire and stands in the state in clear.",
    fix="Use Workload Identity in the cluster, and federation outside it.",
)
def service_account_key(change: Change, context: Context) -> Iterator[Hit]:
    """Find new keys of service accounts."""
    if change.made:
        yield Hit(f"makes a key of {change.now('service_account_id') or context.name(change)}")


@rule(
    "privilege/secret-in-state",
    Severity.BLOCK,
    "kubernetes_secret*",
    "google_secret_manager_secret_version",
    title="A secret is written by Terraform",
    rationale="It stands in the state in clear, for everyone who may plan.",
    fix="Put it into Secret Manager by hand and read it through Workload Identity.",
)
def secret_in_state(change: Change, context: Context) -> Iterator[Hit]:
    """Find secrets whose values Terraform holds."""
    if change.made:
        yield Hit(f"writes secret {context.name(change)} through the state")


@rule(
    "privilege/authoritative-iam",
    Severity.APPROVE,
    "google_*_iam_policy",
    "google_*_iam_binding",
    title="Access is set as a whole",
    rationale="Policies and bindings take away every grant they do not list, those of Google's agents too.",
    fix="Add single members with *_iam_member.",
)
def authoritative_iam(change: Change, context: Context) -> Iterator[Hit]:
    """Find resources that own a whole policy or role."""
    if change.made and not change.before:
        yield Hit(f"{change.address} sets all of {change.now('role', 'the policy')}; other grants would go")


@rule(
    "privilege/condition-removed",
    Severity.BLOCK,
    "google_*_iam_member",
    "google_*_iam_binding",
    title="A condition on a grant is removed",
    rationale="The condition was what bounded the role: to some roles, some names, or some time.",
    fix="Keep the condition.",
)
def condition_removed(change: Change, context: Context) -> Iterator[Hit]:
    """Find grants that held on a condition and now hold always."""
    before = {grant._replace(condition=""): grant for grant in context.lost(change) if grant.condition}
    for grant in context.gained(change):
        if not grant.condition and grant in before:
            hit = _hit(change, context, grant)
            yield hit._replace(message=f"{hit.message}, now without its condition")


@rule(
    "privilege/condition-changed",
    Severity.APPROVE,
    "google_*_iam_member",
    "google_*_iam_binding",
    title="A condition on a grant is changed",
    rationale="The condition bounds the role; another one bounds it differently.",
    fix="Read the new condition, and see whether it still bounds the role as it should.",
)
def condition_changed(change: Change, context: Context) -> Iterator[Hit]:
    """Find grants whose condition is another."""
    before = {grant._replace(condition=""): grant for grant in context.lost(change) if grant.condition}
    for grant in context.gained(change):
        old = before.get(grant._replace(condition=""))
        if grant.condition and old:
            hit = _hit(change, context, grant)
            yield hit._replace(message=f"{hit.message} under another condition")


_POOL_MEMBER = re.compile(
    r"serviceAccount:[a-z0-9-]+\.svc\.id\.goog\[(?P<namespace>[^/\]]+)/(?P<account>[^\]]+)\]"
)


@rule(
    "privilege/foreign-workload",
    Severity.BLOCK,
    "google_service_account_iam_*",
    title="Another namespace's pods may act as a team's identity",
    rationale="Workload Identity ties an identity to one namespace; a second one has all its rights.",
    fix="Let the other team use an identity of its own, and grant that what it needs.",
)
def foreign_workload(change: Change, context: Context) -> Iterator[Hit]:
    """Find workload identity users outside the team's namespace."""
    team = context.subject(change).team
    for grant in context.gained(change):
        match = _POOL_MEMBER.fullmatch(grant.principal)
        if match and grant.role == "roles/iam.workloadIdentityUser" and team:
            namespaces = {f"team-{team}"}
            environment = context.environment(change)
            if environment:
                namespaces.add(environment.names.team(team).namespace)
            if match["namespace"] not in namespaces:
                yield _hit(change, context, grant)


@rule(
    "privilege/entitlement-widened",
    Severity.BLOCK,
    "google_privileged_access_manager_entitlement",
    title="Elevated access needs no approval any more",
    rationale="Approval by a second person is what makes elevated access safe.",
    fix="Keep the approval workflow.",
)
def entitlement_unapproved(change: Change, context: Context) -> Iterator[Hit]:
    """Find entitlements without approval."""
    path = "approval_workflow.manual_approvals.steps"
    if change.after and not change.now(path) and (change.made or change.was(path)):
        yield Hit(f"entitlement {context.name(change)}: elevated access without approval")


@rule(
    "privilege/elevation-longer",
    Severity.APPROVE,
    "google_privileged_access_manager_entitlement",
    title="Elevated access lasts longer, covers more, or is open to more",
    rationale="Elevation is for incidents: the longer and wider, the more it is standing access.",
    fix="Keep it at four hours and the roles that incidents need.",
)
def elevation_longer(change: Change, context: Context) -> Iterator[Hit]:
    """Find entitlements that last longer, hold more roles, or name more people."""
    if not change.kept:
        return
    times = [
        as_number(str(v.get("max_request_duration", "")).removesuffix("s"))
        for v in (change.before, change.after)
    ]
    if times[0] and times[1] and times[1] > times[0]:
        yield Hit(f"entitlement {context.name(change)}: {in_days(times[0])} -> {in_days(times[1])}")
    for grant in context.gained(change):
        yield _hit(change, context, grant)


@rule(
    "privilege/owner-changed",
    Severity.APPROVE,
    "google_*_iam_member",
    "google_monitoring_notification_channel",
    title="The owner group of a team changes",
    rationale="The owners get the team's access and its alerts; the old owners get neither any more.",
    fix="Let both groups approve.",
)
def owner_changed(change: Change, context: Context) -> Iterator[Hit]:
    """Find teams whose owner group is another, where both checkouts or the owners' channel tell."""
    team = context.subject(change).team
    if change.type == "google_monitoring_notification_channel":
        is_owners = change.now("display_name") == "owners"
        path = "labels.email_address"
        if team and change.kept and is_owners and change.changed(path) and change.was(path):
            yield Hit(f"owner group of team {team}: {change.was(path)} -> {change.now(path)}")


@rule(
    "privilege/organization-wide",
    Severity.BLOCK,
    "google_folder_iam_*",
    "google_organization_iam_*",
    "google_billing_account_iam_*",
    title="Access reaches beyond the environment",
    rationale="A grant on a folder, the organisation or the billing account covers other projects too.",
    fix="Grant it on the project.",
)
def organization_wide(change: Change, context: Context) -> Iterator[Hit]:
    """Find grants above projects."""
    for grant in context.gained(change):
        yield _hit(change, context, grant)


@rule(
    "privilege/grant-added",
    Severity.INFO,
    *IAM_TYPES,
    title="Someone gets access",
    rationale="Every grant is named, so that a reviewer need not read raw diffs.",
    fix="Nothing, if the grant is meant.",
)
def grant_added(change: Change, context: Context) -> Iterator[Hit]:
    """Name every new grant."""
    for grant in context.gained(change):
        yield _hit(change, context, grant)


@rule(
    "privilege/grant-removed",
    Severity.INFO,
    *IAM_TYPES,
    title="Someone loses access",
    rationale="Every lost grant is named: something may need it.",
    fix="Nothing, if nobody needs it any more.",
)
def grant_removed(change: Change, context: Context) -> Iterator[Hit]:
    """Name every lost grant."""
    for grant in context.lost(change):
        who, where = context.principal(grant), context.granted_on(change, grant)
        yield Hit(f"{who} loses {grant.role} on {where}", grant.principal, grant.role, grant.on)
