"""What capturing a model gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

_LINE = 300
Scores = npt.NDArray[np.float64]
Inputs = Literal["matrix", "columns"]


def reason(converter: str, error: Exception) -> str:
    """Return why a converter did not take a model, in a line: some put whole stack traces into messages."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"{converter}: {first if len(first) <= _LINE else first[:_LINE] + '...'}"


@dataclass(frozen=True)
class Captured:
    """A model as files. What it answers is one number per row.

    That number is the prediction of a regression, the probability of the second of two classes, or the index
    of the most probable of more classes.
    """

    format: Literal["onnx", "xgboost", "lightgbm", "skops"]
    native: bytes
    """The native file; with format `onnx` the ONNX model itself."""
    suffix: str
    """Suffix of the native file."""
    online: bytes | None
    """The ONNX model, where the native file is of another format."""
    score: Callable[[pd.DataFrame], Scores] | None
    """Asks what was loaded again from the native file; None where that is the ONNX model."""
    why_not_online: str = ""
    """Why there is no ONNX model."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Parameter of the training -> value, as the library tells."""

    @property
    def onnx(self) -> bytes | None:
        """The ONNX model, if there is one."""
        return self.native if self.format == "onnx" else self.online
