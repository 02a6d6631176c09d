"""What everything else stands on: network, keys, registry, artefacts, audit, federation."""

from constructs import Construct

from modelyard.naming import Names, labels
from modelyard.spec.environment import Environment
from modules.artifact_store import ArtifactStore
from modules.audit import AuditLogBucket, AuditTrail
from modules.binary_authorization import ImagePolicy
from modules.federation import Federation
from modules.image_registry import ImagePublisher, ImageRegistry
from modules.keys import Keys
from modules.network import Network
from modules.project_access import ProjectAccess
from modules.services import Services
from stacks.base import BaseStack

SERVICES = (
    "artifactregistry",
    "bigquery",
    "bigquerydatapolicy",
    "bigquerystorage",
    "billingbudgets",
    "binaryauthorization",
    "certificatemanager",
    "cloudbilling",
    "cloudkms",
    "cloudresourcemanager",
    "compute",
    "connectgateway",
    "container",
    "containerfilesystem",
    "containerscanning",
    "containersecurity",
    "datacatalog",
    "dns",
    "gkehub",
    "iam",
    "iamcredentials",
    "logging",
    "monitoring",
    "privilegedaccessmanager",
    "pubsub",
    "serviceusage",
    "storage",
    "sts",
)
# What people may see of the environment, by persona. Standing access only looks.
PERSONAS = {
    "platform": (
        "roles/compute.networkViewer",
        "roles/container.clusterViewer",
        "roles/logging.viewer",
        "roles/monitoring.viewer",
    ),
    "auditors": ("roles/cloudkms.viewer", "roles/iam.securityReviewer", "roles/logging.privateLogViewer"),
    "viewers": ("roles/logging.viewer", "roles/monitoring.viewer"),
}
# The way to the cluster's API for people; what they may do there, the cluster's own rules decide.
GATEWAY_ROLES = ("roles/gkehub.gatewayReader", "roles/gkehub.viewer")


class FoundationStack(BaseStack):
    """The foundation of an environment; platform engineers apply it with their own credentials.

    Args:
        scope: the app.
        environment: the environment deployed to.
    """

    def __init__(self, scope: Construct, environment: Environment) -> None:
        names = Names.of(environment)
        super().__init__(scope, names.stack("foundation"), environment)
        shared = labels(environment.environment, "platform", environment.cost_center)
        services = Services(self, "services", project=names.project, services=SERVICES)
        Network(
            self,
            "network",
            names=names,
            ranges=environment.network,
            labels=shared,
            depends_on=services.of("compute", "dns"),
        )
        keys = Keys(
            self,
            "keys",
            names=names,
            labels=shared,
            depends_on=services.of(
                "artifactregistry", "bigquery", "cloudkms", "compute", "container", "pubsub", "storage"
            ),
        )
        images = ImageRegistry(
            self, "images", names=names, labels=shared, depends_on=keys.use.of("artifacts")
        )
        ArtifactStore(
            self,
            "artifacts",
            names=names,
            labels=shared,
            retention_days=environment.retention.artifacts,
            depends_on=keys.use.of("storage"),
        )
        logs = AuditLogBucket(
            self,
            "audit-logs",
            names=names,
            retention_days=environment.retention.audit_logs,
            depends_on=[*services.of("logging"), keys.keys["logs"]],
        )
        AuditTrail(self, "audit", names=names, project=names.project, depends_on=[logs.bucket])
        ImagePolicy(self, "image-policy", names=names, depends_on=services.of("binaryauthorization"))
        federation = Federation(
            self,
            "ci",
            names=names,
            repository=environment.ci.repository,
            deploy_ref=environment.ci.deploy_ref,
            depends_on=services.of("iam", "iamcredentials", "sts"),
        )
        ImagePublisher(self, "image-publisher", names=names, registry=images, depends_on=[federation.pool])
        self._people()

    def _people(self) -> None:
        granted: set[tuple[str, str]] = set()
        for persona, roles in PERSONAS.items():
            group = getattr(self.environment.groups, persona)
            # One group may be several personas; two resources for one grant would undo each other.
            own = [role for role in roles if (group, role) not in granted]
            granted.update((group, role) for role in own)
            ProjectAccess(self, persona, project=self.names.project, member=f"group:{group}", roles=own)
        # Every group that the cluster knows is a member of this one: Kubernetes Engine asks for that.
        ProjectAccess(
            self,
            "cluster-users",
            project=self.names.project,
            member=f"group:gke-security-groups@{self.environment.organization}",
            roles=GATEWAY_ROLES,
        )
