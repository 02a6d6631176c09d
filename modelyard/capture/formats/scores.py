"""What a model says, as the one number per row that is its prediction."""

import numpy as np
import numpy.typing as npt

from modelyard.capture.errors import PublishError
from modelyard.capture.formats.captured import Scores

# Probabilities are as good as equal within one part of this.
TIE = 1e5


def positive_or_index(raw: npt.ArrayLike, classes: tuple[str, ...] | None) -> Scores:
    """Return predictions of shape [rows].

    Args:
        raw: numbers of shape [rows] or [rows, 1], or with classes their probabilities, [rows, classes].
        classes: names of the classes of a classifier.

    Raises:
        PublishError: there is more than one number per row, and no classes.
    """
    values = np.asarray(raw, np.float64)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1:
        return values
    if classes is None or values.shape[1] != len(classes):
        expected = f"{len(classes)} classes" if classes else "one"
        raise PublishError(
            f"The model gives {values.shape[1]} numbers for a row, not {expected}; "
            "publish one model per target"
        )
    if len(classes) == 2:
        return np.ascontiguousarray(values[:, 1])
    # Of equally probable classes the first, whatever the last digits are; so does the ONNX graph.
    result: Scores = np.floor(values * TIE + 0.5).argmax(axis=1).astype(np.float64)
    return result
