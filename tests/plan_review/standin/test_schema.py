"""The derived schema, its cache, and the tables that complete it."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tf.gen import tfplugin_pb2 as pb

from plan_review.standin import facts, schema, sources
from plan_review.standin.schema import Attribute, Block, Nested, Schema
from plan_review.standin.values import FIELD, Filler, fits
from plan_review.standin.wire import UNKNOWN, has_unknown

GOOGLE, KUBERNETES = sources.ALL[0], sources.ALL[2]
Slot = Attribute | Nested


def _slots(block: Block, prefix: str = "") -> Iterator[tuple[str, Slot]]:
    for name, attribute in block.attributes.items():
        yield prefix + name, attribute
    for name, nested in block.blocks.items():
        yield prefix + name, nested
        yield from _slots(nested.block, f"{prefix}{name}.")


def test_the_schema_is_the_one_of_the_pinned_provider(google: Schema, kubernetes: Schema) -> None:
    assert google.provider_version == "6.50.0"
    assert kubernetes.provider_version == "2.38.0"
    assert len(google.resource_types()) == 1096
    assert len(google.data_source_types()) == 373
    assert len(kubernetes.resource_types()) == 82


def test_arguments_blocks_and_computed_values_are_told_apart(google: Schema) -> None:
    """Spot checks against the provider's documentation, one of each kind."""
    bucket = google.resource("google_storage_bucket")

    assert bucket.attributes["location"] == Attribute("string", required=True, replace=True)
    assert bucket.attributes["force_destroy"].default is False
    assert bucket.attributes["self_link"].read_only
    assert bucket.attributes["labels"].type == ["map", "string"]
    assert (bucket.blocks["cors"].mode, bucket.blocks["lifecycle_rule"].mode) == ("list", "list")
    assert bucket.blocks["versioning"].computed
    placement = bucket.blocks["custom_placement_config"].block.attributes["data_locations"]
    assert placement == Attribute(["set", "string"], required=True, replace=True)
    cluster = google.resource("google_container_cluster")
    assert cluster.blocks["node_pool"].block.blocks["node_config"].block.attributes["spot"].replace
    key = google.resource("google_service_account_key")
    assert key.attributes["private_key"].sensitive
    access = google.resource("google_bigquery_dataset").blocks["access"]
    assert (access.mode, access.computed) == ("set", True)


def test_a_manifest_is_dynamic(kubernetes: Schema) -> None:
    manifest = kubernetes.resource("kubernetes_manifest")

    assert manifest.attributes["manifest"].type == "dynamic"
    assert manifest.attributes["object"].type == "dynamic"


def test_the_answer_says_what_the_schema_says(google: Schema) -> None:
    answer = pb.GetProviderSchema.Response.FromString(google.answer)

    assert set(answer.resource_schemas) == set(google.resource_types())
    block = google.resource("google_bigquery_table")
    message = answer.resource_schemas["google_bigquery_table"].block
    told = {
        attribute.name: (
            json.loads(attribute.type),
            attribute.required,
            attribute.optional,
            attribute.computed,
        )
        for attribute in message.attributes
    }
    assert told == {n: (a.type, a.required, a.optional, a.computed) for n, a in block.attributes.items()}
    assert {nested.type_name for nested in message.block_types} == set(block.blocks)
    limits = {nested.type_name: (nested.min_items, nested.max_items) for nested in message.block_types}
    assert limits["time_partitioning"] == (0, 1)


@pytest.mark.parametrize("source", [GOOGLE, KUBERNETES], ids=lambda source: str(source.name))
def test_every_path_of_the_tables_is_an_argument(
    source: sources.Source, request: pytest.FixtureRequest
) -> None:
    derived: Schema = request.getfixturevalue(source.name)
    table = facts.load(source.facts)
    types = set(derived.resource_types())
    wrong = []
    for type_name, entry in {**table.get("complete", {}), **table["added"]}.items():
        named = [name for name in (type_name, f"{type_name}_v1") if name in types]
        if not named:
            wrong.append(type_name)
        for name in named:
            slots = dict(_slots(derived.resource(name)))
            wrong += [f"{name}.{path}" for path in _paths(entry) if path.removesuffix(".**") not in slots]
    assert wrong == []


