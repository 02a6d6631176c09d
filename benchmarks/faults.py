"""Faults, injected into real traffic: what happens to the requests of a span, and what should be told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from benchmarks.replay import Subject
from modelyard.incidents import Incident, Root
from modelyard.monitors.alert import Family

Change = Callable[[Subject, pd.DataFrame, np.random.Generator], pd.DataFrame]


@dataclass(frozen=True)
class Fault:
    """One fault.

    Args:
        kind: what happens.
        strength: how much of it.
        change: takes the requests of the span and returns what they are under the fault.
        right: whether an incident names the right root.
        family: whose windows count until it is detected.
        days: how long it lasts.
        deployment: whether a version went into service when it began.
        harmless: whether nothing may be told, or nothing of the families in `spares`.
        spares: families of which nothing may be told although something is wrong.
    """

    kind: str
    strength: str
    change: Change
    right: Callable[[Incident], bool]
    family: Family
    days: int = 7
    deployment: bool = False
    harmless: bool = False
    spares: frozenset[Family] = frozenset()

    @property
    def name(self) -> str:
        """Kind and strength."""
        return f"{self.kind}, {self.strength}"


def of(subject: Subject, number: int) -> list[Fault]:
    """Return the faults for a model; `number` chooses the features that they strike, in turn."""
    numeric = [
        feature.name
        for feature in subject.manifest.signature.features
        if feature.type.numeric and feature.name not in ("hour", "weekday")
    ]
    every = subject.features
    # A dry week and clear sight look like a stuck sensor, and are no fault.
    varying = [name for name in numeric if name not in ("precipitation", "visibility")]

    def turn(names: list[str], step: int) -> str:
        return names[(number * 5 + step) % len(names)]

    found: list[Fault] = []
    for step, share in enumerate((0.2, 0.5, 1.0)):
        name = turn(every, step * 3)
        found.append(
            Fault("feature missing", f"{share:.0%}", _missing(name, share), _feature(name), Family.QUALITY)
        )
    units = _units(subject)
    for step in range(2):
        name, factor, offset, words = units[(number + step * 2) % len(units)]
        found.append(
            Fault("unit changed", words, _linear(name, factor, offset), _feature(name), Family.QUALITY)
        )
    for name, most in (("carrier", 1), ("carrier", 3), ("dest", 100), ("origin", 1)):
        found.append(
            Fault(
                "category renamed",
                f"{name}, {'all' if most == 100 else most}",
                _renamed(name, most),
                _feature(name),
                Family.QUALITY,
            )
        )
    for step in range(2):
        name = turn(varying, step * 4 + 1)
        found.append(Fault("stuck sensor", name, _stuck(name), _feature(name), Family.QUALITY))
    moved = _steady(subject)
    for step, size in enumerate((0.15, 0.3)):
        name = moved[(number + step) % len(moved)]
        found.append(
            Fault(
                "slow creep",
                f"{size} sd a day",
                _creep(subject, name, size),
                _feature(name),
                Family.DRIFT,
                14,
            )
        )
    for step, size in enumerate((1.0, 2.0)):
        name = moved[(number + step + 1) % len(moved)]
        found.append(
            Fault("sudden shift", f"{size:g} sd", _shift(subject, name, size), _feature(name), Family.DRIFT)
        )
    feed = [name for name in ("temperature", "wind_speed", "precipitation", "visibility") if name in every]
    found += [
        Fault("feed down", "4 features", _feed(feed), _is(Root.UPSTREAM), Family.QUALITY),
        Fault("duplicated traffic", "every second", _twice(0.5), _is(Root.DUPLICATES), Family.QUALITY, 3),
        Fault("duplicated traffic", "all", _twice(1.0), _is(Root.DUPLICATES), Family.QUALITY, 3),
        Fault("usage drop", "60 %", _thinned(0.4), _is(Root.USAGE), Family.USAGE, 3),
        Fault("usage drop", "85 %", _thinned(0.15), _is(Root.USAGE), Family.USAGE, 3),
        Fault("usage rise", "fourfold", _more(4), _is(Root.USAGE, Root.DUPLICATES), Family.USAGE, 3),
        Fault("silence", "total", _thinned(0.0), _is(Root.SILENCE), Family.USAGE, 2),
        Fault("latency step", "to 0.3 s", _slower(20), _is(Root.SERVICE), Family.LATENCY, 2),
        Fault("latency step", "to 1 s", _slower(80), _is(Root.SERVICE), Family.LATENCY, 2),
        Fault("concept change", "some", _concept(subject, 1), _is(Root.CONCEPT), Family.PERFORMANCE),
        Fault("concept change", "much", _concept(subject, 2), _is(Root.CONCEPT), Family.PERFORMANCE),
        Fault(
            "bad version",
            "answers shifted",
            _answers(subject),
            _is(Root.DEPLOYMENT),
            Family.DRIFT,
            deployment=True,
        ),
        Fault("wild outlier", "one value", _outlier(turn(numeric, 2)), _is(), Family.DRIFT, harmless=True),
        Fault(
            "labels late",
            "3 days",
            _labels_late(timedelta(days=3)),
            _is(Root.LABELS),
            Family.PERFORMANCE,
            spares=frozenset({Family.QUALITY, Family.DRIFT, Family.USAGE, Family.LATENCY}),
        ),
    ]
    return found


def _feature(name: str) -> Callable[[Incident], bool]:
    return lambda incident: incident.root is Root.FEATURE and incident.feature == name


def _is(*roots: Root) -> Callable[[Incident], bool]:
    return lambda incident: incident.root in roots


def _std(subject: Subject, name: str) -> float:
    baseline = subject.manifest.baselines.features[name]
    assert baseline.kind == "numeric"
    return baseline.std


def _steady(subject: Subject) -> list[str]:
    """Return the numbers whose days are like each other: a day's weather moves by more than faults do."""
    return [
        name
        for name, baseline in subject.manifest.baselines.features.items()
        if baseline.kind == "numeric" and name not in ("hour", "weekday") and (baseline.daily_psi or 0) < 1
    ]


