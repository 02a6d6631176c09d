"""An environment file: where things are deployed, and the organisation's defaults."""

import difflib
import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelyard.spec.base import (
    EMAIL_PATTERN,
    CostCenter,
    Currency,
    Digest,
    Email,
    Finding,
    Severity,
    Spec,
    checked,
    refuse,
    text,
    twice,
)
from modelyard.spec.regions import MULTI_REGIONS, REGIONS
from modelyard.spec.team import GpuType, Settings

# Google refuses project ids that contain these.
RESTRICTED_WORDS = ("google", "ssl", "null", "undefined")


def restricted_word(project: str) -> str | None:
    """Return the word in a project id that Google does not allow, if there is one."""
    return next((word for word in RESTRICTED_WORDS if word in project), None)


def _not_restricted(project: str) -> str | None:
    word = restricted_word(project)
    return f"'{project}' is not allowed: Google refuses project ids that contain '{word}'" if word else None


def _known_region(region: str) -> str | None:
    if region in REGIONS:
        return None
    near = difflib.get_close_matches(region, REGIONS, 1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"'{region}' is not a region of Google Cloud, such as europe-west4.{hint}"


ProjectId = Annotated[
    str,
    text(
        r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$",
        "a project id of 6 to 30 lower-case letters, digits and hyphens, such as acme-models-dev",
    ),
    checked(_not_restricted),
]
Region = Annotated[
    str,
    text(r"^[a-z]+-[a-z]+[0-9]{1,2}$", "a region of Google Cloud, such as europe-west4"),
    checked(_known_region),
]
Zone = Annotated[
    str,
    text(r"^[a-z]+-[a-z]+[0-9]+-[a-z]$", "a zone of Compute Engine, such as europe-west4-a", max_length=63),
]
ShortName = Annotated[
    str,
    text(
        r"^[a-z]([a-z0-9-]*[a-z0-9])?$",
        "a name of lower-case letters, digits and hyphens that begins with a letter, such as pager-a",
        max_length=40,
    ),
]

# From Google's sizing tables for VPC-native clusters: the longest prefix that still makes a working cluster.
_LONGEST_PREFIX = {"nodes": 27, "pods": 21, "services": 27, "control_plane": 28, "proxies": 26}
_PRIVATE = tuple(
    ipaddress.IPv4Network(block)
    for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "240.0.0.0/4")
)
# The container runtime's own bridge on every node.
_DOCKER = ipaddress.IPv4Network("172.17.0.0/16")


def _wrong_range(value: str) -> str | None:
    try:
        network = ipaddress.IPv4Network(value)
    except ipaddress.NetmaskValueError:
        return f"'{value}' is no address range: the length after / is 0 to 32"
    except ipaddress.AddressValueError:
        return f"'{value}' is no address range: each of the four numbers is 0 to 255, without leading zeros"
    except ValueError:
        begin = ipaddress.IPv4Network(value, strict=False)
        return f"'{value}' begins within a range; did you mean '{begin}'?"
    if not any(network.subnet_of(block) for block in _PRIVATE):
        return f"'{value}' is not private; use 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"
    if network.overlaps(_DOCKER):
        return f"'{value}' overlaps {_DOCKER}, which the container runtime uses on every node"
    return None


Cidr = Annotated[
    str,
    text(
        r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$",
        "a range of IPv4 addresses such as 10.10.0.0/20",
        max_length=18,
    ),
    checked(_wrong_range),
]


class State(Spec):
    """Where Terraform keeps its state: a bucket, or local files for laptops."""

    bucket: (
        Annotated[
            str,
            text(
                r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$",
                "a bucket's name: 3 to 63 lower-case letters, digits, dots, hyphens and underscores",
            ),
        ]
        | None
    ) = None
    """Cloud Storage bucket; absent: local files under `build/state`."""


class Tenants(Spec):
    """Where the teams' own projects are made."""

    parent: Annotated[
        str,
        text(
            r"^(folders|organizations)/[0-9]{1,20}$", "a folder or organisation such as folders/123456789012"
        ),
    ]
    """Folder or organisation that holds the projects, such as `folders/123456789012`."""
    billing_account: Annotated[
        str,
        text(r"^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", "a billing account such as 0123AB-4567CD-89EF01"),
    ]
    """Billing account of the projects."""
    prefix: Annotated[
        str,
        text(
            r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
            "a prefix of lower-case letters, digits and single hyphens, such as acme-dev",
            max_length=15,
        ),
        checked(_not_restricted),
    ]
    """Team projects are named `<prefix>-<team>`."""


