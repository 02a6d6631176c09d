"""Evidently's own figures, run in `.venv-evidently` (`python3 -m scripts.setup evidently`).

    .venv-evidently/bin/python benchmarks/evidently_reference.py golden
    .venv-evidently/bin/python benchmarks/evidently_reference.py drift REFERENCE.parquet CURRENT.parquet
    .venv-evidently/bin/python benchmarks/evidently_reference.py preset REFERENCE.parquet CURRENT.parquet

`golden` prints the index of small categorical samples, to compare exact values with. The other two measure
the drift of every column by the statistics that suit its type, and say how long it took without reading
files: `drift` asks for each statistic of each column as a metric of one report, `preset` for the drift
preset, which takes one statistic per type and is so run three times. The preset adds the share of columns
that drifted, for which it computes every statistic a second time.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift
from evidently.presets import DataDriftPreset

NUMERIC = ("psi", "jensenshannon", "wasserstein")
CATEGORICAL = ("psi", "jensenshannon", "chisquare")
# Live and training rows per category.
SAMPLES = {
    "same": ([100, 200, 300], [1000, 2000, 3000]),
    "moved": ([500, 300, 200], [200, 300, 500]),
    "slightly": ([52, 31, 17, 8, 3], [5000, 3000, 2000, 900, 250]),
}


def golden() -> dict[str, float]:
    """Return Evidently's index of each sample."""
    found = {}
    for name, (live, training) in SAMPLES.items():
        frames = [
            pd.DataFrame({"x": [f"c{i}" for i, n in enumerate(counts) for _ in range(n)]})
            for counts in (training, live)
        ]
        found[name] = measured(frames[0], frames[1], {"x": ("psi",)})["x"]["psi"]
    return found


def measured(
    reference: pd.DataFrame, current: pd.DataFrame, methods: dict[str, tuple[str, ...]]
) -> dict[str, dict[str, float]]:
    """Return each column's distances by method."""
    texts = [name for name in methods if reference[name].dtype == object]
    definition = DataDefinition(
        numerical_columns=[name for name in methods if name not in texts], categorical_columns=texts
    )
    wanted = [(name, method) for name, some in methods.items() for method in some]
    report = Report([ValueDrift(column=name, method=method) for name, method in wanted])
    snapshot = report.run(
        Dataset.from_pandas(current, data_definition=definition),
        Dataset.from_pandas(reference, data_definition=definition),
    )
    found: dict[str, dict[str, float]] = {name: {} for name in methods}
    results: list[dict[str, Any]] = snapshot.dict()["metrics"]
    for (name, method), result in zip(wanted, results, strict=True):
        found[name][method] = float(result["value"])
    return found


def drift(reference_path: str, current_path: str) -> dict[str, Any]:
    """Return the distances of all columns of two files, and the time and memory (MiB) that they took."""
    reference, current = pd.read_parquet(reference_path), pd.read_parquet(current_path)
    methods: dict[str, tuple[str, ...]] = {
        name: NUMERIC if reference[name].dtype != object else CATEGORICAL for name in reference
    }
    started = time.perf_counter()
    found = measured(reference, current, methods)
    return {"seconds": time.perf_counter() - started, "peak_mb": peak(), "values": found}


def preset(reference_path: str, current_path: str) -> dict[str, float]:
    """Return the time and memory (MiB) that the drift preset took for the same distances."""
    reference, current = pd.read_parquet(reference_path), pd.read_parquet(current_path)
    texts = [name for name in reference if reference[name].dtype == object]
    definition = DataDefinition(
        numerical_columns=[name for name in reference if name not in texts], categorical_columns=texts
    )
    started = time.perf_counter()
    for numeric, categorical in zip(NUMERIC, CATEGORICAL, strict=True):
        Report([DataDriftPreset(num_method=numeric, cat_method=categorical)]).run(
            Dataset.from_pandas(current, data_definition=definition),
            Dataset.from_pandas(reference, data_definition=definition),
        ).dict()
    return {"seconds": time.perf_counter() - started, "peak_mb": peak()}


def peak() -> float:
    """Return the largest memory of this process so far, in MiB."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))


TASKS: dict[str, Callable[..., Any]] = {"golden": golden, "drift": drift, "preset": preset}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](*sys.argv[2:4])))
