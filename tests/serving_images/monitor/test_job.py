"""Whole runs: real files, a real gRPC port, and the process itself."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from modelyard.incidents import Silence, history
from modelyard.tables import MODEL_VERSIONS, arrow_schema
from serving_images.monitor.documents import Source
from serving_images.monitor.job import Report, run
from serving_images.monitor.push import Pusher
from tests.docs.documents import ROOT
from tests.modelyard.monitors.measuring.world import BEGIN, DAY, HOUR, World, rows, world
from tests.serving_images.monitor.metric_service import MetricService, serving

MINUTE = timedelta(minutes=1)


@pytest.fixture
def cloud() -> Iterator[tuple[MetricService, Any]]:
    with serving() as made:
        yield made


def published(place: World) -> None:
    """Let the version stand in the table of versions, whence the job has its baselines."""
    made = place.manifest
    row = {
        "team": made.team,
        "model": made.model,
        "version": made.version,
        "created": made.created,
        "manifest_digest": made.digest,
        "task": made.task.value,
        "artifact": {"uri": "u", "digest": "d", "format": "onnx", "size_bytes": 1},
        "features": [],
        "metrics": [],
        "data": {"uri": "u", "digest": "d", "row_count": 1},
        "code": {"repository": "r", "commit": "c", "dirty": False, "entry_point": "e"},
        "packages": [],
        "manifest": made.model_dump_json(exclude_none=True),
    }
    ref = f"{place.model.metadata}.model_versions"
    place.warehouse.append(
        ref, MODEL_VERSIONS, pa.Table.from_pylist([row], arrow_schema(MODEL_VERSIONS)), "1"
    )


def job(place: World, client: Any, at: Any, **options: Any) -> Report:
    key = (place.model.team, place.model.model)
    source = Source((place.model,), logs={key: place.log})
    pusher = Pusher("example-dev", client, sleep=lambda _: None)
    return run(place.warehouse, source, pusher, at, now=lambda: at, **options)


def test_what_is_due_is_measured_kept_and_pushed(tmp_path: Path, cloud: tuple[MetricService, Any]) -> None:
    service, client = cloud
    place = world(tmp_path)
    published(place)
    for hour in range(24):
        place.write(rows(BEGIN + hour * HOUR, 100), f"hour-{hour}")
    report = job(place, client, BEGIN + DAY + 5 * MINUTE)
    assert report.errors == []
    assert report.succeeded
    mine = {"team": "flights", "model": "delay"}
    kept = {
        (row["metric"], row["feature"]): row["value"]
        for row in place.table("metric_values")
        if row["window_end"] == BEGIN + DAY
    }
    psi = service.latest(
        "monitor_value", family="drift", metric="psi", version="1", feature="distance", **mine
    )
    assert psi == kept["psi", "distance"]
    invalid = service.latest(
        "monitor_value",
        family="quality",
        metric="excess_invalid_share",
        version="1",
        feature="carrier",
        **mine,
    )
    assert invalid == kept["excess_invalid_share", "carrier"]
    assert service.latest("monitor_last_run") == (BEGIN + DAY + 5 * MINUTE).timestamp()
    for family in ("latency", "usage", "quality", "drift", "performance"):
        assert service.latest("monitor_last_success", family=family, **mine)
    names = {dict(labels).get("metric") for name, labels in service.points if name == "monitor_value"}
    assert "jensen_shannon" not in names, "what no alert reads stays in the table"


def test_a_run_within_the_hour_skips_what_is_done(tmp_path: Path, cloud: tuple[MetricService, Any]) -> None:
    service, client = cloud
    place = world(tmp_path)
    published(place)
    place.write(rows(BEGIN, 100), "rows")
    assert job(place, client, BEGIN + HOUR + 5 * MINUTE).skipped == 0
    assert job(place, client, BEGIN + HOUR + 10 * MINUTE).skipped == 1
    # The rows of the new hour settle first.
    assert job(place, client, BEGIN + 2 * HOUR).skipped == 1
    assert job(place, client, BEGIN + 2 * HOUR + 5 * MINUTE).skipped == 0
    assert job(place, client, BEGIN + 2 * HOUR + 10 * MINUTE, again=True).skipped == 0
    assert len(service.points["monitor_last_run", ()]) == 5, "each run tells that the job is well"


def test_a_silence_is_pushed_by_the_next_run_though_nothing_is_due(
    tmp_path: Path, cloud: tuple[MetricService, Any]
) -> None:
    service, client = cloud
    place = world(tmp_path)
    published(place)
    place.write(rows(BEGIN, 100), "rows")
    at = BEGIN + HOUR + 5 * MINUTE
    job(place, client, at)
    silence = Silence("flights", "delay", None, at + MINUTE, at + HOUR, "maintenance", "ann")
    event = history.silence(silence, "flights@example.com")
    history.write(place.warehouse, place.model.table("alert_events"), [event], "silence")
    report = job(place, client, at + 5 * MINUTE)
    assert (report.skipped, report.errors) == (1, [])
    until = service.latest("silenced_until", team="flights", model="delay", alert="all")
    assert until == (at + HOUR).timestamp()


def test_a_model_that_fails_harms_no_other_and_is_tried_again(
    tmp_path: Path, cloud: tuple[MetricService, Any]
) -> None:
    service, client = cloud
    place = world(tmp_path, label={"table": "operations.missing"})
    published(place)
    place.write(rows(BEGIN, 100), "rows")
    for attempt in range(4):
        report = job(place, client, BEGIN + 3 * DAY + (5 + attempt) * MINUTE)
        assert report.succeeded == (attempt == 3)
        assert len(report.errors) == (attempt < 3)
        assert all("operations.missing" in error for error in report.errors)
    labels = tuple(sorted({"team": "flights", "model": "delay", "family": "performance"}.items()))
    assert ("monitor_last_success", labels) not in service.points
    drift = tuple(sorted({"team": "flights", "model": "delay", "family": "drift"}.items()))
    assert ("monitor_last_success", drift) in service.points


def test_a_version_without_a_manifest_is_counted_and_no_more(
    tmp_path: Path, cloud: tuple[MetricService, Any]
) -> None:
    _, client = cloud
    place = world(tmp_path)
    place.write(rows(BEGIN, 100), "rows")
    report = job(place, client, BEGIN + HOUR + 5 * MINUTE)
    assert report.errors == []
    metrics = {row["metric"] for row in place.table("metric_values")}
    assert "predictions" in metrics and "missing_share" not in metrics


def command(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "GOOGLE_CLOUD_PROJECT"}
    return subprocess.run(
        [sys.executable, "-m", "serving_images.monitor", *arguments],
        cwd=ROOT,
        env=environment | {"MODELYARD_WAREHOUSE": str(folder / "warehouse"), **settings},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_process_measures_the_checkouts_models(tmp_path: Path) -> None:
    done = command(tmp_path, "run", "--at", "2026-03-01T06:05:00Z", "--team", "flight-ops")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["models"], said["failed"]) == (1, 0)
    series = (tmp_path / "monitor.prom").read_text()
    assert "custom_googleapis_com:modelyard_monitor_last_run 1772345100.0" in series
    again = command(tmp_path, "run", "--at", "2026-03-01T06:10:00Z", "--team", "flight-ops")
    assert json.loads(again.stdout)["skipped"] == 1


@pytest.mark.parametrize(
    ("arguments", "settings", "wrong"),
    [
        (["run", "--environment", "nowhere"], {}, "nowhere"),
        (["run", "--at", "yesterday"], {}, "invalid _time value: 'yesterday'"),
        (["run"], {"GOOGLE_CLOUD_PROJECT": "example-dev"}, "set the environment variable MODELYARD_"),
        ([], {}, "required: command"),
    ],
)
def test_what_cannot_begin_says_why(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], wrong: str
) -> None:
    done = command(tmp_path, *arguments, **settings)
    assert done.returncode == 2
    assert wrong in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "warehouse").exists()
