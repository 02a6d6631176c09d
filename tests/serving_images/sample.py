"""A small model with a feature of each type, as a published version: files, settings, rows."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

TEAM, MODEL = "flights", "delay"
FEATURES: list[dict[str, Any]] = [
    {"name": "distance", "type": "float64", "unit": "km", "range": [0.0, 5000.0]},
    {"name": "carrier", "type": "string", "categories": ["AA", "B6", "UA"]},
    {"name": "stops", "type": "int64", "range": [0.0, 4.0]},
    {"name": "holiday", "type": "bool"},
    {"name": "wind", "type": "float64", "nullable": True, "range": [0.0, 60.0]},
    {"name": "departure", "type": "timestamp"},
]
ROW: dict[str, Any] = {
    "distance": 812.5,
    "carrier": "UA",
    "stops": 1,
    "holiday": False,
    "wind": 12.0,
    "departure": "2026-03-01T08:30:00Z",
}


@cache
def trained(version: int) -> tuple[bytes, bytes]:
    """Return an XGBoost model in its own format and as ONNX; another one for each version."""
    import xgboost
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    random = np.random.default_rng(version)
    rows = random.random((400, len(FEATURES))).astype(np.float32) * [5000, 2, 4, 1, 60, 2e9]
    target = rows[:, 0] / 100 + rows[:, 1] * 5 + rows[:, 4] + version * 1000
    booster = xgboost.train(
        {"max_depth": 3, "nthread": 1, "seed": version}, xgboost.DMatrix(rows, target), 20
    )
    shape = [("input", FloatTensorType([None, len(FEATURES)]))]
    online = convert_xgboost(booster, initial_types=shape, target_opset=15)
    return bytes(booster.save_raw("ubj")), bytes(online.SerializeToString())


def stored(registry: Path, name: str, content: bytes, kind: str) -> dict[str, Any]:
    """Write a file to the registry; return how settings name it."""
    path = registry / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    return {"uri": name, "digest": digest, "format": kind, "size_bytes": len(content)}


def settings(folder: Path, version: int = 1, **changes: Any) -> dict[str, Any]:
    """Publish a version below `folder`; return its settings, of which `changes` replace parts."""
    registry = folder / "registry"
    native, online = trained(version)
    base = f"{TEAM}/{MODEL}/{version}"
    return {
        "format": "modelyard.container/1",
        "environment": "test",
        "team": TEAM,
        "model": MODEL,
        "version": version,
        "pattern": "rest",
        "task": "regression",
        "registry": str(registry),
        "artifact": stored(registry, f"{base}/model.ubj", native, "xgboost"),
        "online": stored(registry, f"{base}/online.onnx", online, "onnx"),
        "manifest_digest": "sha256:" + "1" * 64,
        "image_digest": "sha256:" + "2" * 64,
        "signature": {
            "features": FEATURES,
            "prediction": {"name": "delay_minutes", "type": "float64", "unit": "min"},
        },
        "log": {"table": "test.predictions.delay"},
        "warehouse": str(folder / "warehouse"),
        **changes,
    }


def write(folder: Path, *documents: dict[str, Any]) -> Path:
    """Write settings as files of one folder, whole; return it."""
    place = folder / "config"
    place.mkdir(exist_ok=True)
    for document in documents:
        draft = place / f".{document['version']}"
        draft.write_text(json.dumps(document))
        draft.rename(place / f"{document['model']}-{document['version']}.json")
    return place
