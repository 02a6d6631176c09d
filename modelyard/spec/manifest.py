"""The manifest of a model version: what publishing writes and a team pins, as a lock file is pinned.

The file is JSON. `digest` is the SHA-256 of the canonical JSON of everything else, so an edited manifest is
recognised.
"""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, model_validator

from modelyard.spec.base import (
    Digest,
    Finding,
    ModelName,
    Sensitivity,
    Spec,
    TeamName,
    Version,
    checked,
    refuse,
    text,
)

FORMAT: Literal["modelyard.manifest/1"] = "modelyard.manifest/1"
# BigQuery keeps names that begin so for itself, in any case.
RESERVED_PREFIXES = ("_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier")


def _not_reserved(name: str) -> str | None:
    if name.lower().startswith(RESERVED_PREFIXES):
        return f"'{name}' is reserved: BigQuery keeps names for itself that begin with " + ", ".join(
            RESERVED_PREFIXES
        )
    return None


# Names are compared without case in BigQuery, which the signature checks.
ColumnName = Annotated[
    str,
    text(
        r"^[A-Za-z_][A-Za-z0-9_]*$",
        "a column name of letters, digits and underscores that begins with no digit, such as distance_km",
        max_length=128,
    ),
    checked(_not_reserved),
]
Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class FeatureType(StrEnum):
    """The types a feature or a prediction may have, in BigQuery's words."""

    BOOL = "bool"
    INT64 = "int64"
    FLOAT64 = "float64"
    STRING = "string"
    TIMESTAMP = "timestamp"

    @property
    def numeric(self) -> bool:
        """Whether values are numbers."""
        return self in (FeatureType.INT64, FeatureType.FLOAT64)


class Task(StrEnum):
    """What the model predicts."""

    REGRESSION = "regression"
    CLASSIFICATION = "classification"


