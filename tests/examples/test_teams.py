"""The example teams as they are committed: valid everywhere, and showing what a team file can say."""

import ast
import json
import re
from pathlib import Path

import pytest

from modelyard.spec import load
from modelyard.spec.base import Pattern, Sensitivity
from modelyard.spec.manifest import Manifest, digest_of
from modelyard.spec.team import DeployedModel, DeployedTeam

ROOT = Path(__file__).resolve().parents[2]
TEAMS = ("fleet-care", "flight-ops", "pricing")
PINNED = sorted(path for team in TEAMS for path in (ROOT / "teams" / team).glob("*.json"))
# What a team needs to write, and nothing else.
MINIMAL = """\
# yaml-language-server: $schema=../../schemas/team.schema.json
team: flight-ops
owners: {group: flight-ops@example.com, escalation: pager-flight-ops}
cost_center: "4711"
models:
  - name: arrival-delay
    pattern: rest            # rest | batch | streaming
    version: 3               # pinned in arrival-delay.json
"""


def deployed(environment: str) -> list[DeployedTeam]:
    return [load.load_team(ROOT, team, load.load_environment(ROOT, environment)) for team in TEAMS]


@pytest.fixture(scope="module")
def models() -> dict[str, DeployedModel]:
    return {f"{team.team}/{model.name}": model for team in deployed("dev") for model in team.models}


def test_nothing_is_wrong_with_teams_and_environments() -> None:
    assert [str(problem) for problem in load.validate(ROOT)] == []


@pytest.mark.parametrize("environment", load.environment_names(ROOT))
def test_teams_deploy_in_every_environment(environment: str) -> None:
    assert [team.team for team in deployed(environment)] == list(TEAMS)


def test_minimal_team_file_is_eight_lines() -> None:
    assert (ROOT / "teams/flight-ops/team.yaml").read_text() == MINIMAL
    assert len(MINIMAL.splitlines()) == 8


def test_three_patterns_are_covered(models: dict[str, DeployedModel]) -> None:
    assert len(models) >= 5
    assert {model.spec.pattern for model in models.values()} == set(Pattern)


def test_canary_is_better_than_what_it_may_replace(models: dict[str, DeployedModel]) -> None:
    canaries = [model for model in models.values() if model.canary]
    assert canaries
    for model in canaries:
        assert model.canary is not None
        stable, canary = model.manifest.metrics, model.canary.metrics
        gain = canary.values[canary.primary] - stable.values[stable.primary]
        assert gain > 0 if stable.higher_is_better else gain < 0


def test_personal_data_has_named_readers_or_none(models: dict[str, DeployedModel]) -> None:
    personal = {
        name: [
            f.name for f in model.manifest.signature.features if model.sensitivity(f.name) is Sensitivity.PII
        ]
        for name, model in models.items()
    }
    assert personal["pricing/credit-default"] == ["home", "records", "income"]
    readers = models["pricing/credit-default"].spec.access.pii_readers
    assert readers == ("group:credit-risk@example.com",)
    assert models["pricing/credit-default"].sensitivity("price") is Sensitivity.CONFIDENTIAL


@pytest.mark.parametrize("path", PINNED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_pinned_manifest_is_whole_small_and_portable(path: Path) -> None:
    text = path.read_text()
    document = json.loads(text)
    manifest = Manifest.model_validate(document)
    assert digest_of(document) == manifest.digest
    assert len(text.encode()) < 20_000
    assert manifest.artifact.uri.startswith(
        f"{path.parent.name}/{path.name.partition('.')[0]}/{manifest.version}/"
    )
    assert not manifest.code.dirty, "pin what was trained from a clean checkout"
    assert re.search(r"/(work|home|root|tmp|Users)/|https?://|\blocalhost\b", text) is None
    lines = [line for line in text.splitlines() if "PUBLIC KEY" not in line]
    assert max(map(len, lines)) <= 130


@pytest.mark.parametrize("path", PINNED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_pinned_model_beats_no_model(path: Path) -> None:
    metrics = Manifest.model_validate_json(path.read_bytes()).metrics
    naive = {"mae": "naive_mae", "roc_auc": "naive_brier"}[metrics.primary]
    measured = {"naive_mae": "mae", "naive_brier": "brier"}[naive]
    assert metrics.values[measured] < metrics.values[naive]


@pytest.mark.parametrize("path", PINNED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_baselines_count_the_training_rows(path: Path) -> None:
    manifest = Manifest.model_validate_json(path.read_bytes())
    assert set(manifest.baselines.features) == {feature.name for feature in manifest.signature.features}
    for baseline in (*manifest.baselines.features.values(), manifest.baselines.prediction):
        counts = baseline.counts if baseline.kind == "numeric" else baseline.counts.values()
        assert sum(counts) == pytest.approx(manifest.data.rows * (1 - baseline.missing), rel=1e-5)


@pytest.mark.parametrize("path", PINNED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_pinned_version_carries_what_serving_and_monitoring_need(path: Path) -> None:
    manifest = Manifest.model_validate_json(path.read_bytes())
    assert manifest.online and manifest.signing and manifest.bom and manifest.parameters
    assert manifest.baselines.target and manifest.baselines.metric_std
    error = manifest.baselines.error
    assert error is not None
    rows = error.nodes[0].rows if error.kind == "loss_tree" else sum(error.counts)
    assert rows == manifest.metrics.rows


@pytest.mark.parametrize("path", PINNED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_readme_tells_the_pinned_results(path: Path) -> None:
    manifest = Manifest.model_validate_json(path.read_bytes())
    rows = (ROOT / "examples/README.md").read_text().splitlines()
    (row,) = [row for row in rows if row.startswith(f"| {manifest.team} | `{manifest.model}@")]
    told = [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\.?\d*", row)]
    naive = next(value for name, value in manifest.metrics.values.items() if name.startswith("naive_"))
    for value in (manifest.metrics.values[manifest.metrics.primary], naive):
        assert any(number == pytest.approx(value, rel=0.02) for number in told), (value, row)


def test_training_code_uses_nothing_of_the_deployment() -> None:
    for file in (ROOT / "examples").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name.partition(".")[0] not in {"stacks", "modules", "cli", "plan_review", "tests"}, (
                    file
                )
