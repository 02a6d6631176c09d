"""Models in the training library's own format, which score many rows faster than ONNX does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelyard.artifacts.skops_types import TRUSTED
from serving_images.runtime import artifact, tables
from serving_images.runtime.config import Config
from serving_images.runtime.errors import Refused
from serving_images.runtime.model import Scores, Session, answers_of

# Probabilities are as good as equal within one part of this; see modelyard.capture.formats.scores.
_TIE = 1e5
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
        return _one_per_row(np.asarray(self._predict(batch)))


def _one_per_row(raw: npt.NDArray[Any]) -> Scores:
    """Return numbers `[rows]` or `[rows, 1]`, or probabilities `[rows, classes]`, as a score per row.

    Of two classes that is the probability of the second, of more the index of the most probable; of equally
    probable ones the first, whatever the last digits are, as in the ONNX file.
    """
    if raw.ndim == 1 or raw.shape[1] == 1:
        return raw.reshape(-1)
    if raw.shape[1] == 2:
        return raw[:, 1]
    result: Scores = np.floor(raw * _TIE + 0.5).argmax(axis=1).astype(np.float64)
    return result


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
    unknown = set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED)
    if unknown:
        raise Refused(
            f"{config.key}: the file holds types that are not trusted, {', '.join(sorted(unknown))}: "
            "a model is made of estimators of scikit-learn"
        )
    estimator = skops.io.loads(content, trusted=list(TRUSTED))
    ask = estimator.predict_proba if config.task == "classification" else estimator.predict
    if not hasattr(estimator, "feature_names_in_"):  # it was fitted on a matrix
        return lambda batch: ask(tables.matrix(batch, features))
    # By name, in the order in which it was fitted.
    names = list(estimator.feature_names_in_)
    return lambda batch: ask(tables.frame(batch, features)[names])


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
