"""The Open Inference Protocol, version 2: tensors as JSON, or binary after a JSON header.

Inputs are one tensor `[rows]` or `[rows, 1]` per feature, or one tensor `[rows, features]` that holds all, as
`runtime.encoding` says: 0 and 1 for booleans, the place in `categories` for texts, NaN for what is missing.

https://github.com/open-inference/open-inference-protocol
"""

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from serving_images.rest.batching import Job, Reply
from serving_images.rest.http import JSON, Request
from serving_images.rest.plain import check_json
from serving_images.rest.versions import Version, Versions
from serving_images.runtime.config import Feature
from serving_images.runtime.inputs import Fault, InputError, Rows, is_text, parse

BINARY = b"application/octet-stream"
HEADER_LENGTH = b"inference-header-content-length"
SERVER = msgspec.json.encode({"name": "modelyard", "version": "2", "extensions": ["binary_tensor_data"]})
MATRIX = "features"
IDS = "prediction_id"
ID_LENGTH = 256

_DATATYPES = {"bool": "BOOL", "int64": "INT64", "float64": "FP64", "string": "BYTES", "timestamp": "BYTES"}
_BINARY_TYPES = {
    "BOOL": "<?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_REQUEST_KEYS = {"id", "parameters", "inputs", "outputs"}
_TENSOR_KEYS = {"name", "shape", "datatype", "parameters", "data"}


class _Wanted(msgspec.Struct):
    """What the caller asked of the answer."""

    id: str
    outputs: dict[str, bool]
    """Name of the output -> whether it shall be binary."""


class _Rows(Rows):
    """Rows, and what the answer shall hold."""

    wanted: _Wanted | None = None


def describe(version: Version, versions: Versions, request: Request) -> None:
    """Answer with the metadata of a model."""
    tensors = [
        {"name": feature.name, "datatype": _DATATYPES[feature.type], "shape": [-1]}
        for feature in version.features
    ]
    prediction = version.config.signature.prediction
    document = {
        "name": version.name,
        "versions": [str(number) for number in versions.models[version.name]],
        "platform": "onnx_onnxv1",
        "inputs": tensors,
        "outputs": [
            {"name": prediction.name, "datatype": _DATATYPES[prediction.type], "shape": [-1]},
            {"name": IDS, "datatype": "BYTES", "shape": [-1]},
        ],
        "parameters": {"matrix_input": MATRIX, "version": str(version.number)},
    }
    request.respond(200, msgspec.json.encode(document))


def read(version: Version, request: Request) -> Rows:
    """Return the rows of an inference request.

    Raises:
        InputError: with what is wrong, and where.
        WrongTypeError: the content is neither JSON nor, with its header, binary.
    """
    body, tail = request.body, b""
    length = request.headers.get(HEADER_LENGTH)
    kind = request.headers.get(b"content-type")
    if length is not None:
        if kind is not None and kind != BINARY:
            check_json(kind)
        if not length.isdigit() or int(length[:12]) > len(body):
            raise _error("#", f"the header Inference-Header-Content-Length must be 0 to {len(body)}")
        body, tail = body[: int(length)], body[int(length) :]
    elif kind is not None and kind != JSON:
        check_json(kind)
    document = parse(body)
    _keys(document, _REQUEST_KEYS, "#")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise _error("#/inputs", "must be a list of tensors, one at least")
    wanted = _wanted(document, version)
    tensors: dict[str, tuple[int, list[int], list[Any]]] = {}
    for index, tensor in enumerate(inputs):
        name, shape, values, tail = _tensor(tensor, f"#/inputs/{index}", tail, version)
        if name in tensors:
            raise _error(f"#/inputs/{index}/name", f"'{name}' stands twice")
        tensors[name] = (index, shape, values)
    if tail:
        raise _error("#/inputs", f"{len(tail)} bytes are left after the last binary tensor")
    rows, where = _rows(version, tensors)
    values, flags = version.inputs.check(rows, where=where)
    return _Rows(values, flags, False, wanted)


def render(job: Job) -> Reply:
    """Return the answer: the prediction, and the ids of the rows."""
    version, rows = job.version, job.rows
    assert isinstance(rows, _Rows) and rows.wanted is not None
    prediction = version.config.signature.prediction
    count = len(job.ids)
    tail = []
    outputs = []
    for name, binary in rows.wanted.outputs.items():
        values: Sequence[Any] = job.ids if name == IDS else job.predictions
        datatype = "BYTES" if name == IDS else _DATATYPES[prediction.type]
        tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": [count]}
        if binary:
            content = _packed(values, datatype)
            tensor["parameters"] = {"binary_data_size": len(content)}
            tail.append(content)
        else:
            tensor["data"] = values
        outputs.append(tensor)
    document: dict[str, Any] = {
        "model_name": version.name,
        "model_version": str(version.number),
        "id": rows.wanted.id or job.ids[0],
        "outputs": outputs,
    }
    if rows.flags:
        document["parameters"] = {"flags": msgspec.json.encode(rows.flags).decode()}
    head = msgspec.json.encode(document)
    ids = b"x-modelyard-prediction-id: %b\r\n" % job.ids[0].encode()
    if not tail:
        return head, JSON, ids
    extra = b"inference-header-content-length: %d\r\n" % len(head)
    return head + b"".join(tail), BINARY, ids + extra


def _wanted(document: dict[str, Any], version: Version) -> _Wanted:
    request_id = document.get("id", "")
    if not isinstance(request_id, str) or len(request_id) > ID_LENGTH or not is_text(request_id):
        raise _error("#/id", f"must be a text of at most {ID_LENGTH} characters")
    everything = _parameters(document, "#").get("binary_data_output") is True
    known = (version.config.signature.prediction.name, IDS)
    outputs = document.get("outputs")
    if outputs is None:
        return _Wanted(request_id, dict.fromkeys(known, everything))
    if not isinstance(outputs, list):
        raise _error("#/outputs", "must be a list of outputs")
    chosen: dict[str, bool] = {}
    for index, output in enumerate(outputs):
        pointer = f"#/outputs/{index}"
        _keys(output, {"name", "parameters"}, pointer)
        name = output.get("name")
        if name not in known:
            raise _error(f"{pointer}/name", f"must be {known[0]} or {known[1]}")
        chosen[name] = _parameters(output, pointer).get("binary_data", everything) is True
    return _Wanted(request_id, chosen or dict.fromkeys(known, everything))


def _tensor(
    tensor: Any, pointer: str, tail: bytes, version: Version
) -> tuple[str, list[int], list[Any], bytes]:
    """Return name, shape and flat values of a tensor, and what is left of the binary data."""
    _keys(tensor, _TENSOR_KEYS, pointer)
    name, shape, datatype = (tensor.get(key) for key in ("name", "shape", "datatype"))
    if not isinstance(name, str):
        raise _error(f"{pointer}/name", "must be a text")
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= 2
        or any(type(size) is not int or size < 0 or size > 1 << 31 for size in shape)
    ):
        raise _error(f"{pointer}/shape", "must be a list of one or two sizes, [rows] or [rows, columns]")
    if not isinstance(datatype, str) or datatype not in _FITS:
        raise _error(f"{pointer}/datatype", f"must be BYTES or one of {', '.join(_BINARY_TYPES)}")
    count = math.prod(shape)
    if count > version.config.serving.max_rows * max(len(version.features), 1):
        most = version.config.serving.max_rows
        raise InputError("too-large", [Fault(f"{pointer}/shape", f"is more than {most} rows")])
    size = _parameters(tensor, pointer).get("binary_data_size")
    if size is not None:
        if "data" in tensor:
            raise _error(f"{pointer}/data", "stands beside parameters/binary_data_size; give one of them")
        if type(size) is not int or not 0 <= size <= len(tail):
            raise _error(f"{pointer}/parameters/binary_data_size", f"must be 0 to {len(tail)}, what is left")
        return name, shape, _unpacked(tail[:size], datatype, count, pointer), tail[size:]
    if "data" not in tensor:
        raise _error(f"{pointer}/data", "is missing")
    values = _flat(tensor["data"], f"{pointer}/data", count)
    fits = _FITS[datatype]
    for place, value in enumerate(values):
        if value is not None and not fits(value):
            raise _error(f"{pointer}/data/{place}", f"is no {datatype}")
    return name, shape, values, tail


