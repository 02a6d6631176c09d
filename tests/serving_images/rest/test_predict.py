"""Predictions on named features: answers, faults with their place, and rows in the log."""

import json
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving_images import sample
from tests.serving_images.rest.serving import Served, read_answer, request, served

BASE = f"/models/{sample.MODEL}"
NOT_JSON = "#"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    limits = {"max_rows": 50, "max_body_bytes": 200_000}
    config = sample.write(
        folder,
        sample.settings(folder, 1, serving=limits),
        sample.settings(folder, 2, serving=limits | {"out_of_range": "reject"}, canary=True),
    )
    with served(folder, config, MODELYARD_CALLER_HEADER="x-goog-authenticated-user-email") as running:
        yield running
        assert running.series("modelyard_requests_total", code="500") == 0


def expected(row: dict[str, Any], version: int = 1) -> float:
    """What the native model says of a row, encoded here by hand."""
    import xgboost

    values = [
        row["distance"],
        ["AA", "B6", "UA"].index(row["carrier"]) if row["carrier"] in ("AA", "B6", "UA") else math.nan,
        row["stops"],
        row["holiday"],
        math.nan if row.get("wind") is None else row["wind"],
        1772353800,
    ]
    booster = xgboost.Booster(model_file=bytearray(sample.trained(version)[0]))
    return float(booster.inplace_predict(np.array([values], np.float32))[0])


def faults(server: Served, body: Any, path: str = "/predict", **headers: str) -> tuple[int, list[str], str]:
    """Ask what must be refused; return status, pointers and the text."""
    answer = server.ask("POST", path, body, **headers)
    document = answer.json
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["status"] == answer.status and document["type"].startswith("urn:modelyard:problem:")
    return answer.status, [fault["pointer"] for fault in document.get("errors", [])], document["detail"]


def test_one_row_and_several(server: Served) -> None:
    one = server.ask("POST", "/predict", sample.ROW).json
    assert one["prediction"] == pytest.approx(expected(sample.ROW), rel=1e-5)
    assert (one["model"], one["version"], "flags" in one) == ("delay", 1, False)
    rows = [sample.ROW | {"carrier": carrier, "wind": None} for carrier in ("AA", "UA")]
    many = server.ask("POST", "/predict", {"instances": rows}).json
    assert many["predictions"] == pytest.approx([expected(row) for row in rows], rel=1e-5)
    assert len(set(many["prediction_ids"])) == 2
    assert many["flags"] == [["missing:wind"], ["missing:wind"]]


def test_versions_and_the_canary(server: Served) -> None:
    def version(path: str, **headers: str) -> int:
        answer = server.ask("POST", path, sample.ROW, **headers).json
        assert answer["prediction"] == pytest.approx(expected(sample.ROW, answer["version"]), rel=1e-5)
        return int(answer["version"])

    assert version("/predict") == version(f"{BASE}/predict") == version(f"{BASE}/versions/1/predict") == 1
    assert version("/predict", x_modelyard_canary="always") == version(f"{BASE}/versions/2/predict") == 2
    assert version("/predict", x_modelyard_canary="never") == 1
    assert server.ask("POST", f"{BASE}/versions/3/predict", sample.ROW).status == 404


def test_what_training_never_saw_is_flagged(server: Served) -> None:
    row = sample.ROW | {"distance": 9999, "carrier": "ZZ", "wind": None}
    answer = server.ask("POST", "/predict", row).json
    assert answer["flags"] == ["out_of_range:distance", "unknown_category:carrier", "missing:wind"]
    assert answer["prediction"] == pytest.approx(expected(row), rel=1e-5)
    without = {key: value for key, value in sample.ROW.items() if key != "wind"}
    assert server.ask("POST", "/predict", without).json["flags"] == ["missing:wind"]


def test_or_refused_by_policy(server: Served) -> None:
    row = sample.ROW | {"distance": 9999, "carrier": "U"}
    status, pointers, text = faults(server, row, f"{BASE}/versions/2/predict")
    assert (status, pointers) == (422, ["#/distance", "#/carrier"])
    assert "training saw 0 to 5000" in text
    assert server.ask("POST", f"{BASE}/versions/2/predict", sample.ROW).status == 200


