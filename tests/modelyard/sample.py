"""A small team with a model of each pattern and an environment, for tests that need exact settings."""

from typing import Any

from modelyard.naming import ModelNames, Names
from modelyard.spec.base import Pattern
from modelyard.spec.environment import Environment, Images
from modelyard.spec.manifest import FORMAT, Manifest, digest_of
from modelyard.spec.team import DeployedModel, DeployedTeam, Model, Owners

NAMES = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
HASH = "sha256:" + "0" * 64

FEATURES: list[dict[str, Any]] = [
    {"name": "distance", "type": "float64", "unit": "km", "description": "Great-circle distance"},
    {"name": "carrier", "type": "string", "categories": ["AA", "UA"]},
    {"name": "age", "type": "int64", "sensitivity": "pii", "nullable": True},
]


def manifest(version: int = 1, features: list[dict[str, Any]] | None = None, **changes: Any) -> Manifest:
    """Return a manifest; `features` and `changes` replace parts of it."""
    described = FEATURES if features is None else features
    document: dict[str, Any] = {
        "format": FORMAT,
        "team": "flights",
        "model": "delay",
        "version": version,
        "created": "2026-01-01T00:00:00+00:00",
        "task": "regression",
        "artifact": {"uri": "gs://b/o", "digest": HASH, "format": "onnx", "size_bytes": 1},
        "signature": {
            "features": described,
            "prediction": {"name": "delay", "type": "float64", "unit": "minutes"},
        },
        "metrics": {"primary": "mae", "higher_is_better": False, "values": {"mae": 1.0}, "rows": 10},
        "data": {"uri": "gs://b/d", "digest": HASH, "rows": 100},
        "code": {"repository": "r", "commit": "c", "dirty": False, "entry_point": "train.py"},
        "dependencies": {"python": "3.11", "packages": {}},
        "baselines": {
            "features": {feature["name"]: _baseline(feature["type"]) for feature in described},
            "prediction": _baseline("float64"),
        },
        **changes,
    }
    return Manifest.model_validate({**document, "digest": digest_of(document)})


def _baseline(type_: str) -> dict[str, Any]:
    if type_ == "string":
        return {"kind": "categorical", "counts": {"AA": 1}, "missing": 0.0}
    return {"kind": "numeric", "edges": [1.0], "counts": [1, 1], "missing": 0.0, "mean": 1.0, "std": 1.0}


def deployed(
    pattern: Pattern = Pattern.REST, canary: Manifest | None = None, **settings: Any
) -> tuple[DeployedTeam, DeployedModel, ModelNames]:
    """Return a team, its one model and the model's names, as `monitors_of` takes them."""
    share = {"canary": {"version": canary.version, "percent": 10}} if canary else {}
    spec = Model.model_validate({"name": "delay", "pattern": pattern, "version": 1, **share, **settings})
    model = DeployedModel(spec=spec, manifest=manifest(), canary=canary)
    team = DeployedTeam(
        team="flights",
        owners=Owners(group="flights@example.com", escalation="pager-flights"),
        cost_center="4711",
        monthly_budget=100,
        models=(model,),
    )
    return team, model, NAMES.team("flights").model("delay")


def environment(**changes: Any) -> Environment:
    """Return an environment; `changes` replace parts of it."""
    image = "sha256:" + "1" * 64
    document = {
        "environment": "dev",
        "project": "example-dev",
        "project_number": "123456789",
        "organization": "example.com",
        "region": "europe-west1",
        "tenants": {"parent": "folders/1", "billing_account": "012345-6789AB-CDEF01", "prefix": "example"},
        "groups": {name: f"{name}@example.com" for name in ("platform", "approvers", "auditors", "viewers")},
        "channels": [{"name": "pager-a", "type": "email", "address": "a@example.com"}],
        "state": {"bucket": "example-dev-state"},
        "ci": {"repository": "example/models"},
        "images": dict.fromkeys(Images.model_fields, image),
    }
    return Environment.model_validate(document | changes)
