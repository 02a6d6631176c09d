"""An ONNX model as the data scientist made it, brought to the form that servers take."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from modelyard.capture.errors import PublishError
from modelyard.capture.formats import onnx_graph
from modelyard.capture.formats.captured import Captured, Inputs
from modelyard.spec.manifest import Feature, FeatureType, Task


def capture(
    model: Any, features: tuple[Feature, ...], task: Task, classes: tuple[str, ...] | None
) -> Captured:
    """Return an ONNX model, given as such, as bytes, or as the path of its file.

    It has one input of shape [rows, features], or one input per feature, named as it, of shape [rows, 1].
    """
    given = _read(model)
    onnx_graph.refuse_foreign(given)
    converted = onnx.ModelProto()
    converted.CopyFrom(given)
    inputs = _inputs(converted, features)
    result = onnx_graph.standard(converted, inputs, task, classes)
    return Captured("onnx", result.SerializeToString(deterministic=True), "onnx", None, None)


def _read(model: Any) -> onnx.ModelProto:
    if isinstance(model, onnx.ModelProto):
        return model
    try:
        content = model if isinstance(model, bytes) else Path(model).read_bytes()
        return onnx.load_from_string(content)
    except (OSError, TypeError, DecodeError) as error:
        shown = "what was given" if isinstance(model, bytes) else model
        raise PublishError(f"No ONNX model can be read from {shown}: {error}") from None


def _inputs(model: onnx.ModelProto, features: Sequence[Feature]) -> Inputs:
    """Return the form of the inputs; numbers that are not float32 get a cast in the graph."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in constants]
    del graph.input[:]
    graph.input.extend(inputs)
    inputs = list(graph.input)
    names = [feature.name for feature in features]
    by_name = sorted(entry.name for entry in inputs) == sorted(names)
    if not by_name and len(inputs) != 1:
        raise PublishError(
            f"The ONNX model's inputs are {', '.join(entry.name for entry in inputs)}; expected one input "
            f"for all features, or one for each of {', '.join(names)}"
        )
    width = len(inputs[0].type.tensor_type.shape.dim) == 2 and inputs[0].type.tensor_type.shape.dim[1]
    if not by_name and width and width.dim_value not in (0, len(features)):
        raise PublishError(
            f"The ONNX model takes {width.dim_value} features, but the signature has {len(features)}: "
            f"{', '.join(names)}"
        )
    texts = {feature.name for feature in features if feature.type is FeatureType.STRING}
    for entry in inputs:
        kind = entry.type.tensor_type.elem_type
        if by_name and (kind == TensorProto.STRING) is not (entry.name in texts):
            raise PublishError(
                f"The ONNX model's input '{entry.name}' and the feature are not both text, or both numbers"
            )
        if kind not in (TensorProto.FLOAT, TensorProto.STRING):
            _cast(graph, entry, kind)
    return "columns" if by_name else "matrix"


def _cast(graph: onnx.GraphProto, entry: onnx.ValueInfoProto, kind: int) -> None:
    """Let an input be float32, and give the operators the type that they expect."""
    inner = f"modelyard_{entry.name}"
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == entry.name:
                node.input[i] = inner
    graph.node.insert(0, helper.make_node("Cast", [entry.name], [inner], to=kind))
    entry.type.tensor_type.elem_type = TensorProto.FLOAT
