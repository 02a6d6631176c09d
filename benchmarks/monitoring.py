"""Measures the monitors: `make bench-monitoring`.

Written to `build/bench/monitoring.json` and printed:

- `speedup_over_evidently`: how many times as long Evidently takes for the same 60 statistics of a million
  rows against a million rows of training: of 16 numbers the index (PSI), Jensen-Shannon and Wasserstein, of 4
  texts the index, Jensen-Shannon and chi-square. Evidently computes them by its quickest call that gives
  these values: one report of a `ValueDrift` metric for each, without the drift preset, HTML or JSON. It gets
  both samples as data frames in memory, and only its report is timed. Ours is timed from the log's files to
  the values: the monitors' statement with the figures of drift alone, over the bins frozen in training, and
  the drift family's own code. Neither is charged its imports. Medians of three rounds, in which each measures
  once, in a process of its own.
- `speedup_of_whole_run`: the same of a whole run of the monitors, which besides finds the hours that
  changed, counts them for all five families, repeated rows and callers, and keeps counts, values and runs.
- `speedup_over_preset`: Evidently's drift preset, once per statistic, over our time. It computes each value
  twice, so it is not what we compare with.
- `speedup_with_freezing`: our time with that of freezing the bins of the training rows, which the monitors do
  not repeat: it happens once, when a version is published.
- `psi_difference`: largest difference of the index of the texts, whose bins are equal, from Evidently's.
- `peak_mb`: largest peak memory (MiB) of the processes that made the whole run.
- `hundred_million_rows_seconds` and `hundred_million_rows_peak_mb`: one model with 100 million rows in files
  of 30 days, 20 features, with labels: all hours counted, and every window of all five families measured. The
  numbers have three digits, and later days repeat the rows of the first under ids and times of their own.
- `bytes_scanned_ratio`: bytes that the next hour's run reads from files, of those that this run read, what
  did not fit into memory and was read back included. `data_bytes` is the size of log and labels: every column
  of the log is read once for its hours, and those of labelled rows once more with their labels.

Absolute times drift with the machine. `--rows` and `--large` make it smaller for a look.
"""

import argparse
import importlib.abc
import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import modelyard.warehouse
from modelyard.monitors.measuring import Watched, counting, drift, measure, watched
from modelyard.monitors.measuring.hours import Figures
from modelyard.monitors.measuring.measured import Measured, Past, Window
from modelyard.monitors.measuring.statistics import median
from modelyard.naming import Names
from modelyard.spec.manifest import FORMAT, Manifest, digest_of
from modelyard.spec.monitoring import monitoring_config
from modelyard.spec.team import DeployedModel, DeployedTeam, Model, Owners
from modelyard.tables import Table, prediction_log
from modelyard.warehouse.folders import LocalWarehouse

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench"
DATA = OUT / "monitoring"
EVIDENTLY = ROOT / ".venv-evidently" / "bin" / "python"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
DAYS = 30
NUMBERS = [f"f{i:02d}" for i in range(16)]
TEXTS = [f"s{i}" for i in range(4)]
CATEGORIES = "abcdefgh"
# What both compute of a number, and of a text.
STATISTICS = (("psi", "jensen_shannon", "wasserstein"), ("psi", "jensen_shannon", "chi_square"))
ROUNDS = 3
NAMES = Names("bench", "example-platform", "1", "europe-west1", "EU", "example")
HASH = "sha256:" + "0" * 64
MEMORY = "700MB"
# Of the numbers of the large log, so that it fits on a disk: files with all digits are twice as large.
DIGITS = 3
# Bytes that a row of 100 million needs on disk, and a margin.
ROW_BYTES = 170
GOALS: dict[str, Callable[[float], bool]] = {
    "speedup_over_evidently": lambda value: value >= 60,
    "peak_mb": lambda value: value <= 400,
    "hundred_million_rows_peak_mb": lambda value: value <= 1536,
    "bytes_scanned_ratio": lambda value: value <= 0.05,
}


