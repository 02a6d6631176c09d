"""Tables of batch models: what is scored, where the team names no table of its own, and what comes out."""

from modelyard.naming import ModelNames
from modelyard.spec.container import ROW_ID, ROW_TIME
from modelyard.spec.manifest import Feature, Prediction
from modelyard.spec.team import DeployedModel
from modelyard.tables.predictions import feature_column, prediction_column
from modelyard.tables.table import Column, Mode, Partition, Table, Type


def batch_input(model: DeployedModel, names: ModelNames) -> Table:
    """Return the table that the team fills for `model`: the features, flat, and the id of each row.

    Features of earlier versions stay, so that their columns are not lost. Confidential and pii features carry
    policy tags, as in the log.
    """
    features: dict[str, Feature] = {}
    for feature in (*model.manifest.signature.features, *model.retired):
        features.setdefault(feature.name.lower(), feature)
    return Table(
        name=names.input_table,
        dataset="predictions",
        description=f"What {names.team.team}/{model.name} scores, every row in every run; the team fills it.",
        columns=(
            Column(ROW_ID, Type.STRING, "What the team calls this row; it stands beside the prediction"),
            Column(ROW_TIME, Type.TIMESTAMP, "Time of the row; it is removed with the log's of that time"),
            *(
                feature_column(feature, model.spec.sensitivity.get(feature.name, feature.sensitivity))
                for feature in features.values()
            ),
        ),
        partition=Partition(ROW_TIME),
    )


def batch_output(name: str, prediction: Prediction) -> Table:
    """Return the table `name` of a batch model's predictions: one row for each row scored, run by run."""
    return Table(
        name=name,
        dataset="predictions",
        description="Predictions of all runs, one row for each row that was scored.",
        columns=(
            Column("prediction_id", Type.STRING, "Id of the row in the prediction log", Mode.REQUIRED),
            Column("time", Type.TIMESTAMP, "Time at which it was scored", Mode.REQUIRED),
            Column("run", Type.STRING, "Name of the run", Mode.REQUIRED),
            Column("version", Type.INT64, "Version of the model", Mode.REQUIRED),
            Column(ROW_ID, Type.STRING, "Value of the source's key, as text"),
            prediction_column(prediction),
        ),
        partition=Partition("time"),
        clustering=("run",),
    )


def batch_runs(name: str) -> Table:
    """Return the table `name` of a batch model's runs: a row for each shard that has scored all its rows.

    A run is complete once it has as many different shards as its rows say.
    """
    return Table(
        name=name,
        dataset="predictions",
        description="One row for each shard of a run that has ended; the run has once all its shards have.",
        columns=(
            Column("run", Type.STRING, "Name of the run", Mode.REQUIRED),
            Column("shard", Type.INT64, "Number of the shard, from 0", Mode.REQUIRED),
            Column("shards", Type.INT64, "Shards of the run", Mode.REQUIRED),
            Column("version", Type.INT64, "Version of the model", Mode.REQUIRED),
            Column("started", Type.TIMESTAMP, "When the run began", Mode.REQUIRED),
            Column("ended", Type.TIMESTAMP, "When the shard's last row was durable", Mode.REQUIRED),
            Column("rows_scored", Type.INT64, "Rows of the shard, failed ones too", Mode.REQUIRED),
            Column("rows_failed", Type.INT64, "Rows of the shard without a prediction", Mode.REQUIRED),
        ),
        partition=Partition("ended"),
        clustering=("run",),
    )
