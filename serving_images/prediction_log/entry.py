"""What is logged: entries, one per request with all its rows, and the schema that types them."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

# Types of a feature or prediction, as in a manifest.
TYPES = ("bool", "int64", "float64", "string", "timestamp")


class LogSchema(msgspec.Struct, frozen=True, kw_only=True):
    """What all rows of one model version and pattern share; every segment carries it."""

    table: str
    """`project.dataset.table`."""
    team: str
    model: str
    version: int
    pattern: str
    """`rest`, `batch` or `streaming`."""
    features: tuple[tuple[str, str], ...]
    """Name and type of the features, in the signature's order: the order of `Entry.features`."""
    prediction: str
    """Type of the prediction."""
    columns: tuple[tuple[str, str], ...] = ()
    """Name and type of all features of the table, of other versions too, in its order; empty: `features`."""
    image_digest: str | None = None
    code_digest: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be shipped."""
        where = f"log schema of {self.team}/{self.model} version {self.version}"
        for name, kind in (*self.features, *self.columns, ("prediction", self.prediction)):
            if kind not in TYPES:
                raise ValueError(f"{where}: {name} has type {kind!r}; it must be one of {', '.join(TYPES)}")
        if len({name for name, _ in self.features}) < len(self.features):
            raise ValueError(f"{where}: a feature is listed twice")
        columns = dict(self.columns or self.features)
        for name, kind in self.features:
            if columns.get(name) != kind:
                raise ValueError(f"{where}: feature {name} ({kind}) is not a column of {self.table}")


class Entry(msgspec.Struct, array_like=True, gc=False):
    """One request: n rows of one schema."""

    time_us: int
    """Time of the answer, microseconds since 1970, UTC."""
    latency_us: int
    """From request to answer; -1 where it has no meaning."""
    caller: str | None
    """Identity that asked."""
    trace_id: str | None
    """Trace of the request, as W3C Trace Context gives it."""
    ids: list[str]
    """Ids of the n rows, given at ingress by `modelyard.prediction_id`."""
    features: list[Any] | bytes
    """All values, row after row: n * k, features in the signature's order; None is missing.

    Or, where all are numbers, the bytes of a little-endian float32 or float64 matrix [n, k]; NaN is missing.
    A timestamp is in microseconds since 1970.
    """
    predictions: list[Any] | bytes
    """n values, or the bytes of n little-endian float32 or float64."""
    flags: list[list[str]] | None = None
    """Flags of each of the n rows; None: none has any."""


encode: Callable[[Sequence[Entry]], bytes] = msgspec.msgpack.Encoder().encode
"""Return entries of one schema as bytes, for `PredictionLog.append`."""
decode: Callable[[bytes | memoryview], list[Entry]] = msgspec.msgpack.Decoder(list[Entry]).decode
"""Return entries from bytes; raises msgspec.DecodeError."""
