"""Inject faults into real traffic and see what is told, how soon, and why: `make bench-alerts`.

Two models of flights are trained on January to August 2013 and asked in September to December, in time
order. Every fault runs on the prediction log as the images write it and through the monitors' own SQL and
the incidents' own judgement. Evidently, at its defaults, is given the same days. Writes
`build/bench/alerts.json`; `docs/guides/answering-an-alert.md` says what counts as what.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import faults, replay
from benchmarks.faults import Fault
from benchmarks.replay import BEGIN, DAY, END, Replay, Subject
from modelyard.incidents import Deployment, Evaluation, Incident, Known, Reading, Root, SeriesKey, evaluate
from modelyard.incidents.group import JUDGED
from modelyard.incidents.judge import episodes, excess, pooled
from modelyard.monitors.measuring.watched import Watched
from modelyard.spec.base import Severity

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "build" / "bench" / "alerts.json"
PEER = ROOT / ".venv-evidently" / "bin" / "python"
# Shares of the traffic: about 900, 270 requests a day.
SIZES = (1.0, 0.3)
MODELS = ("arrival-delay", "late-departure")
# Values that are known only when labels have come.
ON_LABELS = {"loss", "unexpected_loss", "label_coverage"}
FEED = ("temperature", "wind_speed", "precipitation", "visibility")


@dataclass
class Clean:
    """The traffic as it was, with what was measured and told of it."""

    subject: Subject
    size: float
    replay: Replay
    series: dict[SeriesKey, list[Reading]]
    told: "Told"
    gaps: frozenset[datetime]
    """Hours in which the weather feed of the real data has a gap."""


@dataclass
class Told:
    """The incidents that were opened, with when, and what was last known of each."""

    opened: dict[str, tuple[datetime, Incident]] = field(default_factory=dict)
    last: dict[str, Incident] = field(default_factory=dict)

    def signs(self) -> set[tuple[str, str | None, datetime]]:
        """Return what tells incidents apart: key, feature and begin."""
        return {(i.key, i.feature, i.since) for _, i in self.opened.values()} | {
            (i.key, i.feature, i.since) for i in self.last.values()
        }


@dataclass(frozen=True)
class Outcome:
    """What came of one fault."""

    fault: str
    strength: str
    model: str
    size: float
    detected: bool
    windows: int | None
    right: bool
    hours: float | None
    told: tuple[str, ...]
    harmless: bool


# Walking through time


def known_at(reading: Reading, watched: Watched) -> datetime:
    """Return when a value can be known."""
    return reading.end + (watched.delay if reading.metric in ON_LABELS else timedelta())


def walk(
    watched: Watched,
    series: Mapping[SeriesKey, Sequence[Reading]],
    begin: datetime,
    end: datetime,
    deployments: Sequence[Deployment] = (),
) -> Told:
    """Evaluate at every moment in (`begin`, `end`] at which something opens or resolves."""
    candidates: dict[SeriesKey, list[Reading]] = {}
    moments: set[datetime] = set()
    for key, readings in series.items():
        monitor = JUDGED[key.family, key.metric]
        assert monitor.rule
        if not _breaches(readings, monitor.above, monitor.rule.pools, begin - 14 * DAY):
            continue
        lists = [(readings, monitor.rule)]
        found = [e for listed, rule in lists for e in episodes(listed, rule, monitor.above)]
        if monitor.rule.pools:
            alone = replace(monitor.rule, opens_after=1, resolves_after=1)
            found += episodes(pooled(readings, monitor.tolerated(watched.monitors)), alone, monitor.above)
        late = watched.delay if key.metric in ON_LABELS else timedelta()
        near = [e for e in found if e.resolved is None or e.resolved > begin - 14 * DAY]
        if near:
            candidates[key] = list(readings)
            moments |= {at + late for e in near for at in (e.opened, e.resolved) if at}
    told = Told()
    known: list[Known] = []
    # What was open before is known, not told.
    first = [r for readings in candidates.values() for r in readings if known_at(r, watched) <= begin]
    before = _evaluate(first, watched, begin, deployments, [])
    known = [_known(i) for i in before.incidents]
    for moment in sorted(at for at in moments if begin < at <= end):
        there = [r for readings in candidates.values() for r in readings if known_at(r, watched) <= moment]
        result = _evaluate(there, watched, moment, deployments, known)
        for incident in result.opened:
            told.opened.setdefault(incident.incident_id, (moment, incident))
        for incident in result.incidents:
            if incident.incident_id in told.opened:
                told.last[incident.incident_id] = incident
        known = [_known(i) for i in result.incidents]
    return told


def _breaches(readings: Sequence[Reading], above: bool, pools: bool, since: datetime) -> bool:
    """Whether any late window is beyond its own threshold: without one there is no episode."""
    for reading in readings:
        if reading.end > since and reading.value is not None and reading.threshold is not None:
            # A pool of many rows is judged more strictly than each of its hours.
            limit = reading.threshold * (0.2 if pools else 1.0)
            if excess(reading.value, limit, above) > 1:
                return True
    return False


def _evaluate(
    readings: Iterable[Reading],
    watched: Watched,
    now: datetime,
    deployments: Sequence[Deployment],
    known: Sequence[Known],
) -> Evaluation:
    return evaluate(readings, [watched], now=now, deployments=deployments, known=known)


def _known(incident: Incident) -> Known:
    subject = incident.watched
    return Known(
        incident.incident_id,
        subject.team,
        subject.model,
        incident.key,
        incident.feature,
        incident.severity,
        incident.opened,
    )


def by_series(readings: Iterable[Reading]) -> dict[SeriesKey, list[Reading]]:
    """Return the judged readings by what they measure, in order of time."""
    found: dict[SeriesKey, list[Reading]] = defaultdict(list)
    for reading in readings:
        if (reading.family, reading.metric) in JUDGED:
            found[reading.key].append(reading)
    return {key: sorted(values, key=lambda r: r.end) for key, values in found.items()}


# The traffic as it was


def clean(subject: Subject, size: float, end: datetime = END) -> Clean:
    """Measure and judge the traffic without faults, up to `end`."""
    thin = replay.thinned(subject, size)
    thin = replace(thin, rows=thin.rows[thin.rows["time"] < end])
    hours = replay.counted(thin, thin.rows)
    whole = Replay(thin, hours)
    series = by_series(whole.by_weeks(BEGIN - replay.SHADOW + 2 * DAY, end))
    told = walk(thin.watched, series, BEGIN, end)
    present = thin.rows[[name for name in FEED if name in thin.features]].notna().any(axis=1)
    by_hour = present.groupby(thin.rows["time"].dt.floor("h")).any()
    gaps = frozenset(hour.to_pydatetime() for hour in by_hour.index[~by_hour])
    return Clean(thin, size, whole, series, told, gaps)


def is_real(incident: Incident, gaps: frozenset[datetime]) -> bool:
    """Whether an incident tells of a gap that the real data have."""
    return incident.root is Root.UPSTREAM and any(incident.since <= hour < incident.opened for hour in gaps)


# Faults


def run_fault(fault: Fault, where: Clean, begin: datetime, seed: int, export: "Export | None") -> Outcome:
    """Inject one fault and see what is told."""
    subject, watched = where.subject, where.subject.watched
    end = begin + fault.days * DAY
    rows = faults.inject(fault, subject, begin, end, seed)
    hours = replay.counted(subject, rows)
    altered = where.replay.altered(hours, begin, end)
    fresh = by_series(altered.measure(begin, end))
    series = {
        key: [r for r in where.series.get(key, []) if r.end <= begin] + fresh.get(key, [])
        for key in where.series.keys() | fresh.keys()
    }
    deployments = (
        [Deployment(begin - timedelta(minutes=20), watched.team, watched.model, 1)]
        if fault.deployment
        else []
    )
    told = walk(watched, series, begin, end + watched.delay, deployments)
    # What would have been told anyway is not the fault's.
    usual = where.told.signs()
    mine = [
        (moment, told.last.get(i, incident))
        for i, (moment, incident) in told.opened.items()
        if (incident.key, incident.feature, incident.since) not in usual
    ]
    if fault.spares:
        mine = [(m, i) for m, i in mine if i.findings[0].monitor.family in fault.spares or not fault.right(i)]
    first, found = min(((m, i) for m, i in mine), key=lambda item: item[0], default=(None, None))
    window = watched.window(found.findings[0].monitor.family) if found else DAY
    harmless = fault.harmless or bool(fault.spares)
    if export is not None and not harmless:
        export.add(where, rows, begin, end)
    return Outcome(
        fault.kind,
        fault.strength,
        subject.name,
        where.size,
        first is not None,
        max(1, math.ceil((first - begin) / window)) if first else None,
        any(fault.right(incident) for _, incident in mine),
        (first - begin) / timedelta(hours=1) if first else None,
        tuple(f"{incident.root}:{incident.key}:{incident.feature or ''}" for _, incident in mine),
        harmless,
    )


# Evidently on the same days


class Export:
    """Writes the days that Evidently is to judge."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: list[dict[str, Any]] = []

    def reference(self, where: Clean) -> None:
        """Keep a sample of what each model was trained on, and its days without faults."""
        name = self._stem(where)
        rows = where.subject.rows
        before = rows[rows["time"] < BEGIN]
        sample = before.sample(min(len(before), 5000), random_state=1)
        self._write(f"{name}-reference", where, sample)
        self._write(f"{name}-clean", where, rows[rows["time"] >= BEGIN])
        self.jobs.append({"clean": f"{name}-clean", "reference": f"{name}-reference"})

    def add(self, where: Clean, rows: pd.DataFrame, begin: datetime, end: datetime) -> None:
        """Keep the days of a fault."""
        name, number = self._stem(where), len(self.jobs)
        self._write(f"fault-{number}", where, rows)
        self.jobs.append(
            {
                "fault": f"fault-{number}",
                "reference": f"{name}-reference",
                "without": f"{name}-clean",
                "begin": begin.isoformat(),
                "end": end.isoformat(),
            }
        )

    def _stem(self, where: Clean) -> str:
        return f"{where.subject.watched.model}-{where.size:g}"

    def _write(self, name: str, where: Clean, rows: pd.DataFrame) -> None:
        columns = ["time", *where.subject.features, "prediction", "latency_ms", "label"]
        rows[columns].to_parquet(self.folder / f"{name}.parquet")

    def judge(self) -> dict[str, Any]:
        """Return what Evidently says."""
        (self.folder / "jobs.json").write_text(json.dumps(self.jobs))
        command = [str(PEER), str(Path(__file__).with_name("evidently_peer.py")), str(self.folder)]
        subprocess.run(command, check=True)
        found: dict[str, Any] = json.loads((self.folder / "found.json").read_text())
        return found


