"""What every part of the specification shares: strictness, names, severities, sensitivities."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Spec(BaseModel):
    """A frozen part of the specification; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Sensitivity(StrEnum):
    """How protected a feature is; each level maps to a policy tag in the catalog."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    PII = "pii"

    @property
    def restricted(self) -> bool:
        """Whether readers of the prediction log need an explicit grant to see the value."""
        return self in (Sensitivity.CONFIDENTIAL, Sensitivity.PII)


class Severity(StrEnum):
    """Cloud Monitoring's severities: critical pages a person, error and warning make tickets."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"


class Pattern(StrEnum):
    """How a model is served."""

    REST = "rest"
    BATCH = "batch"
    STREAMING = "streaming"


# A lower-case DNS label: legal in Kubernetes, and in BigQuery once hyphens become underscores.
# The lengths leave room for the prefixes and suffixes that modelyard.naming adds.
TeamName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", min_length=2, max_length=40)]
ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", min_length=2, max_length=40)]
Version = Annotated[int, Field(ge=1, le=1_000_000)]
Email = Annotated[str, Field(pattern=r"^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$", max_length=254)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}(s|m|h|d)$", description="A number and s, m, h or d")]


def seconds(duration: str) -> int:
    """Return the length of a `Duration` such as `15m` in seconds."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[duration[-1]]
