"""Brings ONNX models to one form: named inputs, and the one output `prediction`, float32 of shape [rows].

The form is told by the model's metadata property `modelyard.inputs`. `matrix`: one input `features`, float32
of shape [rows, features] in the order of the signature; a boolean is 0 or 1, a text its place in
`categories`, and what is missing or unknown NaN. `columns`: one input per feature, named as it, of shape
[rows, 1]; texts are strings, and missing ones empty; all else is float32, as in a matrix.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pandas as pd
from onnx import TensorProto, helper

from modelyard.capture.errors import PublishError
from modelyard.capture.formats.captured import Inputs, Scores, reason
from modelyard.capture.formats.scores import TIE
from modelyard.capture.frames import encode
from modelyard.spec.manifest import Feature, FeatureType, Task

INPUTS_PROPERTY = "modelyard.inputs"
MATRIX_INPUT = "features"
OUTPUT = "prediction"
# Operators outside these domains need code that a server does not have.
DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
OPSET = 18


def standard(
    model: onnx.ModelProto, inputs: Inputs, task: Task, classes: tuple[str, ...] | None
) -> onnx.ModelProto:
    """Return `model` with one output, `prediction`, and without what only other outputs need.

    A class label, and the dictionaries that converters make of probabilities, are cut off.

    Raises:
        PublishError: no output is a prediction.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    _refuse_locales(graph)
    source = _scores(graph, task)
    # An operator set of the standard operators is needed for the ones added here.
    if not any(entry.domain in ("", "ai.onnx") for entry in result.opset_import):
        result.opset_import.append(helper.make_opsetid("", OPSET))
    constants, nodes = _to_prediction(source, task, classes)
    graph.initializer.extend(constants)
    graph.node.extend(nodes)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows"]))
    _prune(graph)
    if inputs == "matrix":
        _rename_input(graph, graph.input[0].name, MATRIX_INPUT)
    _tidy(result, inputs)
    try:
        onnx.checker.check_model(result)
    except onnx.checker.ValidationError as error:
        raise PublishError(f"The ONNX model is not valid: {error}") from None
    return result


def _refuse_locales(graph: onnx.GraphProto) -> None:
    """Refuse what changes the case of texts: onnxruntime wants a locale for it, which images do not have."""
    for node in graph.node:
        actions = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "StringNormalizer" and actions.get("case_change_action", b"NONE") != b"NONE":
            raise PublishError(
                "the model changes the case of texts, which depends on the languages installed on a server: "
                "train on texts in lower case, with lowercase=False"
            )


def _scores(graph: onnx.GraphProto, task: Task) -> str:
    """Return the name of the tensor that holds the scores."""
    made_by = {name: node for node in graph.node for name in node.output}
    tensors: dict[str, str] = {}
    for output in graph.output:
        node = made_by.get(output.name)
        if node is not None and node.op_type == "ZipMap":
            tensors["probabilities"] = node.input[0]
        elif node is not None and node.op_type == "Identity" and _is_zipped(made_by.get(node.input[0])):
            tensors["probabilities"] = made_by[node.input[0]].input[0]
        elif output.type.tensor_type.elem_type in (TensorProto.FLOAT, TensorProto.DOUBLE):
            tensors[output.name] = output.name
    if len(tensors) > 1:
        tensors = {
            name: tensor
            for name, tensor in tensors.items()
            if name == OUTPUT or (task is Task.CLASSIFICATION and "prob" in name.lower())
        }
    if len(tensors) != 1:
        raise PublishError(
            f"Of the ONNX model's outputs, {', '.join(o.name for o in graph.output)}, none is clearly the "
            f"prediction: keep one of floating-point numbers, or name it '{OUTPUT}'"
        )
    return next(iter(tensors.values()))


def _is_zipped(node: onnx.NodeProto | None) -> bool:
    return node is not None and node.op_type == "ZipMap"


