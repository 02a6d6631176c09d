"""Follows a prediction from its row in the log to everything that stands behind it."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from modelyard.prediction_id import is_prediction_id, time_of
from modelyard.spec.base import Sensitivity
from modelyard.spec.manifest import Manifest
from modelyard.tables import DEPLOYMENTS, MODEL_VERSIONS, Column, Mode, Partition, Table, Type
from modelyard.trace.checks import check
from modelyard.trace.errors import TraceError
from modelyard.trace.places import Log, Place
from modelyard.trace.record import Deployment, Prediction, Trace, Value, Version
from modelyard.warehouse import Days

# An id tells when the prediction was asked for. Its row follows within seconds, or, in a batch, hours.
_LATER = timedelta(days=2)
# A server may answer with a version before its deployment has ended and is recorded.
_ROLL_OUT = timedelta(hours=1)
_PARALLEL = 8
_ROW = Table(
    "log",
    "predictions",
    "The columns that every prediction log has, without what may be protected.",
    (
        Column("prediction_id", Type.STRING, "Id", Mode.REQUIRED),
        Column("time", Type.TIMESTAMP, "Time of the answer", Mode.REQUIRED),
        Column("team", Type.STRING, "Team", Mode.REQUIRED),
        Column("model", Type.STRING, "Model", Mode.REQUIRED),
        Column("version", Type.INT64, "Version", Mode.REQUIRED),
        Column("pattern", Type.STRING, "Pattern", Mode.REQUIRED),
        Column("latency_ms", Type.FLOAT64, "Latency"),
        Column("flags", Type.STRING, "Flags", Mode.REPEATED),
        Column("image_digest", Type.STRING, "Image"),
        Column("code_digest", Type.STRING, "Code"),
        Column("trace_id", Type.STRING, "Trace"),
    ),
    Partition("time"),
)
Row = Mapping[str, Any]


def trace(
    prediction_id: str,
    place: Place,
    *,
    team: str | None = None,
    model: str | None = None,
    day: date | None = None,
    show_protected: bool = False,
    fetch: bool = True,
) -> Trace:
    """Return everything that is recorded about a prediction.

    Args:
        prediction_id: as the caller got it.
        place: where to look.
        team: whose models to look at; default: all.
        model: to look at; default: all.
        day: UTC, of the answer; default: the id tells it.
        show_protected: read and show the caller and confidential and pii features. Without it they are not
            even read.
        fetch: whether to fetch the model's files, to compute their digests again.

    Raises:
        TraceError: no log has the prediction, or where to look cannot be told.
        WarehouseError: a table cannot be read.
    """
    log, rows = _find(prediction_id, place, team, model, day)
    row = rows[0]
    version = _version(place, log, row)
    prediction = _prediction(place, log, rows, version, show_protected)
    deployment, oddities = _deployment(place, log, prediction)
    gaps = list(_gaps(prediction, version, deployment))
    checks = check(prediction, version, deployment, place.registry if fetch else None)
    return Trace(prediction, version, deployment, tuple(checks), tuple(gaps + oddities))


def _find(
    prediction_id: str, place: Place, team: str | None, model: str | None, day: date | None
) -> tuple[Log, list[Row]]:
    """Return the log that has the prediction, and its rows there: first on the days that the id tells."""
    logs = place.logs(team, model)
    whose = f"{team or 'any team'}/{model or 'any model'}"
    if not logs:
        raise TraceError(f"there is no prediction log of {whose} here")
    ranges: list[Days | None] = []
    if day is not None:
        ranges = [(day, day)]
    elif is_prediction_id(prediction_id):
        asked = time_of(prediction_id)
        ranges = [(asked.date(), (asked + _LATER).date())]
    elif not place.anywhere:
        raise TraceError(
            f"'{prediction_id}' does not tell its day, since it is no UUID of version 7; give it with --day"
        )
    if day is None and place.anywhere:
        ranges.append(None)
    for days in ranges:
        look = partial(_rows, place, prediction_id, team, model, days)
        with ThreadPoolExecutor(_PARALLEL) as pool:
            found = list(pool.map(look, logs))
        for log, rows in zip(logs, found, strict=True):
            if rows:
                return log, rows
    when = (
        f" on {day}"
        if day
        else f" from {ranges[0][0]} to {ranges[0][1]}"
        if ranges[0] and not ranges[1:]
        else ""
    )
    logs_seen = f"{len(logs)} log{'' if len(logs) == 1 else 's'}"
    raise TraceError(
        f"no prediction '{prediction_id}'{when} in {logs_seen} of {whose}. Rows reach the log some seconds "
        "after the answer"
    )


def _rows(
    place: Place, prediction_id: str, team: str | None, model: str | None, days: Days | None, log: Log
) -> list[Row]:
    conditions = ["prediction_id = @id"]
    parameters: dict[str, Any] = {"id": prediction_id}
    for name, value in (("team", team), ("model", model)):
        if value is not None:
            conditions.append(f"{name} = @{name}")
            parameters[name] = value
    columns = ", ".join(column.name for column in _ROW.columns)
    sql = f"SELECT {columns} FROM `{log.ref}` WHERE {' AND '.join(conditions)} ORDER BY time"
    rows: list[Row] = place.warehouse.query(sql, parameters, {log.ref: _ROW}, days).to_pylist()
    return rows


def _version(place: Place, log: Log, row: Row) -> Version | None:
    for ref in place.metadata(log.environment, MODEL_VERSIONS.name):
        found = place.warehouse.query(
            f"SELECT manifest FROM `{ref}` WHERE team = @team AND model = @model AND version = @version "
            "ORDER BY created, manifest_digest LIMIT 1",
            {key: row[key] for key in ("team", "model", "version")},
            {ref: MODEL_VERSIONS},
        ).to_pylist()
        if found:
            document = json.loads(found[0]["manifest"])
            return Version(Manifest.model_validate(document), document, ref)
    return None


def _prediction(
    place: Place, log: Log, rows: Sequence[Row], version: Version | None, show_protected: bool
) -> Prediction:
    row = rows[0]
    features = version.manifest.signature.features if version else ()
    said = place.declared(log.environment, row["team"], row["model"])
    levels = {feature.name: said.get(feature.name, feature.sensitivity) for feature in features}
    shown = [name for name, level in levels.items() if show_protected or not level.restricted]
    values = _values(place, log, row, shown, show_protected, known=version is not None)
    read = values.get("features") or {}
    units = {feature.name: feature.unit for feature in features}
    kept = tuple(
        Value(name, read.get(name), units.get(name, ""), str(levels.get(name, "")), masked=name not in read)
        for name in (levels or read)
    )
    caller = Value("caller", values.get("caller"), "", Sensitivity.PII.value, masked=not show_protected)
    return Prediction(
        **{key: row[key] for key in ("prediction_id", "team", "model", "version", "pattern", "latency_ms")},
        **{key: row[key] for key in ("image_digest", "code_digest", "trace_id")},
        time=row["time"].astimezone(UTC),
        environment=log.environment,
        table=log.ref,
        prediction=values["prediction"],
        unit=version.manifest.signature.prediction.unit if version else "",
        features=kept,
        caller=caller,
        flags=tuple(row["flags"] or ()),
        copies=len(rows),
    )


def _values(
    place: Place, log: Log, row: Row, shown: Sequence[str], show_protected: bool, *, known: bool
) -> Row:
    """Return the answer and the inputs that may be shown; the others are not read."""
    columns = ["prediction"]
    if show_protected:
        columns.append("caller")
    if shown:
        columns.append(f"STRUCT({', '.join(f'features.`{name}` AS `{name}`' for name in shown)}) AS features")
    elif show_protected and not known:
        columns.append("features")
    time: datetime = row["time"]
    found: list[Row] = place.warehouse.query(
        f"SELECT {', '.join(columns)} FROM `{log.ref}` WHERE prediction_id = @id AND time = @time LIMIT 1",
        {"id": row["prediction_id"], "time": time},
        {log.ref: _ROW},
        (time.astimezone(UTC).date(), time.astimezone(UTC).date()),
    ).to_pylist()
    return found[0]


def _deployment(place: Place, log: Log, prediction: Prediction) -> tuple[Deployment | None, list[str]]:
    """Return the deployment that brought the version into service, and what is odd about it."""
    found: list[Deployment] = []
    newest: dict[str, list[int]] = {}
    for ref in place.metadata(log.environment, DEPLOYMENTS.name):
        rows = place.warehouse.query(
            "SELECT d.deployment_id, d.time, d.environment, d.actor, d.approved_by, d.repository, "
            "d.`commit`, d.stacks, d.plan_digest, "
            "entry.version, entry.manifest_digest, entry.image_digest, entry.percent "
            f"FROM `{ref}` AS d, UNNEST(d.models) AS entry "
            "WHERE d.succeeded AND entry.team = @team AND entry.model = @model AND d.time <= @until "
            "ORDER BY d.time",
            {"team": prediction.team, "model": prediction.model, "until": prediction.time + _ROLL_OUT},
            {ref: DEPLOYMENTS},
        ).to_pylist()
        for row in rows:
            if row["time"] <= prediction.time:
                newest = {row["deployment_id"]: [*newest.get(row["deployment_id"], []), row["version"]]}
            if row.pop("version") == prediction.version:
                lists = {key: tuple(row[key] or ()) for key in ("approved_by", "stacks")}
                time = row["time"].astimezone(UTC)
                found.append(Deployment(**{**row, **lists, "time": time, "table": ref}))
    before = [deployment for deployment in found if deployment.time <= prediction.time]
    if not before:
        if not found:
            return None, []
        return found[0], [
            "the deployment is recorded after the prediction: it was still under way when this was answered"
        ]
    [versions] = newest.values()
    if prediction.version not in versions:
        now = " and ".join(map(str, sorted(set(versions))))
        return before[-1], [f"version {now} had been deployed in its place before this prediction"]
    return before[-1], []


def _gaps(prediction: Prediction, version: Version | None, deployment: Deployment | None) -> list[str]:
    what = f"{prediction.team}/{prediction.model}@{prediction.version}"
    gaps = []
    if version is None:
        gaps.append(
            f"version {what} is not in the table of versions: artefact, data, code and packages are unknown"
        )
    else:
        code = version.manifest.code
        if code.dirty:
            gaps.append(
                f"the training code had uncommitted changes ({code.diff_digest or 'without a digest'}): the "
                "commit alone does not give it back"
            )
    if deployment is None:
        gaps.append(f"no deployment of {what} is recorded: who deployed and who approved is unknown")
    elif not deployment.approved_by:
        gaps.append("nobody is recorded as having approved the deployment")
    if not prediction.image_digest:
        gaps.append("the row names no image")
    if prediction.copies > 1:
        gaps.append(f"the log holds the row {prediction.copies} times, as after a lost acknowledgement")
    return gaps
