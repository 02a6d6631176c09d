"""The same row gets the same answer by REST, in batch and from a stream, however odd the row is."""

import json
import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from modelyard.artifacts.signing import signing_key
from modelyard.capture import publish
from tests.pubsub_server import PubSubServer
from tests.serving_images import sample
from tests.serving_images.batch.batches import BATCH, Runner, run, written
from tests.serving_images.rest.serving import served
from tests.serving_images.streaming.streams import (
    ANSWERS,
    DEAD,
    STREAMING,
    SUBSCRIPTION,
    Worker,
    published,
    pubsub,
)

__all__ = ["pubsub", "run"]

COUNT = 300
# Values that training never saw, or that can only just be said; some can be no such feature's.
ODD: dict[str, list[Any]] = {
    "float64": [0.0, -0.0, 9000.5, -1e-300, 3.4e38, -3.5e38, 1e300, 16777217.0, 0.1, 5],
    "int64": [-1, 16777217, 2**53 + 1, -(2**63), 2**63 - 1],
    "string": [
        "",
        "??",
        " UA",
        "ua",
        "UA\u0000",
        "u\u0308a",
        "\u00fca",
        "\U0001f6eb",
        "NaN",
        "None",
        "x" * 300,
    ],
    "bool": [True, False],
    "timestamp": [
        "1969-12-31T23:59:59.999999Z",
        "2026-03-29T02:30:00+02:00",
        "0001-01-02T00:00:00Z",
        "9999-12-30T00:00:00.000001Z",
        "2026-02-28T23:59:60Z",
    ],
}


