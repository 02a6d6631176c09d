"""Measures the batch image beside a bare loop of the model's own `predict`: `make bench-batch`.

Both score the same rows, in the same batches, with the same model. The loop has the batches in memory, as
Arrow has them; it does nothing but make the model's input and call `predict`. The batch image reads Parquet,
checks types, ranges and missing values, scores, gives ids, and writes predictions and prediction log, durable
on disk.

Written to `build/bench/batch.json` and printed:

- `ratio_to_model_loop`: rows per second of one shard, log on, over those of the loop, for XGBoost with 100
  trees over 20 features. The model has one thread in both; the shard reads ahead and writes behind beside it.
- `ratio_on_all_cores`: the same where the model has all cores in both: reading and writing take theirs
  from the model.
- `detail`: both for LightGBM (100 trees) and a linear model too, with rows per second and processor time.

Figures are medians of rounds that alternate between the two; absolute ones drift with the machine.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench"
WORK = OUT / "batch"
FEATURES = 20
TREES = 100
DATASET = "bench.predictions"
GOALS = {"ratio_to_model_loop": 0.8}
MODELS = ("xgboost", "lightgbm", "linear")

Predict = Callable[[pa.RecordBatch], Any]


def training_data(rows: int, seed: int) -> tuple[Any, Any]:
    """Return features and target of a noisy, nonlinear regression."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, FEATURES))
    return x, 2 * x[:, 0] + x[:, 1] ** 2 + x[:, 2] * x[:, 3] + random.normal(size=rows)


def model_file(kind: str) -> Path:
    """Return where the model of a kind lies."""
    return (
        WORK
        / "registry"
        / kind
        / {"xgboost": "model.ubj", "lightgbm": "model.txt", "linear": "model.skops"}[kind]
    )


def train(kind: str, path: Path) -> None:
    """Train a model and write it in its library's own format."""
    x, y = training_data(50_000, 1)
    x = pd.DataFrame(x, columns=[f"x{n}" for n in range(FEATURES)])
    if kind == "xgboost":
        import xgboost

        xgboost.XGBRegressor(n_estimators=TREES, max_depth=6).fit(x, y).save_model(path)
    elif kind == "lightgbm":
        import lightgbm

        lightgbm.LGBMRegressor(n_estimators=TREES, verbose=-1).fit(x, y).booster_.save_model(path)
    else:
        import skops.io
        from sklearn.linear_model import LinearRegression

        skops.io.dump(LinearRegression().fit(x, y), path)


def loop_of(kind: str, path: Path, threads: int) -> Predict:
    """Return the model's own `predict` on a batch, called in the fastest way that its library has."""
    if kind == "xgboost":
        import xgboost

        booster = xgboost.Booster({"nthread": threads}, model_file=path)
        return lambda batch: booster.inplace_predict(_stacked(batch))
    if kind == "lightgbm":
        import lightgbm

        model = lightgbm.Booster(model_file=path)
        return lambda batch: model.predict(_stacked(batch), num_threads=threads)
    import skops.io

    estimator = skops.io.load(path)
    return lambda batch: estimator.predict(batch.to_pandas())


def _stacked(batch: pa.RecordBatch) -> Any:
    return np.column_stack([column.to_numpy() for column in batch.columns]).astype(np.float32, copy=False)


def settings(kind: str, path: Path) -> dict[str, Any]:
    """Return the model.json of a model as a batch model."""
    content = path.read_bytes()
    table = f"{DATASET}.{kind}"
    artifact = {
        "uri": str(path.relative_to(WORK / "registry")),
        "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
        "format": "skops" if kind == "linear" else kind,
        "size_bytes": len(content),
    }
    features = [{"name": f"x{n}", "type": "float64", "range": [-8.0, 8.0]} for n in range(FEATURES)]
    return {
        "format": "modelyard.container/1",
        "team": "bench",
        "model": kind,
        "version": 1,
        "pattern": "batch",
        "task": "regression",
        "registry": str(WORK / "registry"),
        "artifact": artifact,
        "signature": {"features": features, "prediction": {"name": "y", "type": "float64"}},
        "log": {"table": table},
        "warehouse": str(WORK / "warehouse"),
        "batch": {
            "source": f"{DATASET}.rows",
            "key": "row_id",
            "output": f"{table}_predictions",
            "runs": f"{table}_runs",
        },
    }


