"""scikit-learn estimators and pipelines: skops natively, ONNX online."""

import io
import re
import zipfile
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from modelyard.artifacts.skops_types import TRUSTED
from modelyard.capture.errors import PublishError
from modelyard.capture.formats import onnx_graph
from modelyard.capture.formats.captured import Captured, Inputs, Scores, reason
from modelyard.capture.formats.scores import positive_or_index
from modelyard.capture.frames import exact
from modelyard.spec.manifest import Feature, FeatureType, Task

OPSET = {"": onnx_graph.OPSET, "ai.onnx.ml": 3}


def capture(
    model: Any, features: tuple[Feature, ...], task: Task, classes: tuple[str, ...] | None
) -> Captured:
    """Return a fitted estimator or pipeline as files.

    One that was fitted on a data frame is given the features by name, as they are; another one the matrix
    that `encode` makes.
    """
    if task is Task.CLASSIFICATION and not hasattr(model, "predict_proba"):
        raise PublishError(
            f"{type(model).__name__} has no predict_proba, and a class is served as a probability: wrap it "
            "in sklearn.calibration.CalibratedClassifierCV, and fit it again"
        )
    try:
        check_is_fitted(model)
    except NotFittedError:
        raise PublishError(f"model: this {type(model).__name__} is not fitted: fit it first") from None
    native = reproducible(skops.io.dumps(model))
    if untrusted := sorted(set(skops.io.get_untrusted_types(data=native)) - set(TRUSTED)):
        raise PublishError(
            f"The model holds {', '.join(untrusted)}, which a server would have to trust to run: "
            "use scikit-learn's own transformers, or export the model to ONNX and publish that"
        )
    loaded = skops.io.loads(native, trusted=list(TRUSTED))
    by_name = hasattr(model, "feature_names_in_")

    def score(frame: pd.DataFrame) -> Scores:
        given = _plain(frame)[list(model.feature_names_in_)] if by_name else exact(frame)
        raw = loaded.predict_proba(given) if task is Task.CLASSIFICATION else loaded.predict(given)
        return positive_or_index(raw, classes)

    online, why = None, ""
    try:
        inputs, types = _inputs(model, features, by_name)
        options = {id(model): {"zipmap": False}} if task is Task.CLASSIFICATION else None
        converted = convert_sklearn(
            model, name="model", initial_types=types, options=options, target_opset=OPSET
        )
        _let_empty_be_missing(converted, features)
        online = onnx_graph.standard(converted, inputs, task, classes).SerializeToString(deterministic=True)
    except Exception as error:  # whatever the converter raises means that it does not know this model
        why = reason("skl2onnx", error)
    return Captured("skops", native, "skops", online, score, why, model.get_params(deep=True))


def _inputs(model: Any, features: tuple[Feature, ...], by_name: bool) -> tuple[Inputs, list[tuple[str, Any]]]:
    texts = any(feature.type is FeatureType.STRING for feature in features)
    if not by_name or not (texts or _picks_columns(model)):
        return "matrix", [(onnx_graph.MATRIX_INPUT, FloatTensorType([None, len(features)]))]
    return "columns", [
        (
            feature.name,
            StringTensorType([None, 1]) if feature.type is FeatureType.STRING else FloatTensorType([None, 1]),
        )
        for feature in features
    ]


def _let_empty_be_missing(converted: Any, features: tuple[Feature, ...]) -> None:
    """Let encoders know missing texts as what servers send for them.

    An encoder that saw missing texts in training has NaN as its last category. The converter writes that as
    the text nan, which no request holds.
    """
    if not any(f.nullable and f.type is FeatureType.STRING for f in features):
        return
    if any("nan" in (feature.categories or ()) for feature in features):
        return  # which of the two is meant cannot be told; the parity test decides
    for node in converted.graph.node:
        for attribute in node.attribute:
            texts = attribute.strings
            if attribute.name in ("cats_strings", "keys_strings") and texts[-1:] == [b"nan"]:
                texts[-1] = b""


def _picks_columns(model: Any) -> bool:
    """Return whether a part of the model takes columns by name."""
    return any(
        hasattr(part, "transformers_") for part in (model, *dict(getattr(model, "steps", ())).values())
    )


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return categoricals as the texts that a table holds, missing ones as NaN."""
    texts = {
        name: column.astype(object).where(column.notna(), np.nan)
        for name, column in frame.items()
        if isinstance(column.dtype, pd.CategoricalDtype)
    }
    return frame.assign(**{str(name): column for name, column in texts.items()})


def reproducible(archive: bytes) -> bytes:
    """Return a skops archive without what differs between runs: memory addresses and the time."""
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return match[1] + numbers.setdefault(match[2], str(len(numbers))) + match[3]

    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(result, "w") as new:
        schema = re.sub(r'("__id__": |"file": ")(\d+)(\.npy"|\b)', number, old.read("schema.json").decode())
        files = {"schema.json": schema.encode()}
        for name in old.namelist():
            if name != "schema.json":
                files[numbers[name.removesuffix(".npy")] + ".npy"] = old.read(name)
        for name in sorted(files):
            new.writestr(zipfile.ZipInfo(name), files[name], zipfile.ZIP_DEFLATED)
    return result.getvalue()