def _flat(data: Any, pointer: str, count: int) -> list[Any]:
    """Return the values of a tensor, given flat or row by row."""
    if not isinstance(data, list):
        raise _error(pointer, "must be a list")
    if data and isinstance(data[0], list):
        if not all(isinstance(row, list) and len(row) == len(data[0]) for row in data):
            raise _error(pointer, "has rows of different lengths")
        data = [value for row in data for value in row]
    if len(data) != count:
        raise _error(pointer, f"holds {len(data)} values, and the shape {count}")
    return list(data)


def _unpacked(content: bytes, datatype: str, count: int, pointer: str) -> list[Any]:
    """Return the values of a binary tensor; NaN becomes None."""
    if datatype == "BYTES":
        values: list[Any] = []
        at = 0
        while at < len(content) and len(values) <= count:
            size = int.from_bytes(content[at : at + 4], "little")
            at += 4 + size
            if at > len(content):
                raise _error(pointer, "has binary data that end within a text")
            try:
                values.append(content[at - size : at].decode())
            except UnicodeDecodeError:
                raise _error(pointer, f"holds a text, the {len(values)}th, that is not UTF-8") from None
    else:
        kind = np.dtype(_BINARY_TYPES[datatype])
        if len(content) != count * kind.itemsize:
            raise _error(pointer, f"has {len(content)} bytes, and the shape takes {count * kind.itemsize}")
        values = np.frombuffer(content, kind).tolist()
        if datatype.startswith("FP"):
            values = [None if value != value else value for value in values]
    if len(values) != count:
        raise _error(pointer, f"holds {len(values)} values, and the shape {count}")
    return values


