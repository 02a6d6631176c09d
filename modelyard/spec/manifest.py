"""The manifest of a model version: what publishing writes and a team pins, as a lock file is pinned.

The file is JSON. `digest` is the SHA-256 of the canonical JSON of everything else, so an edited manifest is
recognised.
"""

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from modelyard.spec.base import Digest, ModelName, Sensitivity, Spec, TeamName, Version

FORMAT = "modelyard.manifest/1"
# A BigQuery column name; names are compared without case there, which the loader checks.
ColumnName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]


class FeatureType(StrEnum):
    """The types a feature or a prediction may have, in BigQuery's words."""

    BOOL = "bool"
    INT64 = "int64"
    FLOAT64 = "float64"
    STRING = "string"
    TIMESTAMP = "timestamp"


class Task(StrEnum):
    """What the model predicts."""

    REGRESSION = "regression"
    CLASSIFICATION = "classification"


class Feature(Spec):
    """One input of the model, as observed in training."""

    name: ColumnName
    type: FeatureType
    description: str = ""
    unit: str = ""
    sensitivity: Sensitivity = Sensitivity.INTERNAL
    nullable: bool = False
    range: tuple[float, float] | None = None
    """Smallest and largest value in training, for numbers."""
    categories: tuple[str, ...] | None = None
    """Known values, for strings."""


class Prediction(Spec):
    """The output of the model."""

    name: ColumnName
    type: FeatureType
    unit: str = ""
    classes: tuple[str, ...] | None = None


class Signature(Spec):
    """Inputs and output."""

    features: Annotated[tuple[Feature, ...], Field(min_length=1, max_length=1000)]
    prediction: Prediction


class Artifact(Spec):
    """The trained model file."""

    uri: Annotated[str, Field(min_length=1, max_length=1024)]
    digest: Digest
    format: Literal["onnx", "xgboost", "lightgbm", "skops"]
    size_bytes: Annotated[int, Field(gt=0)]


class Metrics(Spec):
    """Results on the held-out test set."""

    primary: str
    """Name of the metric that promotion and the performance monitor compare."""
    higher_is_better: bool
    values: dict[str, float]
    rows: Annotated[int, Field(gt=0)]


class TrainingData(Spec):
    """What the version was trained on."""

    uri: str
    digest: Digest
    rows: Annotated[int, Field(gt=0)]
    description: str = ""


class TrainingCode(Spec):
    """The code that trained the version."""

    repository: str
    commit: str
    dirty: bool
    diff_digest: Digest | None = None
    """Digest of the uncommitted changes, where there were any."""
    entry_point: str


class Dependencies(Spec):
    """The environment the version was trained in."""

    python: str
    packages: dict[str, str]


class NumericBaseline(Spec):
    """Distribution of a number in training, over frozen quantile bins."""

    kind: Literal["numeric"] = "numeric"
    edges: tuple[float, ...]
    """Inner bin edges, ascending: n edges make n + 1 bins, the outer ones open."""
    counts: tuple[int, ...]
    missing: Annotated[float, Field(ge=0, le=1)]
    """Share of missing values, 0 to 1."""
    mean: float
    std: float


class CategoricalBaseline(Spec):
    """Distribution of a category in training."""

    kind: Literal["categorical"] = "categorical"
    counts: dict[str, int]
    missing: Annotated[float, Field(ge=0, le=1)]


Baseline = Annotated[NumericBaseline | CategoricalBaseline, Field(discriminator="kind")]


class Baselines(Spec):
    """Reference distributions that monitors compare live traffic with."""

    features: dict[str, Baseline]
    prediction: Baseline


class Manifest(Spec):
    """One published model version."""

    format: Literal["modelyard.manifest/1"] = FORMAT
    team: TeamName
    model: ModelName
    version: Version
    created: AwareDatetime
    task: Task
    description: str = ""
    artifact: Artifact
    signature: Signature
    metrics: Metrics
    data: TrainingData
    code: TrainingCode
    dependencies: Dependencies
    baselines: Baselines
    digest: Digest


def digest_of(document: dict[str, Any]) -> str:
    """Return the digest that `document`, a manifest as plain JSON, must carry in its `digest`."""
    content = {key: value for key, value in document.items() if key != "digest"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()
