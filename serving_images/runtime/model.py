"""ONNX models in memory, for rows as they come."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving_images.runtime import artifact
from serving_images.runtime.config import Config, Feature
from serving_images.runtime.encoding import ColumnsEncoder, MatrixEncoder, Row
from serving_images.runtime.errors import Refused

# Metadata of an ONNX file that says which inputs it has: one `matrix`, or a column for each feature.
LAYOUT = "modelyard.inputs"
OUTPUT = "prediction"

Scores = npt.NDArray[np.floating[Any]]
Answer = float | int | str | bool | None


class Session:
    """A file in onnxruntime.

    Args:
        config: the version's settings.
        content: the file.
        threads: cores that one call may use.

    Raises:
        Refused: onnxruntime does not load it, or its inputs are not those of the signature.
    """

    def __init__(self, config: Config, content: bytes, threads: int = 1) -> None:
        import onnxruntime  # slow to import

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class
            raise Refused(f"{config.key}: onnxruntime does not load the model: {error}") from None
        features = config.signature.features
        shapes = {given.name: given.shape for given in session.get_inputs()}
        self.by_column = session.get_modelmeta().custom_metadata_map.get(LAYOUT) == "columns"
        """Whether it takes an array per feature, not one matrix."""
        if self.by_column and set(shapes) != {feature.name for feature in features}:
            raise Refused(
                f"{config.key}: the model takes {sorted(shapes)}, not the features of its signature"
            )
        if not self.by_column and len(shapes) != 1:
            raise Refused(f"{config.key}: the model takes {len(shapes)} inputs, not one matrix")
        self._input = next(iter(shapes))
        width = shapes[self._input][-1]
        if not self.by_column and isinstance(width, int) and width != len(features):
            raise Refused(
                f"{config.key}: the model takes {width} features, its signature has {len(features)}"
            )
        outputs = [output.name for output in session.get_outputs()]
        self._outputs = [OUTPUT if OUTPUT in outputs else outputs[0]]
        self._session = session
        # What InferenceSession.run does around this takes as long as a small model itself.
        self._run = session._sess.run

    def __call__(self, feed: npt.NDArray[np.float32] | Mapping[str, npt.NDArray[Any]]) -> Scores:
        """Return the output `[rows]` on a matrix, or on arrays by feature if `by_column`."""
        scores: Scores = self._run(self._outputs, feed if self.by_column else {self._input: feed}, None)[0]
        return scores.reshape(-1)


class OnlineModel:
    """A version that scores checked rows as they come, on one thread.

    Args:
        config: the version's settings.
        path: its file, as `artifact.fetch(..., "online")` returned it.

    Raises:
        Refused: the file is not the registered one, or does not fit the signature.
    """

    def __init__(self, config: Config, path: Path) -> None:
        self.config = config
        self._session = Session(config, artifact.read(path, config.onnx))
        features = config.signature.features
        self.encode: Callable[[Sequence[Row]], Any] = (
            ColumnsEncoder(features) if self._session.by_column else MatrixEncoder(features)
        )
        self.run = self._session
        """Scores what `encode` made of rows; it releases the interpreter, so other threads go on."""
        self.answers = answers_of(config)
        """Turns scores into predictions of the signature's type."""
        sample = [_sample(feature) for feature in features]
        try:
            shape = self([sample] * 3).shape
        except Exception as error:  # onnxruntime's errors have no common class
            raise Refused(f"{config.key}: the model fails on a row of its signature: {error}") from None
        if shape != (3,):
            raise Refused(f"{config.key}: the model gives {shape} for 3 rows, not one number a row")

    def __call__(self, rows: Sequence[Row]) -> Scores:
        """Return the model's output `[rows]` on rows of checked values, in the signature's order."""
        return self.run(self.encode(rows))


def answers_of(config: Config) -> Callable[[Scores], list[Answer]]:
    """Return the function from a model's output to predictions of the signature's type.

    A classifier of two classes puts out the probability of the second. Where the prediction is no number,
    that becomes the class, at one half. One of more classes puts out the index of the most probable. What is
    not finite becomes None.

    Raises:
        Refused: no such function is known.
    """
    prediction = config.signature.prediction
    if prediction.type == "float64":
        return _floats
    if prediction.type == "int64":
        return lambda scores: [round(score) if math.isfinite(score) else None for score in scores.tolist()]
    classes: Sequence[Any] = prediction.classes or ()
    if prediction.type == "bool":
        classes = (False, True)
    if prediction.type == "string" and len(classes) > 2:
        return lambda scores: [classes[int(score)] if score >= 0 else None for score in scores.tolist()]
    if prediction.type == "timestamp" or len(classes) != 2:
        raise Refused(
            f"{config.key}: predictions of type {prediction.type} with {len(classes)} classes cannot be "
            "served; publish a number, or a class"
        )
    return lambda scores: [
        classes[score >= 0.5] if math.isfinite(score) else None for score in scores.tolist()
    ]


def _floats(scores: Scores) -> list[Answer]:
    values: list[Any] = scores.tolist()
    if math.isfinite(sum(values)):
        return values
    return [value if math.isfinite(value) else None for value in values]


def _sample(feature: Feature) -> Any:
    """Return a value that the feature can have."""
    if feature.type == "string":
        return feature.categories[0] if feature.categories else ""
    if feature.type == "bool":
        return False
    if feature.type == "timestamp":
        return datetime(2000, 1, 1, tzinfo=UTC)
    return feature.range[0] if feature.range else 0
