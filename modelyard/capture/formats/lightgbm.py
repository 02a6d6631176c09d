"""LightGBM models: LightGBM's text natively, ONNX online."""

import re
from typing import Any

import lightgbm
import numpy as np
import onnxmltools
import pandas as pd
from onnxmltools.convert.common.data_types import FloatTensorType

from modelyard.capture.formats import onnx_graph
from modelyard.capture.formats.captured import Captured, Scores, reason
from modelyard.capture.formats.scores import positive_or_index
from modelyard.capture.frames import exact
from modelyard.spec.manifest import Feature, Task

# Parameters of the machine.
_SKIPPED = {"num_threads", "n_jobs", "verbose", "verbosity", "device_type", "silent"}


def capture(
    model: Any, features: tuple[Feature, ...], task: Task, classes: tuple[str, ...] | None
) -> Captured:
    """Return a booster, or a model of LightGBM's scikit-learn classes, as files."""
    booster = model if isinstance(model, lightgbm.Booster) else model.booster_
    text = booster.model_to_string()
    loaded = lightgbm.Booster(model_str=text)

    def score(frame: pd.DataFrame) -> Scores:
        return positive_or_index(loaded.predict(exact(frame)), classes)

    online, why = None, ""
    try:
        converted = onnxmltools.convert_lightgbm(
            lightgbm.Booster(model_str=with_float32_thresholds(text)),
            initial_types=[(onnx_graph.MATRIX_INPUT, FloatTensorType([None, len(features)]))],
            zipmap=False,
        )
        online = onnx_graph.standard(converted, "matrix", task, classes).SerializeToString(deterministic=True)
    except Exception as error:  # whatever the converter raises means that it does not know this model
        why = reason("onnxmltools", error)
    parameters = {
        name: value
        for name, value in {**booster.params, "rounds": booster.current_iteration()}.items()
        if name not in _SKIPPED
    }
    return Captured("lightgbm", text.encode(), "txt", online, score, why, parameters)


def with_float32_thresholds(text: str) -> str:
    """Return a model whose thresholds are 32-bit numbers, and which answers the same on 32-bit inputs.

    LightGBM goes left at `x <= threshold` in 64 bits. ONNX has 32 bits: rounded to the nearest, a threshold
    may come to lie on the other side of an input. Rounded down, it never does.
    """

    def rounded(line: re.Match[str]) -> str:
        exact = np.array(line[1].split(), np.float64)
        near = exact.astype(np.float32)
        down = np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)
        return "threshold=" + " ".join(repr(float(value)) for value in down)

    # The sizes let LightGBM read trees in parallel; without them it goes by the lines.
    without_sizes = re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^threshold=(.*)$", rounded, without_sizes, flags=re.MULTILINE)
