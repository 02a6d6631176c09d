"""What containers read at start: settings of the team file, names, and nothing from anywhere else."""

import json
from typing import Any

import pytest

from modelyard.spec.base import Pattern
from modelyard.spec.container import Local, container_config, rendered
from modelyard.spec.team import Model, size_bytes
from tests.modelyard.sample import HASH, deployed, manifest

ONLINE = {"uri": "flights/delay/1/online.onnx", "digest": HASH, "format": "onnx", "size_bytes": 2}
NATIVE = {"uri": "flights/delay/1/model.ubj", "digest": HASH, "format": "xgboost", "size_bytes": 1}


def config(pattern: Pattern, local: Local | None = None, **settings: Any) -> dict[str, Any]:
    """Return the configuration of the sample model."""
    _, model, names = deployed(pattern, **settings)
    return container_config(model, model.manifest, names, image_digest=HASH, local=local)


def test_settings_of_the_team_file_reach_the_container() -> None:
    chosen = {"out_of_range": "reject", "log_unavailable": "stop-serving", "max_rows": 7, "max_body": "2Ki"}
    assert config(Pattern.REST, serving=chosen)["serving"] == {
        "out_of_range": "reject",
        "log_unavailable": "stop-serving",
        "max_rows": 7,
        "max_body_bytes": 2048,
    }
    plain = config(Pattern.REST)
    assert plain["serving"]["log_unavailable"] == "keep-serving"
    assert (plain["registry"], plain["image_digest"]) == ("gs://example-dev-model-artifacts", HASH)
    assert plain["manifest_digest"] == manifest().digest
    assert plain["log"] == {"table": "example-flights.modelyard_dev_predictions.delay"}
    assert not {"warehouse", "online", "signing", "batch", "streaming"} & set(plain)


@pytest.mark.parametrize("pattern", [Pattern.BATCH, Pattern.STREAMING])
def test_who_can_wait_for_the_log_waits(pattern: Pattern) -> None:
    assert config(pattern)["serving"]["log_unavailable"] == "stop-serving"


def test_both_files_of_a_version_are_named() -> None:
    _, model, names = deployed()
    both = manifest(artifact=NATIVE, online=ONLINE)
    made = container_config(model, both, names)
    assert (made["artifact"], made["online"]) == (NATIVE, ONLINE)


def test_folders_take_the_place_of_the_cloud() -> None:
    made = config(Pattern.REST, local=Local("/registry", "/warehouse"))
    assert (made["registry"], made["warehouse"]) == ("/registry", "/warehouse")


def test_a_canary_says_so_only_where_one_process_serves_both() -> None:
    _, model, names = deployed(canary=manifest(2))
    assert model.canary
    assert "canary" not in container_config(model, model.canary, names)
    beside = container_config(model, model.canary, names, canary=True)
    assert (beside["version"], beside["canary"]) == (2, True)


def test_a_batch_model_has_tables() -> None:
    dataset = "example-flights.modelyard_dev_predictions"
    own = config(Pattern.BATCH)["batch"]
    assert own == {
        "source": f"{dataset}.delay_input",
        "key": "row_id",
        "output": f"{dataset}.delay_predictions",
        "runs": f"{dataset}.delay_runs",
        "shards": 2,
    }
    other = config(Pattern.BATCH, batch={"source": "stock.cars", "key": "vin"})["batch"]
    assert (other["source"], other["key"]) == ("example-flights.stock.cars", "vin")
    foreign = config(Pattern.BATCH, batch={"source": "other-project.stock.cars"})["batch"]
    assert (foreign["source"], foreign["key"]) == ("other-project.stock.cars", None)


def test_a_streaming_model_has_topics() -> None:
    assert config(Pattern.STREAMING)["streaming"] == {
        "subscription": "projects/example-flights/subscriptions/delay-input",
        "predictions": "projects/example-flights/topics/delay-predictions",
        "dead_letters": "projects/example-flights/topics/delay-dead-letter",
        "max_delivery_attempts": 5,
    }


def test_the_same_settings_are_the_same_text() -> None:
    text = rendered(config(Pattern.REST))
    assert text == rendered(config(Pattern.REST))
    assert json.loads(text)["format"] == "modelyard.container/1"


@pytest.mark.parametrize("size, expected", [("1Ki", 1024), ("256Ki", 262_144), ("64Mi", 67_108_864)])
def test_sizes_are_bytes(size: str, expected: int) -> None:
    assert size_bytes(size) == expected
    Model.model_validate({"name": "ab", "pattern": "rest", "version": 1, "serving": {"max_body": size}})
