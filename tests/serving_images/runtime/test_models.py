"""Models in memory: files are verified, formats agree, and what could run code is not loaded."""

import io
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from serving_images.runtime import artifact, tables
from serving_images.runtime.config import Config, load
from serving_images.runtime.errors import Refused
from serving_images.runtime.inputs import Inputs
from serving_images.runtime.model import OnlineModel, answers_of
from serving_images.runtime.native import NativeModel
from tests.serving_images import sample


def read(folder: Path, **changes: Any) -> Config:
    return msgspec.convert(sample.settings(folder, 1, **changes), Config)


def fetched(config: Config, folder: Path, kind: artifact.Kind) -> Path:
    return artifact.fetch([config], kind, folder / "cache")[config.key]


def test_online_and_native_model_agree(tmp_path: Path) -> None:
    config = read(tmp_path)
    online = OnlineModel(config, fetched(config, tmp_path, "online"))
    native = NativeModel(config, fetched(config, tmp_path, "native"))
    inputs = Inputs(config)
    rows = [
        inputs.check_one(sample.ROW | changes)[0]
        for changes in ({}, {"wind": None}, {"carrier": "?"}, {"holiday": True})
    ]
    names = [feature.name for feature in config.signature.features]
    batch = pa.RecordBatch.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    scores = native(tables.typed(batch, config.signature.features))
    np.testing.assert_allclose(online(rows), scores, rtol=1e-5)
    # Which requests come together does not show in their answers.
    assert [online([row])[0] for row in rows] == list(online(rows))


def test_a_file_that_was_changed_in_the_cache(tmp_path: Path) -> None:
    config = read(tmp_path)
    path = fetched(config, tmp_path, "online")
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(Refused, match="was changed in the cache"):
        OnlineModel(config, path)
    fetched(config, tmp_path, "online")  # and a new start brings the registered one again
    OnlineModel(config, path)


def test_a_fetch_that_fails_says_why(tmp_path: Path) -> None:
    config = read(tmp_path, registry="ftp://elsewhere")
    with pytest.raises(Refused, match=r"flights/delay@1: .*is no store"):
        fetched(config, tmp_path, "online")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> Any:
            return ran.touch, ()

    import pickle

    stored = sample.stored(
        tmp_path / "registry", "flights/delay/1/model.skops", pickle.dumps(Trap()), "skops"
    )
    config = read(tmp_path, artifact=stored)
    with pytest.raises(Refused, match="skops does not load"):
        NativeModel(config, fetched(config, tmp_path, "native"))
    assert not ran.exists()


def test_skops_files_of_unknown_types_are_refused(tmp_path: Path) -> None:
    import skops.io
    from sklearn.linear_model import LinearRegression
    from sklearn.preprocessing import FunctionTransformer

    good = skops.io.dumps(LinearRegression().fit([[1.0] * 6], [1.0]))
    stored = sample.stored(tmp_path / "registry", "flights/delay/1/good.skops", good, "skops")
    config = read(tmp_path, artifact=stored)
    NativeModel(config, fetched(config, tmp_path, "native"))

    transformer = skops.io.dumps(FunctionTransformer(func=zipfile.ZipFile.extractall))
    stored = sample.stored(tmp_path / "registry", "flights/delay/1/bad.skops", transformer, "skops")
    config = read(tmp_path, artifact=stored)
    with pytest.raises(Refused, match="types that are not trusted"):
        NativeModel(config, fetched(config, tmp_path, "native"))
    with zipfile.ZipFile(io.BytesIO(transformer)) as archive:
        assert archive.namelist()


@pytest.mark.parametrize(
    "prediction, expected",
    [
        ({"type": "float64"}, [0.25, 0.75, None]),
        ({"type": "int64"}, [0, 1, None]),
        ({"type": "bool", "classes": ["no", "yes"]}, [False, True, None]),
        ({"type": "string", "classes": ["good", "bad"]}, ["good", "bad", None]),
    ],
)
def test_predictions_have_the_type_of_the_signature(
    tmp_path: Path, prediction: dict[str, Any], expected: list[Any]
) -> None:
    signature = {"features": sample.FEATURES, "prediction": {"name": "y", **prediction}}
    answers = answers_of(read(tmp_path, signature=signature))
    assert answers(np.array([0.25, 0.75, np.nan], np.float32)) == expected


def test_of_more_classes_the_model_gives_the_index(tmp_path: Path) -> None:
    prediction = {"name": "y", "type": "string", "classes": ["a", "b", "c"]}
    answers = answers_of(read(tmp_path, signature={"features": sample.FEATURES, "prediction": prediction}))
    assert answers(np.array([2, 0, np.nan, 1], np.float32)) == ["c", "a", None, "b"]


def test_a_prediction_that_cannot_be_answered(tmp_path: Path) -> None:
    signature = {"features": sample.FEATURES, "prediction": {"name": "y", "type": "string"}}
    with pytest.raises(Refused, match="cannot be served"):
        answers_of(read(tmp_path, signature=signature))


def test_settings_of_a_folder(tmp_path: Path) -> None:
    folder = sample.write(tmp_path, sample.settings(tmp_path, 1), sample.settings(tmp_path, 2))
    assert [config.key for config in load(folder, "rest")] == ["flights/delay@1", "flights/delay@2"]
    other = sample.settings(tmp_path, 2, team="other")
    (folder / "other.json").write_bytes(msgspec.json.encode(other))
    with pytest.raises(Refused, match="have the same name in URLs"):
        load(folder)
    with pytest.raises(Refused, match=r"holds no \*.json"):
        load(tmp_path)


def test_settings_as_the_deployment_writes_them(tmp_path: Path) -> None:
    from modelyard.spec.base import Pattern
    from modelyard.spec.container import container_config, rendered
    from tests.modelyard.sample import deployed

    for pattern in Pattern:
        _, model, names = deployed(pattern)
        path = tmp_path / "model.json"
        path.write_text(rendered(container_config(model, model.manifest, names)))
        (config,) = load(path, pattern.value)
        assert config.key == "flights/delay@1"
        assert config.log.table == "example-flights.modelyard_dev_predictions.delay"
