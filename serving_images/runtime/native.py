"""Models in the training library's own format, which score many rows faster than ONNX does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from serving_images.runtime import artifact, tables
from serving_images.runtime.config import Config
from serving_images.runtime.errors import Refused
from serving_images.runtime.model import Scores, Session, answers_of

Predict = Callable[[pa.RecordBatch], Any]


class NativeModel:
    """A version in its own format: XGBoost, LightGBM, skops; or ONNX where that is all there is.

    Args:
        config: the version's settings.
        path: its file, as `artifact.fetch(..., "native")` returned it.
        threads: cores that one call may use.

    Raises:
        Refused: the file is not the registered one, cannot be loaded, or holds types that are not trusted.
    """

    def __init__(self, config: Config, path: Path, threads: int = 1) -> None:
        self.config = config
        content = artifact.read(path, config.artifact)
        try:
            self._predict = _LOADERS[config.artifact.format](config, content, threads)
        except Refused:
            raise
        except Exception as error:  # each library has its own errors
            raise Refused(
                f"{config.key}: {config.artifact.format} does not load {path.name}: {error}"
            ) from None
        self.answers = answers_of(config)
        """Turns scores into predictions of the signature's type."""

    def __call__(self, batch: pa.RecordBatch) -> Scores:
        """Return the model's output `[rows]` on a batch of features, typed as `tables.typed` makes it."""
        return np.asarray(self._predict(batch)).reshape(-1)


def _xgboost(config: Config, content: bytes, threads: int) -> Predict:
    import xgboost

    features = config.signature.features
    booster = xgboost.Booster({"nthread": threads}, model_file=bytearray(content))
    return lambda batch: booster.inplace_predict(tables.matrix(batch, features), validate_features=False)


def _lightgbm(config: Config, content: bytes, threads: int) -> Predict:
    import lightgbm

    features = config.signature.features
    booster = lightgbm.Booster(model_str=content.decode())
    return lambda batch: booster.predict(tables.matrix(batch, features), num_threads=threads)


def _skops(config: Config, content: bytes, threads: int) -> Predict:
    import skops.io

    features = config.signature.features
    unknown = skops.io.get_untrusted_types(data=content)
    if unknown:
        raise Refused(
            f"{config.key}: the file holds types that are not trusted, {', '.join(sorted(unknown))}: "
            "a model is made of estimators of scikit-learn"
        )
    estimator = skops.io.loads(content)
    if config.task == "classification":
        return lambda batch: estimator.predict_proba(tables.frame(batch, features))[:, 1]
    return lambda batch: estimator.predict(tables.frame(batch, features))


def _onnx(config: Config, content: bytes, threads: int) -> Predict:
    features = config.signature.features
    session = Session(config, content, threads)
    feed = tables.columns if session.by_column else tables.matrix
    return lambda batch: session(feed(batch, features))


_LOADERS: dict[str, Callable[[Config, bytes, int], Predict]] = {
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "skops": _skops,
    "onnx": _onnx,
}
