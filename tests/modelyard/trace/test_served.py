"""What served a prediction is what was published, or the trace says how it differs."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from modelyard.trace import Status, trace
from modelyard.trace.page import page
from tests.modelyard.trace.world import ASKED, ID, world
from tests.serving_images.batch.batches import BATCH, Runner, configured, fill, rows, run, written

__all__ = ["run"]


@pytest.mark.parametrize("same", [True, False])
def test_a_server_that_had_loaded_another_manifest_is_told(tmp_path: Path, same: bool) -> None:
    made = world(tmp_path)
    published = made.publish(1)["digest"]
    made.deploy("a", ASKED - timedelta(days=1), {1: 100})
    other = "sha256:" + "e" * 64
    made.predict(code_digest=published if same else other)
    found = trace(ID, made.place())
    (served,) = (check for check in found.checks if check.what == "manifest served")
    assert found.sound is same
    assert served.status is (Status.VERIFIED if same else Status.DIFFERS)
    if not same:
        assert served.detail == f"it is {other}, registered is {published}"
        assert "manifest served" in page(found)


def test_rows_of_a_batch_say_what_scored_them(run: Runner, tmp_path: Path) -> None:
    digest = "sha256:" + "5" * 64
    fill(tmp_path, rows(10))
    config = configured(tmp_path, batch=BATCH, manifest_digest=digest)
    assert run(config, "--run", "a").returncode == 0
    assert {row["code_digest"] for row in written(tmp_path, "delay")} == {digest}
    settings = json.loads(config.read_text())
    assert {row["image_digest"] for row in written(tmp_path, "delay")} == {settings["image_digest"]}
