"""A model with a prediction log in a local warehouse, for tests that measure it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

import modelyard.warehouse
from modelyard.monitors.measuring import Measurement, Watched, measure, watched
from modelyard.spec.manifest import Manifest
from modelyard.spec.monitoring import monitoring_config
from modelyard.tables import Table, arrow_schema, prediction_log
from modelyard.warehouse import Warehouse
from tests.modelyard.sample import deployed, manifest

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FEATURES: list[dict[str, Any]] = [
    {"name": "distance", "type": "float64", "unit": "km", "range": [0.0, 100.0]},
    {"name": "carrier", "type": "string", "categories": ["AA", "UA", "DL"]},
    {"name": "age", "type": "int64", "nullable": True, "range": [0, 99]},
    {"name": "express", "type": "bool"},
]
EDGES = [float(edge) for edge in range(10, 100, 10)]
BASELINES: dict[str, Any] = {
    "features": {
        "distance": {
            "kind": "numeric",
            "edges": EDGES,
            "counts": [1000] * 10,
            "missing": 0.0,
            "mean": 50.0,
            "std": 28.87,
        },
        "carrier": {
            "kind": "categorical",
            "counts": {"AA": 5000, "UA": 3000, "DL": 2000},
            "missing": 0.0,
        },
        "age": {
            "kind": "numeric",
            "edges": EDGES,
            "counts": [950] * 10,
            "missing": 0.05,
            "mean": 49.5,
            "std": 28.87,
        },
        "express": {"kind": "categorical", "counts": {"false": 7000, "true": 3000}, "missing": 0.0},
    },
    "prediction": {
        "kind": "numeric",
        "edges": EDGES,
        "counts": [1000] * 10,
        "missing": 0.0,
        "mean": 50.0,
        "std": 28.87,
    },
}


@dataclass
class World:
    """One model, its log and its warehouse."""

    warehouse: Warehouse
    model: Watched
    manifest: Manifest
    log: Table

    def write(self, rows: Sequence[dict[str, Any]], name: str) -> None:
        """Add rows to the prediction log."""
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        schema = arrow_schema(self.log)
        table = pa.table(columns, schema=pa.schema([schema.field(key) for key in columns]))
        self.warehouse.append(self.model.log_table, self.log, table, name)

    def measure(self, at: datetime, run_id: str | None = None) -> Measurement:
        """Measure the model as of `at`."""
        versions = {self.manifest.version: self.manifest}
        run = run_id or f"run-{at:%Y%m%dT%H%M}"
        return measure(self.warehouse, self.model, versions, at, run, log=self.log, now=lambda: at)

    def table(self, name: str) -> list[dict[str, Any]]:
        """Return all rows of a table of the monitoring dataset."""
        rows = self.warehouse.query(f"SELECT * FROM `{self.model.table(name)}`")
        return list(rows.to_pylist())


def world(
    root: Path | None,
    *,
    made: Manifest | None = None,
    error: Any = None,
    warehouse: Warehouse | None = None,
    **settings: Any,
) -> World:
    """Return a world with an empty log.

    Args:
        root: folder of its warehouse.
        made: manifest of its version.
        error: error baseline of the manifest, where that is not given.
        warehouse: its warehouse, where it is not a folder.
        settings: of the model in the team file.
    """
    baselines = BASELINES | ({"error": error} if error else {})
    made = made or manifest(features=FEATURES, baselines=baselines)
    team, model, names = deployed(**settings)
    model = model.model_copy(update={"manifest": made})
    team = team.model_copy(update={"models": (model,)})
    document = monitoring_config(team, names.team)
    return World(
        warehouse or modelyard.warehouse.local(root),
        watched(document)[0],
        made,
        prediction_log(model, names),
    )


def rows(
    start: datetime, count: int, seed: int = 1, length: timedelta = HOUR, **changes: Any
) -> list[dict[str, Any]]:
    """Return healthy rows spread over `length`; `changes` replace features, or compute them from a row's.

    A change is a value, or a function of the healthy value.
    """
    draw = random.Random(f"{seed}-{start.isoformat()}")
    made = []
    for index in range(count):
        features: dict[str, Any] = {
            "distance": draw.uniform(0, 100),
            "carrier": draw.choices(["AA", "UA", "DL"], [5, 3, 2])[0],
            "age": None if draw.random() < 0.05 else draw.randrange(100),
            "express": draw.random() < 0.3,
        }
        row: dict[str, Any] = {
            "prediction_id": f"{seed}-{start:%Y%m%d%H}-{index}",
            "time": start + length * index / count,
            "team": "flights",
            "model": "delay",
            "version": 1,
            "pattern": "rest",
            "caller": f"caller-{index % 3}",
            "features": features,
            "prediction": draw.uniform(0, 100),
            "latency_ms": draw.expovariate(0.1),
            "flags": [],
        }
        for key, change in changes.items():
            where = features if key in features else row
            where[key] = change(where[key]) if callable(change) else change
        made.append(row)
    return made
