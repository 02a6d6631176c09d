"""The commands of the README, on a running server; its answers have the form that the README shows."""

import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.docs.documents import documents
from tests.serving_images import sample
from tests.serving_images.rest.serving import served

README = "serving_images/rest/README.md"


def vehicle_price(folder: Path, root: Path) -> Path:
    """Return settings with the signature of the pinned vehicle-price, and a small model in its place."""
    import xgboost
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    manifest = json.loads((root / "teams" / "pricing" / "vehicle-price.json").read_text(encoding="utf-8"))
    width = len(manifest["signature"]["features"])
    rows = np.random.default_rng(1).random((200, width)).astype(np.float32) * 10
    booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(rows, rows.sum(axis=1)), 5)
    online = convert_xgboost(booster, initial_types=[("input", FloatTensorType([None, width]))])
    stored = sample.stored(folder / "registry", "m/online.onnx", online.SerializeToString(), "onnx")
    changes = {"team": "pricing", "model": "vehicle-price", "signature": manifest["signature"]}
    return sample.write(folder, sample.settings(folder, 1, online=stored, **changes))


def test_every_command_of_the_readme_runs(tmp_path: Path, root: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    (document,) = [each for each in documents() if each.path == README]
    blocks = [*document.blocks("sh", "json")]
    asked = [
        (command.strip(), json.loads(shown))
        for command, shown in pairwise(blocks)
        if command.startswith("curl ")
    ]
    assert len(asked) == 4
    with served(tmp_path, vehicle_price(tmp_path, root)) as server:
        for command, shown in asked:
            local = command.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
            said = subprocess.run(["bash", "-euc", local], capture_output=True, check=True, text=True).stdout
            assert form(json.loads(said)) == form(shown), said


def form(document: Any, key: str = "") -> Any:
    """Return a document without the values that differ from call to call."""
    if isinstance(document, dict):
        return {name: form(value, name) for name, value in document.items()}
    if isinstance(document, list):
        return [form(value, key) for value in document]
    unlike = isinstance(document, float) or key in ("id", "prediction_id", "prediction_ids", "data")
    return type(document).__name__ if unlike else document