def write_rows(rows: int) -> Path:
    """Write the rows to score as a table of the local warehouse; return its file."""
    path = (WORK / "warehouse").joinpath(*DATASET.split("."), "rows", "day=all", "rows.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Any] = {"row_id": [f"row-{n}" for n in range(rows)]}
    x, _ = training_data(rows, 2)
    columns |= {f"x{n}": x[:, n] for n in range(FEATURES)}
    pq.write_table(pa.table(columns), path)
    return path


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the rows in the batches that the image reads."""
    from serving_images.batch.parquet import BATCH_ROWS

    yield from pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=[f"x{n}" for n in range(FEATURES)])


def measure(kind: str, threads: int, rounds: int) -> dict[str, float]:
    """Return the figures of one model; runs in a process of its own, so that none warms another's memory."""
    from serving_images.batch.progress import Progress
    from serving_images.batch.run import Order, score
    from serving_images.runtime.config import load

    path = model_file(kind)
    source = (WORK / "warehouse").joinpath(*DATASET.split("."), "rows", "day=all", "rows.parquet")
    data = list(batches(source))
    rows = sum(batch.num_rows for batch in data)
    predict = loop_of(kind, path, threads)
    config_file = WORK / f"{kind}.json"
    config_file.write_text(json.dumps(settings(kind, path)))
    (config,) = load(config_file)
    times: dict[str, list[tuple[float, float]]] = {"loop": [], "image": []}
    for number in range(rounds + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        for batch in data:
            predict(batch)
        loop = (time.perf_counter() - wall, time.process_time() - cpu)
        progress, began = Progress(), [0.0, 0.0]

        def planned(_: object, began: list[float] = began) -> None:
            began[:] = time.perf_counter(), time.process_time()  # the model is loaded

        score(Order(config, f"r{threads}-{number}", 0, 1, threads=threads), progress, planned)
        image = (time.perf_counter() - began[0], time.process_time() - began[1])
        assert progress.done == rows and not progress.failed, progress
        for table in ("", "_predictions"):  # what is written is not kept: a disk is no part of this
            shutil.rmtree((WORK / "warehouse").joinpath(*f"{DATASET}.{kind}{table}".split(".")))
        if number:  # the first is to warm up
            times["loop"].append(loop)
            times["image"].append(image)
    middle = {name: [statistics.median(t[i] for t in taken) for i in (0, 1)] for name, taken in times.items()}
    ratios = [loop[0] / image[0] for loop, image in zip(times["loop"], times["image"], strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "rows_per_second": round(rows / middle["image"][0]),
        "loop_rows_per_second": round(rows / middle["loop"][0]),
        "cpu_us_per_row": round(middle["image"][1] / rows * 1e6, 3),
        "loop_cpu_us_per_row": round(middle["loop"][1] / rows * 1e6, 3),
    }


def main() -> int:
    """Measure, print and write the figures; return 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "THREADS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]), options.rounds)))
        return 0
    shutil.rmtree(WORK, ignore_errors=True)
    for kind in MODELS:
        (WORK / "registry" / kind).mkdir(parents=True)
        train(kind, model_file(kind))
    write_rows(options.rows)
    cores = len(os.sched_getaffinity(0))
    detail: dict[str, Any] = {"rows": options.rows, "cores": cores}
    for kind in MODELS:
        for threads in sorted({1, cores}):
            command = [
                sys.executable,
                "-m",
                "benchmarks.batch",
                "--rounds",
                str(options.rounds),
                "--one",
                kind,
            ]
            done = subprocess.run([*command, str(threads)], cwd=ROOT, stdout=subprocess.PIPE, check=True)
            name = f"{kind}, {threads} thread{'s' if threads > 1 else ''}"
            detail[name] = json.loads(done.stdout)
            print(name, detail[name], flush=True)
    many = f"xgboost, {cores} threads" if cores > 1 else "xgboost, 1 thread"
    figures = {
        "ratio_to_model_loop": detail["xgboost, 1 thread"]["ratio"],
        "ratio_on_all_cores": detail[many]["ratio"],
        "detail": detail,
    }
    shutil.rmtree(WORK)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "batch.json").write_text(json.dumps(figures, indent=2) + "\n")
    missed = [name for name, goal in GOALS.items() if float(str(figures[name])) < goal]
    for name, goal in GOALS.items():
        print(f"{name}: {figures[name]} (goal: at least {goal})")
    print(f"ratio_on_all_cores: {figures['ratio_on_all_cores']}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
