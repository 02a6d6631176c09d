"""What the repository's workflows may become, and what they may then do."""

import re
from collections.abc import Iterator

from plan_review.changes import Action, Change, at
from plan_review.context import Context, as_list
from plan_review.iam import Grant
from plan_review.masking import Unknown
from plan_review.rules.exposure import IAM_TYPES
from plan_review.rules.privilege import new_tenant
from plan_review.rules.registry import Hit, Severity, rule

_PIPELINE = re.compile(r"serviceAccount:modelyard-(?P<purpose>planner|deployer)@")
_PROVIDER = "google_iam_workload_identity_pool_provider"
# Roles that only look. Everything else lets a planner change something, or read data.
_READS = re.compile(
    r"roles/(.*[vV]iewer|.*[rR]eader|.*\.get\w*|iam\.securityReviewer|browser|serviceusage\.serviceUsageConsumer"
    r"|gkehub\.gatewayReader|gkehub\.gatewayAdmin)|.*/roles/modelyard\w*"
)
_SETS = re.compile(r"\.(set|create|update|delete|patch|write|actAs|getAccessToken)\w*$")


def _purpose(grant: Grant) -> str:
    match = _PIPELINE.match(grant.principal)
    return match["purpose"] if match else ""


@rule(
    "ci-identity/federation-widened",
    Severity.BLOCK,
    _PROVIDER,
    title="More workflows may sign in",
    rationale="The condition ties the identities to this repository; without it, any workflow may sign in.",
    fix="Keep the condition on the repository.",
)
def federation_widened(change: Change, context: Context) -> Iterator[Hit]:
    """Find identity providers without condition, or with another one or another issuer."""
    if not change.after:
        return
    condition = change.now("attribute_condition")
    if isinstance(condition, Unknown):
        return
    if not condition:
        if change.made or change.was("attribute_condition"):
            yield Hit(f"provider {context.name(change)}: workflows of any repository may sign in")
    elif change.kept and change.changed("attribute_condition"):
        yield Hit(f"provider {context.name(change)}: {change.was('attribute_condition')} -> {condition}")
    for path in ("oidc.issuer_uri", "oidc.allowed_audiences", "oidc.jwks_json"):
        if change.kept and change.changed(path) and not isinstance(change.now(path), Unknown):
            yield Hit(f"provider {context.name(change)}: {path} changed")


@rule(
    "ci-identity/mapping-changed",
    Severity.BLOCK,
    _PROVIDER,
    title="What a workflow's token says is read differently",
    rationale="Deployers are granted by these attributes; another mapping may give them to other workflows.",
    fix="Keep the mapping, above all `deploys`, which is set on the deploying ref alone.",
)
def mapping_changed(change: Change, context: Context) -> Iterator[Hit]:
    """Find other attribute mappings."""
    before, after = change.was("attribute_mapping"), change.now("attribute_mapping")
    if change.kept and isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({**before, **after}):
            if before.get(name) != after.get(name):
                yield Hit(f"{name}: {before.get(name, 'nothing')} -> {after.get(name, 'nothing')}")


@rule(
    "ci-identity/trust-added",
    Severity.APPROVE,
    _PROVIDER,
    "google_iam_workload_identity_pool",
    "google_iam_workforce_pool*",
    title="Another source of identities is trusted",
    rationale="Whoever runs that source decides who may sign in here.",
    fix="Say in the pull request whose it is and what it is for.",
)
def trust_added(change: Change, context: Context) -> Iterator[Hit]:
    """Find new pools and providers beside ones that are there."""
    siblings = context.of_type("google_iam_workload_identity_pool", _PROVIDER)
    if change.action is Action.CREATE and any(sibling.before for sibling in siblings):
        yield Hit(f"{context.name(change)} is trusted: {change.now('oidc.issuer_uri') or change.type}")


@rule(
    "ci-identity/users-widened",
    Severity.BLOCK,
    "google_service_account_iam_*",
    title="More workflows may act as a pipeline identity",
    rationale="A deployer belongs to one GitHub environment on one ref, a planner to one repository.",
    fix="Keep the member that modelyard.naming computes.",
)
def users_widened(change: Change, context: Context) -> Iterator[Hit]:
    """Find workload identity users that stand for more workflows than one repository or one environment."""
    for grant in context.gained(change):
        if grant.role != "roles/iam.workloadIdentityUser" or "workloadIdentityPools/" not in grant.principal:
            continue
        deployer = "modelyard-deployer@" in grant.on
        attribute = re.search(r"/attribute\.(\w+)/(.+)$", grant.principal)
        tied = attribute is not None and "*" not in attribute[2]
        if not tied or (deployer and attribute is not None and attribute[1] != "deploys"):
            yield Hit(f"{grant.principal} may act as {grant.on}", grant.principal, grant.role, grant.on)