def features(shift: str = "0", digits: int | None = None) -> str:
    """Return the SELECT list of random features; a tenth of them moves by `shift` standard deviations."""
    drawn = [
        f"(random() + random() + random() - 1.5) * {i + 1} + {shift if i < 2 else 0}"
        if i % 2 == 0
        else f"-ln(1 - random()) * {i + 1}"
        for i in range(len(NUMBERS))
    ]
    numbers = [
        f"{value if digits is None else f'round({value}, {digits})'} AS {name}"
        for name, value in zip(NUMBERS, drawn, strict=True)
    ]
    texts = [
        f"'{CATEGORIES}'[1 + CAST(floor(random() * {8 - i}) AS INT)] AS {n}" for i, n in enumerate(TEXTS)
    ]
    return ", ".join(numbers + texts)


def packed() -> str:
    """Return the features as the log's record."""
    return "struct_pack(" + ", ".join(f"{name} := {name}" for name in NUMBERS + TEXTS) + ")"


def connection() -> Any:
    """Return DuckDB, to make data with."""
    import duckdb

    made = duckdb.connect()
    made.execute("SET threads = 2")
    made.execute("SET memory_limit = '2GB'")
    made.execute("SET TimeZone = 'UTC'")
    made.execute("SET preserve_insertion_order = true")
    return made


@dataclass(frozen=True)
class Place:
    """The benchmark's model."""

    model: Watched
    manifest: Manifest
    log: Table


def place(baselines: dict[str, Any], settings: dict[str, Any]) -> Place:
    """Return the model with its baselines, and `settings` as in a team file."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "team": "bench",
        "model": "wide",
        "version": 1,
        "created": "2025-12-01T00:00:00+00:00",
        "task": "regression",
        "artifact": {"uri": "gs://b/o", "digest": HASH, "format": "onnx", "size_bytes": 1},
        "signature": {
            "features": [
                *(
                    {"name": name, "type": "float64", "range": [-30, 150], "nullable": True}
                    for name in NUMBERS
                ),
                *({"name": name, "type": "string", "categories": list(CATEGORIES)} for name in TEXTS),
            ],
            "prediction": {"name": "y", "type": "float64"},
        },
        "metrics": {"primary": "mae", "higher_is_better": False, "values": {"mae": 1.0}, "rows": 10_000},
        "data": {"uri": "gs://b/d", "digest": HASH, "rows": 1_000_000},
        "code": {"repository": "r", "commit": "c", "dirty": False, "entry_point": "train.py"},
        "dependencies": {"python": "3.11", "packages": {}},
        "baselines": baselines,
    }
    manifest = Manifest.model_validate(document | {"digest": digest_of(document)})
    spec = Model.model_validate({"name": "wide", "pattern": "rest", "version": 1, **settings})
    model = DeployedModel(spec=spec, manifest=manifest)
    owners = Owners(group="bench@example.com", escalation="pager-bench")
    team = DeployedTeam(team="bench", owners=owners, cost_center="1", monthly_budget=1, models=(model,))
    names = NAMES.team("bench")
    config = monitoring_config(team, names)
    return Place(watched(config)[0], manifest, prediction_log(model, names.model("wide")))


def freeze(reference: Path) -> dict[str, Any]:
    """Return the baselines of a file of training rows, as publishing freezes them."""
    made = connection()
    levels = [level / 10 for level in range(1, 10)]
    asked = ", ".join(
        f"quantile_disc({n}, {levels}), avg({n}), stddev_pop({n}), count({n}), count(*)" for n in NUMBERS
    )
    row = made.execute(f"SELECT {asked} FROM read_parquet('{reference}')").fetchone()
    found: dict[str, Any] = {}
    for i, name in enumerate(NUMBERS):
        edges, mean, std, present, rows = row[5 * i : 5 * i + 5]
        found[name] = {"edges": sorted(set(edges)), "mean": mean, "std": std, "missing": 1 - present / rows}
    below = ", ".join(f"count_if({n} <= {edge!r})" for n in NUMBERS for edge in found[n]["edges"])
    counted = list(made.execute(f"SELECT {below} FROM read_parquet('{reference}')").fetchone())
    for name in NUMBERS:
        edges = found[name]["edges"]
        up_to = [0, *[counted.pop(0) for _ in edges], rows]
        counts = [high - low for low, high in itertools.pairwise(up_to)]
        found[name] |= {"kind": "numeric", "counts": counts}
    for name in TEXTS:
        held = made.execute(f"SELECT {name}, count(*) FROM read_parquet('{reference}') GROUP BY 1").fetchall()
        found[name] = {"kind": "categorical", "counts": dict(held), "missing": 0.0}
    prediction = {"kind": "numeric", "edges": [float(i) for i in range(1, 10)], "counts": [1000] * 10}
    return {"features": found, "prediction": prediction | {"missing": 0.0, "mean": 5.0, "std": 2.887}}


def write_day(
    warehouse: Path, log: str, day: int, rows: int, shift: str = "0", digits: int | None = None
) -> None:
    """Write one day of the log: rows in order of time, ids in order of time."""
    start = BEGIN + day * DAY
    folder = warehouse.joinpath(*log.split(".")) / f"day={start:%Y-%m-%d}"
    folder.mkdir(parents=True, exist_ok=True)
    path, temporary = folder / "log.parquet", folder / ".log"
    if path.exists():
        return
    micros = DAY // timedelta(microseconds=1)
    connection().execute(f"""
