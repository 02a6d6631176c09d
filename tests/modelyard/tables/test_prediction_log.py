from typing import Any

import pytest

from modelyard.spec.base import Sensitivity
from modelyard.tables import Mode, Table, TableError, Type, prediction_log
from tests.modelyard.sample import FEATURES, deployed, manifest


def log(canary: Any = None, **settings: Any) -> Table:
    _, model, names = deployed(canary=canary, **settings)
    return prediction_log(model, names)


def test_features_are_typed_and_nested() -> None:
    table = log()
    assert table.name == "delay"
    assert table.paths["features"].type is Type.RECORD
    assert table.paths["features.distance"].type is Type.FLOAT64
    assert table.paths["features.carrier"].type is Type.STRING
    assert table.paths["prediction"].type is Type.FLOAT64
    assert table.paths["features.distance"].description == "Great-circle distance [km]"


def test_a_long_description_is_cut_to_what_bigquery_takes() -> None:
    features = [{**FEATURES[0], "description": "x" * 5000}, *FEATURES[1:]]
    table = log(canary=manifest(2, [{**features[0], "name": "long"}, *FEATURES]))
    assert len(table.paths["features.long"].description) == 1024


def test_a_feature_may_be_called_like_a_column_of_the_log() -> None:
    features = [{"name": "time", "type": "string"}, {"name": "prediction", "type": "int64"}]
    table = log(canary=manifest(2, [*FEATURES, *features]))
    assert table.paths["time"].type is Type.TIMESTAMP
    assert table.paths["features.time"].type is Type.STRING
    assert table.paths["features.prediction"].type is Type.INT64


def test_protected_features_and_the_caller_carry_policy_tags() -> None:
    table = log(sensitivity={"distance": "confidential"})
    tags = {path: column.policy_tag for path, column in table.paths.items() if column.policy_tag}
    assert tags == {
        "caller": Sensitivity.PII,
        "features.distance": Sensitivity.CONFIDENTIAL,
        "features.age": Sensitivity.PII,
    }


def test_the_team_may_lower_a_sensitivity_by_its_word() -> None:
    assert log(sensitivity={"age": "internal"}).paths["features.age"].policy_tag is None


def test_queries_must_name_a_time() -> None:
    table = log()
    assert table.partition.column == "time"
    assert table.partition.require_filter
    assert table.clustering == ("version", "caller")


def test_the_canary_adds_its_features_at_the_end() -> None:
    table = log(canary=manifest(2, [{"name": "wind", "type": "float64"}, *FEATURES]))
    names = [path for path in table.paths if path.startswith("features.")]
    assert names == ["features.distance", "features.carrier", "features.age", "features.wind"]
    assert table.paths["features.wind"].mode is Mode.NULLABLE


def test_the_stricter_sensitivity_of_two_versions_counts() -> None:
    stricter = [{**feature, "sensitivity": "pii"} for feature in FEATURES]
    assert log(canary=manifest(2, stricter)).paths["features.carrier"].policy_tag is Sensitivity.PII
    looser = [{**feature, "sensitivity": "confidential"} for feature in FEATURES]
    table = log(canary=manifest(2, looser))
    assert table.paths["features.age"].policy_tag is Sensitivity.PII
    assert table.paths["features.carrier"].policy_tag is Sensitivity.CONFIDENTIAL


def test_a_feature_keeps_its_type() -> None:
    changed = [{"name": "distance", "type": "string"}, *FEATURES[1:]]
    with pytest.raises(TableError, match="flights/delay version 2: feature distance is STRING, but FLOAT64"):
        log(canary=manifest(2, changed))


def test_versions_whose_features_differ_only_in_case_are_refused() -> None:
    with pytest.raises(TableError, match="distance and Distance are one name to BigQuery"):
        log(canary=manifest(2, [{"name": "Distance", "type": "float64"}, *FEATURES[1:]]))


def test_the_prediction_keeps_its_type() -> None:
    signature = {"features": FEATURES, "prediction": {"name": "delay", "type": "int64"}}
    with pytest.raises(TableError, match="the prediction is INT64, but FLOAT64"):
        log(canary=manifest(2, signature=signature))