def _to_prediction(
    source: str, task: Task, classes: tuple[str, ...] | None
) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """Return what makes `prediction` of the scores, which are [rows], [rows, 1] or [rows, classes]."""
    constants = [helper.make_tensor("modelyard_shape", TensorProto.INT64, [1], [-1])]
    if task is Task.REGRESSION:
        choose = helper.make_node("Identity", [source], ["modelyard_chosen"])
    elif classes and len(classes) > 2:
        choose = helper.make_node("ArgMax", ["modelyard_even"], ["modelyard_chosen"], axis=1, keepdims=0)
        constants.append(helper.make_tensor("modelyard_tie", TensorProto.FLOAT, [], [TIE]))
        constants.append(helper.make_tensor("modelyard_half", TensorProto.FLOAT, [], [0.5]))
    else:
        # The last column: of two probabilities the second, and one alone is that of the second class.
        choose = helper.make_node("Gather", [source, "modelyard_last"], ["modelyard_chosen"], axis=-1)
        constants.append(helper.make_tensor("modelyard_last", TensorProto.INT64, [], [-1]))
    even = [
        helper.make_node("Mul", [source, "modelyard_tie"], ["modelyard_scaled"]),
        helper.make_node("Add", ["modelyard_scaled", "modelyard_half"], ["modelyard_shifted"]),
        helper.make_node("Floor", ["modelyard_shifted"], ["modelyard_even"]),
    ]
    return constants, [
        *(even if choose.op_type == "ArgMax" else ()),
        choose,
        helper.make_node("Reshape", ["modelyard_chosen", "modelyard_shape"], ["modelyard_flat"]),
        helper.make_node("Cast", ["modelyard_flat"], [OUTPUT], to=TensorProto.FLOAT),
    ]


def _prune(graph: onnx.GraphProto) -> None:
    """Remove the operators and constants of which no output depends."""
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
            needed |= {name for sub in _subgraphs(node) for each in sub.node for name in each.input}
    nodes = list(reversed(kept))
    del graph.node[:]
    graph.node.extend(nodes)
    constants = [constant for constant in graph.initializer if constant.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    del graph.value_info[:]


def _subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]


def _rename_input(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new
    graph.input[0].name = new


def _tidy(model: onnx.ModelProto, inputs: Inputs) -> None:
    """Leave nothing that differs between two conversions of the same model."""
    model.graph.name = "model"
    model.graph.doc_string = model.doc_string = ""
    model.producer_name, model.producer_version = "modelyard", ""
    for i, node in enumerate(model.graph.node):
        node.name, node.doc_string = f"{node.op_type}_{i}", ""
    opsets = sorted(model.opset_import, key=lambda entry: entry.domain)
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    del model.metadata_props[:]
    model.metadata_props.append(onnx.StringStringEntryProto(key=INPUTS_PROPERTY, value=inputs))


def refuse_foreign(model: onnx.ModelProto) -> None:
    """Refuse operators that a server does not have, and weights in files beside the model.

    Raises:
        PublishError: the model has them.
    """
    if foreign := sorted({node.domain for node in model.graph.node} - DOMAINS):
        raise PublishError(
            f"The ONNX model uses operators of {', '.join(foreign)}, which need code that a server does not "
            "have: export it with standard operators"
        )
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise PublishError("The ONNX model keeps weights in other files: save it as one file")


def run(content: bytes, frame: pd.DataFrame, features: Sequence[Feature]) -> Scores:
    """Return the predictions of an ONNX model of the standard form, as a server computes them.

    Args:
        content: the model.
        frame: rows; texts as categoricals, or, for a model that takes columns, as objects.
        features: the signature's features.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class
        raise PublishError(reason("onnxruntime does not load the ONNX model", error)) from None
    form = session.get_modelmeta().custom_metadata_map[INPUTS_PROPERTY]
    feed: dict[str, npt.NDArray[np.generic]] = {}
    if form == "matrix":
        feed[MATRIX_INPUT] = encode(frame)
    else:
        wanted = {entry.name for entry in session.get_inputs()}
        for feature in features:
            if feature.name not in wanted:
                continue
            column = frame[feature.name]
            if feature.type is FeatureType.STRING:
                values = column.astype(object).where(column.notna(), "").to_numpy(object)
                feed[feature.name] = values.reshape(-1, 1)
            else:
                feed[feature.name] = encode(column.to_frame())
    try:
        return np.asarray(session.run([OUTPUT], feed)[0], np.float64)
    except Exception as error:
        raise PublishError(reason("The ONNX model fails on rows of the data", error)) from None
