"""Tables of batch models: what the team fills, and what comes out."""

from modelyard.spec.base import Pattern, Sensitivity
from modelyard.spec.manifest import Feature, FeatureType
from modelyard.tables import Type, arrow_schema, batch_input, batch_output
from tests.modelyard.sample import deployed


def test_the_input_has_the_features_beside_the_id_of_the_row() -> None:
    _, model, names = deployed(Pattern.BATCH)
    table = batch_input(model, names)
    assert table.name == "delay_input"
    assert [column.name for column in table.columns] == ["row_id", "row_time", "distance", "carrier", "age"]
    assert table.paths["age"].policy_tag is Sensitivity.PII
    assert table.policy_tags == {Sensitivity.PII}


def test_features_of_earlier_versions_keep_their_columns() -> None:
    _, model, names = deployed(Pattern.BATCH)
    gone = Feature(name="age_group", type=FeatureType.STRING, sensitivity=Sensitivity.PII)
    again = Feature(name="DISTANCE", type=FeatureType.FLOAT64)
    table = batch_input(model.model_copy(update={"retired": (gone, again)}), names)
    assert [column.name for column in table.columns][2:] == ["distance", "carrier", "age", "age_group"]
    assert table.paths["age_group"].policy_tag is Sensitivity.PII


def test_a_team_may_lower_the_level_of_a_feature() -> None:
    _, model, names = deployed(Pattern.BATCH, sensitivity={"age": "internal"})
    assert batch_input(model, names).policy_tags == frozenset()


def test_the_output_has_the_prediction_as_the_log_has_it() -> None:
    _, model, names = deployed(Pattern.BATCH)
    table = batch_output(names.output_table, model.manifest.signature.prediction)
    assert table.name == "delay_predictions"
    assert table.paths["prediction"].type is Type.FLOAT64
    assert arrow_schema(table).names == ["prediction_id", "time", "run", "version", "row_id", "prediction"]