# The whole


@dataclass
class Part:
    """What came of one model at one size of traffic; plain, so that it can be kept in a file."""

    alarms: list[dict[str, Any]]
    """Alerts on the traffic as it was."""
    outcomes: list[Outcome]
    peer: dict[str, Any] | None
    seconds: float


def parts(
    sizes: Sequence[float], per_model: int | None, rotations: int, peer: bool, kept: Path | None
) -> list[Part]:
    """Run all models at all sizes. Parts that lie in the folder `kept` are taken from there."""
    found, place = [], 0
    for model in MODELS:
        for size in sizes:
            file = kept / f"{model}-{size:g}.json" if kept else None
            if file and file.exists():
                document = json.loads(file.read_text("utf-8"))
                outcomes = [Outcome(**{**o, "told": tuple(o["told"])}) for o in document.pop("outcomes")]
                part = Part(outcomes=outcomes, **document)
            else:
                part = run(model, size, place, per_model, rotations, peer)
                say(
                    f"{model} at {size:.0%} of its traffic: {len(part.outcomes)} faults, {part.seconds:.0f} s"
                )
            if file:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(asdict(part)), encoding="utf-8")
            found.append(part)
            place += 1
    return found


def run(model: str, size: float, place: int, per_model: int | None, rotations: int, peer: bool) -> Part:
    """Run one model at one size of traffic; `place` chooses features and times of its faults."""
    started = time.monotonic()
    (subject,) = replay.subjects([model])
    where = clean(subject, size)
    with tempfile.TemporaryDirectory() as folder:
        export = Export(Path(folder)) if peer else None
        if export:
            export.reference(where)
        outcomes: list[Outcome] = []
        random = np.random.default_rng(100 + place)
        for rotation in range(rotations):
            listed = faults.of(where.subject, place + rotation * len(MODELS) * len(SIZES))
            if per_model:
                listed = listed[:: max(1, len(listed) // per_model)]
            for fault in listed:
                begin = _begin(random, fault, where.gaps)
                outcomes.append(run_fault(fault, where, begin, len(outcomes), export))
        found = export.judge() if export else None
    alarms = [
        {
            "model": where.subject.name,
            "size": size,
            "severity": incident.severity.value,
            "what": f"{incident.root}:{incident.key}:{incident.feature or ''}",
            "since": f"{incident.since:%m-%d %H}",
            "real": is_real(incident, where.gaps),
        }
        for _, incident in where.told.opened.values()
    ]
    return Part(alarms, outcomes, found, time.monotonic() - started)


def _begin(random: np.random.Generator, fault: Fault, gaps: frozenset[datetime]) -> datetime:
    """Return when a fault begins: at a working hour, from the fourth week on, far from real gaps."""
    while True:
        day, hour = int(random.integers(21, 100 - fault.days)), int(random.integers(12, 21))
        begin = BEGIN.replace(hour=hour) + day * DAY
        if not any(begin - DAY <= gap < begin + (fault.days + 1) * DAY for gap in gaps):
            return begin


def figures(found: Sequence[Part]) -> dict[str, Any]:
    """Return the figures of all parts."""
    outcomes = [outcome for part in found for outcome in part.outcomes]
    alarms = [alarm for part in found for alarm in part.alarms]
    false = [alarm for alarm in alarms if not alarm["real"]]
    harmful = [o for o in outcomes if not o.harmless]
    spared = [o for o in outcomes if o.harmless]
    weeks = len(found) * ((END - BEGIN) / timedelta(weeks=1))
    pages = sum(alarm["severity"] == Severity.CRITICAL for alarm in false)
    total = len(false) + sum(len(o.told) for o in spared)
    detected = [o for o in harmful if o.detected]
    result: dict[str, Any] = {
        "detected_pct": _percent(len(detected), len(harmful)),
        "root_named_pct": _percent(sum(o.right for o in detected), len(detected)),
        # A fault that must not be told lasts a week.
        "false_alarms_per_model_week": round(total / (weeks + len(spared)), 4),
        "median_windows_to_detect": _median(o.windows for o in detected),
        "evidently_detected_pct": None,
        "evidently_false_alarms_per_model_week": None,
        "median_hours_to_detect": _median(o.hours for o in detected),
        "false_pages_per_model_week": round(pages / weeks, 4),
        "false_tickets_per_model_week": round((len(false) - pages) / weeks, 4),
        "real_gaps_found": len(alarms) - len(false),
        "model_weeks": round(weeks + len(spared), 1),
        "faults": len(harmful),
        "incidents_per_fault": round(sum(len(o.told) for o in detected) / max(1, len(detected)), 2),
        "seconds": round(sum(part.seconds for part in found)),
        "kinds": _kinds(outcomes),
        "false_alarms": [
            f"{a['model']} {a['size']:g}: {a['severity']} {a['what']} {a['since']}" for a in false
        ]
        + [f"{o.model} {o.size:g} {o.fault}: {told}" for o in spared for told in o.told],
        "missed": [
            f"{o.model} {o.size:g} {o.fault} ({o.strength}): {'; '.join(o.told)}"
            for o in harmful
            if not o.detected or not o.right
        ],
    }
    peers = [part.peer for part in found if part.peer]
    if len(peers) == len(found):
        asked = [hit for peer in peers for hit in peer["faults"]]
        result["evidently_detected_pct"] = _percent(sum(asked), len(asked))
        alarmed = sum(peer["alarms"] for peer in peers)
        result["evidently_false_alarms_per_model_week"] = round(alarmed / weeks, 4)
    return result


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _kinds(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    kinds: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        kinds[f"{outcome.fault}"].append(outcome)
    return {
        kind: {
            "runs": len(found),
            "detected": sum(o.detected for o in found),
            "right_root": sum(o.right for o in found),
            "median_windows": statistics.median([o.windows for o in found if o.windows] or [0]),
        }
        for kind, found in kinds.items()
    }


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0


def say(text: str) -> None:
    """Tell how far the benchmark is."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few faults, one size, without Evidently")
    parser.add_argument("--without-evidently", action="store_true", help="leave the peer out")
    parser.add_argument("--kept", type=Path, help="folder of parts: what lies there is not run again")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    peer = not (options.quick or options.without_evidently)
    if peer and not PEER.exists():
        say("Evidently is not installed: python3 -m scripts.setup evidently")
        return 2
    sizes, per_model = ((1.0,), 8) if options.quick else (SIZES, None)
    result = figures(parts(sizes, per_model, 1, peer, options.kept))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(
        json.dumps(
            {key: value for key, value in result.items() if not isinstance(value, dict | list)}, indent=2
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
