"""A team's file: who owns which models, and how each is served, watched and paid for."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, model_validator

from modelyard.spec import cron
from modelyard.spec.base import (
    EMAIL_PATTERN,
    CostCenter,
    Currency,
    Duration,
    Email,
    Finding,
    ModelName,
    Pattern,
    Sensitivity,
    Severity,
    Spec,
    TeamName,
    Version,
    checked,
    is_partial,
    refuse,
    text,
    within,
)
from modelyard.spec.manifest import ColumnName, Feature, Manifest

_CORES = (0.05, 224)
_MEBIBYTES = (64, 1_500_000)


def cores(cpu: str) -> float:
    """Return a `Cpu` such as `500m` in cores."""
    return int(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu)


def mebibytes(memory: str) -> int:
    """Return a `Memory` such as `2Gi` in MiB."""
    return int(memory[:-2]) * {"Mi": 1, "Gi": 1024}[memory[-2:]]


def _cpu_out_of_range(value: str) -> str | None:
    low, high = _CORES
    return None if low <= cores(value) <= high else f"'{value}' is out of range; expected 50m to {high} cores"


def _memory_out_of_range(value: str) -> str | None:
    low, high = _MEBIBYTES
    return (
        None if low <= mebibytes(value) <= high else f"'{value}' is out of range; expected {low}Mi to 1464Gi"
    )


Cpu = Annotated[
    str,
    text(
        r"^([1-9][0-9]{0,5}m|[1-9][0-9]{0,2})$",
        'a number of cores in quotes, such as "2", or of milli-cores, such as 500m',
    ),
    checked(_cpu_out_of_range),
]
Memory = Annotated[
    str,
    text(r"^[1-9][0-9]{0,6}(Mi|Gi)$", "an amount of memory such as 512Mi or 2Gi"),
    checked(_memory_out_of_range),
]
_BODY = (1024, 64 * 1024 * 1024)


def size_bytes(size: str) -> int:
    """Return a `Size` such as `1Mi` in bytes."""
    return int(size[:-2]) * {"Ki": 1024, "Mi": 1024 * 1024}[size[-2:]]


def _size_out_of_range(value: str) -> str | None:
    low, high = _BODY
    return None if low <= size_bytes(value) <= high else f"'{value}' is out of range; expected 1Ki to 64Mi"


Size = Annotated[
    str,
    text(r"^[1-9][0-9]{0,6}(Ki|Mi)$", "a size such as 256Ki or 1Mi"),
    checked(_size_out_of_range),
]
TableId = Annotated[
    str,
    text(
        r"^([a-z][a-z0-9-]{4,28}[a-z0-9]\.)?[A-Za-z0-9_]+\.[A-Za-z0-9_]+$",
        "a table such as dataset.table or project.dataset.table",
        max_length=1024,
    ),
]
Principal = Annotated[
    str,
    text(
        rf"^(group:{EMAIL_PATTERN[1:-1]}|serviceAccount:[a-z0-9-]+@([a-z0-9.-]+\.)?gserviceaccount\.com)$",
        "a group or service account such as group:pricing@example.com",
        max_length=280,
    ),
]
Share = Annotated[float, Field(gt=0, le=1)]
Window = Annotated[Duration, within("1m", "30d")]
Schedule = Annotated[
    str,
    text(r"^[^\s]+( [^\s]+){4}$", "a cron expression of five fields, such as '0 3 * * *'", max_length=200),
    checked(cron.wrong),
]


GpuType = Literal["nvidia-tesla-t4", "nvidia-l4", "nvidia-tesla-a100", "nvidia-h100-80gb"]


class Resources(Spec):
    """What one container gets; requests equal limits."""

    cpu: Cpu = "500m"
    """Cores, in quotes (`"2"`), or milli-cores (`500m`)."""
    memory: Memory = "1Gi"
    """Memory, such as `512Mi` or `2Gi`."""
    gpu: Annotated[int, Field(ge=0, le=8)] = 0
    """Number of GPUs."""
    gpu_type: GpuType = "nvidia-l4"
    """Kind of GPU, where there are any."""


class Replicas(Spec):
    """How far a REST or streaming deployment scales."""

    min: Annotated[int, Field(ge=1, le=1000)] = 2
    """Replicas at least."""
    max: Annotated[int, Field(ge=1, le=1000)] = 10
    """Replicas at most."""
    target_cpu: Annotated[int, Field(ge=10, le=95)] = 70
    """Mean CPU use in percent at which REST deployments scale out."""

    @model_validator(mode="after")
    def _ordered(self, info: ValidationInfo) -> "Replicas":
        if self.min > self.max and not is_partial(info):
            message = f"min {self.min} is above max {self.max}"
            refuse([Finding(("min",), message), Finding(("max",), message)])
        return self


class Canary(Spec):
    """A second version that gets a share of the traffic; pinned in `<model>.canary.json`."""

    version: Version
    """The canary's version."""
    percent: Annotated[int, Field(ge=1, le=99)] = 10
    """Share of the traffic in percent."""