def _set(rows: pd.DataFrame, name: str, values: object) -> pd.DataFrame:
    """Return `rows` with a column replaced; whole numbers stay whole, as their column in the log does."""
    column = pd.Series(values, index=rows.index)
    if pd.api.types.is_integer_dtype(rows[name].dtype) and column.notna().all():
        column = column.round().astype("int64")
    elif pd.api.types.is_integer_dtype(rows[name].dtype):
        column = column.round().astype("Int64")
    return rows.assign(**{name: column})


def _missing(name: str, share: float) -> Change:
    def change(_: Subject, rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
        gone = random.random(len(rows)) < share
        return _set(rows, name, rows[name].where(~gone))

    return change


def _units(subject: Subject) -> list[tuple[str, float, float, str]]:
    known = [
        ("distance", 1.609, 0.0, "miles to km"),
        ("dep_delay", 60.0, 0.0, "min to s"),
        ("scheduled_minutes", 1 / 60, 0.0, "min to h"),
        ("airport_delay", 60.0, 0.0, "min to s"),
        ("visibility", 1609.0, 0.0, "miles to m"),
        ("pressure", 0.0145, 0.0, "hPa to psi"),
        ("temperature", 5 / 9, -160 / 9, "F to C"),
    ]
    return [unit for unit in known if unit[0] in subject.features]


def _linear(name: str, factor: float, offset: float) -> Change:
    return lambda _, rows, __: _set(rows, name, rows[name] * factor + offset)


def _renamed(name: str, most: int) -> Change:
    def change(_: Subject, rows: pd.DataFrame, __: np.random.Generator) -> pd.DataFrame:
        common = rows[name].value_counts().index[:most]
        return rows.assign(**{name: rows[name].where(~rows[name].isin(common), rows[name].str.lower())})

    return change


def _stuck(name: str) -> Change:
    return lambda _, rows, __: _set(rows, name, np.full(len(rows), rows[name].dropna().iloc[0]))


def _creep(subject: Subject, name: str, size: float) -> Change:
    step = size * _std(subject, name)

    def change(_: Subject, rows: pd.DataFrame, __: np.random.Generator) -> pd.DataFrame:
        days = (rows["time"] - rows["time"].min()) / pd.Timedelta("1D")
        return _set(rows, name, rows[name] + step * days)

    return change


def _shift(subject: Subject, name: str, size: float) -> Change:
    step = size * _std(subject, name)
    return lambda _, rows, __: _set(rows, name, rows[name] + step)


def _feed(names: Sequence[str]) -> Change:
    return lambda _, rows, __: rows.assign(**dict.fromkeys(names, np.nan))


def _twice(share: float) -> Change:
    def change(_: Subject, rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
        again = rows[random.random(len(rows)) < share]
        return pd.concat([rows, again.assign(time=again["time"] + pd.Timedelta("2s"))])

    return change


def _more(times: int) -> Change:
    def change(_: Subject, rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
        """A backfill: other flights are asked for in the same hours."""
        other = rows.sample(len(rows) * (times - 1), replace=True, random_state=int(random.integers(1 << 30)))
        moments = rows["time"].sample(len(other), replace=True, random_state=1).to_numpy()
        return pd.concat([rows, other.assign(time=pd.to_datetime(moments, utc=True))])

    return change


def _thinned(share: float) -> Change:
    return lambda _, rows, random: rows[random.random(len(rows)) < share]


def _slower(times: float) -> Change:
    return lambda _, rows, __: rows.assign(latency_ms=rows["latency_ms"] * times)


def _concept(subject: Subject, strength: int) -> Change:
    def minutes(_: Subject, rows: pd.DataFrame, __: np.random.Generator) -> pd.DataFrame:
        # Arrivals take longer or shorter than they did for the same flight, by airport.
        sign = np.where(rows["dest"].str.slice(0, 1) < "M", 1, -1)
        return rows.assign(label=rows["label"] + 12 * strength * sign)

    def flipped(_: Subject, rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
        turned = random.random(len(rows)) < 0.3 * strength
        return rows.assign(label=np.where(turned, 1 - rows["label"], rows["label"]))

    return minutes if subject.manifest.task.value == "regression" else flipped


def _answers(subject: Subject) -> Change:
    spread = float(subject.rows["prediction"].std())
    sign = -1.0 if subject.manifest.task.value == "regression" else 1.0

    def change(_: Subject, rows: pd.DataFrame, __: np.random.Generator) -> pd.DataFrame:
        shifted = rows["prediction"] + sign * 2 * spread
        return rows.assign(prediction=shifted if sign < 0 else shifted.clip(0, 1), scored=True)

    return change


def _outlier(name: str) -> Change:
    def change(_: Subject, rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
        values = rows[name].to_numpy(float, copy=True)
        values[int(random.integers(len(values)))] = 1e9
        return _set(rows, name, values)

    return change


def _labels_late(delay: timedelta) -> Change:
    return lambda _, rows, __: rows.assign(labelled=rows["labelled"] + delay)


def inject(fault: Fault, subject: Subject, begin: datetime, end: datetime, seed: int) -> pd.DataFrame:
    """Return the requests of a span under `fault`, scored anew."""
    time = subject.rows["time"]
    rows = subject.rows[(time >= begin) & (time < end)]
    changed = fault.change(subject, rows, np.random.default_rng(seed)).sort_values("time", kind="stable")
    changed = changed[changed["time"] < end].reset_index(drop=True)
    if "scored" in changed or changed.empty:
        return changed
    return changed.assign(prediction=subject.score(changed))
