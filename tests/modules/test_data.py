"""Datasets, policy tags and fleet views."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from modelyard.naming import Names
from modelyard.spec.base import Pattern, Sensitivity
from modelyard.tables import (
    ALERT_EVENTS,
    PREDICTION_USAGE,
    SHARED_TABLES,
    Table,
    TableError,
    batch_input,
    batch_output,
    batch_runs,
    prediction_log,
)
from modelyard.tables.views import FLEET_VIEWS
from tests.modelyard.sample import deployed
from tests.modules.synthesis import Resources, synthesized

from modules.dataset import Dataset  # isort: skip - the bindings come first
from modules.fleet_views import FleetViews  # isort: skip
from modules.policy_tags import Masking, PolicyTags, policy_id  # isort: skip
from modules.prediction_log import Log, PredictionLogs  # isort: skip

COMMON: dict[str, Any] = {
    "project": "example-a",
    "description": "d",
    "location": "EU",
    "kms_key": "projects/p/locations/europe/keyRings/r/cryptoKeys/bigquery",
    "owner": "serviceAccount:deployer@example-a.iam.gserviceaccount.com",
    "labels": {"team": "a", "model": "shared"},
}
TAGS = {level: f"projects/p/tags/{level}" for level in (Sensitivity.CONFIDENTIAL, Sensitivity.PII)}


def dataset(tables: list[Table], **options: Any) -> Resources:
    return synthesized(
        lambda stack: Dataset(
            stack, "d", dataset_id="logs", tables=tables, **COMMON | {"policy_tags": TAGS} | options
        )
    )


def test_data_cannot_be_destroyed_and_is_encrypted_with_the_customers_key() -> None:
    made = dataset([ALERT_EVENTS])
    table, whole = (
        made["google_bigquery_table"]["d/table-alert_events"],
        made["google_bigquery_dataset"]["d/dataset"],
    )
    assert table["lifecycle"]["prevent_destroy"] and table["deletion_protection"]
    assert whole["lifecycle"]["prevent_destroy"] and whole["delete_contents_on_destroy"] is False
    assert table["encryption_configuration"] == {"kms_key_name": COMMON["kms_key"]}
    assert whole["default_encryption_configuration"] == {"kms_key_name": COMMON["kms_key"]}
    assert whole["max_time_travel_hours"] == "168"


def test_nobody_is_let_in_by_a_project_role() -> None:
    whole = dataset([])["google_bigquery_dataset"]["d/dataset"]
    assert whole["access"] == [{"role": "OWNER", "user_by_email": COMMON["owner"].split(":")[1]}]
    assert whole["lifecycle"]["ignore_changes"] == ["access"], "or it would undo the grants"


def test_a_table_is_partitioned_clustered_and_expires() -> None:
    _, model, names = deployed()
    made = dataset(
        [prediction_log(model, names)], retention_days=30, table_labels={"delay": {"model": "delay"}}
    )
    table = made["google_bigquery_table"]["d/table-delay"]
    assert table["time_partitioning"] == {"type": "DAY", "field": "time", "expiration_ms": 30 * 86_400_000}
    assert table["require_partition_filter"] is True
    assert table["clustering"] == ["version", "caller"]
    assert table["labels"] == {"model": "delay"}
    tagged = json.dumps([field for field in json.loads(table["schema"]) if field["name"] == "features"])
    assert TAGS[Sensitivity.PII] in tagged


def test_without_retention_nothing_expires() -> None:
    made = dataset([ALERT_EVENTS])
    assert "expiration_ms" not in made["google_bigquery_table"]["d/table-alert_events"]["time_partitioning"]
    assert "default_partition_expiration_ms" not in made["google_bigquery_dataset"]["d/dataset"]


def test_protected_columns_need_their_tags() -> None:
    with pytest.raises(TableError, match="prediction_usage: no policy tag given for pii"):
        dataset([PREDICTION_USAGE], policy_tags={})


def test_grants_are_single_entries() -> None:
    made = dataset([], readers=["group:b@example.com", "serviceAccount:m@p.iam.gserviceaccount.com"] * 2)
    entries = [
        (e["role"], e.get("group_by_email"), e.get("user_by_email"))
        for e in made["google_bigquery_dataset_access"].values()
    ]
    assert sorted(entries, key=str) == [
        ("roles/bigquery.dataViewer", "b@example.com", None),
        ("roles/bigquery.dataViewer", None, "m@p.iam.gserviceaccount.com"),
    ]


@pytest.mark.parametrize(
    "member", ["allUsers", "allAuthenticatedUsers", "user:a@example.com", "a@example.com"]
)
def test_nobody_else_can_be_granted(member: str) -> None:
    with pytest.raises(ValueError, match="datasets are granted to group"):
        dataset([], readers=[member])


def test_whatever_models_are_named_each_log_has_its_own_tags_and_grants() -> None:
    models = ["writer", "policy-tags", "shared-tags", "dataset", "m"]
    table, clear = SHARED_TABLES[0], frozenset({"group:g@example.com"})
    logs = {
        model: Log(replace(table, name=model.replace("-", "_")), {}, clear_readers=clear) for model in models
    }
    names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example").team("a")

    def add(stack: Any) -> None:
        made = PredictionLogs(
            stack, "l", names=names, labels={}, logs=logs, owner="group:o@example.com", retention_days=1
        )
        for model in models:
            made.add_writer(model, f"serviceAccount:{model}@p.iam.gserviceaccount.com")

    made = synthesized(add)
    displayed = {t["display_name"] for t in made["google_data_catalog_taxonomy"].values()}
    assert displayed == {"modelyard-example-a", *(f"modelyard-example-a_{model}" for model in models)}
    writers = {
        (m["table_id"], m["member"].split(":")[1].split("@")[0])
        for m in made["google_bigquery_table_iam_member"].values()
        if m["role"] == names.role("log-writer")
    }
    assert writers == {(model.replace("-", "_"), model) for model in models}


def batch_tables(**changes: Any) -> Resources:
    _, model, names = deployed(Pattern.BATCH)
    table = prediction_log(model, names)
    log = Log(
        table,
        {"model": "delay"},
        readers=frozenset({"group:r@example.com"}),
        output=batch_output(names.output_table, model.manifest.signature.prediction),
        runs=batch_runs(names.runs_table),
        input=batch_input(model, names),
        input_writers=frozenset({"group:w@example.com"}),
        scorer="serviceAccount:m@p.iam.gserviceaccount.com",
    )

    def add(stack: Any) -> None:
        made = PredictionLogs(
            stack,
            "l",
            names=names.team,
            labels={},
            logs={"delay": replace(log, **changes)},
            owner="group:o@example.com",
            retention_days=1,
        )
        made.add_writer("delay", "serviceAccount:m@p.iam.gserviceaccount.com")

    return synthesized(add)


def test_a_batch_model_reads_its_input_and_adds_to_its_log_and_predictions() -> None:
    made = batch_tables()
    granted: dict[str, set[tuple[str, str]]] = {}
    for grant in made["google_bigquery_table_iam_member"].values():
        role = grant["role"].rpartition("/")[2]
        granted.setdefault(grant["member"].partition(":")[2][0], set()).add((role, grant["table_id"]))
    assert granted == {
        "m": {
            ("bigquery.dataViewer", "delay_input"),
            ("bigquery.dataViewer", "delay_predictions"),
            ("modelyardLogWriter", "delay"),
            ("modelyardLogWriter", "delay_predictions"),
            ("modelyardLogWriter", "delay_runs"),
        },
        "r": {
            ("bigquery.dataViewer", "delay"),
            ("bigquery.dataViewer", "delay_predictions"),
            ("bigquery.dataViewer", "delay_runs"),
        },
        "w": {("modelyardInputWriter", "delay_input")},
    }
    tables = made["google_bigquery_table"].values()
    assert {table["table_id"] for table in tables} == {
        "delay",
        "delay_input",
        "delay_predictions",
        "delay_runs",
    }
    assert all(table["lifecycle"]["prevent_destroy"] for table in tables)


def test_a_batch_model_sees_protected_features_of_its_own_input_alone() -> None:
    def clear(made: Resources) -> set[str]:
        return {m["member"] for m in made.get("google_data_catalog_policy_tag_iam_member", {}).values()}

    made = batch_tables()
    assert clear(made) == {"serviceAccount:m@p.iam.gserviceaccount.com"}
    (displayed,) = {
        t["display_name"] for p, t in made["google_data_catalog_taxonomy"].items() if p.startswith("l/model-")
    }
    assert displayed == "modelyard-example-flights_delay", "tags of its own"
    assert clear(batch_tables(input=None)) == set()


def tags(**options: Any) -> Resources:
    arguments: dict[str, Any] = {
        "project": "example-a",
        "location": "EU",
        "taxonomy": "modelyard-dev-a",
        "clear_readers": ["group:clear@example.com"],
        "masked_readers": ["group:masked@example.com"],
    }
    return synthesized(lambda stack: PolicyTags(stack, "t", **arguments | options))


def test_each_level_has_a_tag_a_mask_and_its_readers() -> None:
    made = tags()
    assert made["google_data_catalog_taxonomy"]["t/taxonomy"]["activated_policy_types"] == [
        "FINE_GRAINED_ACCESS_CONTROL"
    ]
    assert {tag["display_name"] for tag in made["google_data_catalog_policy_tag"].values()} == {
        "confidential",
        "pii",
    }
    clear = made["google_data_catalog_policy_tag_iam_member"].values()
    assert {(c["role"], c["member"]) for c in clear} == {
        ("roles/datacatalog.categoryFineGrainedReader", "group:clear@example.com")
    }
    masked = made["google_bigquery_datapolicy_data_policy_iam_member"].values()
    assert {(m["role"], m["member"], m["data_policy_id"]) for m in masked} == {
        ("roles/bigquerydatapolicy.maskedReader", "group:masked@example.com", "modelyard_dev_a_confidential"),
        ("roles/bigquerydatapolicy.maskedReader", "group:masked@example.com", "modelyard_dev_a_pii"),
    }


def test_masks_are_null_but_where_a_hash_is_asked_for() -> None:
    policies = tags(masking={Sensitivity.PII: Masking.HASH})["google_bigquery_datapolicy_data_policy"]
    masks = {
        p["data_policy_id"]: p["data_masking_policy"]["predefined_expression"] for p in policies.values()
    }
    assert masks == {"modelyard_dev_a_confidential": "ALWAYS_NULL", "modelyard_dev_a_pii": "SHA256"}


def test_ids_of_masks_stay_short_and_different() -> None:
    long = "modelyard-production-" + "x" * 80
    ids = [policy_id(long + end, level) for end in ("a", "b") for level in TAGS]
    assert len(set(ids)) == 4
    assert all(re.fullmatch(r"[a-z][a-z0-9_]{0,62}", each) for each in ids)


def test_removing_a_tag_would_open_columns_so_nothing_can_be_destroyed() -> None:
    made = tags()
    for type_ in ("taxonomy", "policy_tag"):
        assert all(r["lifecycle"]["prevent_destroy"] for r in made[f"google_data_catalog_{type_}"].values())
    policies = made["google_bigquery_datapolicy_data_policy"].values()
    assert all(policy["lifecycle"]["prevent_destroy"] for policy in policies)


@pytest.mark.parametrize(("location", "region"), [("EU", "eu"), ("europe-west1", "europe-west1")])
def test_tags_stand_where_the_data_stands(location: str, region: str) -> None:
    made = tags(location=location)
    assert made["google_data_catalog_taxonomy"]["t/taxonomy"]["region"] == region
    assert all(p["location"] == region for p in made["google_bigquery_datapolicy_data_policy"].values())


def views(tables: list[Table]) -> Resources:
    def add(stack: Any) -> None:
        source = Dataset(stack, "s", dataset_id="source", tables=tables, policy_tags=TAGS, **COMMON)
        fleet = Dataset(stack, "f", dataset_id="fleet", **COMMON)
        FleetViews(stack, "v", fleet=fleet, sources=[source], labels={"team": "platform"})

    return synthesized(add)


def test_each_view_names_its_tables_in_full() -> None:
    made = views(list(SHARED_TABLES))
    found = {path: table for path, table in made["google_bigquery_table"].items() if path.startswith("v/")}
    assert found.keys() == {f"v/{view.name}" for view in FLEET_VIEWS}
    usage = found["v/usage_daily"]
    assert "`example-a.source.prediction_usage`" in usage["view"]["query"]
    assert usage["view"]["use_legacy_sql"] is False
    assert "{" not in "".join(table["view"]["query"] for table in found.values())


def test_one_authorisation_covers_all_views_of_a_dataset() -> None:
    (entry,) = views(list(SHARED_TABLES))["google_bigquery_dataset_access"].values()
    assert entry["dataset_id"] == "source"
    assert entry["dataset"] == {
        "dataset": {"dataset_id": "fleet", "project_id": "example-a"},
        "target_types": ["VIEWS"],
    }


def test_a_view_whose_tables_are_elsewhere_is_left_out() -> None:
    found = [path for path in views([ALERT_EVENTS])["google_bigquery_table"] if path.startswith("v/")]
    assert found == ["v/alerts"]
