"""Evidently's side of the fault benchmark: the same days of the same rows, written out and judged by it."""

import json
import subprocess
import tempfile
import time
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.replay import Subject

PEER = Path(__file__).parents[1] / ".venv-evidently" / "bin" / "python"
# Rows of training that it compares with.
REFERENCE = 5000


class Export:
    """Writes the days that Evidently is to judge, of one model at one size of traffic."""

    def __init__(self, subject: Subject) -> None:
        """Keep a sample of what the model was trained on, and its days without faults."""
        self._held = tempfile.TemporaryDirectory()
        self.folder = Path(self._held.name)
        self._features = subject.features
        self._jobs: list[dict[str, Any]] = []
        season, rows = subject.season, subject.rows
        before = rows[rows["time"] < season.begin]
        self._write("reference", before.sample(min(len(before), REFERENCE), random_state=1))
        self._write("clean", rows[(rows["time"] >= season.begin) & (rows["time"] < season.end)])

    def add(self, rows: pd.DataFrame, begin: datetime, end: datetime) -> None:
        """Keep the rows of a fault."""
        name = f"fault-{len(self._jobs)}"
        self._write(name, rows)
        self._jobs.append({"fault": name, "begin": begin.isoformat(), "end": end.isoformat()})

    def _write(self, name: str, rows: pd.DataFrame) -> None:
        columns = ["time", *self._features, "prediction", "latency_ms", "label"]
        rows[columns].to_parquet(self.folder / f"{name}.parquet")

    def judge(self, gaps: Collection[datetime], feed: Collection[str]) -> dict[str, Any]:
        """Return what Evidently says, and remove what was written.

        Args:
            gaps: hours in which the real data have a gap; what it says of them is no false alarm.
            feed: the features that have the gaps.

        Returns:
            `tests`: column tests that began to fail without a fault; `reports`: days on which any did;
            `faults`: per fault the day, counted from 1, of the first test that fails because of it, or None;
            `seconds`.
        """
        started = time.monotonic()
        with self._held:
            (self.folder / "jobs.json").write_text(json.dumps(self._jobs))
            command = [str(PEER), str(Path(__file__).with_name("evidently_peer.py")), str(self.folder)]
            subprocess.run(command, check=True)
            found: dict[str, Any] = json.loads((self.folder / "found.json").read_text())
        real = {f"{gap:%Y-%m-%d}" for gap in gaps}
        alarms = [
            [test for test in alarm["tests"] if not (alarm["day"][:10] in real and _column(test) in feed)]
            for alarm in found["alarms"]
        ]
        return {
            "tests": sum(map(len, alarms)),
            "reports": sum(1 for tests in alarms if tests),
            "faults": found["faults"],
            "seconds": round(time.monotonic() - started),
        }


def _column(test: str) -> str:
    """Return the column of `Value Drift for column x`, the name of a test."""
    return test.rpartition("column ")[2]
