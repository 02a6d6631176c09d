"""The same statements on DuckDB and through a BigQuery API give the same values."""

import math
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import modelyard.warehouse
from modelyard.tables import METRIC_VALUES, MONITOR_RUNS, PREDICTION_USAGE, WINDOW_COUNTS
from tests.bigquery_emulator import bigquery_client, bigquery_endpoint, create_table
from tests.modelyard.monitors.measuring.test_counting import TREE
from tests.modelyard.monitors.measuring.test_labels import SETTINGS, TRUTHS, truth_table, truths
from tests.modelyard.monitors.measuring.world import BEGIN, DAY, HOUR, World, rows, world

__all__ = ["bigquery_client", "bigquery_endpoint"]

ODD = [None, math.nan, math.inf, -math.inf, 0.0, 1e300]


def told(place: World) -> None:
    """Let a day pass with odd values, repeated rows, faults and labels."""
    draw = random.Random(8)
    for hour in range(0, 24, 8):
        made = rows(BEGIN + hour * HOUR, 150, length=8 * HOUR)
        for row in made:
            if draw.random() < 0.1:
                row["features"]["distance"] = draw.choice(ODD)
            if draw.random() < 0.1:
                row["features"]["carrier"] = draw.choice([None, "XX", "O'Hare", "ü\n"])
            if draw.random() < 0.05:
                row["prediction"] = draw.choice(ODD)
        place.write(made, f"rows-{hour}")
        if hour == 8:
            place.write(made[:20], "again")
    known = {r["prediction_id"]: draw.uniform(0, 100) for r in made}
    truths(place, known, BEGIN + DAY, "labels")
    place.measure(BEGIN + 2 * DAY + timedelta(minutes=10), "run")


def values(place: World) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    keys = ("window_start", "window_end", "version", "family", "metric", "feature")
    return {
        tuple(row[key] for key in keys): (row["value"], row["threshold"], row["row_count"], row["detail"])
        for row in place.table("metric_values")
    }


def test_both_engines_measure_the_same(tmp_path: Path, bigquery_client: Any) -> None:
    here = world(tmp_path, error=TREE, **SETTINGS)
    warehouse = modelyard.warehouse.bigquery(bigquery_client.project, bigquery_client)
    there = world(None, error=TREE, warehouse=warehouse, **SETTINGS)
    for table in (METRIC_VALUES, MONITOR_RUNS, WINDOW_COUNTS):
        create_table(bigquery_client, there.model.table(table.name), table)
    create_table(bigquery_client, there.model.usage_table, PREDICTION_USAGE)
    create_table(bigquery_client, there.model.log_table, there.log)
    create_table(bigquery_client, TRUTHS, truth_table())
    told(here)
    told(there)
    wrong = [row["error"] for row in there.table("monitor_runs") if row["error"]]
    assert wrong == []
    expected, found = values(here), values(there)
    assert found.keys() == expected.keys()
    assert len(expected) > 300
    for key, (*measured, count, detail) in expected.items():
        assert [number is None for number in measured] == [number is None for number in found[key][:2]], key
        for number, other in zip(measured, found[key][:2], strict=True):
            assert number is None or other == pytest.approx(number, rel=1e-9, abs=1e-12), key
        assert found[key][2:] == (count, detail), key
