"""Batch models: freshness, duration, holes, and records against the runs before."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from modelyard.tables import DEPLOYMENTS, arrow_schema, batch_runs
from tests.modelyard.monitors.measuring.world import BEGIN, DAY, HOUR, World, rows, world

MINUTE = timedelta(minutes=1)
HASH = "sha256:" + "0" * 64


def ended(place: World, day: int, shards: int = 2, of: int = 2, scored: int = 500, failed: int = 0) -> None:
    """Let shards of the day's run end, about twenty minutes after it began at three."""
    start = BEGIN + day * DAY + 3 * HOUR
    found: list[dict[str, Any]] = [
        {
            "run": f"run-{day}",
            "shard": shard,
            "shards": of,
            "version": 1,
            "started": start,
            # A shard that is repeated ends later.
            "ended": start + (20 - 5 * shard + shards) * MINUTE,
            "rows_scored": scored,
            "rows_failed": failed,
        }
        for shard in range(shards)
    ]
    assert place.model.runs_table is not None
    table = batch_runs(place.model.runs_table.rpartition(".")[2])
    place.warehouse.append(
        place.model.runs_table, table, pa.Table.from_pylist(found, arrow_schema(table)), f"{day}-{shards}"
    )


def batch(root: Path) -> World:
    return world(root, pattern="batch")


def newest(place: World, metric: str) -> dict[str, Any]:
    found = [v for v in place.table("metric_values") if v["metric"] == metric]
    return max(found, key=lambda v: (v["window_end"], v["computed"]))


def test_a_run_counts_once_all_its_shards_have_ended(tmp_path: Path) -> None:
    place = batch(tmp_path)
    place.write(rows(BEGIN + 3 * HOUR, 100), "rows")
    ended(place, 0, failed=10)
    ended(place, 1, shards=1)
    place.measure(BEGIN + DAY + 5 * HOUR)
    assert newest(place, "last_success")["value"] == (BEGIN + 3 * HOUR + 22 * MINUTE).timestamp()
    assert newest(place, "duration")["value"] == 22 * 60
    assert newest(place, "failed_share")["value"] == 20 / 1000
    assert newest(place, "failed_share")["threshold"] == pytest.approx(0.0207, abs=0.0005)


def test_a_shard_that_ended_twice_counts_once(tmp_path: Path) -> None:
    place = batch(tmp_path)
    place.write(rows(BEGIN + 3 * HOUR, 100), "rows")
    ended(place, 0, shards=1)
    ended(place, 0, shards=2, failed=250)
    place.measure(BEGIN + 5 * HOUR)
    assert newest(place, "failed_share")["value"] == 0.5
    assert newest(place, "failed_share")["row_count"] == 1000


def test_records_are_compared_with_the_runs_before(tmp_path: Path) -> None:
    place = batch(tmp_path)
    for day in range(5):
        place.write(rows(BEGIN + day * DAY + 3 * HOUR, 100), f"rows-{day}")
        ended(place, day, scored=500 if day < 4 else 100)
    place.measure(BEGIN + 4 * DAY + 4 * HOUR)
    found = newest(place, "volume_ratio")
    assert (found["value"], found["threshold"]) == (0.2, 0.4)
    assert found["detail"] == "200 rows in the last run; 1000 are usual"


def test_a_batch_that_never_ran_is_as_old_as_its_deployment(tmp_path: Path) -> None:
    place = batch(tmp_path)
    entry = {
        "team": "flights",
        "model": "delay",
        "version": 1,
        "manifest_digest": HASH,
        "image_digest": HASH,
        "percent": 100,
    }
    deployment = {
        "deployment_id": "d",
        "time": BEGIN,
        "environment": "dev",
        "actor": "a",
        "approved_by": [],
        "repository": "r",
        "commit": "c",
        "stacks": [],
        "models": [entry],
        "plan_digest": HASH,
        "succeeded": True,
    }
    made = pa.Table.from_pylist([deployment], arrow_schema(DEPLOYMENTS))
    place.warehouse.append(f"{place.model.metadata}.deployments", DEPLOYMENTS, made, "d")
    place.measure(BEGIN + 5 * HOUR)
    assert newest(place, "last_success")["value"] == BEGIN.timestamp()