class Serving(Spec):
    """What the server does with input that training has not seen, and when its log cannot be written."""

    out_of_range: Literal["flag", "reject"] = "flag"
    """A number outside the range of training, or a text that was not in it: answer and flag the row in the
    log, or refuse it."""
    log_unavailable: Literal["keep-serving", "stop-serving"] = "keep-serving"
    """While the prediction log takes no rows: answer without them, count and alert, or answer 503; REST.
    Batch and streaming models wait, since their input stays where it is."""
    max_rows: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Rows in one request at most; REST."""
    max_body: Size = "1Mi"
    """Size of one request at most, such as `256Ki` or `1Mi`; REST."""


class Batch(Spec):
    """How a batch model runs."""

    schedule: Schedule = "0 3 * * *"
    """When it runs: a cron expression of five fields, in UTC."""
    source: TableId | None = None
    """Table to score, every row in every run; default: the team's `<model>_input`."""
    key: ColumnName | None = None
    """Column of `source` that says which row a prediction is of; default: `row_id` of `<model>_input`."""
    shards: Annotated[int, Field(ge=1, le=1000)] = 2
    """Parallel indexed pods, each scoring its share of the rows."""
    deadline: Annotated[Duration, within("1m", "7d")] = "4h"
    """Time after which a run is given up."""

    @model_validator(mode="after")
    def _keyed(self, info: ValidationInfo) -> "Batch":
        if self.key and not self.source and not is_partial(info):
            message = f"'{self.key}' is a column of no table: name the source too, or remove the key"
            refuse([Finding(("key",), message)])
        return self


class Streaming(Spec):
    """How a streaming model runs."""

    max_backlog: Annotated[int, Field(ge=1, le=10_000_000)] = 1000
    """Unacknowledged messages per replica at which the deployment scales out."""
    retention: Annotated[Duration, within("10m", "31d")] = "7d"
    """How long Pub/Sub keeps messages that are not acknowledged."""
    max_delivery_attempts: Annotated[int, Field(ge=5, le=100)] = 5
    """Attempts after which a message goes to the dead-letter topic."""


class Label(Spec):
    """Where the truth arrives, for measured performance."""

    table: TableId
    """Table with one row per known truth."""
    key: ColumnName = "prediction_id"
    """Its column that holds the prediction's id."""
    column: ColumnName = "label"
    """Its column that holds the truth."""
    delay: Annotated[Duration, within("1m", "365d")] = "1d"
    """Time after which most labels are there."""


class LatencyMonitor(Spec):
    """Response time (REST), staleness of a run (batch) or of messages (streaming)."""

    enabled: bool = True
    """Whether the monitor alerts."""
    severity: Severity = Severity.CRITICAL
    """Severity of its alerts."""
    window: Window = "5m"
    """Time it looks at; streaming: the oldest that an unscored message may be."""
    threshold: Annotated[float, Field(gt=0, le=86_400_000)] = 250
    """95th percentile of the response time in milliseconds; REST."""
    error_rate: Share = 0.01
    """Share of requests, rows or messages that may fail, 0 to 1."""


