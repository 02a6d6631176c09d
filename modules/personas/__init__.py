"""Who may do what in a team's project: four personas by group, and elevation for a while, on approval."""

from collections.abc import Mapping

from cdktf_cdktf_provider_google.privileged_access_manager_entitlement import (
    PrivilegedAccessManagerEntitlement,
    PrivilegedAccessManagerEntitlementApprovalWorkflow,
    PrivilegedAccessManagerEntitlementApprovalWorkflowManualApprovals,
    PrivilegedAccessManagerEntitlementApprovalWorkflowManualApprovalsSteps,
    PrivilegedAccessManagerEntitlementApprovalWorkflowManualApprovalsStepsApprovers,
    PrivilegedAccessManagerEntitlementEligibleUsers,
    PrivilegedAccessManagerEntitlementPrivilegedAccess,
    PrivilegedAccessManagerEntitlementPrivilegedAccessGcpIamAccess,
    PrivilegedAccessManagerEntitlementPrivilegedAccessGcpIamAccessRoleBindings,
    PrivilegedAccessManagerEntitlementRequesterJustificationConfig,
    PrivilegedAccessManagerEntitlementRequesterJustificationConfigUnstructured,
)
from cdktf_cdktf_provider_google.project_iam_member import ProjectIamMember
from constructs import Construct

# Standing access only looks. No persona can read a prediction log by these: that is granted per log.
VIEWER = ("roles/monitoring.viewer", "roles/logging.viewer", "roles/bigquery.metadataViewer")
PERSONAS: Mapping[str, tuple[str, ...]] = {
    "viewer": VIEWER,
    "developer": (*VIEWER, "roles/bigquery.jobUser", "roles/pubsub.viewer"),
    "owner": (
        *VIEWER,
        "roles/bigquery.jobUser",
        "roles/pubsub.viewer",
        "roles/privilegedaccessmanager.viewer",
    ),
    "auditor": (
        "roles/logging.privateLogViewer",
        "roles/iam.securityReviewer",
        "roles/bigquery.metadataViewer",
    ),
}
# What an incident needs, for at most four hours and with a named approver.
ELEVATED = ("roles/bigquery.dataEditor", "roles/monitoring.editor", "roles/pubsub.editor")
ELEVATED_SECONDS = 4 * 3600


class Personas(Construct):
    """Group bindings for owner, developer, viewer and auditor, and an entitlement for owners and developers.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modules.personas import Personas

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-a")
        Personas(stack, "personas", project="example-a", approvers="approvers@example.com",
                 groups={"owner": "a@example.com", "viewer": "all@example.com"})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        project: the team's project.
        groups: Google group per persona; personas that are left out get nothing.
        approvers: Google group that approves elevation.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, project: str, groups: Mapping[str, str], approvers: str
    ) -> None:
        super().__init__(scope, construct_id)
        granted: set[tuple[str, str]] = set()
        for persona, group in groups.items():
            for role in PERSONAS[persona]:
                # One group may hold several personas; two resources for one grant would undo each other.
                if (role, group) in granted:
                    continue
                granted.add((role, group))
                ProjectIamMember(
                    self,
                    f"{persona}-{role.removeprefix('roles/')}",
                    project=project,
                    role=role,
                    member=f"group:{group}",
                )
        eligible = sorted({f"group:{groups[who]}" for who in ("owner", "developer") if who in groups})
        if eligible:
            self._entitlement(project, eligible, approvers)

    def _entitlement(self, project: str, eligible: list[str], approvers: str) -> None:
        PrivilegedAccessManagerEntitlement(
            self,
            "elevated",
            entitlement_id="modelyard-operate",
            parent=f"projects/{project}",
            location="global",
            max_request_duration=f"{ELEVATED_SECONDS}s",
            eligible_users=[PrivilegedAccessManagerEntitlementEligibleUsers(principals=eligible)],
            privileged_access=PrivilegedAccessManagerEntitlementPrivilegedAccess(
                gcp_iam_access=PrivilegedAccessManagerEntitlementPrivilegedAccessGcpIamAccess(
                    resource=f"//cloudresourcemanager.googleapis.com/projects/{project}",
                    resource_type="cloudresourcemanager.googleapis.com/Project",
                    role_bindings=[
                        PrivilegedAccessManagerEntitlementPrivilegedAccessGcpIamAccessRoleBindings(role=role)
                        for role in ELEVATED
                    ],
                )
            ),
            requester_justification_config=PrivilegedAccessManagerEntitlementRequesterJustificationConfig(
                unstructured=PrivilegedAccessManagerEntitlementRequesterJustificationConfigUnstructured()
            ),
            approval_workflow=PrivilegedAccessManagerEntitlementApprovalWorkflow(
                manual_approvals=PrivilegedAccessManagerEntitlementApprovalWorkflowManualApprovals(
                    require_approver_justification=True,
                    steps=[
                        PrivilegedAccessManagerEntitlementApprovalWorkflowManualApprovalsSteps(
                            approvals_needed=1,
                            approvers=PrivilegedAccessManagerEntitlementApprovalWorkflowManualApprovalsStepsApprovers(
                                principals=[f"group:{approvers}"]
                            ),
                        )
                    ],
                )
            ),
        )
