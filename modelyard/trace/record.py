"""What a trace holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from modelyard.spec.manifest import Manifest

FORMAT = "modelyard.trace/1"


class Status(StrEnum):
    """What came of a check."""

    VERIFIED = "verified"
    DIFFERS = "differs"
    UNREACHABLE = "not reachable"


@dataclass(frozen=True)
class Check:
    """A digest or signature that was computed again, or that could not be."""

    what: str
    status: Status
    detail: str = ""


@dataclass(frozen=True)
class Value:
    """One input of the prediction. A masked one has no value here."""

    name: str
    value: Any
    unit: str = ""
    sensitivity: str = ""
    masked: bool = False


@dataclass(frozen=True)
class Prediction:
    """A row of the prediction log. `copies` counts the rows with its id: the log may hold one twice."""

    prediction_id: str
    time: datetime
    environment: str
    team: str
    model: str
    version: int
    pattern: str
    table: str
    prediction: Any
    unit: str
    features: tuple[Value, ...]
    caller: Value
    latency_ms: float | None
    flags: tuple[str, ...]
    image_digest: str | None
    code_digest: str | None
    trace_id: str | None
    copies: int = 1


@dataclass(frozen=True)
class Version:
    """A row of the table of model versions."""

    manifest: Manifest
    document: Mapping[str, Any]
    """The manifest as it was published."""
    table: str


@dataclass(frozen=True)
class Deployment:
    """A row of the table of deployments, with the model's part in it."""

    deployment_id: str
    time: datetime
    environment: str
    actor: str
    approved_by: tuple[str, ...]
    repository: str
    commit: str
    stacks: tuple[str, ...]
    plan_digest: str
    manifest_digest: str
    image_digest: str
    percent: int
    table: str


@dataclass(frozen=True)
class Trace:
    """The whole chain, as far as it is recorded."""

    prediction: Prediction
    version: Version | None
    deployment: Deployment | None
    checks: tuple[Check, ...] = ()
    gaps: tuple[str, ...] = field(default=())
    """Links that are missing, and what is odd about those that are there; one sentence each."""

    @property
    def sound(self) -> bool:
        """Whether no check found a difference."""
        return all(check.status is not Status.DIFFERS for check in self.checks)