class UsageMonitor(Spec):
    """Volume of predictions."""

    enabled: bool = True
    """Whether the monitor alerts."""
    severity: Severity = Severity.ERROR
    """Severity of its alerts."""
    window: Window = "1h"
    """Time it looks at."""
    threshold: Share = 0.4
    """Share of the usual volume below which the alert fires, 0 to 1."""


class QualityMonitor(Spec):
    """Missing, mistyped and out-of-range feature values."""

    enabled: bool = True
    """Whether the monitor alerts."""
    severity: Severity = Severity.CRITICAL
    """Severity of its alerts."""
    window: Window = "1h"
    """Time it looks at."""
    threshold: Share = 0.05
    """Share of invalid values of any feature, beyond its share in training, 0 to 1."""


class DriftMonitor(Spec):
    """Distance of live features and predictions from training."""

    enabled: bool = True
    """Whether the monitor alerts."""
    severity: Severity = Severity.WARNING
    """Severity of its alerts."""
    window: Window = "1d"
    """Time it looks at."""
    threshold: Annotated[float, Field(gt=0, le=10)] = 0.2
    """Population stability index against the frozen baseline bins."""


class PerformanceMonitor(Spec):
    """The manifest's primary metric, measured on labels."""

    enabled: bool = True
    """Whether the monitor alerts."""
    severity: Severity = Severity.CRITICAL
    """Severity of its alerts."""
    window: Window = "1d"
    """Time it looks at."""
    threshold: Share = 0.2
    """Loss against the test metric as a share of it, 0 to 1."""


class Monitors(Spec):
    """The five families; each works without settings."""

    latency: LatencyMonitor = LatencyMonitor()
    """How fast and how reliably it answers."""
    usage: UsageMonitor = UsageMonitor()
    """How much it is used."""
    quality: QualityMonitor = QualityMonitor()
    """Whether its inputs are valid."""
    drift: DriftMonitor = DriftMonitor()
    """Whether its inputs and predictions have moved."""
    performance: PerformanceMonitor = PerformanceMonitor()
    """Whether its predictions are still right."""


class Impact(Spec):
    """What a prediction is worth, and to whom."""

    kpi: Annotated[str, Field(min_length=1, max_length=200)]
    """The figure the model moves, in words."""
    unit_value: Annotated[float, Field(ge=-1e12, le=1e12)]
    """Value of one prediction that is used, in `currency`."""
    currency: Currency = "EUR"
    """Currency of the value."""
    stakeholders: tuple[Email, ...] = ()
    """Who wants to know."""


class Access(Spec):
    """Who may use the model and its log, beyond the owners."""

    callers: tuple[Principal, ...] = ()
    """Who may call the service or publish to its topic. A REST model knows service accounts, not groups."""
    log_readers: tuple[Principal, ...] = ()
    """Who may read the prediction log, without protected features."""
    pii_readers: tuple[Principal, ...] = ()
    """Who may read the log's confidential and pii features in clear; a model that has such features must name
    them, `[]` for nobody."""


class Settings(Spec):
    """Settings with a default each; an environment, a team or a model may override any of them."""

    resources: Resources = Resources()
    """What one container gets."""
    replicas: Replicas = Replicas()
    """How far it scales; REST and streaming."""
    batch: Batch = Batch()
    """When and how it runs; batch."""
    streaming: Streaming = Streaming()
    """How messages are handled; streaming."""
    serving: Serving = Serving()
    """What happens to unusual input, and when the log is away."""
    monitors: Monitors = Monitors()
    """What alerts, and when."""
    access: Access = Access()
    """Who may use it."""