def odd_rows(features: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Return rows of which about a third of the values are odd, or missing."""
    chance = random.Random(seed)

    def value(feature: dict[str, Any]) -> Any:
        kind = feature["type"]
        if chance.random() < 0.1:
            return None
        if chance.random() < 0.25:
            return chance.choice(ODD[kind])
        if kind == "string":
            return chance.choice(feature["categories"])
        low, high = feature.get("range", (0, 1))
        return {
            "float64": chance.uniform(low, high),
            "int64": chance.randint(int(low), int(high)),
            "bool": chance.random() < 0.5,
            "timestamp": f"2026-03-01T{chance.randrange(24):02}:30:00Z",
        }[kind]

    return [{feature["name"]: value(feature) for feature in features} for _ in range(COUNT)]


def trees(folder: Path) -> dict[str, Any]:
    """Return settings of boosted trees on a matrix of all types of features."""
    return sample.settings(folder)


def pipeline(folder: Path) -> dict[str, Any]:
    """Return settings of a pipeline on named columns, which tells what is unknown from what is missing."""
    chance = np.random.default_rng(1)
    rows = pd.DataFrame(
        {
            "distance": chance.random(600) * 5000,
            "carrier": chance.choice(["AA", "B6", "UA"], 600),
            "stops": chance.integers(0, 4, 600),
            "holiday": chance.random(600) < 0.1,
            "wind": np.where(chance.random(600) < 0.1, np.nan, chance.random(600) * 60),
            "gate": pd.Series(chance.choice(["A", "B"], 600)).where(chance.random(600) < 0.8),
        }
    )
    target = rows["distance"] / 100 + (rows["carrier"] == "UA") * 9 + (rows["gate"].isna()) * 20
    unknown = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=9, encoded_missing_value=-1)
    columns = make_column_transformer(
        (SimpleImputer(), ["distance", "stops", "wind"]),
        (unknown, ["carrier", "gate"]),
        ("passthrough", ["holiday"]),
    )
    model = make_pipeline(columns, GradientBoostingRegressor(n_estimators=30)).fit(rows, target)
    data = rows.assign(delay=target)
    manifest = publish(model, name="flights/delay", data=data, test=data[:100], target="delay").manifest
    plain = manifest.model_dump(mode="json", exclude_none=True)
    parts = ("version", "task", "artifact", "online", "signing", "signature")
    return sample.settings(folder) | {part: plain[part] for part in parts}


def stored(rows: list[dict[str, Any]], features: list[dict[str, Any]]) -> pa.Table:
    """Return rows as a table, with the types that a table has."""
    kinds = {
        "float64": pa.float64(), "int64": pa.int64(), "string": pa.string(), "bool": pa.bool_(),
        "timestamp": pa.timestamp("us", "UTC"),
    }  # fmt: skip

    def plain(value: Any, kind: str) -> Any:
        if value is None or kind != "timestamp":
            return value
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return None

    columns = {f["name"]: [plain(row[f["name"]], f["type"]) for row in rows] for f in features}
    arrays = {f["name"]: pa.array(columns[f["name"]], kinds[f["type"]]) for f in features}
    return pa.table({"row_id": [str(number) for number in range(len(rows))]} | arrays)


Answer = tuple[Any, tuple[str, ...]] | None
"""Prediction and flags; None: refused."""


def by_rest(config: Path, rows: list[dict[str, Any]], folder: Path) -> list[Answer]:
    found: list[Answer] = []
    with served(folder, config) as server:
        for row in rows:
            answer = server.ask("POST", "/models/delay/predict", row)
            assert answer.status in (200, 422), answer.body
            said = answer.json
            found.append((said["prediction"], tuple(said.get("flags", ()))) if answer.status == 200 else None)
    return found


def from_a_stream(
    config: Path, rows: list[dict[str, Any]], folder: Path, server: PubSubServer
) -> list[Answer]:
    with Worker(folder, config) as worker:
        ids = published((row, "", {}) for row in rows)
        assert server.drained(SUBSCRIPTION, 60), worker.said()
        assert worker.stop() == 0
    said = {m.attributes["message_id"]: json.loads(m.data) for m in server.published(ANSWERS)}
    dead = {m.attributes["modelyard_message_id"] for m in server.published(DEAD)}
    assert said.keys() | dead == set(ids) and not said.keys() & dead
    answers = [said.get(each) for each in ids]
    return [(each["prediction"], tuple(each.get("flags", ()))) if each else None for each in answers]


def in_batch(run: Runner, config: Path, folder: Path) -> list[Answer]:
    done = run(config, "--run", "odd")
    assert done.returncode == 0, done.stderr
    log = {row["prediction_id"]: row for row in written(folder, "delay") if row["pattern"] == "batch"}
    found: list[Answer] = [None] * COUNT
    for row in written(folder, "delay_predictions"):
        flags = tuple(log[row["prediction_id"]]["flags"])
        if "unscored" not in flags:
            found[int(row["row_id"])] = row["prediction"], flags
        else:
            assert row["prediction"] is None
    return found


@pytest.mark.parametrize("policy", ["flag", "reject"])
@pytest.mark.parametrize("make", [trees, pipeline])
def test_all_patterns_answer_odd_rows_alike(
    make: Callable[[Path], dict[str, Any]],
    policy: str,
    tmp_path: Path,
    run: Runner,
    pubsub: PubSubServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("MODELYARD_WAREHOUSE", "MODELYARD_ENVIRONMENT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MODELYARD_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("MODELYARD_SIGNING_KEY", str(signing_key(tmp_path, {"HOME": str(tmp_path)})))
    settings = make(tmp_path) | {"serving": {"out_of_range": policy}}
    features = settings["signature"]["features"]
    seed = random.randrange(1 << 32)
    rows = odd_rows(features, seed)

    def configured(pattern: str, **part: Any) -> Path:
        path = tmp_path / f"{pattern}.json"
        path.write_text(json.dumps(settings | {"pattern": pattern, **part}))
        return path

    source = tmp_path / "source.parquet"
    pq.write_table(stored(rows, features), source)
    batch = configured("batch", batch=BATCH | {"source": str(source)})
    answers = {
        "rest": by_rest(configured("rest"), rows, tmp_path),
        "stream": from_a_stream(configured("streaming", streaming=STREAMING), rows, tmp_path, pubsub),
        "batch": in_batch(run, batch, tmp_path),
    }
    assert answers["stream"] == answers["rest"]
    scored = 0
    for row, online, offline in zip(rows, answers["rest"], answers["batch"], strict=True):
        assert (online is None) == (offline is None), f"seed {seed}: {row}"
        if online and offline:
            scored += 1
            assert online[1] == offline[1], f"seed {seed}: {row}"
            assert offline[0] == pytest.approx(online[0], rel=1e-4, abs=1e-4), f"seed {seed}: {row}"
    assert 0 < scored < COUNT, f"seed {seed}"
    if policy == "flag":
        assert sum(bool(each and each[1]) for each in answers["rest"]) > 50, f"seed {seed}"