def _paths(entry: dict[str, Any]) -> Iterator[str]:
    for key, content in entry.items():
        if key in facts.FLAGS + facts.VALUES:
            yield from content
        elif key in facts.GROUPS:
            for group in content:
                yield from group
        else:
            assert key in facts.PAIRS, f"unknown key {key}"
            for path, others in content.items():
                yield path
                yield from others


@pytest.mark.parametrize("source", [GOOGLE, KUBERNETES], ids=lambda source: str(source.name))
def test_defaults_and_enumerations_fit_their_types(
    source: sources.Source, request: pytest.FixtureRequest
) -> None:
    derived: Schema = request.getfixturevalue(source.name)
    wrong = []
    for type_name in derived.resource_types():
        for path, slot in _slots(derived.resource(type_name)):
            if isinstance(slot, Nested):
                continue
            if slot.default is not None and not fits(slot.default, slot.type):
                wrong.append(f"{type_name}.{path}: {slot.default!r} is no {slot.type}")
            if slot.one_of and slot.type not in ("string", ["list", "string"], ["set", "string"]):
                wrong.append(f"{type_name}.{path}: an enumeration of {slot.type}")
            if slot.one_of and slot.default and slot.default not in slot.one_of:
                wrong.append(f"{type_name}.{path}: default {slot.default!r} is not in the enumeration")
    assert wrong == []


def test_what_identifies_a_resource_forces_a_replacement(google: Schema) -> None:
    """IAM bindings, and the types that no table lists: by rule."""
    member = dict(_slots(google.resource("google_storage_managed_folder_iam_member")))
    assert all(
        member[path].replace for path in ("bucket", "managed_folder", "role", "member", "condition.title")
    )
    binding = google.resource("google_pubsub_topic_iam_binding").attributes
    assert (binding["role"].replace, binding["members"].replace) == (True, False)
    unlisted = google.resource("google_notebooks_runtime").attributes
    assert (unlisted["name"].replace, unlisted["location"].replace) == (True, True)
    assert unlisted["project"].computed


@pytest.mark.parametrize("source", [GOOGLE, KUBERNETES], ids=lambda source: str(source.name))
def test_every_resource_type_can_be_filled(source: sources.Source, request: pytest.FixtureRequest) -> None:
    """Whatever is computed gets a value of its type, for all resource types and data sources."""
    derived: Schema = request.getfixturevalue(source.name)
    wrong = []
    for kind, names, block_of in (
        ("types", derived.resource_types(), derived.resource),
        ("data", derived.data_source_types(), derived.data_source),
    ):
        for name in names:
            block = block_of(name)
            state = _minimal(block)
            filled = Filler(source.facts, kind, name, state, {"project": "p", "region": "r"}).fill(block)
            if has_unknown(filled):
                wrong.append(f"{name}: something stays unknown")
            wrong += [
                f"{name}.{path}: {value!r} is no {attribute.type}"
                for path, attribute, value in _values(block, filled)
                if value is not None and attribute.type != "dynamic" and not fits(value, attribute.type)
            ]
            if "id" in block.attributes and filled["id"] in (None, ""):
                wrong.append(f"{name}: no id")
    assert wrong == []


def _minimal(block: Block) -> dict[str, Any]:
    """Everything computed unknown, everything required given, one of each nested block."""
    values: dict[str, Any] = {}
    for name, attribute in block.attributes.items():
        given = "x" if attribute.type == "string" else None
        values[name] = UNKNOWN if attribute.computed else given if attribute.required else None
    for name, nested in block.blocks.items():
        inner = _minimal(nested.block)
        values[name] = UNKNOWN if nested.computed else [inner] if nested.many else inner
    return values


