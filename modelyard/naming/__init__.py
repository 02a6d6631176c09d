"""The one place that computes the names of cloud things from (environment, team, model).

Stacks never read each other's state: where one needs what another made, both compute its name here. `fit`
keeps names within Google's length limits by cutting them and appending a digest of the whole name;
`modelyard.naming.checks` finds names that two owners would share.
"""

import hashlib
from dataclasses import dataclass

from modelyard.spec.environment import Environment

# Length limits, from the API reference of each service.
PROJECT_ID = 30
SERVICE_ACCOUNT_ID = 30
NAMESPACE = 63
WORKLOAD = 52  # a CronJob's name plus the 11 characters that Kubernetes adds for its jobs is within 63
LABEL = 63
# Custom role by which models add rows to their logs.
LOG_WRITER = "log-writer"
# Custom role by which people fill the table that a batch model scores.
INPUT_WRITER = "input-writer"
# Purpose of the identity by which workflows push images.
IMAGE_PUBLISHER = "image-publisher"
# ConfigMap in each team's namespace by which the monitor job knows what to watch.
MONITORING_CONFIG = "modelyard-monitoring"


def fit(name: str, limit: int) -> str:
    """Return `name` if it is within `limit` characters, else cut, with a digest of the whole at its end."""
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{name[: limit - 7].rstrip('-_')}-{digest}"


def labels(environment: str, team: str, cost_center: str, model: str = "shared") -> dict[str, str]:
    """Return the labels that every resource carries, on Google Cloud and in Kubernetes alike.

    What teams share is labelled team `platform`; what models share, model `shared`.
    """
    return {
        "environment": environment,
        "team": fit(team, LABEL),
        "model": fit(model, LABEL),
        "cost_center": cost_center,
        "managed_by": "modelyard",
    }


def underscored(name: str) -> str:
    """Return `name` as BigQuery takes it."""
    return name.replace("-", "_")


def kms_location(data_location: str) -> str:
    """Return the key location that serves datasets and buckets in `data_location`."""
    return {"EU": "europe", "US": "us"}.get(data_location, data_location)


