"""Inject faults into real traffic and see what is told, how soon, and why: `make bench-alerts`.

Two models of flights are trained on January to August 2013 and asked in September to December, in time
order. Every fault runs on the prediction log as the images write it and through the monitors' own SQL and
the incidents' own judgement. Evidently, at its defaults, is given the same days. What thresholds were chosen
with may flatter them, so parts of the year that they were not chosen with are replayed too, with models of
their own and other faults: `held_out`. Writes `build/bench/alerts.json`; `docs/guides/answering-an-alert.md`
says what counts as what.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import faults, replay
from benchmarks.evidently_side import PEER, Export
from benchmarks.faults import Fault
from benchmarks.replay import AUTUMN, DAY, SPRING, SUMMER, Replay, Season, Subject
from modelyard.incidents import Deployment, Evaluation, Incident, Known, Reading, Root, SeriesKey, evaluate
from modelyard.incidents.group import JUDGED
from modelyard.incidents.judge import episodes, excess, pooled
from modelyard.monitors.measuring.watched import Watched
from modelyard.spec.base import Severity

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "build" / "bench" / "alerts.json"
# Shares of the traffic: about 900, 270 requests a day.
SIZES = (1.0, 0.3)
MODELS = ("arrival-delay", "late-departure")
# Faults of the held-out seasons strike features and hours of their own.
HELD_OUT = 40
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


def clean(subject: Subject, size: float, end: datetime | None = None) -> Clean:
    """Measure and judge the traffic without faults, up to `end`; absent: to the season's end."""
    begin, end = subject.season.begin, end or subject.season.end
    thin = replay.thinned(subject, size)
    thin = replace(thin, rows=thin.rows[thin.rows["time"] < end])
    hours = replay.counted(thin, thin.rows)
    whole = Replay(thin, hours)
    series = by_series(whole.by_weeks(begin - replay.SHADOW + 2 * DAY, end))
    told = walk(thin.watched, series, begin, end)
    present = thin.rows[[name for name in FEED if name in thin.features]].notna().any(axis=1)
    by_hour = present.groupby(thin.rows["time"].dt.floor("h")).any()
    gaps = frozenset(hour.to_pydatetime() for hour in by_hour.index[~by_hour])
    return Clean(thin, size, whole, series, told, gaps)


def is_real(incident: Incident, gaps: frozenset[datetime]) -> bool:
    """Whether an incident tells of a gap that the real data have."""
    return incident.root is Root.UPSTREAM and any(incident.since <= hour < incident.opened for hour in gaps)


# Faults


def run_fault(fault: Fault, where: Clean, begin: datetime, seed: int, export: Export | None) -> Outcome:
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
    if export is not None:
        export.add(rows, begin, end)
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


# The whole


@dataclass(frozen=True)
class Plan:
    """One model at one size of traffic in one season; `place` chooses features and times of its faults."""

    season: Season
    model: str
    size: float
    place: int

    @property
    def name(self) -> str:
        """Names it, and its files."""
        return f"{self.season.name}-{self.model}-{self.size:g}"


@dataclass
class Part:
    """What came of a plan; plain, so that it can be kept in a file."""

    weeks: float
    alarms: list[dict[str, Any]]
    """Alerts on the traffic as it was."""
    outcomes: list[Outcome]
    seconds: float
    peer: dict[str, Any] | None = None
    """What Evidently said; None: it was not asked."""


def plans() -> tuple[Plan, ...]:
    """Return what is run: the season that thresholds were chosen with, and the one that is held out."""
    chosen = [(AUTUMN, model, size) for model in MODELS for size in SIZES]
    held_out = [(season, model, 1.0) for season in (SUMMER, SPRING) for model in MODELS]
    return (
        *(Plan(*which, place) for place, which in enumerate(chosen)),
        *(Plan(*which, place) for place, which in enumerate(held_out, HELD_OUT)),
    )


