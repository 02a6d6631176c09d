"""A team's own project, and the identities that plan and deploy the team's stack in it and nowhere else."""

from collections.abc import Mapping, Sequence

from cdktf_cdktf_provider_google.bigquery_table_iam_member import BigqueryTableIamMember
from cdktf_cdktf_provider_google.monitoring_monitored_project import MonitoringMonitoredProject
from cdktf_cdktf_provider_google.project import Project
from cdktf_cdktf_provider_google.project_iam_custom_role import ProjectIamCustomRole
from cdktf_cdktf_provider_google.project_iam_member import ProjectIamMember, ProjectIamMemberCondition
from constructs import Construct

from modelyard.iam import APPEND_ROWS, WRITE_ROWS
from modelyard.naming import INPUT_WRITER, LOG_WRITER, TeamNames
from modelyard.tables import DEPLOYMENTS
from modules.artifact_store import ArtifactFolder
from modules.audit import AuditTrail
from modules.keys import KeyUse
from modules.personas import PERSONAS
from modules.pipeline_identities import PipelineIdentities
from modules.project_access import ProjectAccess
from modules.services import Services
from modules.state_folder import StateFolder

# What the team's stack makes, and what its identities call: Google asks the caller's own project whether an
# API is on, so the way to the shared cluster and to the artefacts is on here too.
SERVICES = (
    "bigquery",
    "bigquerydatapolicy",
    "bigquerystorage",
    "billingbudgets",
    "cloudresourcemanager",
    "connectgateway",
    "datacatalog",
    "gkehub",
    "iam",
    "iamcredentials",
    "logging",
    "monitoring",
    "privilegedaccessmanager",
    "pubsub",
    "serviceusage",
    "storage",
)
# What a team's stack makes in the team's project. None of these reaches outside it.
DEPLOYER_ROLES = (
    "roles/bigquery.dataOwner",
    "roles/bigquerydatapolicy.admin",
    "roles/datacatalog.categoryAdmin",
    "roles/monitoring.alertPolicyEditor",
    "roles/monitoring.dashboardEditor",
    "roles/monitoring.notificationChannelEditor",
    "roles/privilegedaccessmanager.admin",
    "roles/serviceusage.serviceUsageConsumer",
)
# What no predefined role gives without more: identities but not their keys, topics but not their messages,
# the project's own budget, and grants, of which the condition below allows only some.
DEPLOYER_PERMISSIONS = (
    "billing.resourceCosts.get",
    "billing.resourcebudgets.read",
    "billing.resourcebudgets.write",
    "iam.serviceAccounts.create",
    "iam.serviceAccounts.delete",
    "iam.serviceAccounts.get",
    "iam.serviceAccounts.getIamPolicy",
    "iam.serviceAccounts.list",
    "iam.serviceAccounts.setIamPolicy",
    "iam.serviceAccounts.update",
    "pubsub.subscriptions.create",
    "pubsub.subscriptions.delete",
    "pubsub.subscriptions.get",
    "pubsub.subscriptions.getIamPolicy",
    "pubsub.subscriptions.list",
    "pubsub.subscriptions.setIamPolicy",
    "pubsub.subscriptions.update",
    "pubsub.topics.attachSubscription",
    "pubsub.topics.create",
    "pubsub.topics.delete",
    "pubsub.topics.get",
    "pubsub.topics.getIamPolicy",
    "pubsub.topics.list",
    "pubsub.topics.setIamPolicy",
    "pubsub.topics.update",
    "resourcemanager.projects.get",
)
GRANTOR_PERMISSIONS = (
    "resourcemanager.projects.get",
    "resourcemanager.projects.getIamPolicy",
    "resourcemanager.projects.setIamPolicy",
)
PLANNER_ROLES = (
    "roles/bigquery.metadataViewer",
    "roles/bigquerydatapolicy.viewer",
    "roles/datacatalog.viewer",
    "roles/iam.securityReviewer",
    "roles/monitoring.alertPolicyViewer",
    "roles/monitoring.dashboardViewer",
    "roles/monitoring.notificationChannelViewer",
    "roles/privilegedaccessmanager.viewer",
    "roles/pubsub.viewer",
    "roles/serviceusage.serviceUsageConsumer",
)
PLANNER_PERMISSIONS = (
    "billing.resourceCosts.get",
    "billing.resourcebudgets.read",
    "iam.serviceAccounts.get",
    "resourcemanager.projects.get",
)
# Roles that a deployer may grant and revoke on the team's project: those of people, and those of models.
# IAM takes at most ten roles in such a condition.
GRANTABLE_ROLES = tuple(
    sorted(
        {role for roles in PERSONAS.values() for role in roles}
        | {"roles/bigquery.jobUser", "roles/bigquery.readSessionUser", "roles/monitoring.metricWriter"}
    )
)
# What identities of a team hold on the environment's project: the way to the cluster's API, where the
# cluster's own rules decide. IAM takes 1,500 members in a project's policy: with these and the writer of the
# audit sink, three for each team, an environment has room for some 450 teams.
SHARED_ROLES = {"planner": "roles/gkehub.gatewayReader", "deployer": "roles/gkehub.gatewayEditor"}
PURPOSES = ("bigquery", "pubsub")


