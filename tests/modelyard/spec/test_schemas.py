"""The JSON Schemas and reference pages: current, valid, and of one mind with the code."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

from modelyard.spec.schemas import KINDS, rendered, schema
from tests.strategies import Tree, trees

ROOT = Path(__file__).resolve().parents[3]
REFRESH = ".venv/bin/modelyard schemas"


@pytest.mark.parametrize("path", rendered(ROOT), ids=lambda path: path.name)
def test_files_are_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == rendered(ROOT)[path], f"to bring them up to date: {REFRESH}"


def objects(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every group of keys in a schema."""
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield path, node
        for key, value in node.items():
            yield from objects(value, f"{path}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from objects(value, f"{path}/{index}")


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_valid_closed_and_described(kind: str) -> None:
    document = schema(kind)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(document)
    found = dict(objects(document))
    assert len(found) > 10
    for path, group in found.items():
        assert "additionalProperties" in group, f"{path} takes any key"
        for key, field in group.get("properties", {}).items():
            reference = field.get("$ref", "").rpartition("/")[2]
            described = field.get("description") or document["$defs"].get(reference, {}).get("description")
            assert described, f"{path}: nothing is said of {key}"
            has_default = key in group.get("required", []) or "default" in field
            optional = "anyOf" in field or reference or field.get("default") is None
            assert has_default or optional, f"{path}: {key} has no default"


@hypothesis_settings(
    max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(trees())
def test_editors_accept_what_the_code_accepts(tree: Tree) -> None:
    validators = {kind: jsonschema.Draft202012Validator(schema(kind)) for kind in KINDS}
    for document in tree.environments.values():
        validators["environment"].validate(document)
    for team in tree.teams.values():
        validators["team"].validate(team.document)
        for manifest in team.manifests.values():
            validators["manifest"].validate(manifest)


def test_rendering_leaves_the_code_as_it_is() -> None:
    before = copy.deepcopy(schema("team"))
    rendered(ROOT)
    assert schema("team") == before