def _values(block: Block, values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Attribute, Any]]:
    for name, attribute in block.attributes.items():
        yield prefix + name, attribute, values[name]
    for name, nested in block.blocks.items():
        inner = values[name]
        for item in inner if isinstance(inner, list) else [inner] if inner else []:
            yield from _values(nested.block, item, f"{prefix}{name}.")


def test_templates_name_values_that_exist(google: Schema) -> None:
    """A reference in a template is an attribute of the resource, or comes from the provider."""
    known = {"project", "region", "zone", "location", "digits", "hex", "uuid"}
    wrong = []
    for type_name, templates in facts.load("google_values")["types"].items():
        slots = dict(_slots(google.resource(type_name)))
        for path, template in templates.items():
            if path not in slots:
                wrong.append(f"{type_name}.{path}")
            beside = path.rpartition(".")[0]
            wrong += [
                f"{type_name}.{path}: {{{name}}}"
                for name in (match["name"] for match in FIELD.finditer(json.dumps(template)))
                if name not in known and name not in slots and f"{beside}.{name}" not in slots
            ]
    assert wrong == []


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kubernetes: Schema) -> Path:
    """A cache of its own that holds the Kubernetes schema."""
    original = Path(kubernetes._zip.filename or "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    copy = schema.cache_folder() / original.name
    copy.parent.mkdir(parents=True)
    shutil.copy(original, copy)
    return copy


def test_the_cache_is_used(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.load(KUBERNETES).provider_version == "2.38.0"

    assert capsys.readouterr().err == ""


def _damaged(damage: str, whole: bytes, middle: int) -> bytes:
    return {
        "emptied": b"",
        "truncated": whole[: len(whole) // 2],
        "overwritten": whole[:middle] + b"\0" * 64 + whole[middle + 64 :],
        "foreign": b"not a schema" * 100,
    }[damage]


@pytest.mark.parametrize("damage", ["emptied", "truncated", "overwritten", "foreign"])
def test_a_damaged_cache_is_noticed(damage: str, own_cache: Path, kubernetes: Schema) -> None:
    whole = own_cache.read_bytes()
    own_cache.write_bytes(_damaged(damage, whole, whole.index(kubernetes.answer) + 1000))

    with pytest.raises(schema.DAMAGE):
        Schema(KUBERNETES, own_cache)


def test_a_damaged_cache_is_built_again(
    own_cache: Path, kubernetes: Schema, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = own_cache.read_bytes()
    own_cache.write_bytes(_damaged("overwritten", whole, whole.index(kubernetes.answer) + 1000))

    again = schema.load(KUBERNETES)

    assert "Deriving the schema" in capsys.readouterr().err
    assert again.answer == kubernetes.answer
    assert [file.name for file in own_cache.parent.iterdir() if file.suffix == ".part"] == []


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kubernetes: Schema, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    derived = schema.load(KUBERNETES)

    assert derived.answer == kubernetes.answer
    assert derived.resource("kubernetes_namespace_v1") == kubernetes.resource("kubernetes_namespace_v1")
    assert f"Schemas cannot be kept: {tmp_path / 'file'}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_old_schemas_are_swept(own_cache: Path) -> None:
    import os

    old, fresh = own_cache.with_name("google-1-0.zip"), own_cache.with_name("google-2-0.zip")
    for file in (old, fresh):
        file.write_bytes(b"")
    os.utime(old, (0, 0))

    schema._sweep(own_cache.parent)

    assert not old.exists()
    assert fresh.exists()


def test_missing_bindings_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = sources.Source("azure", "hashicorp/azure", "cdktf_cdktf_provider_azure", "google")

    with pytest.raises(sources.StandinError, match="install cdktf-cdktf-provider-azure"):
        _ = gone.archive
    monkeypatch.setattr(sources, "ALL", (gone,))
    with pytest.raises(sources.StandinError, match="no provider bindings are installed"):
        sources.installed()
