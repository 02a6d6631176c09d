"""What the monitor job reads of a team."""

import json

from modelyard.spec.base import Pattern
from modelyard.spec.monitoring import monitoring_config, rendered
from tests.modelyard.sample import NAMES, deployed, manifest


def test_a_team_says_how_its_models_are_watched() -> None:
    label = {"table": "truth.delays", "key": "id", "column": "minutes", "delay": "2d"}
    team, _, _ = deployed(canary=manifest(2), label=label, monitors={"drift": {"threshold": 0.3}})
    made = monitoring_config(team, NAMES.team("flights"))
    (model,) = made.pop("models")
    assert made == {
        "format": "modelyard.monitoring/1",
        "environment": "dev",
        "team": "flights",
        "project": "example-flights",
        "dataset": "modelyard_dev_predictions",
        "owner": "flights@example.com",
        "escalation": "pager-flights",
        "metadata": "example-dev.modelyard_dev_metadata",
        "monitoring": "example-dev.modelyard_dev_monitoring",
    }
    assert (model["model"], model["pattern"], model["versions"]) == ("delay", "rest", [1, 2])
    assert model["manifests"] == {"1": manifest().digest, "2": manifest(2).digest}
    assert model["log_table"] == "example-flights.modelyard_dev_predictions.delay"
    assert model["label"] == {**label, "table": "example-flights.truth.delays"}
    assert model["sensitivity"] == {"age": "pii"}
    assert model["monitors"]["drift"] == {
        "enabled": True,
        "severity": "warning",
        "window": "1d",
        "threshold": 0.3,
    }
    assert set(model["monitors"]) == {"latency", "usage", "quality", "drift", "performance"}


def test_a_label_of_another_project_stays_there() -> None:
    team, _, _ = deployed(label={"table": "other-project.truth.delays"})
    (model,) = monitoring_config(team, NAMES.team("flights"))["models"]
    assert model["label"]["table"] == "other-project.truth.delays"


def test_a_batch_model_says_when_it_runs() -> None:
    team, _, _ = deployed(Pattern.BATCH, batch={"schedule": "0 5 * * *", "deadline": "2h"})
    (model,) = monitoring_config(team, NAMES.team("flights"))["models"]
    assert (model["schedule"], model["deadline"], model["label"]) == ("0 5 * * *", "2h", None)
    assert model["runs_table"] == "example-flights.modelyard_dev_predictions.delay_runs"


def test_it_fits_a_config_map() -> None:
    """A ConfigMap takes one mebibyte: the largest team has 200 models."""
    team, model, _ = deployed()
    largest = team.model_copy(update={"models": (model,) * 200})
    text = rendered(monitoring_config(largest, NAMES.team("flights")))
    assert len(text.encode()) < 1024 * 1024
    assert json.loads(text)["format"] == "modelyard.monitoring/1"
