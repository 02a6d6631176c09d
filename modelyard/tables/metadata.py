"""Tables of the metadata dataset: which model versions exist, and what was deployed when and by whom."""

from modelyard.tables.table import Column, Granularity, Mode, Partition, Table, Type

_MODEL_KEY = (
    Column("team", Type.STRING, "Team that owns the model", Mode.REQUIRED),
    Column("model", Type.STRING, "Model, unique within its team", Mode.REQUIRED),
    Column("version", Type.INT64, "Version, counted from 1", Mode.REQUIRED),
)

MODEL_VERSIONS = Table(
    name="model_versions",
    dataset="metadata",
    description="One row per published model version: artefact, data, code, dependencies and test result.",
    columns=(
        *_MODEL_KEY,
        Column("created", Type.TIMESTAMP, "Time of publishing", Mode.REQUIRED),
        Column("manifest_digest", Type.STRING, "Digest of the manifest, sha256:<hex>", Mode.REQUIRED),
        Column("task", Type.STRING, "regression or classification", Mode.REQUIRED),
        Column("description", Type.STRING, "What the model is for"),
        Column(
            "artifact",
            Type.RECORD,
            "The trained model file",
            Mode.REQUIRED,
            fields=(
                Column("uri", Type.STRING, "Where the file is", Mode.REQUIRED),
                Column("digest", Type.STRING, "sha256:<hex> of the file", Mode.REQUIRED),
                Column("format", Type.STRING, "onnx, xgboost, lightgbm or skops", Mode.REQUIRED),
                Column("size_bytes", Type.INT64, "Size of the file in bytes", Mode.REQUIRED),
            ),
        ),
        Column(
            "features",
            Type.RECORD,
            "Inputs of the model",
            Mode.REPEATED,
            fields=(
                Column("name", Type.STRING, "Name of the feature", Mode.REQUIRED),
                Column("type", Type.STRING, "Type of the feature", Mode.REQUIRED),
                Column("unit", Type.STRING, "Unit of the feature"),
                Column("sensitivity", Type.STRING, "public, internal, confidential or pii", Mode.REQUIRED),
            ),
        ),
        Column(
            "metrics",
            Type.RECORD,
            "Results on the held-out test set",
            Mode.REPEATED,
            fields=(
                Column("name", Type.STRING, "Name of the metric", Mode.REQUIRED),
                Column("value", Type.FLOAT64, "Value of the metric", Mode.REQUIRED),
                Column("is_primary", Type.BOOL, "Whether promotion compares this metric", Mode.REQUIRED),
            ),
        ),
        Column(
            "data",
            Type.RECORD,
            "What the version was trained on",
            Mode.REQUIRED,
            fields=(
                Column("uri", Type.STRING, "Where the data are", Mode.REQUIRED),
                Column("digest", Type.STRING, "sha256:<hex> of the full content", Mode.REQUIRED),
                Column("row_count", Type.INT64, "Rows trained on", Mode.REQUIRED),
            ),
        ),
        Column(
            "code",
            Type.RECORD,
            "The code that trained the version",
            Mode.REQUIRED,
            fields=(
                Column("repository", Type.STRING, "Repository of the code", Mode.REQUIRED),
                Column("commit", Type.STRING, "Commit of the code", Mode.REQUIRED),
                Column("dirty", Type.BOOL, "Whether there were uncommitted changes", Mode.REQUIRED),
                Column("diff_digest", Type.STRING, "sha256:<hex> of the uncommitted changes"),
                Column("entry_point", Type.STRING, "Script or module that was run", Mode.REQUIRED),
            ),
        ),
        Column(
            "packages",
            Type.RECORD,
            "Packages of the training environment",
            Mode.REPEATED,
            fields=(
                Column("name", Type.STRING, "Name of the package", Mode.REQUIRED),
                Column("version", Type.STRING, "Version of the package", Mode.REQUIRED),
            ),
        ),
        Column("manifest", Type.STRING, "The whole manifest as JSON, as it was published", Mode.REQUIRED),
    ),
    partition=Partition("created", Granularity.MONTH),
    clustering=("team", "model"),
)

DEPLOYMENTS = Table(
    name="deployments",
    dataset="metadata",
    description="One row per deployment: who applied what, when, approved by whom.",
    columns=(
        Column("deployment_id", Type.STRING, "Id of the deployment", Mode.REQUIRED),
        Column("time", Type.TIMESTAMP, "Time the deployment ended", Mode.REQUIRED),
        Column("environment", Type.STRING, "Environment deployed to", Mode.REQUIRED),
        Column("actor", Type.STRING, "Identity that applied", Mode.REQUIRED),
        Column("approved_by", Type.STRING, "People who approved", Mode.REPEATED),
        Column("repository", Type.STRING, "Repository deployed from", Mode.REQUIRED),
        Column("commit", Type.STRING, "Commit deployed", Mode.REQUIRED),
        Column("stacks", Type.STRING, "Ids of the stacks applied", Mode.REPEATED),
        Column(
            "models",
            Type.RECORD,
            "Model versions in service after the deployment",
            Mode.REPEATED,
            fields=(
                *_MODEL_KEY,
                Column("manifest_digest", Type.STRING, "Digest of the pinned manifest", Mode.REQUIRED),
                Column("image_digest", Type.STRING, "Digest of the serving image", Mode.REQUIRED),
                Column("percent", Type.INT64, "Share of the traffic in percent", Mode.REQUIRED),
            ),
        ),
        Column("plan_digest", Type.STRING, "sha256:<hex> of the reviewed plan", Mode.REQUIRED),
        Column("succeeded", Type.BOOL, "Whether the apply ended without error", Mode.REQUIRED),
    ),
    partition=Partition("time", Granularity.MONTH),
    clustering=("environment",),
)