class Tenant(Construct):
    """A team's project: its identities, their roles, its use of the keys, its audit trail and metrics scope.

    It is made after the environment's foundation, whose pool, keys, log bucket and artefact bucket it uses.
    Whoever may deploy the team's stack can change nothing of another team: writing roles stand on the team's
    project, on its folder of artefacts and on the folder of its stack's state, and nowhere else.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.tenant import Tenant

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        Tenant(stack, "team-a", names=names.team("a"), labels={"team": "a"}, parent="folders/1",
               billing_account="000000-AAAAAA-000000", repository="example/models", state_bucket=None)
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the team.
        labels: labels of the project.
        parent: `folders/<number>` or `organizations/<number>`.
        billing_account: billing account that pays.
        repository: `owner/name` of the repository whose workflows plan and deploy.
        state_bucket: bucket of the Terraform states; None: states are local files.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: TeamNames,
        labels: Mapping[str, str],
        parent: str,
        billing_account: str,
        repository: str,
        state_bucket: str | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self._names = names
        kind, number = parent.split("/")
        self.project = Project(
            self,
            "project",
            project_id=names.project,
            name=names.project,
            folder_id=number if kind == "folders" else None,
            org_id=number if kind == "organizations" else None,
            billing_account=billing_account,
            labels=dict(labels),
            auto_create_network=False,
            deletion_policy="PREVENT",
            lifecycle={"prevent_destroy": True},
        )
        self._services = services = Services(
            self, "services", project=names.project, services=SERVICES, depends_on=[self.project]
        )
        self._identities = PipelineIdentities(
            self,
            "identities",
            names=names.environment,
            project=names.project,
            repository=repository,
            deploys=names.stack,
            depends_on=services.of("iam"),
        )
        for purpose, roles, permissions in (
            ("deployer", DEPLOYER_ROLES, DEPLOYER_PERMISSIONS),
            ("planner", PLANNER_ROLES, PLANNER_PERMISSIONS),
        ):
            self._own_access(purpose, roles, permissions)
            self._shared_access(purpose)
        self._delegated_grants()
        self._custom_role(LOG_WRITER, "Adds rows to a prediction log.", APPEND_ROWS)
        self._custom_role(INPUT_WRITER, "Fills the table that a batch model scores.", WRITE_ROWS)
        self._folders(state_bucket)
        KeyUse(
            self,
            "keys",
            names=names.environment,
            project=names.project,
            project_number=self.project.number,
            purposes=PURPOSES,
            depends_on=services.of(*PURPOSES),
        )
        AuditTrail(
            self,
            "audit",
            names=names.environment,
            # By reference, which also shows policy checks that this project is audited.
            project=self.project.project_id,
            depends_on=services.of("logging"),
        )
        # A deployment is recorded by who deployed: rows are added, and none is read or changed.
        BigqueryTableIamMember(
            self,
            "records-deployments",
            project=names.environment.project,
            dataset_id=names.environment.dataset("metadata"),
            table_id=DEPLOYMENTS.name,
            role=names.environment.recorder_role,
            member=self._member("deployer"),
            depends_on=self._identities.accounts,
        )
        # The team's alert policies stand in its project and read the shared cluster's series through this.
        MonitoringMonitoredProject(
            self,
            "metrics",
            metrics_scope=names.project,
            name=names.environment.project,
            depends_on=services.of("monitoring"),
        )

    def _member(self, purpose: str) -> str:
        return f"serviceAccount:{self._names.identity(purpose)}"

    def _custom_role(
        self, purpose: str, description: str, permissions: Sequence[str]
    ) -> ProjectIamCustomRole:
        return ProjectIamCustomRole(
            self,
            f"{purpose}-role",
            project=self._names.project,
            role_id=self._names.role(purpose).rpartition("/")[2],
            title=f"Modelyard {purpose}",
            description=description,
            permissions=list(permissions),
            stage="GA",
            depends_on=self._services.of("iam"),
        )

    def _own_access(self, purpose: str, roles: Sequence[str], permissions: Sequence[str]) -> None:
        role = self._custom_role(purpose, "What a team's stack needs beyond predefined roles.", permissions)
        ProjectIamMember(
            self,
            f"{purpose}-own",
            project=self._names.project,
            role=role.name,
            member=self._member(purpose),
            depends_on=self._identities.accounts,
        )
        ProjectAccess(
            self,
            purpose,
            project=self._names.project,
            member=self._member(purpose),
            roles=roles,
            depends_on=self._identities.accounts,
        )

    def _shared_access(self, purpose: str) -> None:
        ProjectAccess(
            self,
            f"{purpose}-shared",
            project=self._names.environment.project,
            member=self._member(purpose),
            roles=[SHARED_ROLES[purpose]],
            depends_on=self._identities.accounts,
        )

    def _delegated_grants(self) -> None:
        role = self._custom_role(
            "grantor", "Grants roles on the project, as a condition allows.", GRANTOR_PERMISSIONS
        )
        listed = ", ".join(f"'{grantable}'" for grantable in GRANTABLE_ROLES)
        modified = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', [])"
        ProjectIamMember(
            self,
            "deployer-grants",
            project=self._names.project,
            role=role.name,
            member=self._member("deployer"),
            condition=ProjectIamMemberCondition(
                title="roles of people and models only",
                description="The roles that a team's stack gives to groups and models.",
                expression=f"{modified}.hasOnly([{listed}])",
            ),
            depends_on=self._identities.accounts,
        )

    def _folders(self, state_bucket: str | None) -> None:
        ArtifactFolder(self, "artifacts", names=self._names, depends_on=self._identities.accounts)
        if state_bucket:
            StateFolder(
                self,
                "state",
                bucket=state_bucket,
                stack=self._names.stack,
                planner=self._names.identity("planner"),
                deployer=self._names.identity("deployer"),
                depends_on=self._identities.accounts,
            )
