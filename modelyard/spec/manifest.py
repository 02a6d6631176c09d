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
# What a loss tree calls the model's own output; no feature can have this name.
PREDICTION = "@prediction"
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
    """Where it lies: `gs://...` or `s3://...`, or a path relative to the registry."""
    digest: Digest
    """SHA-256 of its bytes."""
    format: Literal["onnx", "xgboost", "lightgbm", "skops"]
    """Format of the file; none of them can run code when it is loaded."""
    size_bytes: Annotated[int, Field(gt=0)]
    """Size in bytes."""


class StoredFile(Spec):
    """A file beside the model file."""

    uri: Annotated[str, Field(min_length=1, max_length=1024)]
    """Where it lies: `gs://...` or `s3://...`, or a path relative to the registry."""
    digest: Digest
    """SHA-256 of its bytes."""


class Signing(Spec):
    """The signature over the model files. Who reviews the pinned manifest decides to trust its key."""

    bundle: StoredFile
    """Signature of the OpenSSF Model Signing specification, a Sigstore bundle over all model files."""
    public_key: Annotated[
        str,
        text(
            r"^-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=]+\n)+-----END PUBLIC KEY-----\n$",
            "a public key as PEM, which begins with -----BEGIN PUBLIC KEY-----",
            max_length=2048,
        ),
    ]
    """Public key, as PEM, of the elliptic key that signed."""


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


class DataObject(Spec):
    """One object of the training data in a bucket, at the version that was read."""

    uri: Annotated[str, Field(min_length=1, max_length=1024)]
    """The object: `gs://...` or `s3://...`."""
    version: str
    """Its generation (gs) or version id (s3; empty where the bucket keeps no versions)."""
    digest: Digest
    """SHA-256 of its bytes."""


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
    snapshot: AwareDatetime | None = None
    """Time as of which a table was read."""
    table_rows: Count | None = None
    """Rows of the table at that time."""
    objects: tuple[DataObject, ...] = ()
    """Objects that were read, where the data lie in a bucket."""


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


class TrainingEnvironment(Spec):
    """The machine the version was trained on."""

    system: str
    """Operating system and its version, such as `Linux 6.1`."""
    machine: str
    """Processor architecture, such as `x86_64`."""
    processors: Annotated[int, Field(gt=0)]
    """Processors that the training could use."""
    image: str = ""
    """Container image that it ran in, where `MODELYARD_IMAGE` names it."""


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
    daily_psi: Annotated[float, Field(ge=0)] | None = None
    """Population stability index that 99 in 100 days of training stay below, against training as a whole: how
    far a day without a fault may be. Absent where training's rows have no time."""
    daily_missing: Fraction | None = None
    """Share of missing values that 99 in 100 days of training stay below. Absent where training's rows have
    no time."""

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
    daily_psi: Annotated[float, Field(ge=0)] | None = None
    """Population stability index that 99 in 100 days of training stay below, against training as a whole: how
    far a day without a fault may be. Absent where training's rows have no time."""
    daily_missing: Fraction | None = None
    """Share of missing values that 99 in 100 days of training stay below. Absent where training's rows have
    no time."""


Baseline = Annotated[NumericBaseline | CategoricalBaseline, Field(discriminator="kind")]


class LossNode(Spec):
    """A node of the loss tree; a leaf has no `feature`."""

    feature: str | None = None
    """Feature that the node asks, or `@prediction`, the model's own output; none in a leaf."""
    threshold: float | None = None
    """Rows whose value is at or below it go left. A text counts as its place in `categories`, from 0; a
    boolean as 0 or 1."""
    left: Count | None = None
    """Index of the left child in `nodes`."""
    right: Count | None = None
    """Index of the right child in `nodes`."""
    missing_left: bool = False
    """Whether rows go left whose value is missing, or a text outside `categories`."""
    absolute_error: Annotated[float, Field(ge=0)]
    """Mean absolute error of the held-out rows in the node."""
    squared_error: Annotated[float, Field(ge=0)]
    """Mean squared error of the held-out rows in the node."""
    rows: Annotated[int, Field(gt=0)]
    """Held-out rows in the node."""


