"""Settings: what is set nearest to a model counts, key by key."""

import copy
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from modelyard.spec.base import Severity
from modelyard.spec.load import load_environment, load_team, validate
from modelyard.spec.resolve import merged
from modelyard.spec.team import Settings
from tests.strategies import (
    Team,
    Tree,
    environment_document,
    example_tree,
    manifest_document,
    settings,
    team_document,
)

Leaves = dict[tuple[str, ...], Any]


def leaves(document: dict[str, Any], path: tuple[str, ...] = ()) -> Leaves:
    """Return path -> value of everything that is no group; groups without keys set nothing."""
    found: Leaves = {}
    for key, value in document.items():
        found |= leaves(value, (*path, key)) if isinstance(value, dict) else {(*path, key): value}
    return found


@given(settings(), settings(), settings())
def test_the_nearest_layer_counts(
    environment: dict[str, Any], team: dict[str, Any], model: dict[str, Any]
) -> None:
    layers = [copy.deepcopy(layer) for layer in (environment, team, model)]
    result = leaves(merged(*layers))
    assert layers == [environment, team, model], "layers are not changed"
    assert result == {**leaves(environment), **leaves(team), **leaves(model)}
    assert merged(model) == merged(model, {}) == merged({}, model)


@hypothesis_settings(
    max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(environment=settings(), team=settings(), model=settings())
def test_a_loaded_model_has_what_is_set_and_the_built_in_rest(
    tmp_path: Path, environment: dict[str, Any], team: dict[str, Any], model: dict[str, Any]
) -> None:
    for unused in ("batch", "streaming"):
        model.pop(unused, None)
    document = {"name": "arrival-delay", "pattern": "rest", "version": 3, **model}
    folder = Team(
        team_document(models=[document], defaults=team), {"arrival-delay.json": manifest_document()}
    )
    root = Tree({"dev": environment_document(defaults=environment)}, {"flight-ops": folder}).write(tmp_path)
    loaded = load_team(root, "flight-ops", load_environment(root, "dev")).models[0].spec
    used = {
        key: value
        for key, value in merged(environment, team, model).items()
        if key not in ("batch", "streaming")
    }
    expected = Settings.model_validate(used)
    for group in Settings.model_fields:
        assert getattr(loaded, group) == getattr(expected, group)


def problems(root: Path) -> list[str]:
    """Return where a tree has problems."""
    return [f"{problem.file} {problem.path}" for problem in validate(root)]


def test_layers(tmp_path: Path) -> None:
    """One example in plain sight."""
    tree = example_tree()
    tree.environments["dev"]["defaults"] = {
        "replicas": {"min": 3, "max": 4},
        "monitors": {"drift": {"threshold": 0.5, "severity": "error"}},
    }
    document = tree.teams["flight-ops"].document
    document["defaults"] = {"monitors": {"drift": {"severity": "critical"}}}
    document["models"][0] |= {"replicas": {"max": 9}}
    root = tree.write(tmp_path)
    model = load_team(root, "flight-ops", load_environment(root, "dev")).models[0].spec
    assert (model.replicas.min, model.replicas.max, model.replicas.target_cpu) == (3, 9, 70)
    drift = model.monitors.drift
    assert (drift.threshold, drift.severity, drift.window) == (0.5, Severity.CRITICAL, "1d")


def test_a_rule_between_layers_points_at_what_is_written(tmp_path: Path) -> None:
    tree = example_tree()
    tree.environments["dev"]["defaults"] = {"replicas": {"max": 5}}
    team = tree.teams["flight-ops"].document
    team["defaults"] = {"replicas": {"min": 6}}
    root = tree.write(tmp_path)
    assert problems(root) == ["teams/flight-ops/team.yaml defaults.replicas.min"]
    team["models"][0]["replicas"] = {"max": 3}
    assert problems(tree.write(tmp_path)) == ["teams/flight-ops/team.yaml models[0].replicas.max"]
    team["models"][0]["replicas"] = {"max": 6}
    assert problems(tree.write(tmp_path)) == []


def test_each_environment_is_looked_at(tmp_path: Path) -> None:
    tree = example_tree()
    tree.environments["prod"] = environment_document(
        "prod", channels=[{"name": "x", "type": "email", "address": "x@example.com"}]
    )
    root = tree.write(tmp_path)
    (problem,) = validate(root)
    assert "'pager' is no channel of environment prod" in problem.message
    assert validate(root, "dev") == []
    assert validate(root, "prod") == [problem]
    assert (
        "There is no environment 'prd'; there are dev, prod. Did you mean 'prod'?"
        in validate(root, "prd")[0].message
    )


def test_budget_and_stack(tmp_path: Path) -> None:
    tree = example_tree()
    root = tree.write(tmp_path)
    environment = load_environment(root, "dev")
    team = load_team(root, "flight-ops", environment)
    assert team.monthly_budget == environment.budget.team
    assert team.stack_py is None
    (root / "teams/flight-ops/stack.py").write_text("def extend(stack):\n    pass\n")
    tree.teams["flight-ops"].document["monthly_budget"] = 7
    team = load_team(tree.write(tmp_path), "flight-ops", environment)
    assert team.monthly_budget == 7
    assert Path(str(team.stack_py)).is_file()


def test_pii_readers_may_be_said_anywhere(tmp_path: Path) -> None:
    tree = example_tree()
    folder = tree.teams["flight-ops"]
    folder.manifests["arrival-delay.json"] = manifest_document(
        features=[{"name": "name", "type": "string", "sensitivity": "pii"}]
    )
    assert len(validate(tree.write(tmp_path))) == 1
    nobody: dict[str, Any] = {"access": {"pii_readers": []}}
    tree.environments["dev"]["defaults"] = nobody
    assert validate(tree.write(tmp_path)) == []
    del tree.environments["dev"]["defaults"]
    folder.document["defaults"] = nobody
    assert validate(tree.write(tmp_path)) == []
    del folder.document["defaults"]
    folder.document["models"][0] |= nobody
    assert validate(tree.write(tmp_path)) == []
    folder.document["models"][0] |= {"access": {"callers": []}, "sensitivity": {"name": "internal"}}
    assert validate(tree.write(tmp_path)) == []


def test_settings_are_drawn_within_the_rules() -> None:
    """What the strategy draws is what the specification takes; else the properties above say little."""

    @given(settings())
    def accepted(document: dict[str, Any]) -> None:
        Settings.model_validate(document)

    accepted()


def test_pagers_stand_in_the_teams_project(tmp_path: Path) -> None:
    channel = {
        "name": "pager",
        "type": "pagerduty",
        "address": "projects/ex-dev-pricing/notificationChannels/1",
    }
    tree = example_tree()
    tree.environments["dev"]["channels"] = [channel]
    (problem,) = validate(tree.write(tmp_path))
    assert "make it in ex-dev-flight-ops" in problem.message
    channel["address"] = "projects/ex-dev-flight-ops/notificationChannels/1"
    assert validate(tree.write(tmp_path)) == []


@given(st.permutations(["a", "b", "c"]))
def test_lists_are_replaced(names: list[str]) -> None:
    assert merged({"x": names}, {"x": names[:1]}) == {"x": names[:1]}
    assert merged({"x": {"y": 1}}, {"x": names}) == {"x": names}


def test_a_feature_may_not_share_a_column_of_the_input_table(tmp_path: Path) -> None:
    tree = example_tree()
    team = tree.teams["flight-ops"]
    team.manifests["arrival-delay.json"] = manifest_document(
        features=[{"name": "Row_ID", "type": "string"}, {"name": "distance", "type": "float64"}]
    )
    model = team.document["models"][0]
    assert problems(tree.write(tmp_path)) == []
    model["pattern"] = "batch"
    (problem,) = validate(tree.write(tmp_path))
    assert "Feature 'Row_ID' is also a column of the model's own input table" in problem.message
    model["batch"] = {"source": "stock.cars"}
    assert problems(tree.write(tmp_path)) == []
