"""A Python function of the columns, traced to ONNX: what is published is the graph, never the code.

The function is called once with stand-ins for the columns, which note what is done with them. It may use
arithmetic, comparisons, `& | ~` and the functions of NumPy in `UNARY`, `BINARY` and `_FUNCTIONS`. It cannot
branch on a value: `np.where` does that for columns.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper

from modelyard.capture.errors import PublishError
from modelyard.capture.formats import onnx_graph
from modelyard.capture.formats.captured import Captured, Scores
from modelyard.capture.formats.scores import positive_or_index
from modelyard.capture.frames import exact
from modelyard.spec.manifest import Feature, FeatureType, Task

UNARY: Mapping[Any, str] = {
    np.negative: "Neg",
    np.absolute: "Abs",
    np.exp: "Exp",
    np.log: "Log",
    np.sqrt: "Sqrt",
    np.floor: "Floor",
    np.ceil: "Ceil",
    np.tanh: "Tanh",
    np.sin: "Sin",
    np.cos: "Cos",
    np.sign: "Sign",
    np.reciprocal: "Reciprocal",
    np.isnan: "IsNaN",
    np.logical_not: "Not",
    np.invert: "Not",
}
BINARY: Mapping[Any, str] = {
    np.add: "Add",
    np.subtract: "Sub",
    np.multiply: "Mul",
    np.divide: "Div",
    np.power: "Pow",
    np.maximum: "Max",
    np.minimum: "Min",
    np.greater: "Greater",
    np.greater_equal: "GreaterOrEqual",
    np.less: "Less",
    np.less_equal: "LessOrEqual",
    np.equal: "Equal",
    np.logical_and: "And",
    np.logical_or: "Or",
    np.bitwise_and: "And",
    np.bitwise_or: "Or",
}
_BOOLEAN = {"IsNaN", "Not", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or"}
_LOGICAL = {"Not", "And", "Or"}


class Untraceable(Exception):  # noqa: N818 - reads as what it says
    """The function does what no graph of operators can say."""


class _Graph:
    """Operators and constants, as they are noted."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def operator(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name


