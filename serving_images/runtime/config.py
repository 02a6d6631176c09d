"""Reads `model.json`, as `modelyard.spec.container` writes it: the settings of each version to serve."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from serving_images.runtime.errors import Refused

FORMAT = "modelyard.container/1"
CONFIG_VARIABLE = "MODELYARD_CONFIG"
CONFIG_DEFAULT = "/etc/modelyard/model.json"
LOG_VARIABLE = "MODELYARD_LOG_DIR"
LOG_DEFAULT = "/var/lib/modelyard/log"

FeatureType = Literal["bool", "int64", "float64", "string", "timestamp"]
NUMBERS = ("int64", "float64")


class Artifact(msgspec.Struct, frozen=True):
    """A model file in the registry."""

    uri: str
    digest: str
    format: Literal["onnx", "xgboost", "lightgbm", "skops"]
    size_bytes: int


class StoredFile(msgspec.Struct, frozen=True):
    """A file beside the model file."""

    uri: str
    digest: str


class Signing(msgspec.Struct, frozen=True):
    """The signature over the model files."""

    bundle: StoredFile
    public_key: str


class Feature(msgspec.Struct, frozen=True):
    """One input of the model."""

    name: str
    type: FeatureType
    description: str = ""
    unit: str = ""
    sensitivity: str = "internal"
    nullable: bool = False
    range: tuple[float, float] | None = None
    categories: tuple[str, ...] | None = None


class Prediction(msgspec.Struct, frozen=True):
    """The output of the model."""

    name: str
    type: FeatureType
    unit: str = ""
    classes: tuple[str, ...] | None = None


class Signature(msgspec.Struct, frozen=True):
    """Inputs, in the model's order, and output."""

    features: tuple[Feature, ...]
    prediction: Prediction


class Log(msgspec.Struct, frozen=True):
    """Where prediction rows go."""

    table: str
    """`project.dataset.table`."""


class Serving(msgspec.Struct, frozen=True):
    """What the server does with unusual input, and while its log cannot be written."""

    out_of_range: Literal["flag", "reject"] = "flag"
    log_unavailable: Literal["keep-serving", "stop-serving"] = "keep-serving"
    max_rows: int = 1000
    max_body_bytes: int = 1 << 20


class Config(msgspec.Struct, frozen=True):
    """The settings of one version. See `modelyard.spec.container.container_config`, which writes them."""

    format: Literal["modelyard.container/1"]
    team: str
    model: str
    version: int
    pattern: Literal["rest", "batch", "streaming"]
    registry: str
    artifact: Artifact
    signature: Signature
    log: Log
    environment: str = ""
    task: str = ""
    online: Artifact | None = None
    """The ONNX file for single rows; none where `artifact` is ONNX itself."""
    signing: Signing | None = None
    manifest_digest: str = ""
    image_digest: str = ""
    callers: tuple[str, ...] = ()
    canary: bool = False
    """Whether it is the canary beside another version of the model in this process."""
    warehouse: str = ""
    """Folder that takes the place of BigQuery."""
    serving: Serving = msgspec.field(default_factory=Serving)
    batch: dict[str, Any] = {}
    streaming: dict[str, Any] = {}

    @property
    def key(self) -> str:
        """The version's name in messages and folders: `team/model@version`."""
        return f"{self.team}/{self.model}@{self.version}"

    @property
    def onnx(self) -> Artifact:
        """The file for single rows.

        Raises:
            Refused: there is none.
        """
        artifact = self.online or self.artifact
        if artifact.format != "onnx":
            raise Refused(
                f"{self.key} has no ONNX file, only {artifact.format}, and rows are scored by ONNX: "
                "publish it again, with modelyard.capture, and pin that"
            )
        return artifact


def config_path() -> Path:
    """Return the file or folder that `MODELYARD_CONFIG` names."""
    return Path(os.environ.get(CONFIG_VARIABLE) or CONFIG_DEFAULT)


def log_folder() -> Path:
    """Return the folder of the write-ahead log that `MODELYARD_LOG_DIR` names."""
    return Path(os.environ.get(LOG_VARIABLE) or LOG_DEFAULT)


def config_files(path: Path) -> list[Path]:
    """Return `path`, or the `*.json` files in it if it is a folder.

    Raises:
        Refused: there is none.
    """
    files = sorted(file for file in path.glob("*.json") if not file.name.startswith("."))
    if not path.is_dir():
        files = [path]
    if not files:
        raise Refused(f"{path} holds no *.json: mount a model.json there, or set {CONFIG_VARIABLE}")
    return files


def load(path: Path | None = None, pattern: str | None = None) -> list[Config]:
    """Return the settings in `path`, a file or a folder of several; default: what `MODELYARD_CONFIG` names.

    Args:
        path: file or folder.
        pattern: `rest`, `batch` or `streaming`, where the image serves no other.

    Raises:
        Refused: a file is missing or wrong, or two are of the same version.
    """
    configs = [_read(file, pattern) for file in config_files(path or config_path())]
    _distinct(configs)
    return configs


def _read(path: Path, pattern: str | None) -> Config:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refused(
            f"{path} cannot be read: {error.strerror}. Mount a model.json, or set {CONFIG_VARIABLE}"
        ) from None
    try:
        config = msgspec.json.decode(content, type=Config)
    except msgspec.DecodeError as error:
        raise Refused(
            f"{path}: {error}. It is written by the deployment, by modelyard.spec.container"
        ) from None
    if pattern and config.pattern != pattern:
        raise Refused(
            f"{path}: {config.key} is a {config.pattern} model, and this is the {pattern} image. "
            f"Deploy it with the {config.pattern} image"
        )
    if not config.signature.features:
        raise Refused(f"{path}: {config.key} has no features")
    return config


def _distinct(configs: Sequence[Config]) -> None:
    seen: dict[tuple[str, int], Config] = {}
    for config in configs:
        other = seen.setdefault((config.model, config.version), config)
        if other is not config:
            raise Refused(
                f"{other.key} and {config.key} have the same name in URLs, models/{config.model}/versions/"
                f"{config.version}: serve them from two processes"
            )