@dataclass(frozen=True)
class Names:
    """Names of what an environment shares between teams."""

    environment: str
    project: str
    project_number: str
    region: str
    data_location: str
    tenant_prefix: str

    @classmethod
    def of(cls, environment: Environment) -> "Names":
        """Return the names of `environment`."""
        return cls(
            environment=environment.environment,
            project=environment.project,
            project_number=environment.project_number,
            region=environment.region,
            data_location=environment.data_location,
            tenant_prefix=environment.tenants.prefix,
        )

    def team(self, team: str) -> "TeamNames":
        """Return the names of what belongs to `team`."""
        return TeamNames(self, team)

    def stack(self, room: str) -> str:
        """Return a stack's id: room is foundation, platform, cluster, catalog or operations."""
        return f"{self.environment}-{room}"

    # Network and cluster
    @property
    def network(self) -> str:
        """VPC network."""
        return f"modelyard-{self.environment}"

    @property
    def network_path(self) -> str:
        """VPC network as other resources refer to it."""
        return f"projects/{self.project}/global/networks/{self.network}"

    @property
    def subnet(self) -> str:
        """Subnet of the cluster's nodes."""
        return f"modelyard-{self.environment}-nodes"

    @property
    def subnet_path(self) -> str:
        """Subnet as other resources refer to it."""
        return f"projects/{self.project}/regions/{self.region}/subnetworks/{self.subnet}"

    @property
    def cluster(self) -> str:
        """GKE cluster, and its fleet membership."""
        return f"modelyard-{self.environment}"

    @property
    def cluster_endpoint(self) -> str:
        """URL of the cluster's API through Connect Gateway: known before the cluster exists, never public."""
        return (
            f"https://{self.region}-connectgateway.googleapis.com/v1/projects/{self.project_number}"
            f"/locations/{self.region}/gkeMemberships/{self.cluster}"
        )

    @property
    def gateway(self) -> str:
        """Internal gateway that all REST models share, in namespace `gateway_namespace`."""
        return "models"

    @property
    def gateway_namespace(self) -> str:
        """Namespace of the shared gateway."""
        return "modelyard-gateway"

    @property
    def gateway_address(self) -> str:
        """Reserved internal address of the gateway, and the name of its certificate."""
        return f"modelyard-{self.environment}-models"

    def gateway_host(self, organization: str) -> str:
        """Return the host name of the gateway, in the organisation's domain."""
        return f"models.{self.environment}.{organization}"

    @property
    def system_namespace(self) -> str:
        """Namespace of the monitor job and the operations centre."""
        return "modelyard-system"

    # Keys
    @property
    def key_ring(self) -> str:
        """Key ring, one in the region and, where data lives in a multi-region, one more there."""
        return f"modelyard-{self.environment}"

    def key(self, purpose: str) -> str:
        """Return the path of the key for artifacts, bigquery, cluster, logs, pubsub or storage."""
        location = kms_location(self.data_location) if purpose in ("bigquery", "storage") else self.region
        return f"projects/{self.project}/locations/{location}/keyRings/{self.key_ring}/cryptoKeys/{purpose}"

    # Audit
    @property
    def log_bucket(self) -> str:
        """Log bucket, in the region, of the audit logs of the environment and its teams."""
        return "modelyard-audit"

    # Artefacts
    @property
    def artifact_bucket(self) -> str:
        """Bucket of model artefacts; bucket names are global, so it carries the project."""
        return fit(f"{self.project}-model-artifacts", 63)

    @property
    def image_repository(self) -> str:
        """Artifact Registry repository of the serving images."""
        return "serving-images"

    @property
    def registry(self) -> str:
        """Prefix of the references of all serving images."""
        return f"{self.region}-docker.pkg.dev/{self.project}/{self.image_repository}"

    def image(self, name: str, digest: str) -> str:
        """Return the reference of serving image `name` by digest."""
        return f"{self.registry}/{name}@{digest}"

    # BigQuery
    def dataset(self, purpose: str) -> str:
        """Return the dataset for metadata, predictions, monitoring or fleet."""
        return f"modelyard_{self.environment}_{purpose}"

    @property
    def taxonomy(self) -> str:
        """Display name of the policy-tag taxonomy; unique in the organisation, so it carries the project."""
        return f"modelyard-{self.project}"

    # Identities of the platform
    @property
    def recorder_role(self) -> str:
        """Custom role by which pipelines add rows to the table of deployments."""
        return f"projects/{self.project}/roles/modelyardRecorder"

    def service_account(self, purpose: str) -> str:
        """Return the e-mail of a platform identity, such as monitor, operations-center or nodes."""
        return f"{self.service_account_id(purpose)}@{self.project}.iam.gserviceaccount.com"

    def service_account_id(self, purpose: str) -> str:
        """Return the account id of a platform identity."""
        return fit(f"modelyard-{purpose}", SERVICE_ACCOUNT_ID)

    @property
    def ci_pool(self) -> str:
        """Workload identity pool of the repository's workflows."""
        return "modelyard-ci"

    def ci_members(self, attribute: str, value: str) -> str:
        """Return the IAM member that stands for all workflows whose `attribute` is `value`."""
        pool = f"projects/{self.project_number}/locations/global/workloadIdentityPools/{self.ci_pool}"
        return f"principalSet://iam.googleapis.com/{pool}/attribute.{attribute}/{value}"

    @property
    def workload_pool(self) -> str:
        """Workload Identity pool of the cluster."""
        return f"{self.project}.svc.id.goog"

    def workload_member(self, namespace: str, account: str) -> str:
        """Return the IAM member that stands for a Kubernetes service account."""
        return f"serviceAccount:{self.workload_pool}[{namespace}/{account}]"


