"""The life of alerts: events that are only ever added, and what they add up to.

Two people, or a person and the monitor job, may act at the same time: each adds an event of his own, none
changes another's, and all see the same sum.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import Any
from uuid import uuid4

import pyarrow as pa

from modelyard.incidents.incident import Incident, Known
from modelyard.incidents.readings import Silence
from modelyard.incidents.text import text, title
from modelyard.spec.base import Severity
from modelyard.tables import ALERT_EVENTS, arrow_schema
from modelyard.warehouse import Warehouse

# Alerts whose last event is older are history.
REMEMBERED = timedelta(days=90)


class AlertError(ValueError):
    """What was asked of an alert cannot be done."""


class Kind(StrEnum):
    """Kinds of event."""

    OPENED = "opened"
    CHANGED = "changed"
    JOINED = "joined"
    """The same fault struck another model of the team, which the event names."""
    ACKNOWLEDGED = "acknowledged"
    ASSIGNED = "assigned"
    CLOSED = "closed"
    SILENCED = "silenced"


class Cause(StrEnum):
    """Causes that a person closes an alert with. All but the last two were worth acting on."""

    DEPLOYMENT = "deployment"
    UPSTREAM = "upstream"
    TRAFFIC = "traffic"
    INFRASTRUCTURE = "infrastructure"
    CONCEPT = "concept"
    SEASON = "season"
    EXPECTED = "expected"
    FALSE_ALARM = "false-alarm"

    @property
    def actionable(self) -> bool:
        """Whether there was something to do."""
        return self not in (Cause.EXPECTED, Cause.FALSE_ALARM)


@dataclass(frozen=True)
class Event:
    """A row of `alert_events`."""

    alert_id: str
    time: datetime
    event: Kind
    key: str
    team: str
    severity: Severity
    owner: str
    model: str | None = None
    version: int | None = None
    feature: str | None = None
    value: float | None = None
    threshold: float | None = None
    actor: str | None = None
    cause: str | None = None
    note: str | None = None
    root: str | None = None
    title: str | None = None
    text: str | None = None
    assignee: str | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Alert:
    """An alert, as its events add up to."""

    alert_id: str
    key: str
    team: str
    model: str | None
    severity: Severity
    owner: str
    opened: datetime
    version: int | None = None
    feature: str | None = None
    root: str | None = None
    title: str = ""
    text: str = ""
    acknowledged: datetime | None = None
    acknowledged_by: str | None = None
    assignee: str | None = None
    closed: datetime | None = None
    closed_by: str | None = None
    """None, where it was closed: it resolved by itself."""
    cause: str | None = None
    also: tuple[str, ...] = ()
    """Other models of the team with the same fault."""
    events: tuple[Event, ...] = field(default=(), repr=False)

    @property
    def is_open(self) -> bool:
        """Whether it is neither resolved nor closed."""
        return self.closed is None

    @property
    def subject(self) -> str:
        """Whose it is: `team/model`, or the team."""
        return f"{self.team}/{self.model}" if self.model else self.team

    @property
    def known(self) -> Known:
        """Return it as the evaluation takes it."""
        return Known(
            self.alert_id,
            self.team,
            self.model or "",
            self.key,
            self.feature,
            self.severity,
            self.opened,
            frozenset(self.also),
        )


def read(warehouse: Warehouse, ref: str, now: datetime) -> list[Event]:
    """Return the events of the last 90 days, the earliest first."""
    days = ((now - REMEMBERED).date(), (now + timedelta(days=1)).date())
    rows = warehouse.query(f"SELECT * FROM `{ref}`", {}, {ref: ALERT_EVENTS}, days).to_pylist()
    names = {item.name for item in fields(Event)}
    found = [
        Event(
            **{
                **{name: value for name, value in row.items() if name in names},
                "event": Kind(row["event"]),
                "severity": Severity(row["severity"]),
            }
        )
        for row in rows
    ]
    return sorted(found, key=lambda event: (event.time, list(Kind).index(event.event)))


def write(warehouse: Warehouse, ref: str, events: Sequence[Event], name: str) -> None:
    """Add events, once under `name`."""
    if events:
        rows = [asdict(event) for event in events]
        schema = arrow_schema(ALERT_EVENTS)
        columns = {column.name: [row.get(column.name) for row in rows] for column in schema}
        warehouse.append(ref, ALERT_EVENTS, pa.table(columns, schema=schema), name)


def alerts(events: Iterable[Event]) -> dict[str, Alert]:
    """Return what `events`, in order of time, add up to, by id; silences are none."""
    found: dict[str, Alert] = {}
    for event in events:
        if event.event is Kind.SILENCED:
            continue
        alert = found.get(event.alert_id)
        if alert is None:
            if event.event is not Kind.OPENED:
                continue  # opened too long ago to be remembered
            alert = _opened(event)
        elif event.event is not Kind.OPENED or alert.closed:
            alert = _after(alert, event)
        found[event.alert_id] = replace(alert, events=(*alert.events, event))
    return found


def _opened(event: Event) -> Alert:
    return Alert(
        event.alert_id,
        event.key,
        event.team,
        event.model,
        event.severity,
        event.owner,
        event.time,
        event.version,
        event.feature,
        event.root,
        event.title or "",
        event.text or "",
    )


def _after(alert: Alert, event: Event) -> Alert:
    match event.event:
        case Kind.OPENED:  # it had resolved, and is back
            return replace(
                alert,
                severity=event.severity,
                title=event.title or alert.title,
                text=event.text or alert.text,
                closed=None,
                closed_by=None,
                cause=None,
            )
        case Kind.CHANGED:
            return replace(
                alert,
                model=event.model,
                also=_without(event.model, (*alert.also, alert.model)),
                key=event.key,
                severity=event.severity,
                feature=event.feature,
                version=event.version,
                root=event.root,
                title=event.title or alert.title,
                text=event.text or alert.text,
            )
        case Kind.JOINED:
            return replace(
                alert,
                also=_without(alert.model, (*alert.also, event.model)),
                title=event.title or alert.title,
                text=event.text or alert.text,
            )
        case Kind.ACKNOWLEDGED if alert.acknowledged is None:
            return replace(alert, acknowledged=event.time, acknowledged_by=event.actor)
        case Kind.ASSIGNED:
            return replace(alert, assignee=event.assignee)
        case Kind.CLOSED if alert.closed is None or alert.cause is None:
            # A person may still say the cause of what resolved by itself.
            first = alert.closed or event.time
            return replace(alert, closed=first, closed_by=event.actor or alert.closed_by, cause=event.cause)
    return alert


def _without(model: str | None, models: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({name for name in models if name and name != model}))


def silences(events: Iterable[Event], now: datetime) -> list[Silence]:
    """Return the silences that have not ended at `now`."""
    return [
        Silence(
            event.team,
            event.model,
            None if event.key == "all" else event.key,
            event.time,
            event.until,
            event.note or "",
            event.actor or "",
        )
        for event in events
        if event.event is Kind.SILENCED and event.until and event.until > now
    ]


# What the monitoring says


def told(incident: Incident, kind: Kind, now: datetime) -> Event:
    """Return the event of an incident that opened or changed."""
    subject, first = incident.watched, incident.findings[0]
    return Event(
        incident.incident_id,
        now,
        kind,
        incident.key,
        subject.team,
        incident.severity,
        subject.owner,
        subject.model,
        incident.version,
        incident.feature,
        first.episode.peak.value,
        first.episode.threshold,
        root=incident.root.value,
        title=title(incident),
        text=text(incident),
    )


def joined(incident: Incident, model: str, now: datetime) -> Event:
    """Return the event of an incident that another model of the team has too."""
    return replace(told(incident, Kind.JOINED, now), model=model)


def resolved(alert: Alert, now: datetime) -> Event:
    """Return the event of an alert that resolved by itself."""
    return replace(_of(alert, now, Kind.CLOSED, None), note="resolved by itself")


# What people do


def _of(alert: Alert, now: datetime, kind: Kind, actor: str | None, **more: Any) -> Event:
    return Event(
        alert.alert_id,
        now,
        kind,
        alert.key,
        alert.team,
        alert.severity,
        alert.owner,
        alert.model,
        alert.version,
        alert.feature,
        actor=actor,
        **more,
    )


def acknowledge(alert: Alert, now: datetime, actor: str, note: str | None = None) -> Event:
    """Return the event by which somebody says that he looks at it."""
    _must_be_open(alert)
    return _of(alert, now, Kind.ACKNOWLEDGED, actor, note=note)


def assign(alert: Alert, now: datetime, actor: str, to: str) -> Event:
    """Return the event by which somebody is asked to work on it."""
    _must_be_open(alert)
    return _of(alert, now, Kind.ASSIGNED, actor, assignee=to)


def close(alert: Alert, now: datetime, actor: str, cause: Cause, note: str | None = None) -> Event:
    """Return the event by which somebody says what it was; also of one that resolved by itself."""
    if alert.cause is not None:
        raise AlertError(f"{alert.alert_id} was closed already, with the cause {alert.cause}")
    return _of(alert, now, Kind.CLOSED, actor, cause=cause.value, note=note)


def silence(chosen: Silence, owner: str) -> Event:
    """Return the event by which alerts are not told for a while."""
    return Event(
        f"silence-{uuid4().hex[:12]}",
        chosen.start,
        Kind.SILENCED,
        chosen.key or "all",
        chosen.team,
        Severity.WARNING,
        owner,
        chosen.model,
        actor=chosen.actor,
        note=chosen.reason,
        until=chosen.until,
    )


def _must_be_open(alert: Alert) -> None:
    if not alert.is_open:
        raise AlertError(f"{alert.alert_id} was closed at {alert.closed:%Y-%m-%d %H:%M} UTC")


# What can be learned from it


@dataclass(frozen=True)
class Figures:
    """How alerts were answered. Times are medians, in minutes; shares 0 to 1; None where there is none."""

    alerts: int
    open: int
    pages: int
    minutes_to_acknowledge: float | None
    minutes_to_resolve: float | None
    closed_with_cause: int
    actionable_share: float | None
    """Of those closed with a cause, how many were worth acting on."""
    causes: Mapping[str, int]


def figures(found: Iterable[Alert]) -> Figures:
    """Return how alerts were answered."""
    every = list(found)
    acknowledged = [a.acknowledged - a.opened for a in every if a.acknowledged]
    closed = [a.closed - a.opened for a in every if a.closed]
    causes: dict[str, int] = {}
    for alert in every:
        if alert.cause:
            causes[alert.cause] = causes.get(alert.cause, 0) + 1
    known = {cause.value: cause.actionable for cause in Cause}
    judged = [cause for alert in every if (cause := alert.cause)]
    worth = sum(known.get(cause, True) for cause in judged)
    return Figures(
        alerts=len(every),
        open=sum(a.is_open for a in every),
        pages=sum(a.severity is Severity.CRITICAL for a in every),
        minutes_to_acknowledge=_minutes(acknowledged),
        minutes_to_resolve=_minutes(closed),
        closed_with_cause=len(judged),
        actionable_share=worth / len(judged) if judged else None,
        causes=dict(sorted(causes.items())),
    )


def _minutes(times: Sequence[timedelta]) -> float | None:
    return round(median(time / timedelta(minutes=1) for time in times), 1) if times else None
