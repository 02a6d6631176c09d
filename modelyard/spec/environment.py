"""An environment file: where things are deployed, and the organisation's defaults."""

import ipaddress
from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelyard.spec.base import Digest, Email, Severity, Spec
from modelyard.spec.team import Settings

ProjectId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")]
Region = Annotated[str, Field(pattern=r"^[a-z]+-[a-z]+[0-9]{1,2}$")]
Cidr = Annotated[str, Field(pattern=r"^[0-9.]+/[0-9]{1,2}$")]
ShortName = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=40)]


class State(Spec):
    """Where Terraform keeps its state: a bucket, or local files for laptops."""

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$")] | None = None
    """Cloud Storage bucket; absent: local files under `build/state`."""


class Tenants(Spec):
    """Where the teams' own projects are made."""

    parent: Annotated[str, Field(pattern=r"^(folders|organizations)/[0-9]+$")]
    billing_account: Annotated[str, Field(pattern=r"^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$")]
    prefix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=15)]
    """Team projects are named `<prefix>-<team>`."""


class Network(Spec):
    """Address ranges; they must not overlap."""

    nodes: Cidr = "10.10.0.0/20"
    pods: Cidr = "10.16.0.0/14"
    services: Cidr = "10.24.0.0/20"
    control_plane: Cidr = "10.10.16.0/28"
    proxies: Cidr = "10.10.18.0/23"
    """Proxy-only subnet of the internal gateway."""

    @model_validator(mode="after")
    def _disjoint(self) -> "Network":
        ranges = {name: ipaddress.ip_network(value) for name, value in self}
        names = list(ranges)
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                if ranges[first].overlaps(ranges[second]):
                    raise ValueError(f"{first} {ranges[first]} overlaps {second} {ranges[second]}")
        return self


class Gpu(Spec):
    """Accelerators of a node pool."""

    type: Literal["nvidia-tesla-t4", "nvidia-l4", "nvidia-tesla-a100", "nvidia-h100-80gb"]
    count: Annotated[int, Field(ge=1, le=8)] = 1


class NodePool(Spec):
    """Nodes of a standard cluster."""

    name: ShortName
    machine_type: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*-[a-z]+(-[0-9a-z]+)*$")] = "n2-standard-4"
    min_nodes: Annotated[int, Field(ge=0, le=1000)] = 1
    max_nodes: Annotated[int, Field(ge=1, le=1000)] = 5
    spot: bool = False
    gpu: Gpu | None = None


class Cluster(Spec):
    """The GKE cluster."""

    mode: Literal["autopilot", "standard"] = "autopilot"
    release_channel: Literal["RAPID", "REGULAR", "STABLE"] = "REGULAR"
    maintenance_start: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "22:00"
    """Start of the six-hour window on Saturdays and Sundays, UTC."""
    node_pools: tuple[NodePool, ...] = ()

    @model_validator(mode="after")
    def _pools_fit_mode(self) -> "Cluster":
        if self.mode == "autopilot" and self.node_pools:
            raise ValueError("node_pools need mode: standard; autopilot makes its own nodes")
        if self.mode == "standard" and not self.node_pools:
            raise ValueError("mode: standard needs at least one entry in node_pools")
        return self


class Groups(Spec):
    """Google groups per persona."""

    platform: Email
    """Platform engineers."""
    approvers: Email
    """Who approves elevated access."""
    auditors: Email
    viewers: Email


class Channel(Spec):
    """A notification channel. Secrets stay in the channel's own service; none is written here."""

    name: ShortName
    type: Literal["email", "pubsub", "pagerduty", "slack"]
    address: Annotated[str, Field(min_length=1, max_length=300)]
    """E-mail address, topic `projects/p/topics/t`, or for pagerduty and slack the id of a channel made by hand,
    `projects/p/notificationChannels/123`, since those hold a secret."""
    severities: tuple[Severity, ...] = (Severity.CRITICAL, Severity.ERROR, Severity.WARNING)


class Retention(Spec):
    """How long data is kept, in days."""

    predictions: Annotated[int, Field(ge=1, le=3650)] = 400
    monitoring: Annotated[int, Field(ge=30, le=3650)] = 800
    artifacts: Annotated[int, Field(ge=1, le=3650)] = 400
    """Minimum age before a model artefact may be deleted."""
    audit_logs: Annotated[int, Field(ge=30, le=3650)] = 400


class Budget(Spec):
    """Monthly amounts that raise an alert at 50, 90 and 100 percent."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    platform: Annotated[float, Field(gt=0)] = 2000
    team: Annotated[float, Field(gt=0)] = 500


class Ci(Spec):
    """The repository whose workflows plan and apply, by workload identity federation."""

    repository: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")]
    deploy_ref: str = "refs/heads/main"
    """Only workflows on this ref may apply."""


class Images(Spec):
    """Digests of the serving images in the environment's registry."""

    rest: Digest
    batch: Digest
    streaming: Digest
    monitor: Digest
    operations_center: Digest


class Environment(Spec):
    """An environment file."""

    environment: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$", max_length=10)]
    project: ProjectId
    project_number: Annotated[str, Field(pattern=r"^[1-9][0-9]{5,18}$")]
    organization: Annotated[str, Field(pattern=r"^[a-z0-9.-]+\.[a-z]{2,}$")]
    """Domain of the organisation; members outside it are refused."""
    cost_center: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")] = "platform"
    """Who pays for what the teams share."""
    region: Region
    data_residency: Literal["EU", "US", "region"] = "region"
    """Where data lives: a multi-region of BigQuery and Cloud Storage, or the region alone."""
    stand_in: bool = False
    """Whether this environment is for laptops: local state, deployed to the stand-in provider only."""
    state: State = State()
    tenants: Tenants
    network: Network = Network()
    cluster: Cluster = Cluster()
    groups: Groups
    channels: Annotated[tuple[Channel, ...], Field(min_length=1)]
    retention: Retention = Retention()
    budget: Budget = Budget()
    ci: Ci
    images: Images
    defaults: Settings = Settings()

    @property
    def data_location(self) -> str:
        """Location of datasets and buckets."""
        return self.region if self.data_residency == "region" else self.data_residency