COPY (
  SELECT
    printf('%08x-0000-7000-8000-%012x', {day}, i) AS prediction_id,
    TIMESTAMPTZ '{start.isoformat()}' + to_microseconds(CAST(i * {micros / rows!r} AS BIGINT)) AS time,
    'bench' AS team, 'wide' AS model, CAST(1 AS BIGINT) AS version, 'rest' AS pattern,
    'caller-' || (i % 7) AS caller, {packed()} AS features, round(random() * 10, 3) AS prediction,
    round(random() * 20, 2) AS latency_ms, CAST([] AS VARCHAR[]) AS flags,
    '{HASH}' AS image_digest, '{HASH}' AS code_digest, CAST(NULL AS VARCHAR) AS trace_id
  FROM (SELECT i, {features(shift, digits)} FROM range({rows}) AS t(i))
) TO '{temporary}' (FORMAT parquet, ROW_GROUP_SIZE 122880)""")
    temporary.rename(path)


def repeat_day(warehouse: Path, log: str, day: int, rows: int) -> None:
    """Write another day with the first `rows` rows of the first day, under ids and times of their own."""
    first = warehouse.joinpath(*log.split(".")) / f"day={BEGIN:%Y-%m-%d}" / "log.parquet"
    folder = first.parent.with_name(f"day={BEGIN + day * DAY:%Y-%m-%d}")
    folder.mkdir(parents=True, exist_ok=True)
    path, temporary = folder / "log.parquet", folder / ".log"
    if path.exists():
        return
    connection().execute(f"""
COPY (
  SELECT * REPLACE (
    printf('%08x', {day}) || substr(prediction_id, 9) AS prediction_id,
    time + INTERVAL {day} DAY AS time
  ) FROM read_parquet('{first}') LIMIT {rows}
) TO '{temporary}' (FORMAT parquet, ROW_GROUP_SIZE 122880)""")
    temporary.rename(path)


def write_labels(warehouse: Path, log: str, labels: str, day: int) -> None:
    """Write the labels of one day, which arrive on the next, of nine predictions in ten."""
    source = warehouse.joinpath(*log.split(".")) / f"day={BEGIN + day * DAY:%Y-%m-%d}" / "log.parquet"
    folder = warehouse.joinpath(*labels.split(".")) / f"day={BEGIN + (day + 1) * DAY:%Y-%m-%d}"
    folder.mkdir(parents=True, exist_ok=True)
    path, temporary = folder / "labels.parquet", folder / ".labels"
    if path.exists():
        return
    connection().execute(f"""
