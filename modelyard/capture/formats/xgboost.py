"""XGBoost models: UBJSON natively, ONNX online."""

import json
from typing import Any

import numpy as np
import onnxmltools
import pandas as pd
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

from modelyard.capture.errors import PublishError
from modelyard.capture.formats import onnx_graph
from modelyard.capture.formats.captured import Captured, Scores, reason
from modelyard.capture.formats.scores import positive_or_index
from modelyard.capture.frames import encode
from modelyard.spec.manifest import Feature, Task

# Parameters of the machine, and counts that the model itself holds.
_SKIPPED = {"nthread", "device", "num_feature", "num_target", "boost_from_average", "num_output_group"}


def capture(
    model: Any, features: tuple[Feature, ...], task: Task, classes: tuple[str, ...] | None
) -> Captured:
    """Return a booster, or a model of XGBoost's scikit-learn classes, as files."""
    booster = model if isinstance(model, xgboost.Booster) else _booster(model)
    native = bytes(booster.save_raw("ubj"))
    loaded = xgboost.Booster(model_file=bytearray(native))

    def score(frame: pd.DataFrame) -> Scores:
        matrix = xgboost.DMatrix(
            encode(frame),
            feature_names=loaded.feature_names,
            feature_types=loaded.feature_types,
            enable_categorical=True,
        )
        return positive_or_index(loaded.predict(matrix), classes)

    online, why = None, ""
    try:
        if "c" in (loaded.feature_types or ()):
            raise PublishError(
                "categories of its own (enable_categorical) have no ONNX form: train on the numbers that "
                "modelyard.capture.encode makes of them"
            )
        plain = xgboost.Booster(model_file=bytearray(native))
        plain.feature_names = plain.feature_types = None  # the converter knows columns by number alone
        converted = onnxmltools.convert_xgboost(
            plain, initial_types=[(onnx_graph.MATRIX_INPUT, FloatTensorType([None, len(features)]))]
        )
        online = onnx_graph.standard(converted, "matrix", task, classes).SerializeToString(deterministic=True)
    except Exception as error:  # whatever the converter raises means that it does not know this model
        why = reason("onnxmltools", error)
    return Captured("xgboost", native, "ubj", online, score, why, _parameters(booster))


def _booster(model: Any) -> Any:
    booster = model.get_booster()
    best = getattr(model, "best_iteration", None) if model.early_stopping_rounds else None
    return booster if best is None else booster[: best + 1]  # its own predict stops there, too


def _parameters(booster: xgboost.Booster) -> dict[str, Any]:
    learner = json.loads(booster.save_config())["learner"]
    found: dict[str, Any] = {"rounds": booster.num_boosted_rounds()}
    found |= learner["learner_train_param"]
    for group in learner["gradient_booster"].values():
        if isinstance(group, dict):
            found |= group.get("tree_train_param", group)
    return {
        name: _typed(value)
        for name, value in found.items()
        if isinstance(value, str | int | float) and value not in ("", "[]", "()") and name not in _SKIPPED
    }


def _typed(value: Any) -> Any:
    try:
        number = float(value)
    except ValueError:
        return value
    rounded = float(np.format_float_positional(np.float32(number), trim="0"))
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
