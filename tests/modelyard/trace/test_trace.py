"""A prediction is followed to everything behind it, and what is missing or false is said."""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.spec.base import Sensitivity
from modelyard.tables import MODEL_VERSIONS
from modelyard.trace import Status, TraceError, trace
from modelyard.trace.document import document
from modelyard.trace.page import page, terminal
from serving_images.prediction_log import Entry, LogSchema, Outcome, PredictionIds, PredictionLog, encode
from tests.bigquery_emulator import bigquery_client, bigquery_endpoint
from tests.modelyard.trace.world import ASKED, ID, IMAGE, World, past, world

__all__ = ["bigquery_client", "bigquery_endpoint"]

MINUTE = timedelta(minutes=1)


@pytest.fixture(params=["local", "bigquery"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A model with a past, in both warehouses."""
    client = None if request.param == "local" else request.getfixturevalue("bigquery_client")
    yield past(tmp_path, client)


@pytest.fixture
def empty(tmp_path: Path) -> World:
    """A local world with nothing in it."""
    return world(tmp_path)


def statuses(found: Any) -> dict[str, Status]:
    return {check.what: check.status for check in found.checks}


def test_the_id_alone_leads_to_everything(made: World) -> None:
    found = trace(ID, made.place())
    prediction = found.prediction
    assert (prediction.team, prediction.model, prediction.version) == ("flights", "delay", 1)
    assert (prediction.prediction, prediction.unit, prediction.environment) == (12.25, "minutes", "dev")
    assert prediction.time == ASKED + timedelta(milliseconds=7)
    assert prediction.flags == ("out_of_range:distance",)
    assert found.version is not None
    assert found.version.manifest.digest == made.documents[1]["digest"]
    assert found.deployment is not None
    assert found.deployment.deployment_id == "deployment-1"
    assert found.deployment.actor == "deployer@example.com"
    assert found.deployment.approved_by == ("ann@example.com", "bob@example.com")
    assert statuses(found) == dict.fromkeys(
        ("manifest", "manifest deployed", "image", "artefact", "signature"), Status.VERIFIED
    )
    assert found.sound
    assert found.gaps == ()


def test_protected_values_are_shown_only_where_asked_for(made: World) -> None:
    """`age` is pii by its manifest; the team's word on `carrier` makes it confidential."""
    declared = {"carrier": Sensitivity.CONFIDENTIAL}
    values = {value.name: value for value in trace(ID, made.place(declared)).prediction.features}
    assert (values["distance"].value, values["distance"].unit, values["distance"].masked) == (
        812.5,
        "km",
        False,
    )
    assert (values["age"].value, values["age"].masked, values["age"].sensitivity) == (None, True, "pii")
    assert (values["carrier"].value, values["carrier"].masked) == (None, True)
    shown = trace(ID, made.place(declared), show_protected=True).prediction
    assert [value.value for value in shown.features] == [812.5, "AA", 41]
    assert shown.caller.value == "caller@example.com"


def test_masked_values_are_in_no_form_of_the_page(made: World) -> None:
    made.warehouse.append(
        made.log_ref,
        made.log,
        pa.Table.from_pylist(
            [
                {
                    "prediction_id": ID.replace("1234", "4321"),
                    "time": ASKED,
                    "team": "flights",
                    "model": "delay",
                    "version": 1,
                    "pattern": "rest",
                    "caller": "somebody@example.com",
                    "features": {"distance": 1.0, "carrier": "AA", "age": 987654321},
                    "prediction": 1.0,
                    "flags": [],
                }
            ]
        ),
        "another",
    )
    found = trace(ID.replace("1234", "4321"), made.place())
    for text in (page(found), json.dumps(document(found), default=str), printed(found), repr(found)):
        assert "987654321" not in text
        assert "somebody" not in text


def printed(found: Any) -> str:
    from rich.console import Console

    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal(found))
    return console.export_text()


def test_without_a_version_nothing_of_its_inputs_is_shown(empty: World) -> None:
    empty.predict()
    found = trace(ID, empty.place())
    assert found.version is None
    assert found.prediction.features == ()
    assert found.prediction.caller.masked
    assert [gap.split(":")[0] for gap in found.gaps] == [
        "version flights/delay@1 is not in the table of versions",
        "no deployment of flights/delay@1 is recorded",
    ]
    shown = trace(ID, empty.place(), show_protected=True)
    assert {value.name: value.value for value in shown.prediction.features} == {
        "distance": 812.5, "carrier": "AA", "age": 41,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("past_deployments", "expected", "oddity"),
    [
        ([("a", -9, {1: 100}), ("b", -5, {1: 90, 2: 10})], "b", ""),
        ([("a", -9, {1: 100}), ("b", -5, {2: 100})], "a", "version 2 had been deployed in its place"),
        ([("a", -9, {2: 100}), ("b", 2, {1: 100})], "b", "recorded after the prediction"),
        ([("a", -9, {1: 100}), ("b", 2, {1: 100})], "a", ""),
        ([("a", 90, {1: 100})], None, "no deployment of flights/delay@1 is recorded"),
        ([("a", -9, {2: 100})], None, "no deployment of flights/delay@1 is recorded"),
    ],
)
def test_the_newest_deployment_before_the_prediction_counts(
    empty: World, past_deployments: Any, expected: str | None, oddity: str
) -> None:
    empty.publish(1)
    for name, minutes, versions in past_deployments:
        empty.deploy(name, ASKED + minutes * MINUTE, versions)
    empty.deploy("failed", ASKED - MINUTE, {1: 100}, succeeded=False)
    empty.predict()
    found = trace(ID, empty.place())
    assert (found.deployment.deployment_id if found.deployment else None) == expected
    assert [oddity in gap for gap in found.gaps] == ([True] if oddity else [])


@pytest.mark.parametrize(
    ("damage", "what", "status"),
    [
        (lambda folder: (folder / "model.onnx").write_bytes(b"another model"), "artefact", Status.DIFFERS),
        (lambda folder: (folder / "model.onnx").write_bytes(b"another model"), "signature", Status.DIFFERS),
        (lambda folder: (folder / "model.onnx").unlink(), "artefact", Status.UNREACHABLE),
        (lambda folder: (folder / "model.sig").write_bytes(b"{}"), "signature", Status.DIFFERS),
        (lambda folder: (folder / "model.sig").unlink(), "signature", Status.UNREACHABLE),
    ],
)
def test_files_that_changed_are_found(tmp_path: Path, damage: Any, what: str, status: Status) -> None:
    made = past(tmp_path)
    damage(made.registry / "flights/delay/1")
    found = trace(ID, made.place())
    assert statuses(found)[what] is status
    assert found.sound is (status is Status.UNREACHABLE)


def test_a_manifest_that_changed_in_the_table_is_found(tmp_path: Path) -> None:
    made = past(tmp_path)
    [file] = (tmp_path / "warehouse").rglob("model_versions/*/*.parquet")
    [row] = pq.read_table(file).to_pylist()
    manifest = json.loads(row["manifest"])
    manifest["metrics"]["values"]["mae"] = 0.1
    changed = pa.Table.from_pylist([row | {"manifest": json.dumps(manifest)}], pq.read_schema(file))
    pq.write_table(changed, file)
    found = trace(ID, made.place())
    assert statuses(found)["manifest"] is Status.DIFFERS
    assert not found.sound


def test_another_image_or_manifest_than_was_deployed_is_found(empty: World) -> None:
    empty.publish(1)
    empty.documents.clear()
    empty.deploy("a", ASKED - MINUTE, {1: 100})
    empty.predict(image_digest="sha256:" + "b" * 64)
    found = trace(ID, empty.place())
    assert statuses(found)["image"] is statuses(found)["manifest deployed"] is Status.DIFFERS


def test_no_file_is_fetched_unless_wanted(tmp_path: Path) -> None:
    made = past(tmp_path)
    found = trace(ID, made.place(), fetch=False)
    assert "artefact" not in statuses(found)
    assert statuses(found)["manifest"] is Status.VERIFIED


def test_a_row_that_is_logged_twice_is_one_prediction(made: World) -> None:
    made.predict("again")
    found = trace(ID, made.place())
    assert found.prediction.copies == 2
    assert any("holds the row 2 times" in gap for gap in found.gaps)


def test_what_is_not_there_is_said(made: World) -> None:
    other = ID.replace("9abcdef", "0000000")
    with pytest.raises(TraceError, match=f"no prediction '{other}'.*in 1 log of any team/any model"):
        trace(other, made.place())
    with pytest.raises(TraceError, match="on 2026-03-03"):
        trace(ID, made.place(), day=date(2026, 3, 3))
    with pytest.raises(TraceError, match=r"no prediction .* of other-team/any model"):
        trace(ID, made.place(), team="other-team")
    assert trace(ID, made.place(), team="flights", model="delay", day=date(2026, 3, 2)).sound


def test_without_logs_it_says_so(empty: World) -> None:
    with pytest.raises(TraceError, match="there is no prediction log of any team/delay here"):
        trace(ID, empty.place(), model="delay")


def test_an_id_that_tells_no_day_is_found_where_searching_is_free(made: World) -> None:
    made.predict("foreign", prediction_id="order-77")
    if made.client is None:
        assert trace("order-77", made.place()).prediction.prediction_id == "order-77"
    else:
        with pytest.raises(TraceError, match="give it with --day"):
            trace("order-77", made.place())
    assert trace("order-77", made.place(), day=date(2026, 3, 2)).prediction.prediction_id == "order-77"


@pytest.mark.parametrize("hours", [1, 47])
def test_a_batch_row_may_follow_its_id_by_hours(made: World, hours: int) -> None:
    late = ID.replace("1234", "4321")
    made.predict("late", prediction_id=late, time=ASKED + timedelta(hours=hours), pattern="batch")
    assert trace(late, made.place()).prediction.pattern == "batch"


def test_other_days_are_not_opened(tmp_path: Path) -> None:
    """Files of other days are no Parquet: reading one would fail."""
    made = past(tmp_path)
    for day in ("2026-02-28", "2026-03-01", "2026-03-05"):
        folder = tmp_path.joinpath("warehouse", *made.log_ref.split("."), f"day={day}")
        folder.mkdir()
        (folder / "aaa.parquet").write_bytes(b"garbage")
    (folder / "aaa.parquet").unlink()  # the newest file tells the columns
    assert trace(ID, made.place()).sound


def test_other_tables_of_the_team_are_no_logs(tmp_path: Path) -> None:
    made = past(tmp_path)
    folder = tmp_path.joinpath("warehouse", *f"{made.log_ref}_predictions".split("."), "day=2026-03-02")
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"prediction_id": [ID], "prediction": [1.0]}), folder / "a.parquet")
    assert trace(ID, made.place()).prediction.prediction == 12.25


