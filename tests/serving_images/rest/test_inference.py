"""The Open Inference Protocol: tensors by feature or as a matrix, JSON or binary, in and out."""

import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.serving_images import sample
from tests.serving_images.rest.serving import Answer, Served, served

MODEL = f"/v2/models/{sample.MODEL}"
DATATYPES = {"bool": "BOOL", "int64": "INT64", "float64": "FP64", "string": "BYTES", "timestamp": "BYTES"}
ROWS = [sample.ROW, sample.ROW | {"carrier": "AA", "wind": None, "stops": 3}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("inference")
    documents = (
        sample.settings(folder, 1, serving={"max_rows": 50}),
        sample.settings(folder, 2, canary=True),
    )
    with served(folder, sample.write(folder, *documents)) as running:
        yield running
        assert running.series("modelyard_requests_total", code="500") == 0


def tensors(rows: list[dict[str, Any]], shape: str = "flat") -> list[dict[str, Any]]:
    size = [len(rows)] if shape == "flat" else [len(rows), 1]
    return [
        {
            "name": feature["name"],
            "datatype": DATATYPES[feature["type"]],
            "shape": size,
            "data": [row[feature["name"]] if shape == "flat" else [row[feature["name"]]] for row in rows],
        }
        for feature in sample.FEATURES
    ]


def matrix(rows: list[dict[str, Any]]) -> list[list[float | None]]:
    return [
        [
            *(row["distance"], ["AA", "B6", "UA"].index(row["carrier"]), row["stops"], int(row["holiday"])),
            *(row["wind"], 1772353800),
        ]
        for row in rows
    ]


def plain(server: Served, rows: list[dict[str, Any]]) -> list[float]:
    predictions: list[float] = server.ask("POST", "/predict", {"instances": rows}).json["predictions"]
    return predictions


def outputs(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    return {output["name"]: output for output in answer.json["outputs"]}


@pytest.mark.parametrize("shape", ["flat", "column"])
def test_a_tensor_per_feature(server: Served, shape: str) -> None:
    answer = server.ask("POST", f"{MODEL}/infer", {"id": "call-7", "inputs": tensors(ROWS, shape)})
    found = outputs(answer)
    assert found["delay_minutes"] == {
        "name": "delay_minutes",
        "datatype": "FP64",
        "shape": [2],
        "data": plain(server, ROWS),
    }
    assert len(set(found["prediction_id"]["data"])) == 2
    assert (answer.json["id"], answer.json["model_name"], answer.json["model_version"]) == (
        "call-7",
        "delay",
        "1",
    )
    assert json.loads(answer.json["parameters"]["flags"]) == [[], ["missing:wind"]]
    assert answer.headers["x-modelyard-prediction-id"] == found["prediction_id"]["data"][0]


def test_one_matrix(server: Served) -> None:
    for data in (matrix(ROWS), [value for row in matrix(ROWS) for value in row]):
        tensor = {"name": "features", "datatype": "FP64", "shape": [2, 6], "data": data}
        found = outputs(server.ask("POST", f"{MODEL}/infer", {"inputs": [tensor]}))
        assert found["delay_minutes"]["data"] == plain(server, ROWS)


def binary(head: dict[str, Any], tail: bytes) -> tuple[bytes, dict[str, str]]:
    content = json.dumps(head).encode()
    return content + tail, {
        "inference_header_content_length": str(len(content)),
        "content_type": "application/octet-stream",
    }


def test_binary_tensors_in_and_out(server: Served) -> None:
    content = np.array(matrix(ROWS), np.float64).tobytes()  # None is NaN
    tensor: dict[str, Any] = {"name": "x", "datatype": "FP64", "shape": [2, 6]}
    tensor["parameters"] = {"binary_data_size": len(content)}
    body, headers = binary({"inputs": [tensor], "parameters": {"binary_data_output": True}}, content)
    answer = server.ask("POST", f"{MODEL}/infer", body, **headers)
    assert answer.status == 200 and answer.headers["content-type"] == "application/octet-stream"
    size = int(answer.headers["inference-header-content-length"])
    document, tail = json.loads(answer.body[:size]), answer.body[size:]
    values, ids = document["outputs"]
    assert np.frombuffer(tail[: values["parameters"]["binary_data_size"]]).tolist() == plain(server, ROWS)
    texts = tail[values["parameters"]["binary_data_size"] :]
    assert len(texts) == ids["parameters"]["binary_data_size"] == 2 * (4 + 36)
    assert struct.unpack_from("<I", texts)[0] == 36


def test_binary_tensors_by_feature_beside_json(server: Served) -> None:
    inputs = tensors(ROWS)
    tail = b""
    for tensor in inputs:
        if tensor["name"] == "carrier":
            content = b"".join(struct.pack("<I", len(text)) + text.encode() for text in tensor.pop("data"))
        elif tensor["name"] == "stops":
            tensor["datatype"] = "INT32"
            content = np.array(tensor.pop("data"), np.int32).tobytes()
        elif tensor["name"] == "holiday":
            content = np.array(tensor.pop("data"), bool).tobytes()
        else:
            continue
        tensor["parameters"] = {"binary_data_size": len(content)}
        tail += content
    body, headers = binary({"inputs": inputs}, tail)
    found = outputs(server.ask("POST", f"{MODEL}/infer", body, **headers))
    assert found["delay_minutes"]["data"] == plain(server, ROWS)


def test_chosen_outputs(server: Served) -> None:
    body = {"inputs": tensors(ROWS), "outputs": [{"name": "delay_minutes"}]}
    assert list(outputs(server.ask("POST", f"{MODEL}/infer", body))) == ["delay_minutes"]


def test_versions_and_the_canary(server: Served) -> None:
    def version(path: str, **headers: str) -> str:
        return str(server.ask("POST", path, {"inputs": tensors(ROWS)}, **headers).json["model_version"])

    assert version(f"{MODEL}/infer") == version(f"{MODEL}/versions/1/infer") == "1"
    assert version(f"{MODEL}/infer", x_modelyard_canary="always") == "2"
    assert version(f"{MODEL}/versions/2/infer") == "2"


def test_metadata_and_health(server: Served) -> None:
    assert server.ask("GET", "/v2").json["extensions"] == ["binary_tensor_data"]
    document = server.ask("GET", MODEL).json
    assert (document["name"], document["versions"]) == ("delay", ["1", "2"])
    named = [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in document["inputs"]]
    assert named == [(f["name"], DATATYPES[f["type"]], [-1]) for f in sample.FEATURES]
    for path in ("/v2/health/live", "/v2/health/ready", f"{MODEL}/ready", f"{MODEL}/versions/2/ready"):
        assert server.ask("GET", path).status == 200
    assert server.ask("GET", "/v2/models/other").status == 404


def changed(index: int, **changes: Any) -> dict[str, Any]:
    inputs = tensors(ROWS)
    inputs[index] = {k: v for k, v in (inputs[index] | changes).items() if v is not ...}
    return {"inputs": inputs}


MATRIX = {"name": "m", "datatype": "FP64", "shape": [1, 6], "data": matrix(ROWS)[0]}


@pytest.mark.parametrize(
    "body, status, pointer",
    [
        ([], 422, "#"),
        ({}, 422, "#/inputs"),
        ({"inputs": []}, 422, "#/inputs"),
        ({"inputs": [1]}, 422, "#/inputs/0"),
        ({"inputs": tensors(ROWS), "extra": 1}, 422, "#"),
        ({"inputs": tensors(ROWS), "id": 7}, 422, "#/id"),
        ({"inputs": tensors(ROWS), "outputs": [{"name": "other"}]}, 422, "#/outputs/0/name"),
        ({"inputs": tensors(ROWS), "parameters": 3}, 422, "#/parameters"),
        ({"inputs": tensors(ROWS)[:-1]}, 422, "#/inputs/-/departure"),
        ({"inputs": [*tensors(ROWS), tensors(ROWS)[0]]}, 422, "#/inputs/6/name"),
        (changed(0, name="distnce"), 422, "#/inputs/0/data/0"),
        (changed(0, shape=[3]), 422, "#/inputs/0/data"),
        (changed(0, shape=[-1]), 422, "#/inputs/0/shape"),
        (changed(0, shape=[2, 1, 1]), 422, "#/inputs/0/shape"),
        (changed(0, shape=[1], data=[1.0]), 422, "#/inputs/1/shape"),
        (changed(0, shape="2"), 422, "#/inputs/0/shape"),
        (changed(0, datatype="FP8"), 422, "#/inputs/0/datatype"),
        (changed(0, datatype={}), 422, "#/inputs/0/datatype"),
        (changed(0, name=[]), 422, "#/inputs/0/name"),
        ({"inputs": tensors(ROWS), "outputs": [{"name": {}}]}, 422, "#/outputs/0/name"),
        (changed(0, data=["1", 2]), 422, "#/inputs/0/data/0"),
        (changed(0, data=...), 422, "#/inputs/0/data"),
        (changed(2, data=[1, 2.5], datatype="FP64"), 422, "#/inputs/2/data/1"),
        (changed(2, data=[1, None]), 422, "#/inputs/2/data/1"),
        (changed(0, data=[[1.0, 2.0], [3.0]]), 422, "#/inputs/0/data"),
        (changed(0, parameters={"binary_data_size": 16}), 422, "#/inputs/0/data"),
        (
            changed(0, data=..., parameters={"binary_data_size": 16}),
            422,
            "#/inputs/0/parameters/binary_data_size",
        ),
        ({"inputs": [MATRIX | {"shape": [1, 5]}]}, 422, "#/inputs/0/data"),
        ({"inputs": [MATRIX | {"shape": [2, 3]}]}, 422, "#/inputs/0/shape"),
        ({"inputs": [MATRIX | {"data": [1, 7, 1, 0, 1, 1]}]}, 422, "#/inputs/0/data/1"),
        ({"inputs": [MATRIX | {"data": [1, 1, 1, 2, 1, 1]}]}, 422, "#/inputs/0/data/3"),
        ({"inputs": [MATRIX | {"data": [1, 1, 1, 0, 1, 1e300]}]}, 422, "#/inputs/0/data/5"),
        ({"inputs": [MATRIX | {"shape": [51, 6], "data": matrix(ROWS)[0] * 51}]}, 422, "#/inputs/0/shape"),
        ({"inputs": [MATRIX | {"shape": [2**31, 2**31]}]}, 422, "#/inputs/0/shape"),
    ],
)
def test_faults_and_their_place(server: Served, body: Any, status: int, pointer: str) -> None:
    answer = server.ask("POST", f"{MODEL}/infer", body)
    assert answer.status == status, answer.body
    assert answer.json["errors"][0]["pointer"] == pointer, answer.json


def test_faults_of_binary_data(server: Served) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 6], "parameters": {"binary_data_size": 24}}
    text = {"name": "carrier", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 7}}
    for inputs, tail in (
        ([tensor], b"\0" * 23),
        ([tensor], b"\0" * 25),
        ([tensor | {"shape": [2, 6]}], b"\0" * 24),
        ([text], b"\xff\0\0\0abc"),
        ([text], b"\x03\0\0\0\xff\xff\xff"),
        ([text | {"shape": [2]}], b"\x03\0\0\0abc"),
    ):
        body, headers = binary({"inputs": inputs}, tail)
        assert server.ask("POST", f"{MODEL}/infer", body, **headers).status == 422
    body, headers = binary({"inputs": [tensor]}, b"\0" * 24)
    for length in ("-1", "x", "99999", "9" * 50):
        wrong = headers | {"inference_header_content_length": length}
        assert server.ask("POST", f"{MODEL}/infer", body, **wrong).status in (400, 422)
    assert server.ask("POST", f"{MODEL}/infer", body, content_type="image/png").status == 415
