"""What is published is what is served: every kind of model, online and in batch, from its manifest alone."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from modelyard.artifacts.signing import signing_key
from modelyard.capture import categorize, encode, publish
from serving_images.batch.rows import predictions
from serving_images.runtime import artifact, tables
from serving_images.runtime.config import Config
from serving_images.runtime.inputs import Inputs
from serving_images.runtime.model import OnlineModel
from serving_images.runtime.native import NativeModel

FEATURES = ["size", "kind", "new"]


def table(seed: int = 1, rows: int = 300) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    size, kind = random.normal(size=rows), random.choice(["a", "b", "c"], rows)
    value = 3 * size + (kind == "a") * 2
    return pd.DataFrame(
        {
            "size": np.where(random.random(rows) < 0.1, np.nan, size),
            "kind": kind,
            "new": random.random(rows) < 0.5,
            "value": value,
            "high": value > 1,
            "grade": np.select([value < 0, value < 2], ["low", "middle"], "top"),
        }
    )


TRAIN = table()
(PAST,) = categorize(TRAIN[FEATURES])
CODES = TRAIN["grade"].map({"low": 0, "middle": 1, "top": 2})


def pipeline(final: Any, target: str) -> Any:
    columns = make_column_transformer(
        (SimpleImputer(), ["size"]),
        (OneHotEncoder(handle_unknown="ignore"), ["kind"]),
        ("passthrough", ["new"]),
    )
    return make_pipeline(columns, final).fit(TRAIN[FEATURES], TRAIN[target])


def boosted(objective: str, target: Any, **options: Any) -> Any:
    import xgboost

    matrix = xgboost.DMatrix(encode(PAST), target)
    return xgboost.train({"objective": objective, "nthread": 1, **options}, matrix, 20)


def light(objective: str, target: Any, **options: Any) -> Any:
    import lightgbm

    data = lightgbm.Dataset(encode(PAST), target, categorical_feature=[1])
    return lightgbm.train({"objective": objective, "verbose": -1, "num_threads": 1, **options}, data, 20)


MODELS: dict[str, tuple[Any, str]] = {
    "xgboost": (lambda: boosted("reg:squarederror", TRAIN["value"]), "value"),
    "xgboost classes": (lambda: boosted("multi:softprob", CODES, num_class=3), "grade"),
    "lightgbm binary": (lambda: light("binary", TRAIN["high"]), "high"),
    "lightgbm classes": (lambda: light("multiclass", CODES, num_class=3), "grade"),
    "pipeline": (lambda: pipeline(Ridge(), "value"), "value"),
    "pipeline binary": (lambda: pipeline(LogisticRegression(), "high"), "high"),
    "forest classes": (lambda: pipeline(RandomForestClassifier(10, random_state=1), "grade"), "grade"),
    "matrix": (
        lambda: make_pipeline(SimpleImputer(), Ridge()).fit(encode(PAST), TRAIN["value"]),
        "value",
    ),
    "function": (
        lambda: lambda rows: np.where(rows["kind"] == "a", 2.0, 0.0) + 3 * np.nan_to_num(rows["size"]),
        "value",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_online_and_batch_answer_alike(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("MODELYARD_WAREHOUSE", "MODELYARD_ENVIRONMENT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MODELYARD_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("MODELYARD_SIGNING_KEY", str(signing_key(tmp_path, {"HOME": str(tmp_path)})))
    make, target = MODELS[name]
    manifest = publish(
        make(), name="team/model", data=TRAIN, test=table(2), target=target, features=FEATURES
    ).manifest
    plain = manifest.model_dump(mode="json", exclude_none=True)
    parts = ("team", "model", "version", "task", "artifact", "online", "signing", "signature")
    settings = {part: plain[part] for part in parts if part in plain}
    config = msgspec.convert(
        {
            **settings,
            "format": "modelyard.container/1",
            "pattern": "rest",
            "registry": str(tmp_path / "registry"),
            "log": {"table": "p.d.t"},
        },
        Config,
    )
    kinds: tuple[artifact.Kind, ...] = ("online", "native")
    paths = {kind: artifact.fetch([config], kind, tmp_path / "cache")[config.key] for kind in kinds}
    online, native = OnlineModel(config, paths["online"]), NativeModel(config, paths["native"])

    rows = table(3, 100)[FEATURES].astype(object).where(lambda frame: frame.notna(), None).to_dict("records")
    rows += [{**rows[0], "kind": "unseen"}]
    inputs = Inputs(config)
    checked = [inputs.check_one(row)[0] for row in rows]
    answers = online.answers(online(checked))
    batch = tables.typed(pa.RecordBatch.from_pylist(rows), config.signature.features)
    scored = predictions(config, native(batch), None).to_pylist()
    if manifest.signature.prediction.type == "string":
        assert answers == scored and set(answers) == {"low", "middle", "top"}
    else:
        numbers = np.array(answers, np.float64)
        np.testing.assert_allclose(numbers, np.array(scored, np.float64), rtol=1e-4, atol=1e-5)
        assert numbers.std() > 0.1