COPY (
  SELECT prediction_id, round(prediction + random() * 2 - 1, 3) AS label
  FROM read_parquet('{source}') WHERE random() < 0.9
) TO '{temporary}' (FORMAT parquet, ROW_GROUP_SIZE 122880)""")
    temporary.rename(path)


def child(task: str, *arguments: str) -> dict[str, Any]:
    """Run a task of this file in a process of its own; return what it says."""
    command = [sys.executable, "-m", "benchmarks.monitoring", "child", task, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{task}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def status(key: str) -> float:
    """Return a figure of this process in MiB, such as VmHWM, its peak memory."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def read_bytes() -> int:
    """Return the bytes that this process has read from files, whether cached or not."""
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))


class _WithoutPandas(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)


def opened(root: Path, settings: str, memory: str) -> tuple[Place, LocalWarehouse]:
    """Return the model and warehouse in a folder; what there is to import is imported."""
    # The image has no pandas, which pyarrow would import where it finds it.
    sys.meta_path.insert(0, _WithoutPandas())
    import pyarrow.parquet  # noqa: F401

    baselines = json.loads((root / "baselines.json").read_text(encoding="utf-8"))
    warehouse = modelyard.warehouse.local(root / "warehouse", memory_limit=memory, threads=2)
    warehouse.query("SELECT 1 AS one")
    return place(baselines, json.loads(settings)), warehouse


def run_distances(folder: str) -> dict[str, Any]:
    """Compute the statistics that Evidently computes, and no others, from the first day of the log."""
    bench, warehouse = opened(Path(folder), "{}", "300MB")
    span = (BEGIN, BEGIN + DAY)
    started = time.perf_counter()
    features = bench.manifest.signature.features
    prepared = counting.columns(bench.manifest, features)
    figures = [
        figure
        for feature in features
        for figure in counting.of_feature(bench.manifest, feature, prepared)
        if figure.measure in ("present", "bin", "bin_up_to", "deviation")
    ]
    statement = counting.statement(
        bench.model.log_table, prepared, [figure.sql for figure in figures], once=False
    )
    parameters = {"start": span[0], "end": span[1], "version": 1}
    merged: dict[tuple[str, str], dict[int | None, float]] = {}
    for row in warehouse.query(statement, parameters, {bench.model.log_table: bench.log}).to_pylist():
        for index, figure in enumerate(figures):
            bins = merged.setdefault((figure.item, figure.measure), {})
            bins[figure.bin] = bins.get(figure.bin, 0.0) + row[f"a{index}"]
    window = Window(bench.model, {1: bench.manifest}, span, {1: Figures(merged)}, {}, Past())
    found = compared(drift.measure(window))
    return {"seconds": time.perf_counter() - started, "values": found}


def compared(values: Iterable[Measured]) -> dict[str, dict[str, float]]:
    """Return the statistics that Evidently computes, too, by feature."""
    found: dict[str, dict[str, float]] = {}
    for value in values:
        wanted = STATISTICS[value.feature in TEXTS]
        if value.feature is not None and value.value is not None and value.metric.metric in wanted:
            found.setdefault(value.feature, {})[value.metric.metric] = value.value
    return found


def run_measure(folder: str, hours: str, since: str, settings: str, memory: str) -> dict[str, Any]:
    """Measure the model in a folder as of so many hours after the beginning."""
    bench, warehouse = opened(Path(folder), settings, memory)
    at = BEGIN + int(hours) * HOUR
    before, started = read_bytes(), time.perf_counter()
    found = measure(
        warehouse,
        bench.model,
        {1: bench.manifest},
        at,
        f"run-{hours}",
        since=BEGIN + int(since) * HOUR if since else None,
        log=bench.log,
        now=lambda: at,
    )
    seconds = time.perf_counter() - started
    wrong = [run.error for run in found.runs if run.error]
    if wrong:
        raise RuntimeError(f"not measured: {wrong}")
    return {
        "seconds": seconds,
        "peak_mb": status("VmHWM"),
        "bytes": read_bytes() - before,
        "scanned": sum(run.bytes for run in found.runs),
        "counted_rows": sum(run.rows for run in found.runs),
        "count": len(found.values),
        "families": sorted({value.measured.metric.family.value for value in found.values}),
        "values": compared(value.measured for value in found.values),
    }