class LossTree(Spec):
    """Expected error of a regression by input: a small decision tree fitted to errors on held-out rows."""

    kind: Literal["loss_tree"] = "loss_tree"
    """`loss_tree`."""
    nodes: Annotated[tuple[LossNode, ...], Field(min_length=1, max_length=127)]
    """Nodes; the first is the root, and children come after their parent."""

    @model_validator(mode="after")
    def _is_tree(self) -> "LossTree":
        refuse(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        children: Counter[int] = Counter()
        for index, node in enumerate(self.nodes):
            parts = (node.feature, node.threshold, node.left, node.right)
            if any(part is None for part in parts) and any(part is not None for part in parts):
                yield Finding(
                    ("nodes", index), "A node has feature, threshold, left and right, or none of them"
                )
            for child in (node.left, node.right):
                if child is not None:
                    children[child] += 1
                    if not index < child < len(self.nodes):
                        yield Finding(("nodes", index), f"Child {child} is no later node of the tree")
        for index in range(1, len(self.nodes)):
            if children[index] != 1:
                yield Finding(("nodes", index), f"Node {index} has {children[index]} parents, not one")


class Calibration(Spec):
    """How a binary classifier's probabilities came true on held-out rows, in bins of the probability."""

    kind: Literal["calibration"] = "calibration"
    """`calibration`."""
    edges: tuple[float, ...]
    """Inner bin edges, ascending; an edge belongs to the bin on its left."""
    predicted: tuple[Fraction, ...]
    """Mean probability in each bin; 0 in an empty one."""
    observed: tuple[Fraction, ...]
    """Share of the second class in each bin; 0 in an empty one."""
    counts: tuple[Count, ...]
    """Held-out rows in each bin."""

    @model_validator(mode="after")
    def _binned(self) -> "Calibration":
        refuse(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        if any(low >= high for low, high in itertools.pairwise(self.edges)):
            yield Finding(("edges",), "Bin edges must ascend, each above the one before")
        for key in ("predicted", "observed", "counts"):
            if len(getattr(self, key)) != len(self.edges) + 1:
                yield Finding(
                    (key,),
                    f"{len(self.edges)} edges make {len(self.edges) + 1} bins, "
                    f"but there are {len(getattr(self, key))} values",
                )


ErrorBaseline = Annotated[LossTree | Calibration, Field(discriminator="kind")]


class Baselines(Spec):
    """Reference distributions that monitors compare live traffic with."""

    features: dict[str, Baseline]
    """Feature -> its distribution; a feature without one is not watched for drift."""
    prediction: Baseline
    """Distribution of the predictions."""
    target: Baseline | None = None
    """Distribution of the labels in training."""
    error: ErrorBaseline | None = None
    """What the performance monitor estimates the error with before labels arrive."""
    metric_std: Annotated[float, Field(ge=0)] | None = None
    """Standard deviation of the primary metric on 1,000 rows, by bootstrap; on n rows it is this times
    the square root of 1000/n."""


class Manifest(Spec):
    """One published model version, pinned as `teams/<team>/<model>.json` by `modelyard pin`.

    Publishing writes it beside the artefact; nobody edits it, and its `digest` shows every change.

    Rules between fields:

    - Feature names are unique without case, as BigQuery compares them, and none that it keeps for itself.
    - A range begins at or below its end; it is for numbers, categories are for strings.
    - Baselines name features of the signature; bin edges ascend, and n edges have n + 1 counts.
    - `metrics.primary` is one of `metrics.values`.
    - `online` is ONNX and stands beside an artefact of another format.
    - A regression's error baseline is a loss tree over its features, a classification's a calibration.
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
    online: Artifact | None = None
    """The same model as ONNX, for REST and streaming; absent where `artifact` is ONNX itself."""
    signing: Signing | None = None
    """Signature over the model files."""
    bom: StoredFile | None = None
    """Bill of materials of the training environment, as CycloneDX JSON."""
    parameters: dict[str, str | int | float | bool] = {}
    """Parameter of the training -> value."""
    environment: TrainingEnvironment | None = None
    """The machine the version was trained on."""
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
        if self.online and (self.online.format != "onnx" or self.artifact.format == "onnx"):
            yield Finding(("online",), "The online artefact is ONNX, beside an artefact of another format")
        error = self.baselines.error
        if error and (error.kind == "loss_tree") is not (self.task is Task.REGRESSION):
            yield Finding(
                ("baselines", "error"), "A loss tree is for regressions, a calibration for classifications"
            )
        for index, node in enumerate(error.nodes if error and error.kind == "loss_tree" else ()):
            if node.feature not in (None, PREDICTION) and node.feature not in types:
                yield Finding(
                    ("baselines", "error", "nodes", index, "feature"),
                    f"'{node.feature}' is no feature of the signature",
                )
        if self.signature.prediction.classes and self.task is Task.REGRESSION:
            yield Finding(("signature", "prediction", "classes"), "A regression has no classes")


def digest_of(document: dict[str, Any]) -> str:
    """Return the digest that `document`, a manifest as plain JSON, must carry in its `digest`."""
    content = {key: value for key, value in document.items() if key != "digest"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def _first_twice(values: tuple[str, ...]) -> str | None:
    return next((value for value, times in Counter(values).items() if times > 1), None)