class Network(Spec):
    """Address ranges; they must not overlap."""

    nodes: Cidr = "10.10.0.0/20"
    """Nodes; /27 or larger."""
    pods: Cidr = "10.16.0.0/14"
    """Pods; /21 or larger. A node takes a /24 of it (autopilot: a /26)."""
    services: Cidr = "10.24.0.0/20"
    """Services inside the cluster; /27 or larger."""
    control_plane: Cidr = "10.10.16.0/28"
    """The cluster's control plane; a /28."""
    proxies: Cidr = "10.10.18.0/23"
    """Proxy-only subnet of the internal gateway; /26 or larger."""

    @model_validator(mode="after")
    def _usable(self) -> "Network":
        refuse(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        ranges = {name: ipaddress.IPv4Network(value) for name, value in self}
        for name, network in ranges.items():
            longest = _LONGEST_PREFIX[name]
            if name == "control_plane" and network.prefixlen != longest:
                yield Finding(
                    (name,), f"'{network}' is not a /{longest}; GKE takes exactly that for a control plane"
                )
            elif network.prefixlen > longest:
                yield Finding((name,), f"'{network}' is too small for {name}; expected /{longest} or larger")
        names = list(ranges)
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                if ranges[first].overlaps(ranges[second]):
                    message = f"{second} {ranges[second]} overlaps {first} {ranges[first]}"
                    yield from (Finding((second,), message), Finding((first,), message))


class Gpu(Spec):
    """Accelerators of a node pool."""

    type: GpuType
    """Kind of accelerator."""
    count: Annotated[int, Field(ge=1, le=8)] = 1
    """Accelerators per node."""


class NodePool(Spec):
    """Nodes of a standard cluster."""

    name: ShortName
    """Name of the pool."""
    machine_type: Annotated[
        str,
        text(
            r"^[a-z][a-z0-9]*-[a-z]+(-[0-9a-z]+)*$",
            "a machine type of Compute Engine, such as n2-standard-4",
            max_length=63,
        ),
    ] = "n2-standard-4"
    """Machine type of Compute Engine."""
    min_nodes: Annotated[int, Field(ge=0, le=1000)] = 1
    """Nodes per zone at least."""
    max_nodes: Annotated[int, Field(ge=1, le=1000)] = 5
    """Nodes per zone at most."""
    spot: bool = False
    """Whether nodes are cheap and may be taken away at any time."""
    gpu: Gpu | None = None
    """Accelerators; such a pool takes only models that ask for GPUs."""
    zones: tuple[Zone, ...] = ()
    """Zones that have its machines, where not all of the region's do; default: the zones of the cluster."""

    @model_validator(mode="after")
    def _ordered(self) -> "NodePool":
        if self.min_nodes > self.max_nodes:
            refuse(
                [Finding(("min_nodes",), f"min_nodes {self.min_nodes} is above max_nodes {self.max_nodes}")]
            )
        refuse(twice((("zones", i), zone) for i, zone in enumerate(self.zones)))
        return self


class Cluster(Spec):
    """The GKE cluster."""

    mode: Literal["autopilot", "standard"] = "autopilot"
    """`autopilot`: Google runs the nodes; `standard`: node pools."""
    release_channel: Literal["RAPID", "REGULAR", "STABLE"] = "REGULAR"
    """How early new versions of Kubernetes come."""
    maintenance_start: Annotated[
        str, text(r"^([01][0-9]|2[0-3]):[0-5][0-9]$", 'a time of day in quotes, such as "22:00"')
    ] = "22:00"
    """Start of the six-hour window on Saturdays and Sundays, UTC."""
    node_pools: tuple[NodePool, ...] = ()
    """Node pools; mode `standard` only."""

    @model_validator(mode="after")
    def _pools_fit_mode(self) -> "Cluster":
        refuse(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        if self.mode == "autopilot" and self.node_pools:
            yield Finding(("node_pools",), "node_pools need mode: standard; autopilot makes its own nodes")
        if self.mode == "standard" and not any(pool.gpu is None for pool in self.node_pools):
            yield Finding(("node_pools",), "mode: standard needs at least one node pool without GPUs")
        yield from twice((("node_pools", i, "name"), pool.name) for i, pool in enumerate(self.node_pools))


class Groups(Spec):
    """Google groups per persona."""

    platform: Email
    """Platform engineers."""
    approvers: Email
    """Who approves elevated access."""
    auditors: Email
    """Who reads audit logs and settings, and changes nothing."""
    viewers: Email
    """Who may look at what is no personal data."""


_ADDRESSES = {
    "email": (EMAIL_PATTERN, "an e-mail address such as ops@example.com"),
    "pubsub": (
        r"^projects/[a-z0-9-]+/topics/[A-Za-z][\w.~+%-]{2,254}$",
        "a topic such as projects/p/topics/t",
    ),
    "pagerduty": (
        r"^projects/[a-z0-9-]+/notificationChannels/[0-9]+$",
        "the id of a channel made by hand, such as projects/p/notificationChannels/123",
    ),
}
_ADDRESSES["slack"] = _ADDRESSES["pagerduty"]


class Channel(Spec):
    """A notification channel. Secrets stay in the channel's own service; none is written here."""

    name: ShortName
    """Name that teams refer to."""
    type: Literal["email", "pubsub", "pagerduty", "slack"]
    """Kind of channel."""
    address: Annotated[str, Field(min_length=1, max_length=300)]
    """E-mail address, topic `projects/p/topics/t`, or for pagerduty and slack the id of a channel made by
    hand, `projects/p/notificationChannels/123`, since those hold a secret."""
    severities: Annotated[tuple[Severity, ...], Field(min_length=1)] = (
        Severity.CRITICAL,
        Severity.ERROR,
        Severity.WARNING,
    )
    """Severities of the alerts it gets."""

    @property
    def by_hand(self) -> bool:
        """Whether it holds a secret, so that it was made by hand and is only referred to."""
        return self.type in ("pagerduty", "slack")

    @model_validator(mode="after")
    def _addressed(self) -> "Channel":
        pattern, words = _ADDRESSES[self.type]
        if not re.fullmatch(pattern, self.address, re.ASCII):
            refuse([Finding(("address",), f"'{self.address}' is not {words}, which type {self.type} needs")])
        return self


class Retention(Spec):
    """How long data is kept, in days."""

    predictions: Annotated[int, Field(ge=1, le=3650)] = 400
    """Prediction logs."""
    monitoring: Annotated[int, Field(ge=30, le=3650)] = 800
    """Results of the monitors."""
    artifacts: Annotated[int, Field(ge=1, le=3650)] = 400
    """Minimum age before a model artefact may be deleted."""
    audit_logs: Annotated[int, Field(ge=30, le=3650)] = 400
    """Audit logs."""


class Budget(Spec):
    """Monthly amounts that raise an alert at 50, 90 and 100 percent."""

    currency: Currency = "EUR"
    """Currency of the billing account."""
    platform: Annotated[float, Field(gt=0, le=1e9)] = 2000
    """What the teams share."""
    team: Annotated[float, Field(gt=0, le=1e9)] = 500
    """Each team, unless its file says otherwise."""


class Ci(Spec):
    """The repository whose workflows plan and apply, by workload identity federation."""

    repository: Annotated[
        str,
        text(r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", "a repository such as example/models", max_length=140),
    ]
    """Repository on GitHub, `owner/name`."""
    deploy_ref: Annotated[
        str,
        text(r"^refs/(heads|tags)/[A-Za-z0-9._/-]+$", "a full ref such as refs/heads/main", max_length=255),
    ] = "refs/heads/main"
    """Only workflows on this ref may apply."""


class Images(Spec):
    """Digests of the serving images in the environment's registry."""

    rest: Digest
    """Server of REST models."""
    batch: Digest
    """Scorer of batch models."""
    streaming: Digest
    """Worker of streaming models."""
    monitor: Digest
    """Monitor job."""
    operations_center: Digest
    """Model Operations Center."""
    metrics_adapter: Digest
    """Mirror of Google's custom-metrics-stackdriver-adapter, by which streaming models scale on backlog."""


class Environment(Spec):
    """An environment file, `environments/<environment>.yaml`: where things are deployed, and defaults.

    Rules between fields:

    - The environment's name is the name of its file. Environments share no project, nor a team's project.
    - State is kept in a bucket, or with `stand_in: true` in local files; such an environment refuses Google.
    - `data_residency: EU` or `US` needs a region inside it.
    - Address ranges are private, large enough for GKE, and do not overlap.
    - Node pools need `mode: standard`, and one of them must have no GPUs.
    - Groups lie in the organisation's domain.
    - Channels named `platform` or `platform-...` are told of alerts on what teams share; where there is none,
      the group `platform` is, by e-mail. Between them they get alerts of every severity, and those made by
      hand are channels of `project`.
    """

    environment: Annotated[
        str,
        text(
            r"^[a-z][a-z0-9]*$",
            "a name of lower-case letters and digits that begins with a letter, such as dev",
            max_length=10,
        ),
    ]
    """Name of the environment; also the name of its file."""
    project: ProjectId
    """Project of what the teams share."""
    project_number: Annotated[
        str, text(r"^[1-9][0-9]{5,18}$", 'the number of a project in quotes, such as "123456789012"')
    ]
    """Number of that project, in quotes; `gcloud projects describe` shows it."""
    organization: Annotated[
        str,
        text(r"^[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}$", "a domain such as example.com", max_length=253),
    ]
    """Domain of the organisation; members outside it are refused."""
    cost_center: CostCenter = "platform"
    """Who pays for what the teams share."""
    region: Region
    """Region of the cluster and of everything regional."""
    data_residency: Literal["EU", "US", "region"] = "region"
    """Where data lives: a multi-region of BigQuery and Cloud Storage, or the region alone."""
    stand_in: bool = False
    """Whether this environment is for laptops: local state, deployed to the stand-in provider only."""
    state: State = State()
    """Where Terraform keeps its state."""
    tenants: Tenants
    """Where the teams' own projects are made."""
    network: Network = Network()
    """Address ranges."""
    cluster: Cluster = Cluster()
    """The GKE cluster."""
    groups: Groups
    """Google groups per persona."""
    channels: Annotated[tuple[Channel, ...], Field(min_length=1, max_length=100)]
    """Where alerts go."""
    retention: Retention = Retention()
    """How long data is kept."""
    budget: Budget = Budget()
    """Monthly amounts that raise alerts."""
    ci: Ci
    """Who plans and applies."""
    images: Images
    """The serving images."""
    defaults: Settings = Settings()
    """Settings of all models of the environment."""

    @model_validator(mode="after")
    def _consistent(self) -> "Environment":
        refuse(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        if not self.stand_in and self.state.bucket is None:
            yield Finding(
                ("state",),
                "Missing state.bucket: only stand_in: true keeps its state in local files",
            )
        if self.stand_in and self.state.bucket is not None:
            yield Finding(
                ("state", "bucket"), "stand_in: true keeps its state in local files; remove the bucket"
            )
        inside = MULTI_REGIONS.get(self.data_residency)
        if inside and self.region not in inside:
            yield Finding(
                ("region",),
                f"'{self.region}' is not in the multi-region {self.data_residency}, "
                "where data_residency keeps the data",
            )
        for i, pool in enumerate(self.cluster.node_pools):
            for j, zone in enumerate(pool.zones):
                if zone.rpartition("-")[0] != self.region:
                    where = ("cluster", "node_pools", i, "zones", j)
                    yield Finding(where, f"'{zone}' is not a zone of the region {self.region}")
        yield from twice((("channels", i, "name"), channel.name) for i, channel in enumerate(self.channels))
        yield from self._platform_channel_findings()
        for persona, group in self.groups:
            if not self.is_member(group):
                yield Finding(
                    ("groups", persona), f"'{group}' is not in the organisation's domain {self.organization}"
                )

    def _platform_channel_findings(self) -> Iterator[Finding]:
        heard = {severity for channel in self.platform_channels for severity in channel.severities}
        for i, channel in enumerate(self.channels):
            if channel not in self.platform_channels:
                continue
            # Alert policies tell channels of their own project alone.
            if channel.by_hand and not channel.address.startswith(f"projects/{self.project}/"):
                message = (
                    f"Channel '{channel.name}' is told of the platform's alerts, and is not in its project"
                )
                yield Finding(("channels", i, "address"), f"{message}; make it in {self.project}")
            if unheard := [severity for severity in Severity if severity not in heard]:
                message = f"Nobody is told of {' and '.join(unheard)} alerts of the platform"
                yield Finding(
                    ("channels", i, "severities"), f"{message}; add them to a channel of the platform"
                )

    @property
    def platform_channels(self) -> tuple[Channel, ...]:
        """Channels that are told of alerts on what teams share; the others are for teams to escalate to."""
        named = tuple(c for c in self.channels if c.name == "platform" or c.name.startswith("platform-"))
        return named or (Channel(name="platform", type="email", address=self.groups.platform),)

    @property
    def data_location(self) -> str:
        """Location of datasets and buckets."""
        return self.region if self.data_residency == "region" else self.data_residency

    def is_member(self, email: str) -> bool:
        """Return whether an e-mail address lies in the organisation's domain or below it."""
        domain = email.rpartition("@")[2].lower()
        return domain == self.organization or domain.endswith("." + self.organization)