@dataclass(frozen=True)
class TeamNames:
    """Names of what belongs to one team; they stand in the team's own project and namespace."""

    environment: Names
    team: str

    @property
    def stack(self) -> str:
        """Id of the team's own stack."""
        return f"{self.environment.environment}-team-{self.team}"

    @property
    def tenant_stack(self) -> str:
        """Id of the platform's stack that makes the team's project, identities and access."""
        return f"{self.environment.environment}-tenant-{self.team}"

    @property
    def project(self) -> str:
        """The team's own project."""
        return fit(f"{self.environment.tenant_prefix}-{self.team}", PROJECT_ID)

    @property
    def namespace(self) -> str:
        """Namespace in the shared cluster."""
        return fit(f"team-{self.team}", NAMESPACE)

    @property
    def dataset(self) -> str:
        """Dataset of the team's prediction logs, in the team's project."""
        return f"modelyard_{self.environment.environment}_predictions"

    @property
    def taxonomy(self) -> str:
        """Display name of the taxonomy that the team's prediction logs share, in the team's project."""
        return f"modelyard-{self.project}"

    def role(self, purpose: str) -> str:
        """Return the path of a custom role of the team, such as deployer, planner or log-writer."""
        words = "".join(word.title() for word in purpose.split("-"))
        return f"projects/{self.project}/roles/modelyard{words}"

    @property
    def artifact_folder(self) -> str:
        """Managed folder of the team in the artefact bucket."""
        return f"{self.team}/"

    def identity(self, purpose: str) -> str:
        """Return the e-mail of the team's planner or deployer."""
        return f"modelyard-{purpose}@{self.project}.iam.gserviceaccount.com"

    def model(self, model: str) -> "ModelNames":
        """Return the names of what belongs to `model`."""
        return ModelNames(self, model)


@dataclass(frozen=True)
class ModelNames:
    """Names of what belongs to one model, unique within its team's project and namespace."""

    team: TeamNames
    model: str

    @property
    def workload(self) -> str:
        """Deployment, Service, CronJob and what belongs to them."""
        return fit(self.model, WORKLOAD)

    @property
    def service_account_id(self) -> str:
        """Account id of the identity the model's pods run as; also its Kubernetes service account."""
        return fit(f"model-{self.model}", SERVICE_ACCOUNT_ID)

    @property
    def service_account(self) -> str:
        """E-mail of the identity the model's pods run as."""
        return f"{self.service_account_id}@{self.team.project}.iam.gserviceaccount.com"

    @property
    def log_table(self) -> str:
        """Prediction-log table in the team's dataset."""
        return underscored(self.model)

    @property
    def input_table(self) -> str:
        """Table in the team's dataset that a batch model scores where its file names no other."""
        return f"{self.log_table}_input"

    @property
    def output_table(self) -> str:
        """Table in the team's dataset of a batch model's predictions."""
        return f"{self.log_table}_predictions"

    @property
    def runs_table(self) -> str:
        """Table in the team's dataset that says which shards of a batch model's runs have ended."""
        return f"{self.log_table}_runs"

    @property
    def taxonomy(self) -> str:
        """Display name of the taxonomy of this log alone; neither projects nor models have underscores."""
        return f"{self.team.taxonomy}_{self.model}"

    @property
    def topic(self) -> str:
        """Pub/Sub topic, and subscription, of a streaming model's input."""
        return f"{self.model}-input"

    @property
    def predictions_topic(self) -> str:
        """Pub/Sub topic of a streaming model's predictions."""
        return f"{self.model}-predictions"

    @property
    def dead_letter_topic(self) -> str:
        """Pub/Sub topic, and subscription, of messages a streaming model could not score."""
        return f"{self.model}-dead-letter"

    @property
    def hostname_path(self) -> str:
        """URL path prefix behind the shared gateway."""
        return f"/{self.team.team}/{self.model}"
