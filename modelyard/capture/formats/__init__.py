"""Turns a trained model into files that run no code when they are loaded, one native and one ONNX."""

from pathlib import Path
from typing import Any

from modelyard.capture.errors import PublishError
from modelyard.capture.formats.captured import Captured
from modelyard.spec.manifest import Feature, Task


def library_of(model: Any) -> str:
    """Return the top-level package that a model's class comes from."""
    return type(model).__module__.partition(".")[0]


def capture(
    model: Any, features: tuple[Feature, ...], task: Task, classes: tuple[str, ...] | None
) -> Captured:
    """Return `model` as files, and a way to ask it.

    Args:
        model: XGBoost or LightGBM booster, or their scikit-learn classes; a scikit-learn estimator or
            pipeline; an ONNX model, or the path of one; a Python function of the columns.
        features: the signature's features, in order.
        task: what the model predicts.
        classes: names of the classes, where it is a classifier.

    Raises:
        PublishError: it is none of these, or cannot be captured.
    """
    match library_of(model):
        case "xgboost":
            from modelyard.capture.formats import xgboost

            return xgboost.capture(model, features, task, classes)
        case "lightgbm":
            from modelyard.capture.formats import lightgbm

            return lightgbm.capture(model, features, task, classes)
    if isinstance(model, str | bytes | Path) or library_of(model) == "onnx":
        from modelyard.capture.formats import onnx_file

        return onnx_file.capture(model, features, task, classes)
    if hasattr(model, "get_params") and hasattr(model, "predict"):
        from modelyard.capture.formats import sklearn

        return sklearn.capture(model, features, task, classes)
    if callable(model):
        from modelyard.capture.formats import function

        return function.capture(model, features, task, classes)
    raise PublishError(
        f"A {type(model).__module__}.{type(model).__qualname__} is none of: scikit-learn estimator, XGBoost "
        "or LightGBM model, ONNX model, Python function. Export it to ONNX and publish that"
    )
