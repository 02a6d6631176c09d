"""Evaluate an environment: read what was measured, write what opened, changed and resolved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from modelyard.incidents import history
from modelyard.incidents.group import DEPLOYMENT_WINDOW, JUDGED, STARTING, evaluate
from modelyard.incidents.history import Kind
from modelyard.incidents.incident import Evaluation, Incident
from modelyard.incidents.readings import Deployment, Reading, SeriesKey, Silence
from modelyard.monitors.measuring import sql
from modelyard.monitors.measuring.watched import Watched
from modelyard.tables import DEPLOYMENTS, METRIC_VALUES
from modelyard.warehouse import Warehouse

# How far back values are read: what is usual is learned from them.
HISTORY = timedelta(days=60)
ALL = "all"


@dataclass(frozen=True)
class Outcome:
    """What a run has found, and what it has to push."""

    evaluation: Evaluation
    explained: Mapping[SeriesKey, bool]
    """Measured series -> whether it needs no alert of its own."""
    silenced: Mapping[tuple[str, str, str], datetime]
    """Team, model and alert key, or `all` -> until when it is silenced."""


def run(warehouse: Warehouse, watched: Sequence[Watched], now: datetime, run_id: str) -> Outcome:
    """Evaluate the models of one environment as of `now`, and keep what is new in `alert_events`.

    Args:
        warehouse: where all tables are.
        watched: models of one environment, after they were measured.
        now: time of the evaluation, UTC.
        run_id: of the run: repeated, it writes nothing twice.
    """
    if not watched:
        return Outcome(Evaluation((), (), (), (), frozenset()), {}, {})
    ref = watched[0].table("alert_events")
    events = history.read(warehouse, ref, now)
    held = history.alerts(events)
    silences = history.silences(events, now)
    deployments = _deployments(warehouse, watched[0].metadata, now)
    readings = _readings(warehouse, watched, now)
    known = [alert.known for alert in held.values() if alert.is_open]
    result = evaluate(readings, watched, now=now, deployments=deployments, silences=silences, known=known)
    new = [incident for incident in result.opened if _is_news(incident, held)]
    said = [history.told(incident, Kind.OPENED, now) for incident in new]
    said += [history.told(incident, Kind.CHANGED, now) for incident in result.changed]
    said += [
        history.joined(incident, other.watched.model, now)
        for incident in (
            *new,
            *(i for i in result.incidents if i.incident_id in {k.incident_id for k in known}),
        )
        for other in incident.also
        if other.watched.model not in _models(held.get(incident.incident_id))
    ]
    said += [history.resolved(held[known.incident_id], now) for known in result.closed]
    history.write(warehouse, ref, said, f"alerts-{run_id}")
    measured = {reading.key for reading in readings}
    return Outcome(
        result,
        {key: key in result.needs_no_alert for key in measured},
        _silenced(silences, deployments, watched, now),
    )


def silenced(
    warehouse: Warehouse, watched: Sequence[Watched], now: datetime
) -> dict[tuple[str, str, str], datetime]:
    """Return until when which alert of which model is not told: team, model and alert key, or `all`."""
    if not watched:
        return {}
    events = history.read(warehouse, watched[0].table("alert_events"), now)
    deployments = _deployments(warehouse, watched[0].metadata, now)
    return _silenced(history.silences(events, now), deployments, watched, now)


def _models(alert: history.Alert | None) -> tuple[str | None, ...]:
    return (alert.model, *alert.also) if alert else ()


def _is_news(incident: Incident, held: Mapping[str, history.Alert]) -> bool:
    """Return whether to tell an incident that is not open.

    What resolved by itself and is back is told again; what a person closed stays closed until it began anew.
    """
    before = held.get(incident.incident_id)
    if before is None or before.closed is None or before.closed_by is None:
        return True
    return any(f.lasts and f.episode.opened > before.closed for f in incident.findings)


def _silenced(
    silences: Sequence[Silence],
    deployments: Sequence[Deployment],
    watched: Sequence[Watched],
    now: datetime,
) -> dict[tuple[str, str, str], datetime]:
    """Return until when which alert of which model is not told: by people, and while a version starts."""
    found: dict[tuple[str, str, str], datetime] = {}
    starting = [
        (d, key)
        for d in deployments
        if d.time <= now < d.time + DEPLOYMENT_WINDOW
        for key in sorted({m.key for m in JUDGED.values() if m.rule and m.rule.stage in STARTING})
    ]
    for model in watched:
        ends = [
            ((s.key or ALL), s.until)
            for s in silences
            if s.team == model.team and s.model in (None, model.model) and s.lasts(now)
        ]
        ends += [
            (key, d.time + DEPLOYMENT_WINDOW)
            for d, key in starting
            if (d.team, d.model) == (model.team, model.model)
        ]
        for key, until in ends:
            place = (model.team, model.model, key)
            found[place] = max(until, found.get(place, until))
    return found


def _readings(warehouse: Warehouse, watched: Sequence[Watched], now: datetime) -> list[Reading]:
    """Return the judged values, the latest computation of each window."""
    ref = watched[0].table("metric_values")
    metrics = ", ".join(sorted({sql.text(metric) for _, metric in JUDGED}))
    statement = f"""