@pytest.mark.parametrize(
    "changes, pointers",
    [
        ({"distnce": 1}, ["#/distnce"]),
        ({"distance": None}, ["#/distance"]),
        ({"distance": "812"}, ["#/distance"]),
        ({"distance": True}, ["#/distance"]),
        ({"distance": [1]}, ["#/distance"]),
        ({"distance": 1e300}, ["#/distance"]),
        ({"distance": 10**400}, ["#/distance"]),
        ({"stops": 1.5}, ["#/stops"]),
        ({"stops": 2**63}, ["#/stops"]),
        ({"stops": -(2**63) - 1}, ["#/stops"]),
        ({"holiday": 1}, ["#/holiday"]),
        ({"holiday": "false"}, ["#/holiday"]),
        ({"carrier": 7}, ["#/carrier"]),
        ({"carrier": {}}, ["#/carrier"]),
        ({"departure": "yesterday"}, ["#/departure"]),
        ({"departure": "2026-03-01T08:30:00"}, ["#/departure"]),
        ({"departure": 1772353800}, ["#/departure"]),
        ({"a/b~c d": 1}, ["#/a~1b~0c%20d"]),
        ({"stops": "x", "wind": "y"}, ["#/stops", "#/wind"]),
    ],
)
def test_faults_of_a_row(server: Served, changes: dict[str, Any], pointers: list[str]) -> None:
    row = sample.ROW | changes
    assert faults(server, row)[:2] == (422, pointers)
    inside = ["#/instances/1" + pointer[1:] for pointer in pointers]
    assert faults(server, {"instances": [sample.ROW, row]})[:2] == (422, inside)


def test_missing_features(server: Served) -> None:
    status, pointers, text = faults(server, {})
    assert (status, pointers) == (422, [f"#/{f['name']}" for f in sample.FEATURES if f["name"] != "wind"])
    assert "#/distance is missing; it must be a number" in text


ROW_TEXT = json.dumps(sample.ROW)


@pytest.mark.parametrize(
    "body, status, pointers",
    [
        (b"", 400, ["#"]),
        (b"{", 400, ["#"]),
        (b"{}{}", 400, ["#"]),
        (b"\xff\xfe", 400, ["#"]),
        (b"\xef\xbb\xbf{}", 400, ["#"]),
        (ROW_TEXT.replace("812.5", "NaN").encode(), 400, ["#"]),
        (ROW_TEXT.replace("812.5", "Infinity").encode(), 400, ["#"]),
        (ROW_TEXT.replace("812.5", "01").encode(), 400, ["#"]),
        (ROW_TEXT.replace("812.5", "1e999").encode(), 422, ["#/distance"]),
        (ROW_TEXT.replace("812.5", "1" * 5000).encode(), 400, ["#"]),
        (ROW_TEXT.replace('"UA"', '"\\ud800"').encode(), 422, ["#/carrier"]),
        (ROW_TEXT.replace('"stops": 1', '"stops": 1, "stops": 2').encode(), 422, ["#/stops"]),
        (ROW_TEXT.replace('"wind": 12.0', '"distance": 1.0').encode(), 422, ["#/distance"]),
        (b"[" * 90_000, 400, ["#"]),
        (b'{"instances":' * 10_000, 400, ["#"]),
        (b"null", 422, ["#"]),
        (b"[]", 422, ["#"]),
        (b'{"instances": {}}', 422, ["#/instances"]),
        (b'{"instances": []}', 422, ["#/instances"]),
        (b'{"instances": [[1, 2]]}', 422, ["#/instances/0"]),
        (b'{"instances": [], "more": 1}', 422, ["#/more"]),
        (b'{"instances": [1], "instances": [2]}', 422, ["#/instances"]),
        (json.dumps({"instances": [sample.ROW] * 51}).encode(), 422, ["#/instances"]),
        (b'{"instances": [' + b"{}," * 50 + b"{}]}", 422, ["#/instances"]),
    ],
)
def test_faults_of_a_body(server: Served, body: bytes, status: int, pointers: list[str]) -> None:
    assert faults(server, body)[:2] == (status, pointers)


def test_faults_are_told_up_to_a_number_and_quickly(server: Served) -> None:
    rows = {"instances": [{f"x{n}": n for n in range(100)}] * 50}
    status, pointers, text = faults(server, rows)
    assert status == 422 and len(pointers) == 20 and "and 19 more" in text


