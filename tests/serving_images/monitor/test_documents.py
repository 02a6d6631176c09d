"""Where the job learns what to watch, and what it does not believe."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from modelyard.spec.errors import SpecError
from modelyard.spec.manifest import Manifest
from modelyard.spec.monitoring import monitoring_config, rendered
from serving_images.monitor.documents import from_checkout, from_cluster
from tests.modelyard.sample import NAMES, deployed
from tests.serving_images.monitor.kubernetes_api import serving

LABEL = {"label": {"table": "operations.delays"}}


def document(**settings: Any) -> dict[str, Any]:
    team, _, names = deployed(**settings)
    made: dict[str, Any] = json.loads(rendered(monitoring_config(team, names.team)))
    return made


def test_every_team_of_the_cluster_is_watched() -> None:
    documents = {"team-flights": json.dumps(document(**LABEL)), "team-empty": None, "modelyard-system": None}
    with serving(documents) as api:
        source = from_cluster(NAMES, api)
    assert source.errors == ()
    (model,) = source.models
    assert (model.team, model.model, model.versions) == ("flights", "delay", (1,))
    assert model.label is not None and model.label.table == "example-flights.operations.delays"
    assert model.monitors.drift.threshold == 0.2


def of_model(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda made: made["models"][0].update({key: value})


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda made: made.update(team="pricing"), "project, team, log_table of delay"),
        (lambda made: made.update(project="example-pricing"), "project"),
        (lambda made: made.update(monitoring="example-dev.elsewhere"), "monitoring"),
        (lambda made: made.update(metadata="example-pricing.own"), "metadata"),
        (lambda made: made.update(environment="prod"), "environment"),
        (of_model("log_table", "example-pricing.modelyard_dev_predictions.delay"), "log_table of delay"),
        (
            of_model("runs_table", "example-pricing.modelyard_dev_predictions.delay_runs"),
            "runs_table of delay",
        ),
        (of_model("label", {"table": "example-pricing.modelyard_dev_predictions.x"}), "label table of delay"),
    ],
)
def test_a_document_that_speaks_of_others_is_left_out(
    change: Callable[[dict[str, Any]], Any], wrong: str
) -> None:
    """Whoever may edit a team's namespace must not read another team's log through the job."""
    made = document()
    change(made)
    other = document()
    with serving({"team-flights": json.dumps(made), "team-others": json.dumps(other)}) as api:
        source = from_cluster(NAMES, api)
    assert source.models == ()
    assert source.errors[0] == f"namespace team-flights: its {wrong} is not that of the namespace's team"
    assert "namespace team-others: its team" in source.errors[1]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("no json", "Expecting value"),
        ("null", "has no monitoring.json"),
        ('{"format": "modelyard.monitoring/2"}', "is not that of"),
        (None, ""),
    ],
)
def test_a_document_that_cannot_be_read_harms_no_other(text: str | None, wrong: str) -> None:
    with serving({"team-broken": text, "team-flights": json.dumps(document())}) as api:
        source = from_cluster(NAMES, api)
    assert [model.model for model in source.models] == ["delay"]
    assert len(source.errors) == (text is not None)
    assert all(wrong in error for error in source.errors)


def test_what_the_document_lacks_is_said() -> None:
    made = document()
    del made["models"][0]["pattern"]
    with serving({"team-flights": json.dumps(made)}) as api:
        assert "KeyError: 'pattern'" in from_cluster(NAMES, api).errors[0]


def test_the_checkout_says_the_same_as_the_cluster(checkout: Any) -> None:
    source = from_checkout(checkout, "local")
    models = {(model.team, model.model) for model in source.models}
    assert ("flight-ops", "arrival-delay") in models
    assert models == source.pinned.keys() == source.logs.keys()
    assert all(isinstance(m, Manifest) for found in source.pinned.values() for m in found)
    with pytest.raises(SpecError):
        from_checkout(checkout, "nowhere")


@pytest.fixture
def checkout() -> Any:
    from tests.docs.documents import ROOT

    return ROOT
