"""Tables of the predictions datasets: usage over the whole fleet, and one typed log per model."""

from modelyard.naming import ModelNames
from modelyard.spec.base import Sensitivity
from modelyard.spec.manifest import Feature, FeatureType, Prediction
from modelyard.spec.team import DeployedModel
from modelyard.tables.table import DESCRIPTION, Column, Granularity, Mode, Partition, Table, TableError, Type

PREDICTION_USAGE = Table(
    name="prediction_usage",
    dataset="predictions",
    description="Hourly counts per model version and caller: usage and adoption are read here, not in logs.",
    columns=(
        Column("hour", Type.TIMESTAMP, "Start of the hour", Mode.REQUIRED),
        Column("team", Type.STRING, "Team that owns the model", Mode.REQUIRED),
        Column("model", Type.STRING, "Model", Mode.REQUIRED),
        Column("version", Type.INT64, "Version of the model", Mode.REQUIRED),
        Column("pattern", Type.STRING, "rest, batch or streaming", Mode.REQUIRED),
        Column("caller", Type.STRING, "Identity that asked", policy_tag=Sensitivity.PII),
        Column("predictions", Type.INT64, "Predictions answered", Mode.REQUIRED),
        Column("errors", Type.INT64, "Predictions that failed", Mode.REQUIRED),
        Column("computed", Type.TIMESTAMP, "Time of counting; the latest of an hour and version counts"),
    ),
    partition=Partition("hour", Granularity.DAY),
    clustering=("team", "model", "version"),
)


def prediction_log(model: DeployedModel, names: ModelNames) -> Table:
    """Return the prediction-log table of `model`.

    It has the features of the pinned version, of the canary and of earlier versions. They stand in a record,
    so that none collides with a column of the log. Confidential and pii features and the caller carry policy
    tags.

    Raises:
        TableError: a feature or the prediction has another type in the canary than in the pinned version.
    """
    features: dict[str, Column] = {}
    prediction: Column | None = None
    for manifest in filter(None, (model.manifest, model.canary)):
        where = f"{names.team.team}/{model.name} version {manifest.version}"
        sensitivity = {f.name: f.sensitivity for f in manifest.signature.features} | model.spec.sensitivity
        for feature in manifest.signature.features:
            level = sensitivity[feature.name]
            column = feature_column(feature, level)
            known = features.setdefault(feature.name, column)
            if known.type is not column.type:
                raise TableError(
                    f"{where}: feature {feature.name} is {column.type}, but {known.type} in version "
                    f"{model.manifest.version}; a logged column keeps its type, so give it another name"
                )
            if level.restricted and known.policy_tag is not Sensitivity.PII:
                features[feature.name] = column  # the stricter level of the two versions
        output = prediction_column(manifest.signature.prediction)
        prediction = prediction or output
        if prediction.type is not output.type:
            raise TableError(
                f"{where}: the prediction is {output.type}, but {prediction.type} in version "
                f"{model.manifest.version}; publish it as a model of its own"
            )
    assert prediction is not None
    present = {name.lower() for name in features}
    for feature in model.retired:
        if feature.name.lower() not in present:
            level = model.spec.sensitivity.get(feature.name, feature.sensitivity)
            words = f"Of earlier versions. {feature.description}".strip()
            features[feature.name] = feature_column(feature, level, words)
    return Table(
        name=names.log_table,
        dataset="predictions",
        description=f"Every prediction of {names.team.team}/{model.name}, one row each.",
        columns=(
            Column(
                "prediction_id", Type.STRING, "Id given at ingress and returned to the caller", Mode.REQUIRED
            ),
            Column("time", Type.TIMESTAMP, "Time of the answer", Mode.REQUIRED),
            Column("team", Type.STRING, "Team that owns the model", Mode.REQUIRED),
            Column("model", Type.STRING, "Model", Mode.REQUIRED),
            Column("version", Type.INT64, "Version of the model that answered", Mode.REQUIRED),
            Column("pattern", Type.STRING, "rest, batch or streaming", Mode.REQUIRED),
            Column("caller", Type.STRING, "Identity that asked", policy_tag=Sensitivity.PII),
            Column("features", Type.RECORD, "Inputs of the prediction", fields=tuple(features.values())),
            prediction,
            Column("latency_ms", Type.FLOAT64, "Time from request to answer in milliseconds"),
            Column("flags", Type.STRING, "What was unusual, such as out_of_range:<feature>", Mode.REPEATED),
            Column("image_digest", Type.STRING, "Digest of the serving image"),
            Column("code_digest", Type.STRING, "Digest of the prediction code"),
            Column("trace_id", Type.STRING, "Trace of the request, as W3C Trace Context gives it"),
        ),
        partition=Partition("time", Granularity.DAY, require_filter=True),
        clustering=("version", "caller"),
    )


def feature_column(feature: Feature, level: Sensitivity, description: str | None = None) -> Column:
    """Return the column of a feature; a restricted one carries a policy tag."""
    return Column(
        feature.name,
        _type(feature.type),
        _described(feature.description if description is None else description, feature.unit),
        policy_tag=level if level.restricted else None,
    )


def prediction_column(prediction: Prediction) -> Column:
    """Return the column of a model's answers."""
    return Column(
        "prediction",
        _type(prediction.type),
        _described(f"Answer of the model: {prediction.name}", prediction.unit),
    )


def _type(feature_type: FeatureType) -> Type:
    return Type(feature_type.value.upper())


def _described(description: str, unit: str) -> str:
    text = f"{description} [{unit}]".strip() if unit else description
    return text if len(text) <= DESCRIPTION else text[: DESCRIPTION - 1] + "…"