@pytest.mark.parametrize(
    "kind, status",
    [
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/json; charset=utf-16", 415),
        ("application/json;charset=UTF-8", 200),
        ("APPLICATION/JSON", 200),
        ("application/vnd.models+json", 200),
        ("", 200),
    ],
)
def test_media_types(server: Served, kind: str, status: int) -> None:
    assert server.ask("POST", "/predict", sample.ROW, content_type=kind).status == status


def test_large_bodies_take_the_same_way(server: Served) -> None:
    padding = " " * 40_000
    good = (json.dumps(sample.ROW) + padding).encode()
    assert server.ask("POST", "/predict", good).json["prediction"] == pytest.approx(
        expected(sample.ROW), rel=1e-5
    )
    assert faults(server, b"{" + padding.encode())[0] == 400
    assert faults(server, good, content_type="text/plain")[0] == 415
    assert faults(server, good + b" " * 170_000)[0] == 413


def test_rows_are_in_the_log_as_they_were_asked(server: Served) -> None:
    answer = server.ask(
        "POST",
        "/predict",
        {"instances": [sample.ROW, sample.ROW | {"stops": 9}]},
        x_goog_authenticated_user_email="accounts.google.com:ann@example.com",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ).json
    rows = logged(server, answer["prediction_ids"])
    assert [row["prediction"] for row in rows] == answer["predictions"]
    assert [row["flags"] for row in rows] == [[], ["out_of_range:stops"]]
    for row, stops in zip(rows, (1, 9), strict=True):
        assert row["features"] == sample.ROW | {
            "stops": stops,
            "departure": datetime(2026, 3, 1, 8, 30, tzinfo=UTC),
        }
        assert (row["caller"], row["trace_id"]) == ("ann@example.com", "4bf92f3577b34da6a3ce929d0e0e4736")
        assert (row["team"], row["model"], row["version"], row["pattern"]) == ("flights", "delay", 1, "rest")
        assert row["image_digest"] == "sha256:" + "2" * 64
        assert row["latency_ms"] > 0


def test_a_caller_that_cannot_be_believed_is_anonymous(server: Served) -> None:
    for header in ({}, {"x_goog_authenticated_user_email": "a" * 300}):
        prediction = server.ask("POST", "/predict", sample.ROW, **header, traceparent="00-x").json
        (row,) = logged(server, [prediction["prediction_id"]])
        assert (row["caller"], row["trace_id"]) == ("anonymous", None)


def logged(server: Served, ids: list[str]) -> list[Any]:
    """Return the rows of predictions, once the shipper has brought them to the warehouse."""
    for _ in range(300):
        rows = {}
        for path in (server.folder / "warehouse").rglob("[!.]*.parquet"):
            for row in parquet.read_table(path, partitioning=None).to_pylist():
                rows[row["prediction_id"]] = row
        if rows.keys() >= set(ids):
            return [rows[name] for name in ids]
        time.sleep(0.1)
    raise AssertionError(f"the rows did not arrive: {server.said()}")


def test_series_count_what_was_answered(server: Served) -> None:
    before = server.series("modelyard_requests_total", version="1", code="422")
    rows = server.series("modelyard_predictions_total", version="1")
    faults(server, {})
    server.ask("POST", "/predict", {"instances": [sample.ROW] * 3})
    assert server.series("modelyard_requests_total", version="1", code="422") == before + 1
    assert server.series("modelyard_predictions_total", version="1") == rows + 3
    assert server.series("modelyard_request_seconds_count", version="1") == server.series(
        "modelyard_requests_total", version="1"
    )
    time.sleep(1)  # the log is counted twice a second
    assert server.series("modelyard_log_rows_total", state="durable") >= 3
    assert server.series("modelyard_log_rows_total", state="dropped") == 0


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
NAMES = [feature["name"] for feature in sample.FEATURES]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(
        st.binary(max_size=300),
        JSON_VALUES.map(lambda value: json.dumps(value).encode()),
        st.dictionaries(st.sampled_from(NAMES), JSON_VALUES).map(
            lambda changes: json.dumps({"instances": [sample.ROW | changes]}).encode()
        ),
        st.dictionaries(st.sampled_from(NAMES), JSON_VALUES).map(
            lambda changes: json.dumps(sample.ROW | changes).encode()
        ),
    )
)
def test_whatever_is_sent_is_answered_or_refused(server: Served, body: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(request("POST", "/predict", body))
        answer = read_answer(connection)
    assert answer.status in (200, 400, 413, 422)
    json.loads(answer.body, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