def run(wanted: Sequence[Plan], per_model: int | None, peer: bool, kept: Path | None) -> list[Part]:
    """Run plans, with Evidently beside; what lies in the folder `kept` is not run, the rest is put there."""
    parts: list[Part] = []
    waiting: list[tuple[Plan, Part, Future[dict[str, Any]]]] = []
    with ThreadPoolExecutor(os.cpu_count()) as judges:
        for plan in wanted:
            own, its = (kept / f"{plan.name}{end}.json" if kept else None for end in ("", "-evidently"))
            asked = peer and not (its and its.exists())
            if own and own.exists() and not asked:
                part = _read(own)
            else:
                part, export, where = run_one(plan, per_model, asked)
                say(f"{plan.name}: {len(part.outcomes)} faults, {part.seconds:.0f} s")
                _keep(own, asdict(part))
                if export:
                    waiting.append((plan, part, judges.submit(export.judge, where.gaps, FEED)))
            if peer and its and its.exists():
                part.peer = json.loads(its.read_text("utf-8"))
            parts.append(part)
        for plan, part, future in waiting:
            part.peer = future.result()
            _keep(kept / f"{plan.name}-evidently.json" if kept else None, part.peer)
            say(f"{plan.name}: Evidently, {part.peer['seconds']} s")
    return parts


def _read(file: Path) -> Part:
    document = json.loads(file.read_text("utf-8"))
    outcomes = [Outcome(**{**o, "told": tuple(o["told"])}) for o in document.pop("outcomes")]
    return Part(outcomes=outcomes, **document)


def _keep(file: Path | None, document: Mapping[str, Any]) -> None:
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document), encoding="utf-8")


