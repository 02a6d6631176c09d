"""Evidently's verdicts on exported days; runs in the environment beside, as `evidently_peer.py <folder>`."""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset

DAY = pd.Timedelta("1D")
# Days of a fault that it may look at: it keeps no memory, so a week shows all that it can see.
MOST = 7
# The test on the share of drifted columns, Evidently's verdict on the whole.
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


def days(
    rows: pd.DataFrame, begin: pd.Timestamp, end: pd.Timestamp
) -> "list[tuple[pd.Timestamp, pd.DataFrame]]":
    """Return the rows of each day from `begin` on."""
    found, start = [], begin
    while start + DAY <= end:
        found.append((start, rows[(rows["time"] >= start) & (rows["time"] < start + DAY)]))
        start += DAY
    return found


def main(folder: Path) -> None:
    """Judge all jobs of `folder` and write `found.json`."""
    warnings.filterwarnings("ignore")

    def table(name: str) -> pd.DataFrame:
        if name not in held:
            held[name] = pd.read_parquet(folder / f"{name}.parquet")
        return held[name]

    held: dict[str, pd.DataFrame] = {}
    jobs = json.loads((folder / "jobs.json").read_text())
    alarms = 0
    hits: list[bool] = []
    known: dict[tuple[str, pd.Timestamp], set[str]] = {}
    for job in jobs:
        reference = table(job["reference"])
        if "clean" in job:
            rows = table(job["clean"])
            before: set[str] = set()
            for _, day in days(rows, rows["time"].min().floor("D"), rows["time"].max()):
                now = failing(reference, day)
                # What goes on failing is one alarm; the verdict on the whole repeats its columns.
                alarms += sum(not name.startswith(DATASET) for name in now - before)
                before = now
            continue
        rows, without = pd.read_parquet(folder / f"{job['fault']}.parquet"), table(job["without"])
        begin, end = pd.Timestamp(job["begin"]), pd.Timestamp(job["end"])
        new: set[str] = set()
        for start, day in days(rows, begin, end)[:MOST]:
            key = (job["without"], start)
            if key not in known:
                same = (without["time"] >= start) & (without["time"] < start + DAY)
                known[key] = failing(reference, without[same])
            new |= failing(reference, day) - known[key]
            if new:
                break
        hits.append(bool(new))
    (folder / "found.json").write_text(json.dumps({"alarms": alarms, "faults": hits}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