class Model(Settings):
    """One model of a team, with all settings resolved."""

    name: ModelName
    """Name of the model, unique in the team."""
    pattern: Pattern
    """How it is served."""
    version: Version
    """Version that is served; pinned in `<name>.json`."""
    description: Annotated[str, Field(max_length=500)] = ""
    """What it is for, for people."""
    canary: Canary | None = None
    """A second version that gets a share of the traffic; REST."""
    sensitivity: dict[ColumnName, Sensitivity] = {}
    """Sensitivity of features where it differs from the manifest."""
    label: Label | None = None
    """Where the truth arrives, for measured performance."""
    impact: Impact | None = None
    """What a prediction is worth, and to whom."""


class Owners(Spec):
    """Who answers for the team's models."""

    group: Email
    """Google group of the owners."""
    escalation: Annotated[
        str,
        text(
            r"^[a-z]([a-z0-9-]*[a-z0-9])?$",
            "the name of a notification channel, such as pager-flight-ops",
            max_length=40,
        ),
    ]
    """Name of the notification channel that critical alerts page; see the environment's channels."""
    developers: Email | None = None
    """Google group that deploys and debugs; default: the owners."""
    viewers: Email | None = None
    """Google group that may look; default: the environment's viewers."""


class Team(Spec):
    """A team file, `teams/<team>/team.yaml`: who owns which models, how each is served, watched and paid for.

    A whole one:

    ```yaml
    # yaml-language-server: $schema=../../schemas/team.schema.json
    team: flight-ops
    owners: {group: flight-ops@example.com, escalation: pager-flight-ops}
    cost_center: "4711"
    models:
      - name: arrival-delay
        pattern: rest            # rest | batch | streaming
        version: 3               # pinned in arrival-delay.json
    ```

    Everything else has a default. The groups of [Settings](#settings) may stand in an environment file under
    `defaults`, in a team file under `defaults`, and at a model; each overrides, key by key, what the one
    before sets. A list replaces a list.

    Rules between fields:

    - The team's name is the name of its folder. Names are unique, also where Google's limits shorten them.
    - `escalation` is a channel of every environment, and one that gets critical alerts.
    - Each version is pinned by a manifest beside the file: `<model>.json`, a canary's `<model>.canary.json`.
      Only REST models have a canary; it takes the same features, of the same types, as the version it joins.
    - A model with `confidential` or `pii` features says who may read them in clear: `access.pii_readers`,
      `[]` for nobody. It may say so in `defaults`.
    - Settings that a model's pattern does not use are errors at the model, and allowed in `defaults`.
    - Groups lie in the organisation's domain. Resources fit on the environment's nodes.
    """

    team: TeamName
    """Name of the team; also the name of its folder."""
    owners: Owners
    """Who answers for the team's models."""
    cost_center: CostCenter
    """Who pays; in quotes where it is a number."""
    monthly_budget: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """In the environment's currency; default: the environment's budget per team."""
    defaults: Settings = Settings()
    """Settings of all models of the team."""
    models: Annotated[tuple[Model, ...], Field(max_length=200)]
    """The models; `[]` while there are none."""


class DeployedModel(Spec):
    """A model joined with the manifests it pins."""

    spec: Model
    manifest: Manifest
    canary: Manifest | None = None
    retired: tuple[Feature, ...] = ()
    """Features of earlier versions, whose columns the prediction log keeps."""

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    def sensitivity(self, feature: str) -> Sensitivity:
        """Return the sensitivity of `feature`: the team's word, else the manifest's."""
        declared = {f.name: f.sensitivity for f in self.manifest.signature.features}
        return self.spec.sensitivity.get(feature, declared[feature])


class DeployedTeam(Spec):
    """A team as one environment deploys it: settings merged, manifests read."""

    team: TeamName
    owners: Owners
    cost_center: str
    monthly_budget: float
    models: tuple[DeployedModel, ...]
    stack_py: str | None = None
    """Path of the team's own `stack.py`, where there is one."""