@dataclass(frozen=True)
class Day:
    """A day of the log beside its training rows."""

    root: Path
    reference: Path
    current: Path
    """The day's features alone, as Evidently reads them."""
    freezing: float
    """Seconds that freezing the baselines took."""

    def measured(self) -> dict[str, Any]:
        """Run the monitors of drift for the first time, in a process of its own."""
        shutil.rmtree(self.root / "warehouse" / "example-platform", ignore_errors=True)
        off = {family: {"enabled": False} for family in ("latency", "usage", "quality", "performance")}
        return child("measure", str(self.root), "24", "0", json.dumps({"monitors": off}), "300MB")

    def distances(self) -> dict[str, Any]:
        """Compute the statistics of the comparison alone, in a process of its own."""
        return child("distances", str(self.root))


def a_day(rows: int) -> Day:
    """Write a day of `rows` rows, and as many of training."""
    root = DATA / f"day-{rows}"
    warehouse, reference, current = root / "warehouse", root / "reference.parquet", root / "current.parquet"
    root.mkdir(parents=True, exist_ok=True)
    made = connection()
    if not reference.exists():
        made.execute(f"COPY (SELECT {features()} FROM range({rows})) TO '{reference}' (FORMAT parquet)")
    started = time.perf_counter()
    baselines = freeze(reference)
    freezing = time.perf_counter() - started
    (root / "baselines.json").write_text(json.dumps(baselines), encoding="utf-8")
    log = place(baselines, {}).model.log_table
    write_day(warehouse, log, 0, rows, "0.4")
    source = warehouse.joinpath(*log.split(".")) / "day=2026-01-01" / "log.parquet"
    listed = ", ".join(f"features.{name} AS {name}" for name in NUMBERS + TEXTS)
    made.execute(f"COPY (SELECT {listed} FROM read_parquet('{source}')) TO '{current}' (FORMAT parquet)")
    made.close()
    return Day(root, reference, current, freezing)


def against_evidently(rows: int) -> dict[str, Any]:
    """Return our time and memory on one day of `rows` rows, and Evidently's time on the same."""
    day = a_day(rows)
    same, whole, theirs = [], [], []
    for _ in range(ROUNDS):
        same.append(day.distances())
        whole.append(day.measured())
        theirs.append(evidently("drift", day))
    preset = evidently("preset", day)
    ours, run, other = (median([one["seconds"] for one in found]) for found in (same, whole, theirs))
    expected = theirs[0]["values"]
    counted = {name: len(found) for name, found in same[0]["values"].items()}
    if counted != {name: len(found) for name, found in expected.items()}:
        raise RuntimeError(f"not the same statistics: {counted}")
    return {
        "speedup_over_evidently": other / ours,
        "speedup_of_whole_run": other / run,
        "speedup_over_preset": preset["seconds"] / ours,
        "speedup_with_freezing": other / (ours + day.freezing),
        "psi_difference": max(
            abs(found["values"][name]["psi"] - expected[name]["psi"])
            for found in (same[0], whole[0])
            for name in TEXTS
        ),
        "seconds": ours,
        "whole_run_seconds": run,
        "freezing_seconds": day.freezing,
        "evidently_seconds": other,
        "evidently_preset_seconds": preset["seconds"],
        "evidently_peak_mb": max(one["peak_mb"] for one in theirs),
        "evidently_preset_peak_mb": preset["peak_mb"],
        "peak_mb": max(one["peak_mb"] for one in whole),
    }


