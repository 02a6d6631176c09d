"""What a new version changes, in words."""

from typing import Any

from modelyard.spec.changes import version_changes
from modelyard.spec.manifest import Manifest
from tests.strategies import feature, manifest_document


def manifest(version: int, mae: float, features: list[dict[str, Any]], **changed: Any) -> Manifest:
    """Return a manifest with one metric."""
    metrics = {"primary": "mae", "higher_is_better": False, "values": {"mae": mae}, "rows": 10}
    return Manifest.model_validate(
        manifest_document(version=version, features=features, metrics=metrics, **changed)
    )


def test_first_version() -> None:
    assert version_changes(
        None, manifest(1, 12.5, [feature("a"), feature("b", "string", sensitivity="pii")])
    ) == [
        "test mae: 12.5",
        "features: 2, of which protected: b (string, pii)",
        "trained on 1,000 rows of example at commit 000000000000",
    ]


def test_next_version() -> None:
    old = manifest(1, 12.5, [feature("a"), feature("b", unit="km"), feature("c")])
    code = {"repository": "r", "commit": "abc", "dirty": True, "entry_point": "t.py"}
    signature = {
        "features": [feature("a"), feature("b", unit="mi"), feature("d", "string", sensitivity="pii")],
        "prediction": {"name": "delay", "type": "int64"},
    }
    assert version_changes(old, manifest(2, 12, [], code=code, signature=signature)) == [
        "test mae: 12.5 -> 12, better",
        "feature added: d (string, pii)",
        "feature removed: c (float64)",
        "feature changed: b (float64 in km) -> b (float64 in mi)",
        "prediction: delay (float64 in min) -> delay (int64)",
        "trained on 1,000 rows of example at commit abc, with uncommitted changes",
    ]


def test_better_and_worse() -> None:
    features = [feature("a")]
    old = manifest(1, 12.5, features)
    assert version_changes(old, manifest(2, 13, features))[:2] == [
        "test mae: 12.5 -> 13, worse",
        "features: the same 1",
    ]
    assert version_changes(old, manifest(2, 12.5, features))[0] == "test mae: 12.5 -> 12.5, the same"
    other = {"primary": "r2", "higher_is_better": True, "values": {"r2": 0.5}, "rows": 10}
    measured_otherwise = Manifest.model_validate(manifest_document(metrics=other))
    assert version_changes(old, measured_otherwise)[0] == "test r2: 0.5"
