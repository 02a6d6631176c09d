"""A team's file: who owns which models, and how each is served, watched and paid for."""

from typing import Annotated

from pydantic import Field, model_validator

from modelyard.spec.base import Duration, Email, ModelName, Pattern, Sensitivity, Severity, Spec, TeamName, Version
from modelyard.spec.manifest import ColumnName, Manifest

Cpu = Annotated[str, Field(pattern=r"^([1-9][0-9]{0,5}m|[1-9][0-9]{0,2})$", description="Cores (2) or milli-cores (500m)")]
Memory = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}(Mi|Gi)$", description="Memory, such as 512Mi or 2Gi")]
TableId = Annotated[str, Field(pattern=r"^([a-z][a-z0-9-]{4,28}[a-z0-9]\.)?[A-Za-z0-9_]+\.[A-Za-z0-9_]+$")]
Principal = Annotated[str, Field(pattern=r"^(group|serviceAccount):[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$")]
Share = Annotated[float, Field(gt=0, le=1)]


class Resources(Spec):
    """What one container gets; requests equal limits."""

    cpu: Cpu = "500m"
    memory: Memory = "1Gi"
    gpu: Annotated[int, Field(ge=0, le=8)] = 0


class Replicas(Spec):
    """How far a REST or streaming deployment scales."""

    min: Annotated[int, Field(ge=1, le=1000)] = 2
    max: Annotated[int, Field(ge=1, le=1000)] = 10
    target_cpu: Annotated[int, Field(ge=10, le=95)] = 70
    """Mean CPU use in percent at which REST deployments scale out."""

    @model_validator(mode="after")
    def _ordered(self) -> "Replicas":
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Canary(Spec):
    """A second version that gets a share of the traffic; pinned in `<model>.canary.json`."""

    version: Version
    percent: Annotated[int, Field(ge=1, le=99)] = 10


class Batch(Spec):
    """How a batch model runs."""

    schedule: Annotated[str, Field(pattern=r"^(\S+ ){4}\S+$", description="A cron expression of five fields, UTC")] = "0 3 * * *"
    source: TableId | None = None
    """Table to score; default: the team's `<model>_input`."""
    shards: Annotated[int, Field(ge=1, le=1000)] = 2
    """Parallel indexed pods, each scoring its share of the rows."""
    deadline: Duration = "4h"


class Streaming(Spec):
    """How a streaming model runs."""

    max_backlog: Annotated[int, Field(ge=1)] = 1000
    """Unacknowledged messages per replica at which the deployment scales out."""
    retention: Duration = "7d"
    max_delivery_attempts: Annotated[int, Field(ge=5, le=100)] = 5


class Label(Spec):
    """Where the truth arrives, for measured performance."""

    table: TableId
    key: ColumnName = "prediction_id"
    column: ColumnName = "label"
    delay: Duration = "1d"
    """Time after which most labels are there."""


class LatencyMonitor(Spec):
    """Response time (REST), staleness of a run (batch) or of messages (streaming)."""

    enabled: bool = True
    severity: Severity = Severity.CRITICAL
    window: Duration = "5m"
    threshold: Annotated[float, Field(gt=0, le=86_400_000)] = 250
    """95th percentile of the response time in milliseconds."""
    error_rate: Share = 0.01
    """Share of requests, rows or messages that may fail, 0 to 1."""


class UsageMonitor(Spec):
    """Volume of predictions."""

    enabled: bool = True
    severity: Severity = Severity.ERROR
    window: Duration = "1h"
    threshold: Share = 0.4
    """Share of the usual volume below which the alert fires, 0 to 1."""


class QualityMonitor(Spec):
    """Missing, mistyped and out-of-range feature values."""

    enabled: bool = True
    severity: Severity = Severity.CRITICAL
    window: Duration = "1h"
    threshold: Share = 0.05
    """Share of invalid values of any feature, beyond its share in training, 0 to 1."""


class DriftMonitor(Spec):
    """Distance of live features and predictions from training."""

    enabled: bool = True
    severity: Severity = Severity.WARNING
    window: Duration = "1d"
    threshold: Annotated[float, Field(gt=0, le=10)] = 0.2
    """Population stability index against the frozen baseline bins."""


class PerformanceMonitor(Spec):
    """The manifest's primary metric, measured on labels."""

    enabled: bool = True
    severity: Severity = Severity.CRITICAL
    window: Duration = "1d"
    threshold: Share = 0.2
    """Loss against the test metric as a share of it, 0 to 1."""


class Monitors(Spec):
    """The five families; each works without settings."""

    latency: LatencyMonitor = LatencyMonitor()
    usage: UsageMonitor = UsageMonitor()
    quality: QualityMonitor = QualityMonitor()
    drift: DriftMonitor = DriftMonitor()
    performance: PerformanceMonitor = PerformanceMonitor()


class Impact(Spec):
    """What a prediction is worth, and to whom."""

    kpi: Annotated[str, Field(min_length=1, max_length=200)]
    unit_value: float
    """Value of one prediction that is used, in `currency`."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    stakeholders: tuple[Email, ...] = ()


class Access(Spec):
    """Who may use the model and its log, beyond the owners."""

    callers: tuple[Principal, ...] = ()
    """Who may call the service or publish to its topic."""
    log_readers: tuple[Principal, ...] = ()
    """Who may read the prediction log, without protected features."""
    pii_readers: tuple[Principal, ...] = ()
    """Who may read the log's confidential and pii features in clear."""


class Settings(Spec):
    """Settings with a default each; an environment, a team or a model may override any of them."""

    resources: Resources = Resources()
    replicas: Replicas = Replicas()
    batch: Batch = Batch()
    streaming: Streaming = Streaming()
    monitors: Monitors = Monitors()
    access: Access = Access()


class Model(Settings):
    """One model of a team, with all settings resolved."""

    name: ModelName
    pattern: Pattern
    version: Version
    description: Annotated[str, Field(max_length=500)] = ""
    canary: Canary | None = None
    sensitivity: dict[ColumnName, Sensitivity] = {}
    """Sensitivity of features where it differs from the manifest."""
    label: Label | None = None
    impact: Impact | None = None


class Owners(Spec):
    """Who answers for the team's models."""

    group: Email
    """Google group of the owners."""
    escalation: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    """Name of the notification channel that critical alerts page; see the environment's channels."""
    developers: Email | None = None
    """Google group that deploys and debugs; default: the owners."""
    viewers: Email | None = None
    """Google group that may look; default: the environment's viewers."""


class Team(Spec):
    """A team file."""

    team: TeamName
    owners: Owners
    cost_center: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    monthly_budget: Annotated[float, Field(gt=0)] | None = None
    """In the environment's currency; default: the environment's budget per team."""
    defaults: Settings = Settings()
    models: Annotated[tuple[Model, ...], Field(min_length=1, max_length=200)]


class DeployedModel(Spec):
    """A model joined with the manifests it pins."""

    spec: Model
    manifest: Manifest
    canary: Manifest | None = None

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


