"""`modelyard new`: a team's folder that is valid at once, and models that come with their manifest."""

import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.spec.load import load_environment, load_team, validate
from tests.cli.conftest import Run, publish, snapshot
from tests.strategies import feature, manifest_document

OWNERS = ["--group", "pricing@example.com", "--escalation", "pager", "--cost-center", "4712"]


def test_a_team_is_valid_at_once(modelyard: Run, tree: Path) -> None:
    told = modelyard("new", "team", "pricing", *OWNERS)
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith("Written: teams/pricing/team.yaml\n")
    assert modelyard("validate").out == "1 environment, 2 teams, 1 model: no problems\n"
    team = load_team(tree, "pricing", load_environment(tree, "dev"))
    assert (team.owners.group, team.cost_center, team.models) == ("pricing@example.com", "4712", ())
    text = (tree / "teams/pricing/team.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=../../schemas/team.schema.json\n")
    assert (tree / "teams/pricing").stat().st_mode & 0o777 == 0o755


def test_the_whole_way_to_a_second_model(modelyard: Run, tree: Path, registry: Path) -> None:
    publish(registry, manifest_document("pricing", "car-price", 2))
    publish(registry, manifest_document("pricing", "car-price", 10))
    publish(registry, manifest_document("pricing", "house-price", 1))
    assert modelyard("new", "team", "pricing", *OWNERS).code == 0
    told = modelyard("new", "model", "pricing/car-price", "--pattern", "rest")
    assert told.out.splitlines() == [
        "pricing/car-price: version 10, rest",
        "  test mae: 12.5",
        "  features: 2",
        "  trained on 1,000 rows of example at commit 000000000000",
        "Written: teams/pricing/team.yaml",
        "Written: teams/pricing/car-price.json",
    ]
    assert modelyard("new", "model", "pricing/house-price", "--pattern", "batch", "--version", "1").code == 0
    assert modelyard("validate").code == 0
    assert (
        (tree / "teams/pricing/team.yaml")
        .read_text()
        .endswith(
            "models:\n"
            "  - name: car-price\n"
            "    pattern: rest\n"
            "    version: 10              # pinned in car-price.json\n"
            "  - name: house-price\n"
            "    pattern: batch\n"
            "    version: 1               # pinned in house-price.json\n"
        )
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["Pricing", *OWNERS], "'Pricing' is not a name of lower-case letters"),
        (["../pricing", *OWNERS], "is not a name of lower-case letters"),
        (["flight-ops", *OWNERS], "There is a teams/flight-ops already"),
        (["x" * 41, *OWNERS], "has 41 characters; expected at most 40"),
        (["platform", *OWNERS], "reserved"),
        (["pricing", *OWNERS, "--escalation", "pagr"], "Did you mean 'pager'?"),
        (["pricing", *OWNERS, "--group", "pricing@elsewhere.com"], "not in the organisation's domain"),
        (["pricing", *OWNERS, "--group", "x}\nmodels: [1"], "is not an e-mail address"),
        (["pricing", *OWNERS, "--cost-center", "A B"], "cost_center: 'A B' is not text"),
        (["pricing"], "Missing --group, --escalation, --cost-center; without a terminal nobody can be asked"),
    ],
)
def test_a_team_that_would_not_be_valid(modelyard: Run, tree: Path, arguments: list[str], told: str) -> None:
    before = snapshot(tree)
    result = modelyard("new", "team", *arguments)
    assert (result.code, result.out) == (2, "")
    assert told in result.err
    assert "Traceback" not in result.err
    assert snapshot(tree) == before
    assert [path.name for path in (tree / "teams").iterdir()] == ["flight-ops"]


def test_a_terminal_is_asked(modelyard: Run, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["pricing@example.com", "4712"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", lambda question: next(answers))
    assert modelyard("new", "team", "pricing", "--escalation", "pager").code == 0
    assert 'cost_center: "4712"' in (tree / "teams/pricing/team.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["flight-ops/arrival-delay", "--pattern", "rest"],
            "has a model 'arrival-delay' already; see: modelyard pin",
        ),
        (["flight-ops/other", "--pattern", "rest"], "has no version of flight-ops/other. Publish one first"),
        (["flight-ops/stock", "--pattern", "rest", "--version", "2"], "There is no version 2"),
        (["nobody/stock", "--pattern", "rest"], "Make it with: modelyard new team nobody"),
        (["stock", "--pattern", "rest"], "is not TEAM/MODEL"),
        (["flight-ops/stock", "--pattern", "rst"], "'rst' is not one of"),
        (["flight-ops/secret", "--pattern", "rest"], "Say who may read 'name' (pii) in clear"),
        (
            ["flight-ops/secret", "--pattern", "rest", "--pii-reader", "user:a@b.cd"],
            "is not a group or service account",
        ),
    ],
)
def test_a_model_that_would_not_be_valid(
    modelyard: Run, tree: Path, registry: Path, arguments: list[str], told: str
) -> None:
    publish(registry, manifest_document(model="stock", version=1))
    publish(
        registry, manifest_document(model="secret", features=[feature("name", "string", sensitivity="pii")])
    )
    before = snapshot(tree)
    result = modelyard("new", "model", *arguments)
    assert result.code == 2
    assert told in result.err
    assert snapshot(tree) == before


def test_readers_of_personal_data(modelyard: Run, tree: Path, registry: Path) -> None:
    secret = feature("name", "string", sensitivity="pii")
    for name in ("a-a", "b-b"):
        publish(registry, manifest_document(model=name, features=[secret]))
    readers = ["--pii-reader", "group:a@example.com", "--pii-reader", "group:b@example.com"]
    assert modelyard("new", "model", "flight-ops/a-a", "--pattern", "rest", *readers).code == 0
    assert (
        modelyard("new", "model", "flight-ops/b-b", "--pattern", "batch", "--pii-reader", "nobody").code == 0
    )
    team = load_team(tree, "flight-ops", load_environment(tree, "dev"))
    assert [model.spec.access.pii_readers for model in team.models] == [
        (),
        ("group:a@example.com", "group:b@example.com"),
        (),
    ]


def test_a_model_that_would_share_a_name_with_another(modelyard: Run, tree: Path, registry: Path) -> None:
    for name in ("stock", "stock-input"):
        publish(registry, manifest_document("flight-ops", name, 1))
    assert modelyard("new", "model", "flight-ops/stock", "--pattern", "batch").code == 0
    before = snapshot(tree)
    told = modelyard("new", "model", "flight-ops/stock-input", "--pattern", "rest")
    assert told.code == 2
    assert "would share the table 'stock_input'" in told.err
    assert snapshot(tree) == before


def test_commands_at_the_same_time_lose_nothing_of_each_other(tree: Path, registry: Path) -> None:
    names = [f"model-{letter}" for letter in "abcd"]
    for name in names:
        publish(registry, manifest_document("flight-ops", name, 1))
    command = [sys.executable, "-m", "cli.main", "--root", str(tree), "new", "model"]
    running = [subprocess.Popen([*command, f"flight-ops/{name}", "--pattern", "rest"]) for name in names]
    assert [process.wait() for process in running] == [0] * len(names)

    assert validate(tree) == []
    team = load_team(tree, "flight-ops", load_environment(tree, "dev"))
    assert {model.spec.name for model in team.models} >= set(names)
