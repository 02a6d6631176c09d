"""Tables to score, and the batch image as a process."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving_images.batch.__main__ import main
from tests.serving_images.sample import settings

ROOT = Path(__file__).resolve().parents[3]
BATCH = {
    "source": "test.predictions.delay_input",
    "key": "row_id",
    "output": "test.predictions.delay_predictions",
    "runs": "test.predictions.delay_runs",
    "shards": 2,
}


def rows(count: int, *, start: int = 0, odd: float = 0.0, seed: int = 0) -> pa.Table:
    """Return rows of the sample model; a share `odd` of the values is missing, unknown or out of range."""
    random = np.random.default_rng([seed, start])

    def some(values: Any, other: Any) -> list[Any]:
        chosen = random.random(count) < odd
        return [other if swap else value for value, swap in zip(values, chosen, strict=True)]

    day = datetime(2026, 3, 1, tzinfo=UTC)
    return pa.table(
        {
            "row_id": pa.array([f"row-{start + number}" for number in range(count)], pa.string()),
            "distance": pa.array(some((random.random(count) * 5000).tolist(), 9000.0), pa.float64()),
            "carrier": pa.array(some(random.choice(["AA", "B6", "UA"], count).tolist(), "??"), pa.string()),
            "stops": pa.array(some(random.integers(0, 4, count).tolist(), None), pa.int64()),
            "holiday": pa.array((random.random(count) < 0.1).tolist(), pa.bool_()),
            "wind": pa.array(some((random.random(count) * 60).tolist(), None), pa.float64()),
            "departure": pa.array(
                [day + timedelta(seconds=number) for number in range(count)], pa.timestamp("us", "UTC")
            ),
        }
    )


def table_folder(folder: Path, name: str = "delay_input") -> Path:
    """Return the folder of a table of the local warehouse."""
    return folder / "warehouse" / "test" / "predictions" / name


def fill(folder: Path, *tables: pa.Table, row_group: int = 1 << 20) -> None:
    """Write the table to score, a file each."""
    place = table_folder(folder) / "day=all"
    place.mkdir(parents=True, exist_ok=True)
    for number, table in enumerate(tables):
        pq.write_table(table, place / f"part-{number}.parquet", row_group_size=row_group)


def configured(folder: Path, **changes: Any) -> Path:
    """Publish the sample model; return its model.json as a batch model."""
    path = folder / "model.json"
    path.write_text(json.dumps(settings(folder, **{"pattern": "batch", "batch": BATCH, **changes})))
    return path


def command(config: Path, *arguments: str) -> list[str]:
    """Return the command of a run."""
    return [sys.executable, "-m", "serving_images.batch", "score", "--config", str(config), *arguments]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a run."""
    return os.environ | {"MODELYARD_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)} | more


@dataclass(frozen=True)
class Ended:
    """A run that has ended."""

    returncode: int
    stderr: str


def run_processes(folder: Path, config: Path, *arguments: str) -> Ended:
    """Run all shards as processes, to the end."""
    done = subprocess.run(
        command(config, *arguments), env=environment(folder), capture_output=True, text=True, timeout=300
    )
    return Ended(done.returncode, done.stderr)


class Runner:
    """Runs shards one after the other in this process, which is quicker than to start some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        monkeypatch.setenv("MODELYARD_CACHE", str(folder / "cache"))
        self._patch = monkeypatch

    def __call__(
        self, config: Path, *arguments: str, shards: int = 2, pod: Mapping[str, str] | None = None
    ) -> Ended:
        """Run to the end, or to the first shard that fails; with index or pod given, that shard alone."""
        said = io.StringIO()
        code = 0
        one = "--index" in arguments or bool(pod)
        with self._patch.context() as patch, contextlib.redirect_stderr(said):
            for name, value in (pod or {}).items():
                patch.setenv(name, value)
            for index in range(1 if one else shards):
                given = [] if one else ["--index", str(index)]
                code = main(["score", "--config", str(config), "--threads", "1", *given, *arguments])
                if code:
                    break
        return Ended(code, said.getvalue())


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runner:
    """Runs shards in this process."""
    return Runner(monkeypatch, tmp_path)


def written(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return all rows of a table of the local warehouse."""
    files = sorted(table_folder(folder, name).glob("day=*/[!.]*.parquet"))
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def once(folder: Path, names: Sequence[str]) -> None:
    """Assert that each row of the source has one prediction and one row in the log, and these agree."""
    predictions = written(folder, "delay_predictions")
    assert sorted(row["row_id"] for row in predictions) == sorted(names)
    log = {row["prediction_id"]: row["prediction"] for row in written(folder, "delay")}
    assert len(log) == len(written(folder, "delay")) == len(predictions)
    assert log == {row["prediction_id"]: row["prediction"] for row in predictions}
