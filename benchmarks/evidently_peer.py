"""Evidently's verdicts on exported days; runs in the environment beside, as `evidently_peer.py <folder>`.

It runs once a day, after midnight UTC, on the rows of that day. A day that a fault touches in part has its
other rows as they were.
"""

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset

DAY = pd.Timedelta("1D")
# The test on the share of drifted columns, Evidently's verdict on the whole: it repeats its columns.
DATASET = "Share of Drifted Columns"


def failing(reference: pd.DataFrame, rows: pd.DataFrame) -> set[str]:
    """Return the names of the tests that fail on one day; a day that it cannot judge fails as a whole."""
    columns = [name for name in rows.columns if name != "time"]
    if rows.empty:
        return {"no rows"}
    try:
        result: Any = (
            Report([DataDriftPreset()], include_tests=True).run(rows[columns], reference[columns]).dict()
        )
    except ValueError as error:
        return {f"refused: {str(error)[:60]}"}
    return {test["name"] for test in result["tests"] if "FAIL" in str(test["status"])}


def days(begin: pd.Timestamp, end: pd.Timestamp) -> Iterator[pd.Timestamp]:
    """Yield the days, UTC, that have any of the span from `begin` to `end`."""
    day = begin.floor("D")
    while day < end:
        yield day
        day += DAY


def between(rows: pd.DataFrame, begin: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    """Return the rows from `begin` to before `end`."""
    return rows[(rows["time"] >= begin) & (rows["time"] < end)]


def main(folder: Path) -> None:
    """Judge what lies in `folder` and write `found.json`: the alarms without a fault, and each fault's."""
    warnings.filterwarnings("ignore")
    jobs = json.loads((folder / "jobs.json").read_text())
    reference, clean = (pd.read_parquet(folder / f"{name}.parquet") for name in ("reference", "clean"))

    usual = {
        day: failing(reference, between(clean, day, day + DAY))
        for day in days(clean["time"].min(), clean["time"].max())
    }
    alarms, before = [], set[str]()
    for day, now in usual.items():
        # What goes on failing was told.
        if new := sorted(name for name in now - before if not name.startswith(DATASET)):
            alarms.append({"day": day.isoformat(), "tests": new})
        before = now

    faults: list[int | None] = []
    for job in jobs:
        rows = pd.read_parquet(folder / f"{job['fault']}.parquet")
        begin, end = pd.Timestamp(job["begin"]), pd.Timestamp(job["end"])
        faults.append(None)
        for number, day in enumerate(days(begin, end), 1):
            around = between(clean, day, day + DAY)
            around = around[(around["time"] < begin) | (around["time"] >= end)]
            if failing(reference, pd.concat([around, between(rows, day, day + DAY)])) - usual[day]:
                faults[-1] = number
                break
    (folder / "found.json").write_text(json.dumps({"alarms": alarms, "faults": faults}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