def run_one(plan: Plan, per_model: int | None, peer: bool) -> tuple[Part, Export | None, Clean]:
    """Run one plan; of its faults about `per_model`, or all."""
    started = time.monotonic()
    (subject,) = replay.subjects([plan.model], plan.season)
    where = clean(subject, plan.size)
    export = Export(where.subject) if peer else None
    listed = faults.of(where.subject, plan.place)
    if per_model:
        listed = listed[:: max(1, len(listed) // per_model)]
    random = np.random.default_rng(100 + plan.place)
    outcomes = [
        run_fault(fault, where, _begin(random, plan.season, fault, where.gaps), number, export)
        for number, fault in enumerate(listed)
    ]
    alarms = [
        {
            "model": where.subject.name,
            "size": plan.size,
            "severity": incident.severity.value,
            "what": f"{incident.root}:{incident.key}:{incident.feature or ''}",
            "since": f"{incident.since:%m-%d %H}",
            "real": is_real(incident, where.gaps),
        }
        for _, incident in where.told.opened.values()
    ]
    return Part(plan.season.weeks, alarms, outcomes, time.monotonic() - started), export, where


def _begin(random: np.random.Generator, season: Season, fault: Fault, gaps: frozenset[datetime]) -> datetime:
    """Return when a fault begins: at a working hour, from the fourth week on, far from real gaps."""
    last = int(season.weeks * 7) - 20
    while True:
        day, hour = int(random.integers(21, last - fault.days)), int(random.integers(12, 21))
        begin = season.begin.replace(hour=hour) + day * DAY
        if not any(begin - DAY <= gap < begin + (fault.days + 1) * DAY for gap in gaps):
            return begin


def figures(found: Sequence[Part]) -> dict[str, Any]:
    """Return the figures of all parts."""
    outcomes = [outcome for part in found for outcome in part.outcomes]
    alarms = [alarm for part in found for alarm in part.alarms]
    false = [alarm for alarm in alarms if not alarm["real"]]
    harmful = [o for o in outcomes if not o.harmless]
    spared = [o for o in outcomes if o.harmless]
    # A fault that must not be told lasts a week.
    weeks = sum(part.weeks for part in found) + len(spared)
    pages = sum(alarm["severity"] == Severity.CRITICAL for alarm in false)
    total = len(false) + sum(len(o.told) for o in spared)
    detected = [o for o in harmful if o.detected]
    return {
        "detected_pct": _percent(len(detected), len(harmful)),
        "root_named_pct": _percent(sum(o.right for o in detected), len(detected)),
        "false_alarms_per_model_week": round(total / weeks, 4),
        "median_windows_to_detect": _median(o.windows for o in detected),
        **_of_peer(found, weeks),
        "median_hours_to_detect": _median(o.hours for o in detected),
        "false_pages_per_model_week": round(pages / weeks, 4),
        "false_tickets_per_model_week": round((len(false) - pages) / weeks, 4),
        "real_gaps_found": len(alarms) - len(false),
        "model_weeks": round(weeks, 1),
        "faults": len(harmful),
        "incidents_per_fault": round(sum(len(o.told) for o in detected) / max(1, len(detected)), 2),
        "seconds": round(sum(part.seconds for part in found)),
        "kinds": _kinds(found),
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


def _of_peer(found: Sequence[Part], weeks: float) -> dict[str, Any]:
    """Return Evidently's figures; None where it was not asked.

    A day's report with any test that begins to fail is one alarm, though it does not group its tests: one
    person reads one report.
    """
    peers = [part.peer for part in found if part.peer]
    if not found or len(peers) < len(found):
        return dict.fromkeys(("evidently_detected_pct", "evidently_false_alarms_per_model_week"))
    told = list(_with_peer(found))
    days = [day for outcome, day in told if not outcome.harmless]
    hit = [day for day in days if day]
    on_spared = sum(1 for outcome, day in told if outcome.harmless and day)
    return {
        "evidently_detected_pct": _percent(len(hit), len(days)),
        "evidently_false_alarms_per_model_week": round(
            (sum(peer["reports"] for peer in peers) + on_spared) / weeks, 4
        ),
        "evidently_failing_tests_per_model_week": round(
            (sum(peer["tests"] for peer in peers) + on_spared) / weeks, 4
        ),
        "evidently_median_days_to_detect": _median(hit),
        "evidently_seconds": sum(peer["seconds"] for peer in peers),
    }


def _with_peer(found: Sequence[Part]) -> Iterator[tuple[Outcome, int | None]]:
    """Yield each fault with the day on which Evidently saw it."""
    for part in found:
        if part.peer:
            yield from zip(part.outcomes, part.peer["faults"], strict=True)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _kinds(found: Sequence[Part]) -> dict[str, Any]:
    kinds: dict[str, list[Outcome]] = defaultdict(list)
    for part in found:
        for outcome in part.outcomes:
            kinds[outcome.fault].append(outcome)
    seen = [outcome.fault for outcome, day in _with_peer(found) if day]
    return {
        kind: {
            "runs": len(runs),
            "detected": sum(o.detected for o in runs),
            "right_root": sum(o.right for o in runs),
            "median_windows": _median(o.windows for o in runs),
            **({"evidently_detected": seen.count(kind)} if all(part.peer for part in found) else {}),
        }
        for kind, runs in kinds.items()
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
    if options.quick:
        wanted = [plan for plan in plans() if plan.season is AUTUMN and plan.size == 1]
        _write(options.output, figures(run(wanted, 8, peer, options.kept)))
        return 0
    result: dict[str, Any] = {}
    for season in (AUTUMN, SPRING, SUMMER):
        # Written after each season: what takes long is there as soon as it is known.
        found = figures(run([plan for plan in plans() if plan.season is season], None, peer, options.kept))
        if season is AUTUMN:
            result = {**found, "held_out": {}}
        else:
            result["held_out"][season.name] = found
        _write(options.output, result)
    return 0


def _write(file: Path, result: dict[str, Any]) -> None:
    """Write the figures, and say the main ones."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for name, found in [("", result), *result.get("held_out", {}).items()]:
        main_ones = {key: value for key, value in found.items() if not isinstance(value, dict | list)}
        print(json.dumps({**({"held_out": name} if name else {}), **main_ones}, indent=2))


if __name__ == "__main__":
    sys.exit(main())
