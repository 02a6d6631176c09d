"""Schemas, entries and readers that the tests of the log share."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from serving_images.prediction_log import Entry, LogSchema, PredictionIds, encode
from serving_images.prediction_log import folder as folders

KEY = "flight-ops/arrival-delay/3"
OTHER = "pricing/quote/1"
SCHEMA = LogSchema(
    table="acme.predictions.arrival_delay",
    team="flight-ops",
    model="arrival-delay",
    version=3,
    pattern="rest",
    features=(("distance", "float64"), ("carrier", "string"), ("stops", "int64"), ("night", "bool")),
    prediction="float64",
    image_digest="sha256:" + "1" * 64,
)
OTHER_SCHEMA = LogSchema(
    table="acme.predictions.quote",
    team="pricing",
    model="quote",
    version=1,
    pattern="rest",
    features=(("premium", "float64"),),
    prediction="float64",
)
IDS = PredictionIds()


def entry(rows: int = 1, ids: list[str] | None = None, **changes: Any) -> Entry:
    """Return an entry of SCHEMA."""
    values: dict[str, Any] = {
        "time_us": time.time_ns() // 1000,
        "latency_us": 1500,
        "caller": "web",
        "trace_id": None,
        "ids": IDS.take(rows) if ids is None else ids,
        "features": [500.5, "UA", 1, True] * rows,
        "predictions": [12.5] * rows,
    }
    return Entry(**values | changes)


def encoded(rows: int = 1, **changes: Any) -> bytes:
    return encode([entry(rows, **changes)])


def other(rows: int = 1) -> bytes:
    """Return an entry of OTHER_SCHEMA."""
    return encoded(rows, features=[9.75] * rows)


def stored(warehouse: Path, schema: LogSchema = SCHEMA) -> pa.Table:
    """Return the rows that the store has of a table."""
    folder = warehouse.joinpath(*schema.table.split("."))
    if not folder.is_dir():
        return pa.table({"prediction_id": pa.array([], pa.string())})
    return ds.dataset(folder, format="parquet").to_table()


def ids(table: pa.Table) -> list[str]:
    found: list[str] = table.column("prediction_id").to_pylist()
    return found


def closed(folder: Path) -> list[Path]:
    return [segment.path for segment in folders.segments(folder)]


@contextmanager
def within(seconds: float) -> Iterator[Iterator[None]]:
    """Give an iterator that goes on for a while, for polling; it fails when the time is over."""

    def ticks() -> Iterator[None]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            yield
            time.sleep(0.02)
        raise AssertionError(f"it did not happen within {seconds} s")

    yield ticks()