SELECT team, model, version, family, metric, feature, window_start, window_end, value, threshold, row_count,
  detail
FROM {sql.table(ref)}
WHERE window_end > @start AND window_end <= @now AND team IN UNNEST(@teams) AND model IN UNNEST(@models)
  AND metric IN ({metrics})
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY team, model, window_start, window_end, version, family, metric, feature
  ORDER BY computed DESC, run_id DESC
) = 1"""
    start = now - HISTORY
    parameters = {
        "start": start,
        "now": now,
        "teams": sorted({model.team for model in watched}),
        "models": sorted({model.model for model in watched}),
    }
    wanted = {(model.team, model.model): model for model in watched}
    rows = warehouse.query(statement, parameters, {ref: METRIC_VALUES}, (start.date(), now.date()))
    return [
        Reading(
            row["team"],
            row["model"],
            row["version"],
            row["family"],
            row["metric"],
            row["feature"],
            row["window_start"],
            row["window_end"],
            row["value"],
            row["threshold"],
            row["row_count"],
            row["detail"] or "",
        )
        for row in rows.to_pylist()
        if (model := wanted.get((row["team"], row["model"])))
        and (row["version"] is None or row["version"] in model.versions)
    ]


def _deployments(warehouse: Warehouse, metadata: str, now: datetime) -> list[Deployment]:
    """Return what went into service of late: versions that were not in service, at that share, before."""
    ref = f"{metadata}.deployments"
    statement = f"""
SELECT time, actor, commit, entry.team, entry.model, entry.version, entry.percent
FROM {sql.table(ref)}, UNNEST(models) AS entry
WHERE succeeded AND time > @start AND time <= @now
ORDER BY time"""
    start = now - HISTORY
    rows = warehouse.query(statement, {"start": start, "now": now}, {ref: DEPLOYMENTS}).to_pylist()
    found: list[Deployment] = []
    served: dict[tuple[str, str], set[tuple[int, int]]] = {}
    by_time: dict[tuple[datetime, str, str], list[dict[str, object]]] = {}
    for row in rows:
        by_time.setdefault((row["time"], row["team"], row["model"]), []).append(row)
    for (time, team, model), entries in by_time.items():
        after = {(int(str(entry["version"])), int(str(entry["percent"]))) for entry in entries}
        before = served.get((team, model), set())
        found += [
            Deployment(time, team, model, version, percent, str(entry["actor"]), str(entry["commit"]))
            for entry in entries
            for version, percent in [(int(str(entry["version"])), int(str(entry["percent"])))]
            if (version, percent) not in before
        ]
        served[team, model] = after
    return found