@rule(
    "ci-identity/users-changed",
    Severity.APPROVE,
    "google_service_account_iam_*",
    title="Other workflows may act as a pipeline identity",
    rationale="Whoever controls those workflows controls what is deployed.",
    fix="Check the repository and the environment that are named.",
)
def users_changed(change: Change, context: Context) -> Iterator[Hit]:
    """Find other users of identities that are there already."""
    for grant in context.gained(change):
        pipeline = re.search(r"modelyard-(planner|deployer)@", grant.on)
        pool = "workloadIdentityPools/" in grant.principal
        if (
            pipeline
            and pool
            and grant.role == "roles/iam.workloadIdentityUser"
            and not _new(change, context, grant)
        ):
            yield Hit(f"{grant.principal} may act as {grant.on}", grant.principal, grant.role, grant.on)


def _new(change: Change, context: Context, grant: Grant) -> bool:
    """Return whether the identity that is granted on is made by this very plan."""
    return any(
        account.action is Action.CREATE
        and f"{account.now('account_id')}@{account.now('project')}." in grant.on
        for account in context.of_type("google_service_account", stack=change.stack)
    ) or isinstance(change.now("service_account_id"), Unknown)


@rule(
    "ci-identity/planner-writes",
    Severity.BLOCK,
    *IAM_TYPES,
    title="The planner may change something",
    rationale="Planners run on pull requests that nobody has reviewed yet: they may only look.",
    fix="Grant it to the deployer.",
)
def planner_writes(change: Change, context: Context) -> Iterator[Hit]:
    """Find roles of planners that do more than read."""
    for grant in context.gained(change):
        writes = "roles/" in grant.role and not _READS.fullmatch(grant.role) and not _state_reader(grant)
        if _purpose(grant) == "planner" and writes:
            where = context.granted_on(change, grant)
            yield Hit(
                f"{context.principal(grant)} gains {grant.role} on {where}",
                grant.principal,
                grant.role,
                grant.on,
            )


def _state_reader(grant: Grant) -> bool:
    return grant.role in ("roles/storage.objectViewer", "roles/storage.legacyBucketReader")


@rule(
    "ci-identity/deployer-role-added",
    Severity.APPROVE,
    *IAM_TYPES,
    title="A deployer may do more",
    rationale="Everything that is merged runs with the deployer's rights.",
    fix="Check that the stack needs it, and that no narrower role does.",
)
def deployer_role_added(change: Change, context: Context) -> Iterator[Hit]:
    """Find roles that deployers gain, other than those of a new team."""
    for grant in context.gained(change):
        # A dataset names the deployer as its owner when it is made; later changes of that are ignored.
        if change.type == "google_bigquery_dataset" and change.made:
            continue
        if _purpose(grant) and not new_tenant(change, context, grant):
            where = context.granted_on(change, grant)
            yield Hit(
                f"{context.principal(grant)} gains {grant.role} on {where}",
                grant.principal,
                grant.role,
                grant.on,
            )


@rule(
    "ci-identity/pipeline-role-widened",
    Severity.APPROVE,
    "google_project_iam_custom_role",
    title="A pipeline role gets more permissions",
    rationale="Every planner or deployer that has the role gets them.",
    fix="Check that the stacks need them; planners must only read.",
)
def pipeline_role_widened(change: Change, context: Context) -> Iterator[Hit]:
    """Find new permissions in the roles of planners and deployers."""
    role = str(change.values.get("role_id", ""))
    if not change.kept or not role.startswith("modelyard"):
        return
    gained = sorted(
        set(as_list(change.after.get("permissions"))) - set(as_list(change.before.get("permissions")))
    )
    if gained:
        writes = [permission for permission in gained if _SETS.search(str(permission))]
        more = f"; {', '.join(writes)} can change things" if writes and "lanner" in role else ""
        yield Hit(f"role {role} gains {', '.join(str(p) for p in gained)}{more}")


@rule(
    "ci-identity/deploy-guard-off",
    Severity.BLOCK,
    "kubernetes_manifest",
    title="A deployer is no longer confined to its namespace",
    rationale="The admission policy is what keeps one team's deployer out of other teams' namespaces.",
    fix="Keep the policy of each team.",
)
def deploy_guard_off(change: Change, context: Context) -> Iterator[Hit]:
    """Find weaker policies that name deployers."""
    if at(change.values, "manifest.kind") != "ValidatingAdmissionPolicy" or not change.kept:
        return
    for path in (
        "manifest.spec.matchConditions",
        "manifest.spec.validations",
        "manifest.spec.matchConstraints",
    ):
        if change.changed(path):
            yield Hit(f"admission policy {context.name(change)}: {path.rpartition('.')[2]} changed")