def test_the_page_shows_the_chain_and_escapes_it(tmp_path: Path) -> None:
    made = world(tmp_path)
    made.publish(1, description="<script>alert(1)</script>")
    made.deploy("a", ASKED - MINUTE, {1: 50}, approved_by=[])
    made.predict()
    found = trace(ID, made.place())
    text = page(found)
    assert "<script>" not in text and "&lt;script&gt;" in text
    assert "src=" not in text and "href=" not in text
    for title in (
        "Prediction",
        "Model version",
        "Artefact",
        "Training data",
        "Training code",
        "Dependencies",
    ):
        assert f"<h2>{title}</h2>" in text
    shown = printed(found)
    assert "not shown, pii" in shown
    assert "50 % of the traffic" in shown
    assert "package-7 7.0 and 4 more" in shown
    assert "5 of 5 digests and signatures verified" in shown
    assert "Nobody is recorded as having approved the deployment." in shown


def test_json_is_whole(made: World) -> None:
    found = document(trace(ID, made.place()))
    assert found["format"] == "modelyard.trace/1"
    assert found["version"]["manifest"] == made.documents[1]
    assert found["deployment"]["image_digest"] == IMAGE
    assert {check["status"] for check in found["checks"]} == {"verified"}
    assert found["prediction"]["features"][2] == {
        "name": "age", "value": None, "unit": "", "sensitivity": "pii", "masked": True,
    }  # fmt: skip


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(-50, 50), st.sets(st.integers(1, 3), min_size=1), st.booleans()), max_size=6
    )
)
def test_deployments_in_any_order(tmp_path_factory: pytest.TempPathFactory, deployments: Any) -> None:
    """Against a plain search over the list: which deployment is named, whether it was replaced."""
    made = world(tmp_path_factory.mktemp("world"))
    made.predict(time=ASKED)
    for number, (minutes, versions, succeeded) in enumerate(deployments):
        time = ASKED + minutes * MINUTE + timedelta(seconds=number)
        made.deploy(f"d{number}", time, dict.fromkeys(versions, 50), succeeded=succeeded)
    ordered = sorted(
        (ASKED + minutes * MINUTE + timedelta(seconds=number), f"d{number}", versions)
        for number, (minutes, versions, succeeded) in enumerate(deployments)
        if succeeded
    )
    before = [name for time, name, versions in ordered if time <= ASKED and 1 in versions]
    after = [name for time, name, versions in ordered if time > ASKED and 1 in versions]
    in_service = [versions for time, _, versions in ordered if time <= ASKED]
    found = trace(ID, made.place(), fetch=False)
    name = found.deployment.deployment_id if found.deployment else None
    assert name == (before[-1] if before else after[0] if after else None)
    replaced = bool(before) and 1 not in in_service[-1]
    assert any("in its place" in gap for gap in found.gaps) is replaced


