"""Who watches the platform: channels, alerts, the fleet's dashboard, and the identities of what watches."""

from cdktf_cdktf_provider_google.bigquery_table_iam_member import BigqueryTableIamMember
from constructs import Construct

from modelyard.monitors.platform import platform_alerts
from modelyard.naming import Names, labels
from modelyard.spec.base import Sensitivity, Severity
from modelyard.spec.environment import Environment
from modelyard.tables import ALERT_EVENTS
from modules.alerts import AlertPolicies
from modules.budget import ProjectBudget
from modules.dashboard import FleetDashboard
from modules.dataset import dataset_access
from modules.notification import NotificationChannels
from modules.platform_identity import PlatformIdentity
from modules.policy_tags import masked_reader
from stacks.base import BaseStack

VIEWER, EDITOR = "roles/bigquery.dataViewer", "roles/bigquery.dataEditor"


class OperationsStack(BaseStack):
    """Watches what the teams share.

    The monitor job reads the teams' logs by a grant of each team's stack, and writes what it measured to the
    shared tables. The operations centre reads those and writes what people do about alerts, nothing else.

    Args:
        scope: the app.
        environment: the environment deployed to.
    """

    def __init__(self, scope: Construct, environment: Environment) -> None:
        names = Names.of(environment)
        super().__init__(scope, names.stack("operations"), environment)
        shared = labels(environment.environment, "platform", environment.cost_center)
        channels = NotificationChannels(
            self,
            "channels",
            project=names.project,
            channels=environment.platform_channels,
            labels=shared,
        )
        AlertPolicies(
            self,
            "alerts",
            alerts=platform_alerts(environment),
            labels=shared,
            channels=channels.by_severity,
            project=names.project,
            repository_url=f"https://github.com/{environment.ci.repository}/blob/HEAD",
        )
        FleetDashboard(self, "fleet", names=names, owner=environment.groups.platform, labels=shared)
        self._monitor()
        self._operations_center()
        ProjectBudget(
            self,
            "budget",
            name=f"modelyard {environment.environment} platform",
            billing_account=environment.tenants.billing_account,
            project_number=environment.project_number,
            amount=environment.budget.platform,
            currency=environment.budget.currency,
            channel=channels.by_severity[Severity.WARNING][0],
        )

    def _monitor(self) -> None:
        identity = PlatformIdentity(
            self,
            "monitor",
            names=self.names,
            purpose="monitor",
            description="Computes usage, quality, drift and performance of all models.",
            roles=["roles/bigquery.jobUser", "roles/monitoring.metricWriter"],
        )
        self._grant(identity, {"metadata": VIEWER, "predictions": EDITOR, "monitoring": EDITOR})

    def _operations_center(self) -> None:
        identity = PlatformIdentity(
            self,
            "operations-center",
            names=self.names,
            purpose="operations-center",
            description="Shows the fleet's state, and writes what people do about alerts.",
            roles=["roles/bigquery.jobUser", "roles/monitoring.viewer"],
        )
        self._grant(identity, {"metadata": VIEWER, "monitoring": VIEWER, "fleet": VIEWER})
        BigqueryTableIamMember(
            identity,
            "alert-events",
            project=self.names.project,
            dataset_id=self.names.dataset("monitoring"),
            table_id=ALERT_EVENTS.name,
            role=EDITOR,
            member=identity.member,
            depends_on=[identity.resource],
        )

    def _grant(self, identity: PlatformIdentity, roles: dict[str, str]) -> None:
        names = self.names
        for purpose, role in roles.items():
            dataset_access(
                identity,
                identity.member,
                role,
                project=names.project,
                dataset_id=names.dataset(purpose),
                after=[identity.resource],
            )
        # Callers are seen as hashes: enough to count them.
        masked_reader(
            identity,
            identity.member,
            project=names.project,
            location=names.data_location,
            taxonomy=names.taxonomy,
            level=Sensitivity.PII,
            after=[identity.resource],
        )
