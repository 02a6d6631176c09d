"""What incidents are made of: measured values, deployments and silences."""

from dataclasses import dataclass
from datetime import datetime, timedelta

# Values are evaluated as of a full hour, by a run within the hour after it.
RUN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Reading:
    """One row of `metric_values`: a metric of a model over one window."""

    team: str
    model: str
    version: int | None
    family: str
    metric: str
    feature: str | None
    start: datetime
    end: datetime
    value: float | None
    """None: could not be measured."""
    threshold: float | None
    """What the value is compared with; knows the sample size. None: not alerted on."""
    rows: int
    detail: str = ""
    """The value in words."""

    @property
    def key(self) -> "SeriesKey":
        """Return what is the same for all windows of one metric."""
        return SeriesKey(self.team, self.model, self.version, self.family, self.metric, self.feature)


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """A metric of a model, of one feature where it is measured per feature."""

    team: str
    model: str
    version: int | None
    family: str
    metric: str
    feature: str | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """A version of a model that went into service, in whole or in part."""

    time: datetime
    team: str
    model: str
    version: int
    percent: int = 100
    actor: str = ""
    commit: str = ""


@dataclass(frozen=True, slots=True)
class Silence:
    """A time in which alerts are not told; it always ends."""

    team: str
    model: str | None
    """None: all models of the team."""
    key: str | None
    """Key of the alert; None: all."""
    start: datetime
    until: datetime
    reason: str = ""
    actor: str = ""

    def __post_init__(self) -> None:
        """Refuse a silence without an end."""
        if self.until <= self.start:
            raise ValueError(f"a silence ends after it begins: {self.start} to {self.until}")

    def covers(self, team: str, model: str, key: str) -> bool:
        """Return whether it is about an alert."""
        return self.team == team and self.model in (None, model) and self.key in (None, key)

    def lasts(self, now: datetime) -> bool:
        """Return whether it is in force in the run that evaluates `now`, which comes up to an hour later."""
        return self.start < now + RUN and now < self.until