class Feature(Spec):
    """One input of the model, as observed in training."""

    name: ColumnName
    """Name of the feature: a key of the request, a column of the prediction log."""
    type: FeatureType
    """Type of its values."""
    description: str = ""
    """What it says, for people."""
    unit: str = ""
    """Unit of its values, such as `km`."""
    sensitivity: Sensitivity = Sensitivity.INTERNAL
    """How protected it is; a team file may say otherwise."""
    nullable: bool = False
    """Whether a request may leave it out."""
    range: tuple[float, float] | None = None
    """Smallest and largest value in training, for numbers."""
    categories: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Known values, for strings."""

    @model_validator(mode="after")
    def _consistent(self) -> "Feature":
        refuse(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        if self.range and not self.type.numeric:
            yield Finding(("range",), f"A range is for numbers; '{self.name}' is {self.type}")
        elif self.range and self.range[0] > self.range[1]:
            yield Finding(
                ("range",), f"The range begins at {self.range[0]:g}, above its end {self.range[1]:g}"
            )
        if self.categories and self.type is not FeatureType.STRING:
            yield Finding(("categories",), f"Categories are for strings; '{self.name}' is {self.type}")
        if self.categories and (twice := _first_twice(self.categories)):
            yield Finding(("categories",), f"Category '{twice}' is listed twice")


class Prediction(Spec):
    """The output of the model."""

    name: ColumnName
    """What is predicted."""
    type: FeatureType
    """Type of the prediction."""
    unit: str = ""
    """Unit of the prediction, such as `minutes`."""
    classes: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    """The classes a classifier chooses from."""


class Signature(Spec):
    """Inputs and output."""

    features: Annotated[tuple[Feature, ...], Field(min_length=1, max_length=1000)]
    """Inputs, in the order the model takes them."""
    prediction: Prediction
    """Output."""

    @model_validator(mode="after")
    def _unique(self) -> "Signature":
        refuse(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        seen: dict[str, str] = {}
        for index, feature in enumerate(self.features):
            first = seen.get(feature.name.lower())
            seen.setdefault(feature.name.lower(), feature.name)
            if first:
                case = "" if first == feature.name else f": BigQuery takes it for '{first}'"
                yield Finding(("features", index, "name"), f"Feature '{feature.name}' is here twice{case}")


class Artifact(Spec):
    """The trained model file."""

    uri: Annotated[str, Field(min_length=1, max_length=1024)]
    """Where it lies: `gs://...`, or a path relative to the registry."""
    digest: Digest
    """SHA-256 of its bytes."""
    format: Literal["onnx", "xgboost", "lightgbm", "skops"]
    """Format of the file; none of them can run code when it is loaded."""
    size_bytes: Annotated[int, Field(gt=0)]
    """Size in bytes."""


class Metrics(Spec):
    """Results on the held-out test set."""

    primary: Annotated[str, Field(min_length=1, max_length=100)]
    """Name of the metric that promotion and the performance monitor compare; a key of `values`."""
    higher_is_better: bool
    """Whether a higher primary metric is better."""
    values: Annotated[dict[str, float], Field(min_length=1)]
    """Metric -> value."""
    rows: Annotated[int, Field(gt=0)]
    """Rows of the test set."""

    @model_validator(mode="after")
    def _has_primary(self) -> "Metrics":
        if self.primary not in self.values:
            known = ", ".join(self.values)
            refuse([Finding(("primary",), f"'{self.primary}' is not one of the metrics in values: {known}")])
        return self


class TrainingData(Spec):
    """What the version was trained on."""

    uri: Annotated[str, Field(min_length=1, max_length=1024)]
    """Where the data came from."""
    digest: Digest
    """SHA-256 of the full content."""
    rows: Annotated[int, Field(gt=0)]
    """Rows trained on."""
    description: str = ""
    """What the data are, for people."""


class TrainingCode(Spec):
    """The code that trained the version."""

    repository: str
    """Where the code lies."""
    commit: str
    """Commit that was checked out."""
    dirty: bool
    """Whether there were uncommitted changes."""
    diff_digest: Digest | None = None
    """Digest of the uncommitted changes, where there were any."""
    entry_point: str
    """What was run, as a path in the repository."""


class Dependencies(Spec):
    """The environment the version was trained in."""

    python: str
    """Version of Python."""
    packages: dict[str, str]
    """Package -> version."""


class NumericBaseline(Spec):
    """Distribution of a number in training, over frozen quantile bins."""

    kind: Literal["numeric"] = "numeric"
    """`numeric`."""
    edges: tuple[float, ...]
    """Inner bin edges, ascending: n edges make n + 1 bins, the outer ones open."""
    counts: tuple[Count, ...]
    """Training rows in each bin."""
    missing: Fraction
    """Share of missing values, 0 to 1."""
    mean: float
    """Mean of the values present."""
    std: Annotated[float, Field(ge=0)]
    """Standard deviation of the values present."""

    @model_validator(mode="after")
    def _binned(self) -> "NumericBaseline":
        refuse(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        if any(low >= high for low, high in itertools.pairwise(self.edges)):
            yield Finding(("edges",), "Bin edges must ascend, each above the one before")
        if len(self.counts) != len(self.edges) + 1:
            yield Finding(
                ("counts",),
                f"{len(self.edges)} edges make {len(self.edges) + 1} bins, "
                f"but there are {len(self.counts)} counts",
            )


class CategoricalBaseline(Spec):
    """Distribution of a category in training."""

    kind: Literal["categorical"] = "categorical"
    """`categorical`."""
    counts: dict[str, Count]
    """Category -> training rows."""
    missing: Fraction
    """Share of missing values, 0 to 1."""


Baseline = Annotated[NumericBaseline | CategoricalBaseline, Field(discriminator="kind")]


class Baselines(Spec):
    """Reference distributions that monitors compare live traffic with."""

    features: dict[str, Baseline]
    """Feature -> its distribution; a feature without one is not watched for drift."""
    prediction: Baseline
    """Distribution of the predictions."""


class Manifest(Spec):
    """One published model version, pinned as `teams/<team>/<model>.json` by `modelyard pin`.

    Publishing writes it beside the artefact; nobody edits it, and its `digest` shows every change.

    Rules between fields:

    - Feature names are unique without case, as BigQuery compares them, and none that it keeps for itself.
    - A range begins at or below its end; it is for numbers, categories are for strings.
    - Baselines name features of the signature; bin edges ascend, and n edges have n + 1 counts.
    - `metrics.primary` is one of `metrics.values`.
    """

    format: Literal["modelyard.manifest/1"] = FORMAT
    """Form of this file."""
    team: TeamName
    """Team that owns the model."""
    model: ModelName
    """Name of the model."""
    version: Version
    """Version of the model."""
    created: AwareDatetime
    """When it was published, with time zone."""
    task: Task
    """What the model predicts."""
    description: str = ""
    """What the model is for, for people."""
    artifact: Artifact
    """The trained model file."""
    signature: Signature
    """Inputs and output."""
    metrics: Metrics
    """Results on the held-out test set."""
    data: TrainingData
    """What it was trained on."""
    code: TrainingCode
    """The code that trained it."""
    dependencies: Dependencies
    """The environment it was trained in."""
    baselines: Baselines
    """Reference distributions for the monitors."""
    digest: Digest
    """SHA-256 of the canonical JSON of everything else in this file."""

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        refuse(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        types = {feature.name: feature.type for feature in self.signature.features}
        for name, baseline in self.baselines.features.items():
            where = ("baselines", "features", name)
            if name not in types:
                yield Finding(where, f"'{name}' is no feature of the signature")
            elif baseline.kind == "numeric" and not types[name].numeric:
                yield Finding(where, f"A numeric baseline is for numbers; '{name}' is {types[name]}")
        if self.signature.prediction.classes and self.task is Task.REGRESSION:
            yield Finding(("signature", "prediction", "classes"), "A regression has no classes")


def digest_of(document: dict[str, Any]) -> str:
    """Return the digest that `document`, a manifest as plain JSON, must carry in its `digest`."""
    content = {key: value for key, value in document.items() if key != "digest"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def _first_twice(values: tuple[str, ...]) -> str | None:
    return next((value for value, times in Counter(values).items() if times > 1), None)