def evidently(task: str, day: Day) -> dict[str, Any]:
    """Return what Evidently finds of a day, and what it took."""
    if not EVIDENTLY.exists():
        raise RuntimeError(f"{EVIDENTLY.parents[1].name} is missing: `python3 -m scripts.setup evidently`")
    script = ROOT / "benchmarks" / "evidently_reference.py"
    command = [str(EVIDENTLY), str(script), task, str(day.reference), str(day.current)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


SETTINGS = {"label": {"table": "operations.truth", "delay": "1d"}}


def large(rows: int) -> dict[str, Any]:
    """Return time, memory and bytes of a run over all `rows` rows of 30 days, and of the next hour's run."""
    root = DATA / f"month-{rows}"
    warehouse = root / "warehouse"
    root.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(root).free, rows * ROW_BYTES
    held = sum(path.stat().st_size for path in root.rglob("*.parquet"))
    if free + held < needed:
        raise RuntimeError(f"{root} needs {needed / 2**30:.0f} GiB, and {free / 2**30:.0f} GiB are free")
    reference = root / "reference.parquet"
    if not reference.exists():
        connection().execute(
            f"COPY (SELECT {features()} FROM range(1000000)) TO '{reference}' (FORMAT parquet)"
        )
    baselines = freeze(reference)
    (root / "baselines.json").write_text(json.dumps(baselines), encoding="utf-8")
    log, truth = place(baselines, SETTINGS).model.log_table, "example-bench.operations.truth"
    write_day(warehouse, log, 0, rows // DAYS, digits=DIGITS)
    for day in range(DAYS):
        repeat_day(warehouse, log, day, rows // DAYS)
        write_labels(warehouse, log, truth, day)
    # The hour after: a twenty-fourth of a day's rows.
    repeat_day(warehouse, log, DAYS, rows // DAYS // 24)
    shutil.rmtree(warehouse / "example-platform", ignore_errors=True)
    settings = json.dumps(SETTINGS)
    full = child("measure", str(root), str(24 * DAYS), "0", settings, MEMORY)
    if len(full["families"]) != 5:
        raise RuntimeError(f"measured were {full['families']}")
    following = child("measure", str(root), str(24 * DAYS + 1), "", settings, MEMORY)
    return {
        "hundred_million_rows_seconds": full["seconds"],
        "hundred_million_rows_peak_mb": full["peak_mb"],
        "hundred_million_rows_counted": full["counted_rows"],
        "hundred_million_rows_values": full["count"],
        "bytes_scanned_ratio": following["bytes"] / full["bytes"],
        "data_bytes": sum(path.stat().st_size for path in (warehouse / "example-bench").rglob("*.parquet")),
        "bytes_scanned_full": full["bytes"],
        "bytes_scanned_next": following["bytes"],
        "next_hour_seconds": following["seconds"],
        "next_hour_values": following["count"],
        "next_hour_rows": following["counted_rows"],
    }


def main() -> int:
    """Measure, write and print; return 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows for the comparison with Evidently")
    parser.add_argument("--large", type=int, default=100_000_000, help="rows of the large log")
    parser.add_argument("--only", choices=("evidently", "large"), help="one part alone; the other is kept")
    options = parser.parse_args()
    path = OUT / "monitoring.json"
    held = json.loads(path.read_text(encoding="utf-8")) if options.only and path.exists() else {}
    if options.only != "large":
        held |= against_evidently(options.rows) | {"rows": options.rows}
    if options.only != "evidently":
        held |= large(options.large) | {"large_rows": options.large}
    rounded = {
        key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in held.items()
    }
    OUT.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rounded, indent=1))
    missed = [key for key, good in GOALS.items() if key in held and not good(held[key])]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    if sys.argv[1:3] == ["child", "measure"]:
        print(json.dumps(run_measure(*sys.argv[3:8])))
    elif sys.argv[1:3] == ["child", "distances"]:
        print(json.dumps(run_distances(sys.argv[3])))
    else:
        sys.exit(main())