def _packed(values: Sequence[Any], datatype: str) -> bytes:
    """Return values as binary data; None is NaN, or an empty text, or 0."""
    if datatype == "BYTES":
        texts = [("" if value is None else value).encode() for value in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    if datatype == "FP64":
        return np.array(values, "<f8").tobytes()
    return np.array([value or 0 for value in values], _BINARY_TYPES[datatype]).tobytes()


def _rows(
    version: Version, tensors: dict[str, tuple[int, list[int], list[Any]]]
) -> tuple[list[dict[str, Any]], Callable[[int, str], str]]:
    """Return the tensors as rows of named features, and where each value stands in the request."""
    features = version.features
    names = [feature.name for feature in features]
    width = len(names)
    if len(tensors) == 1:
        ((name, (index, shape, values)),) = tensors.items()
        if len(shape) == 2 and (name not in names or shape[1] != 1):
            if shape[1] != width:
                raise _error(f"#/inputs/{index}/shape", f"must be [rows, {width}], a column for each feature")
            places = {name: place for place, name in enumerate(names)}
            columns = [
                [_decoded(feature, value) for value in values[place::width]]
                for place, feature in enumerate(features)
            ]
            rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

            def in_matrix(row: int, name: str) -> str:
                return f"#/inputs/{index}" + (f"/data/{row * width + places[name]}" if name in places else "")

            return rows, in_matrix
    count = -1
    for index, shape, _ in tensors.values():
        if len(shape) == 2 and shape[1] != 1:
            raise _error(f"#/inputs/{index}/shape", "must be [rows] or [rows, 1]")
        if count not in (-1, shape[0]):
            raise _error(f"#/inputs/{index}/shape", f"is {shape[0]} rows, and the tensors before are {count}")
        count = shape[0]
    given = list(tensors)
    rows = [
        dict(zip(given, row, strict=True))
        for row in zip(*(values for _, _, values in tensors.values()), strict=True)
    ]

    def in_column(row: int, name: str) -> str:
        return f"#/inputs/{tensors[name][0]}/data/{row}" if name in tensors else f"#/inputs/-/{name}"

    return rows, in_column


def _decoded(feature: Feature, value: Any) -> Any:
    """Return a number of a matrix as the value that it stands for; what stands for none is left."""
    if value is None or isinstance(value, str):
        return value
    if feature.type == "bool" and value in (0, 1):
        return bool(value)
    if feature.type == "string":
        known = feature.categories or ()
        return known[int(value)] if value in range(len(known)) else value
    if feature.type == "timestamp":
        from datetime import UTC, datetime

        try:
            return datetime.fromtimestamp(value, UTC).isoformat()
        except (OverflowError, ValueError, OSError):
            return value
    return value


def _keys(value: Any, known: set[str], pointer: str) -> None:
    if not isinstance(value, dict):
        raise _error(pointer, "must be an object")
    twice = getattr(value, "key", "")
    if twice:
        raise _error(pointer, f"has the key {twice[:64]!a} twice")
    for key in value:
        if key not in known:
            raise _error(pointer, f"has an unknown key {key[:64]!a}; known are {', '.join(sorted(known))}")


def _parameters(value: dict[str, Any], pointer: str) -> dict[str, Any]:
    parameters = value.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise _error(f"{pointer}/parameters", "must be an object")
    return parameters


def _error(pointer: str, detail: str) -> InputError:
    return InputError("invalid", [Fault(pointer, detail)])


def _is_integer(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


_FITS: dict[str, Callable[[Any], bool]] = {
    **{name: _is_integer for name in _BINARY_TYPES if "INT" in name},
    **{name: lambda value: type(value) in (int, float) for name in _BINARY_TYPES if "FP" in name},
    "BOOL": lambda value: type(value) is bool,
    "BYTES": lambda value: type(value) is str,
}
