"""A promoted model reads as one thing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plan_review.context import Context
from plan_review.fleet import Fleet
from plan_review.promotion import Promotion, advisories, known_vulnerabilities
from plan_review.review import Sources, review
from tests.plan_review import plans
from tests.plan_review.conftest import copy_inputs
from tests.plan_review.corpus.case import edit_manifest

TEAM, MODEL = "pricing", "credit-default"


@pytest.fixture
def promoted(
    root: Path, inputs: Path, tmp_path: Path
) -> Callable[[Callable[[dict[str, Any]], None]], Promotion]:
    """Promote a model with a changed manifest and return what is told of it."""
    head = copy_inputs(root, tmp_path / "head")

    def promote(edit: Callable[[dict[str, Any]], None]) -> Promotion:
        def newer(manifest: dict[str, Any]) -> None:
            manifest["version"] += 1
            edit(manifest)

        edit_manifest(head / "teams" / TEAM / f"{MODEL}.json", newer)
        found = Context([], Fleet(head), Fleet(inputs)).promotions
        assert len(found) == 1
        return found[0]

    return promote


def test_versions_metric_data_and_code(promoted: Any) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        metrics = manifest["metrics"]
        metrics["values"][metrics["primary"]] = 0.5
        metrics["higher_is_better"] = True
        manifest["data"] |= {
            "digest": "sha256:" + 64 * "7",
            "description": "Applications of 2026",
            "rows": 123456,
        }
        manifest["code"] |= {
            "commit": "c" * 40,
            "repository": "example/models",
            "dirty": False,
            "diff_digest": None,
        }

    promotion = promoted(edit)
    assert promotion.title == f"{TEAM}/{MODEL} is promoted: version 1 -> 2"
    lines = list(promotion.lines())
    assert any(line.startswith("test ") and "-> 0.5" in line for line in lines)
    assert "trained on Applications of 2026, 123,456 rows" in lines
    assert f"code: example/models at {'c' * 12}" in lines


def test_features_come_go_and_change(promoted: Any) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        features = manifest["signature"]["features"]
        removed = features.pop()
        manifest["baselines"]["features"].pop(removed["name"], None)
        features.append({"name": "iban", "type": "string", "sensitivity": "pii"})
        features[0] |= {"type": "string"}
        features[0].pop("range", None)
        manifest["baselines"]["features"].pop(features[0]["name"], None)
        features[1]["sensitivity"] = "internal"

    promotion = promoted(edit)
    assert dict(promotion.added) == {"iban": "pii"}
    assert len(promotion.removed) == 1
    assert [new for _, new in promotion.retyped.values()] == ["string"]
    assert [new for _, new in promotion.sensitivity.values()] == ["internal"]
    assert "feature iban added (pii)" in promotion.lines()


def test_dependencies_and_their_weaknesses(promoted: Any) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["dependencies"]["packages"] |= {"LightGBM": "4.5.0", "numpy": "9.9.9"}
        manifest["dependencies"]["python"] = "3.14.0"

    promotion = promoted(edit)
    assert promotion.packages["LightGBM"] == ("", "4.5.0")
    assert promotion.packages["numpy"][1] == "9.9.9"
    assert promotion.packages["python"][1] == "3.14.0"
    assert [(v.id, v.fixed_in) for v in promotion.vulnerabilities] == [("CVE-2024-43598", "4.6.0")]


def test_a_roll_back_is_named(root: Path, inputs: Path, tmp_path: Path) -> None:
    head = copy_inputs(root, tmp_path / "head")
    path = head / "teams" / "flight-ops" / "arrival-delay.json"
    edit_manifest(path, lambda manifest: manifest.update(version=manifest["version"] - 1))
    found = Context([], Fleet(head), Fleet(inputs)).promotions
    assert "is rolled back" in found[0].title
    report = review([], Sources(root=head, base_root=inputs))
    assert "promotion/rolled-back" in {finding.rule.id for finding in report.findings}


def test_a_retyped_feature_is_blocked(root: Path, inputs: Path, tmp_path: Path) -> None:
    head = copy_inputs(root, tmp_path / "head")

    def edit(manifest: dict[str, Any]) -> None:
        manifest["version"] += 1
        manifest["signature"]["prediction"]["type"] = "string"
        manifest["code"]["repository"] = "someone/else"

    edit_manifest(head / "teams" / TEAM / f"{MODEL}.json", edit)
    report = review([], Sources(root=head, base_root=inputs))
    assert report.exit_code == 4
    assert {finding.rule.id for finding in report.findings} >= {
        "promotion/feature-retyped",
        "promotion/code-moved",
    }


def test_plans_alone_tell_version_and_features() -> None:
    def settings(version: int, *features: str) -> dict[str, Any]:
        listed = [{"name": name, "type": "string"} for name in features]
        model = {
            "version": version,
            "signature": {"features": listed},
            "artifact": {"digest": "sha256:" + 64 * "1"},
        }
        metadata = [{"name": "vehicle-price-config", "labels": plans.LABELS}]
        return {"metadata": metadata, "data": {"model.json": json.dumps(model)}}

    plan = plans.plan(
        plans.change("kubernetes_config_map_v1.c", settings(1, "a", "b"), settings(2, "b", "c"))
    )
    report = review([plan], Sources())
    assert [promotion.title for promotion in report.promotions] == [
        "pricing/vehicle-price is promoted: version 1 -> 2"
    ]
    assert list(report.promotions[0].added) == ["c"]
    assert report.promotions[0].removed == ("a",)


def test_broken_manifests_are_no_promotion(root: Path, inputs: Path, tmp_path: Path) -> None:
    head = copy_inputs(root, tmp_path / "head")
    (head / "teams" / TEAM / f"{MODEL}.json").write_text('{"signature": 3, "metrics": [], "version": "x"}')
    (head / "teams" / TEAM / "vehicle-price.json").write_text("[")
    for promotion in Context([], Fleet(head), Fleet(inputs)).promotions:
        assert list(promotion.lines()) is not None
        assert promotion.title


@pytest.mark.parametrize(
    ("package", "version", "known"),
    [
        ("scikit-learn", "1.4.2", True),
        ("scikit_learn", "1.4.2", True),
        ("Scikit.Learn", "1.5.0", False),
        ("pyarrow", "0.13.0", False),
        ("pyarrow", "14.0.0", True),
        ("pyarrow", "14.0.1", False),
        ("urllib3", "2.1.0", True),
        ("urllib3", "1.26.19", False),
        ("nothing", "1.0", False),
        ("scikit-learn", "1.5.0rc1+cu12", False),
        ("scikit-learn", "not-a-version", True),
    ],
)
def test_known_weaknesses_by_version(package: str, version: str, known: bool) -> None:
    assert bool(list(known_vulnerabilities(package, version))) is known


def test_the_advisory_file_says_what_it_covers() -> None:
    file = advisories()
    assert file["date"]
    assert "does not mean that nothing is known" in file["coverage"]
    for entry in file["advisories"]:
        assert entry["package"] == entry["package"].lower()
        assert entry["id"].startswith("CVE-")