def test_a_row_of_the_real_log_is_found(empty: World) -> None:
    """Logged by a server's own write-ahead log and shipper, with an id that was just given."""
    manifest = empty.publish(1)
    empty.deploy("a", datetime.now(UTC) - MINUTE, {1: 100})
    schema = LogSchema(
        table=empty.log_ref,
        team="flights",
        model="delay",
        version=1,
        pattern="rest",
        features=(("distance", "float64"), ("carrier", "string"), ("age", "int64")),
        prediction="float64",
        image_digest=IMAGE,
        code_digest=manifest["digest"],
    )
    ids = PredictionIds().take(3)
    now = time.time_ns() // 1000
    entry = Entry(now, 900, "caller@example.com", None, ids, [500.5, "UA", 41] * 3, [1.5, 2.5, 3.5])

    async def serve() -> None:
        log = PredictionLog(
            empty.registry.with_name("log"),
            {"delay": schema},
            warehouse=empty.registry.with_name("warehouse"),
        )
        assert await log.write("delay", encode([entry]), 3) is Outcome.DURABLE
        await log.aclose()

    asyncio.run(serve())
    found = trace(ids[1], empty.place())
    assert found.prediction.prediction == 2.5
    assert [value.value for value in found.prediction.features] == [500.5, "UA", None]
    assert statuses(found) == dict.fromkeys(
        ("manifest", "manifest served", "manifest deployed", "image", "artefact", "signature"),
        Status.VERIFIED,
    )
    assert found.gaps == ()


def test_times_are_utc_whatever_the_machine_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        made = past(tmp_path)
        assert trace(ID, made.place()).prediction.time == datetime(2026, 3, 2, 10, 0, 0, 7000, tzinfo=UTC)
        assert MODEL_VERSIONS.name in str(made.warehouse.tables())  # type: ignore[attr-defined]
    finally:
        monkeypatch.undo()
        time.tzset()