class Column(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands for the values of a column, or for what was made of them."""

    __array_priority__ = 1000

    def __init__(
        self, graph: _Graph, name: str, *, boolean: bool = False, categories: tuple[str, ...] | None = None
    ) -> None:
        self._graph, self._name, self._boolean, self._categories = graph, name, boolean, categories

    def __array_ufunc__(self, function: np.ufunc, method: str, *inputs: Any, **options: Any) -> "Column":
        if method != "__call__" or options:
            raise Untraceable(f"np.{function.__name__} is used in a way that cannot be traced")
        if function is np.not_equal:
            return self.__array_ufunc__(np.logical_not, method, np.equal(*inputs))
        if function is np.log1p:
            return self.__array_ufunc__(np.log, method, inputs[0] + 1.0)
        if function is np.square:
            return self.__array_ufunc__(np.multiply, method, inputs[0], inputs[0])
        kind = UNARY.get(function) or BINARY.get(function)
        if kind is None:
            raise Untraceable(f"np.{function.__name__} cannot be traced")
        if kind == "Equal":
            inputs = _places(inputs)
        names = [_operand(self._graph, value, logical=kind in _LOGICAL) for value in inputs]
        return Column(self._graph, self._graph.operator(kind, *names), boolean=kind in _BOOLEAN)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if function not in _FUNCTIONS:
            raise Untraceable(f"np.{function.__name__} cannot be traced")
        return _FUNCTIONS[function](*args, **kwargs)

    def __bool__(self) -> bool:
        raise Untraceable("it branches on a value of a column: use np.where, and & | ~ for and, or, not")

    def __float__(self) -> float:
        raise Untraceable("it takes one number out of a column: use NumPy's functions, not those of math")

    def __iter__(self) -> Iterator[Any]:
        raise Untraceable("it loops over the rows: use NumPy's functions of whole columns")

    def __getattr__(self, name: str) -> Any:
        raise Untraceable(f"it uses .{name} of a column, which cannot be traced: use NumPy's functions")


class Columns:
    """Stands for the rows: `rows["name"]` is a column."""

    def __init__(self, graph: _Graph, features: tuple[Feature, ...]) -> None:
        self._graph = graph
        self._columns: dict[str, Column] = {}
        for i, feature in enumerate(features):
            name = graph.operator("Gather", onnx_graph.MATRIX_INPUT, graph.constant(np.int64(i)), axis=1)
            column = Column(graph, name, categories=feature.categories)
            if feature.type is FeatureType.BOOL:
                column = column > 0.5
            self._columns[feature.name] = column

    def __getitem__(self, name: str) -> Column:
        if not isinstance(name, str) or name not in self._columns:
            raise Untraceable(f"it takes {name!r}, and the features are {', '.join(self._columns)}")
        return self._columns[name]


def _operand(graph: _Graph, value: Any, *, logical: bool) -> str:
    """Return the name of an operand, as a boolean or as a 32-bit number."""
    if not isinstance(value, Column):
        if not isinstance(value, int | float | np.number | bool | np.bool_):
            raise Untraceable(f"it uses {value!r} with a column; only numbers can be traced")
        return graph.constant(np.bool_(value) if logical else np.float32(value))
    if value._boolean == logical:
        return value._name
    kind = TensorProto.BOOL if logical else TensorProto.FLOAT
    return graph.operator("Cast", value._name, to=kind)


def _places(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the operands of a comparison, a text as its place among the categories of the column."""
    left, right = inputs
    if isinstance(left, str):
        left, right = right, left
    if isinstance(left, Column) and isinstance(right, str):
        if left._categories is None:
            raise Untraceable(f"it compares a number with the text {right!r}")
        if right not in left._categories:
            known = ", ".join(left._categories[:10])
            raise Untraceable(f"it compares with {right!r}, which training never saw; it saw {known}")
        return left, left._categories.index(right)
    return inputs


def _where(condition: Column, then: Any, otherwise: Any) -> Column:
    graph = next(value._graph for value in (condition, then, otherwise) if isinstance(value, Column))
    names = [_operand(graph, value, logical=i == 0) for i, value in enumerate((condition, then, otherwise))]
    return Column(graph, graph.operator("Where", *names))


def _clip(column: Column, low: Any = None, high: Any = None, **other: Any) -> Column:
    low, high = other.get("min", low), other.get("max", high)
    result = column if low is None else np.maximum(column, low)
    return result if high is None else np.minimum(result, high)


_FUNCTIONS: Mapping[Any, Callable[..., Any]] = {
    np.where: _where,
    np.clip: _clip,
    np.nan_to_num: lambda column, nan=0.0: _where(np.isnan(column), nan, column),
}


def capture(
    model: Callable[[Any], Any], features: tuple[Feature, ...], task: Task, classes: tuple[str, ...] | None
) -> Captured:
    """Return a function of the columns as an ONNX model.

    It takes rows of which `rows["name"]` is a column, as a data frame gives it, and returns a column: the
    prediction, or the probability of the second class.

    Raises:
        PublishError: it does what cannot be traced, and so would need its code to run.
    """
    name = getattr(model, "__name__", type(model).__name__)
    if classes and len(classes) > 2:
        raise PublishError(f"The function {name} cannot choose from more than two classes: export it to ONNX")
    graph = _Graph()
    try:
        result = model(Columns(graph, features))
        if not isinstance(result, Column):
            raise Untraceable(f"it returns a {type(result).__name__}, not a column")
        output = _operand(graph, result, logical=False)
    except Untraceable as error:
        raise PublishError(
            f"The function {name} cannot be published: {error}. What is published is a graph that no code of "
            "yours needs to run, so only functions of whole columns can be traced; or export it to ONNX"
        ) from None
    rows = [
        helper.make_tensor_value_info(onnx_graph.MATRIX_INPUT, TensorProto.FLOAT, ["rows", len(features)])
    ]
    made = helper.make_graph(
        graph.nodes,
        "model",
        rows,
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["rows"])],
        graph.constants,
    )
    traced = helper.make_model(made, opset_imports=[helper.make_opsetid("", onnx_graph.OPSET)], ir_version=10)
    content = onnx_graph.standard(traced, "matrix", Task.REGRESSION, None).SerializeToString(
        deterministic=True
    )

    def score(frame: pd.DataFrame) -> Scores:
        numbers = pd.DataFrame(exact(frame), frame.index, [f.name for f in features])
        given = {
            feature.name: frame[feature.name].astype(object)
            if feature.type is FeatureType.STRING
            else numbers[feature.name] > 0.5
            if feature.type is FeatureType.BOOL
            else numbers[feature.name]
            for feature in features
        }
        with np.errstate(all="ignore"):
            return positive_or_index(np.asarray(model(given), np.float64), classes)

    return Captured("onnx", content, "onnx", None, score)
