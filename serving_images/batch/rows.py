"""What a batch writes: rows of the prediction log, and rows of the table of predictions.

What all rows of a batch share is a dictionary of one value, so that it costs nothing to make or to write.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelyard.tables import Column, Mode, Partition, Table, Type
from serving_images.batch.plan import Plan
from serving_images.runtime import tables
from serving_images.runtime.config import Config

TIME = pa.timestamp("us", tz="UTC")
_TYPES = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp": TIME,
}
_BLOCK = 1 << 16
# The numbers below 65,536 as four hexadecimal digits each.
_DIGITS = np.frombuffer("".join(f"{number:04x}" for number in range(_BLOCK)).encode(), np.uint8).reshape(
    -1, 4
)


class Ids:
    """Prediction ids of one stream of a run: the same for the same row, whoever computes them.

    They are UUIDs of version 7: the time is the run's start, 26 bits come from a digest of the run's name,
    and the rest are the numbers of stream (16 bits) and row (32 bits).

    Args:
        plan: the run.
        stream: number of the stream.
    """

    def __init__(self, plan: Plan, stream: int) -> None:
        if stream >= _BLOCK:
            raise ValueError(f"stream {stream}: a run has at most {_BLOCK} streams")
        name = f"{plan.team}\n{plan.model}\n{plan.run}"
        drawn = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 6
        millisecond = plan.started_us // 1000
        prefix = (
            f"{millisecond >> 16:08x}-{millisecond & 0xFFFF:04x}-7{drawn >> 14:03x}-"
            f"{0x8000 | drawn & 0x3FFF:04x}-{stream:04x}"
        )
        self._prefix = np.frombuffer(prefix.encode(), np.uint8)

    def take(self, first: int, count: int) -> pa.StringArray:
        """Return the ids of `count` rows from number `first` on."""
        text = np.empty((count, 36), np.uint8)
        text[:, :28] = self._prefix
        done = 0
        while done < count:
            high, low = divmod(first + done, _BLOCK)
            step = min(_BLOCK - low, count - done)
            text[done : done + step, 28:32] = _DIGITS[high]
            text[done : done + step, 32:] = _DIGITS[low : low + step]
            done += step
        offsets = np.arange(0, 36 * (count + 1), 36, dtype=np.int32)
        return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))


def predictions(config: Config, scores: npt.NDArray[Any], unfit: npt.NDArray[np.bool_] | None) -> pa.Array:
    """Return the predictions, of the signature's type, that a model's scores stand for.

    The score of a classifier of two classes is the probability of the second; where the prediction is no
    number, the class is at one half. Of more classes the score is the index of the most probable. A row that
    is unfit, and a score that is not finite, give null.
    """
    wanted = config.signature.prediction
    scores = scores.astype(np.float64)
    finite = np.isfinite(scores)
    if unfit is not None:
        finite &= ~unfit
    missing = None if finite.all() else ~finite
    if wanted.type == "float64":
        return pa.array(scores, mask=missing)
    if wanted.type == "int64":
        return pa.array(np.rint(np.where(finite, scores, 0)).astype(np.int64), mask=missing)
    classes = pa.array(wanted.classes or (), pa.string())
    if len(classes) > 2:
        return classes.take(pa.array(np.where(finite, scores, 0).astype(np.int32), mask=missing))
    second = scores >= 0.5
    if wanted.type == "bool":
        return pa.array(second, mask=missing)
    return classes.take(pa.array(second.astype(np.int8), mask=missing))


@dataclass(frozen=True)
class RowMaker:
    """Makes rows for both tables, in their columns and order.

    Attributes:
        config: the version's settings.
        plan: the run.
    """

    config: Config
    plan: Plan

    @cached_property
    def log_schema(self) -> pa.Schema:
        """Schema of the log's rows, as `modelyard.tables.prediction_log` has it."""
        return self._log(
            pa.array([], pa.string()), 0, self._no_features, self._no_prediction, tables.listed({}, 0)
        ).schema

    @cached_property
    def output_schema(self) -> pa.Schema:
        """Schema of the predictions' rows, as `modelyard.tables.batch_output` has it."""
        return self._output(pa.array([], pa.string()), 0, None, self._no_prediction).schema

    def rows(
        self,
        ids: pa.Array,
        time_us: int,
        features: pa.RecordBatch,
        keys: pa.Array | None,
        answers: pa.Array,
        flags: pa.ListArray,
    ) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Return the rows for the log and those for the table of predictions.

        Args:
            ids: of the rows.
            time_us: when they were scored, microseconds since 1970, UTC.
            features: typed, in the signature's order.
            keys: what the source calls the rows; None: nothing.
            answers: of the signature's type.
            flags: of each row.
        """
        return (
            self._log(ids, time_us, features, answers, flags),
            self._output(ids, time_us, keys, answers),
        )

    def _log(
        self,
        ids: pa.Array,
        time_us: int,
        features: pa.RecordBatch,
        answers: pa.Array,
        flags: pa.ListArray,
    ) -> pa.RecordBatch:
        config, count = self.config, len(ids)
        text = pa.string()
        columns = {
            "prediction_id": ids,
            "time": _same(time_us, TIME, count),
            "team": _same(config.team, text, count),
            "model": _same(config.model, text, count),
            "version": _same(config.version, pa.int64(), count),
            "pattern": _same("batch", text, count),
            "caller": pa.nulls(count, text),
            "features": pa.StructArray.from_arrays(features.columns, fields=list(features.schema)),
            "prediction": answers,
            "latency_ms": pa.nulls(count, pa.float64()),
            "flags": flags,
            "image_digest": _same(config.image_digest or None, text, count),
            "code_digest": _same(config.manifest_digest or None, text, count),
            "trace_id": pa.nulls(count, text),
        }
        return pa.RecordBatch.from_arrays(
            list(columns.values()),
            schema=pa.schema(
                [pa.field(name, column.type, name not in _REQUIRED) for name, column in columns.items()]
            ),
        )

    def _output(
        self, ids: pa.Array, time_us: int, keys: pa.Array | None, answers: pa.Array
    ) -> pa.RecordBatch:
        count, text = len(ids), pa.string()
        columns = {
            "prediction_id": ids,
            "time": _same(time_us, TIME, count),
            "run": _same(self.plan.run, text, count),
            "version": _same(self.config.version, pa.int64(), count),
            "row_id": pa.nulls(count, text) if keys is None else keys.cast(text),
            "prediction": answers,
        }
        return pa.RecordBatch.from_arrays(
            list(columns.values()),
            schema=pa.schema(
                [pa.field(name, column.type, name not in _REQUIRED) for name, column in columns.items()]
            ),
        )

    @property
    def _no_features(self) -> pa.RecordBatch:
        kinds = [pa.field(f.name, _TYPES[f.type]) for f in self.config.signature.features]
        return pa.RecordBatch.from_pylist([], schema=pa.schema(kinds))

    @property
    def _no_prediction(self) -> pa.Array:
        return pa.array([], _TYPES[self.config.signature.prediction.type])


_REQUIRED = {"prediction_id", "time", "team", "model", "version", "pattern", "run", "flags"}


def _same(value: Any, kind: pa.DataType, count: int) -> pa.Array:
    """Return `value` for each of `count` rows."""
    if value is None:
        return pa.nulls(count, kind)
    indices = pa.array(np.zeros(count, np.int8))
    return pa.DictionaryArray.from_arrays(indices, pa.array([value], kind))


def definition(ref: str, schema: pa.Schema) -> Table:
    """Return the table `ref` as far as a batch writes it: a log also has the features of other versions."""
    return Table(
        name=ref.rpartition(".")[2],
        dataset="predictions",
        description="",
        columns=tuple(_column(field) for field in schema),
        partition=Partition("time"),
    )


def _column(field: pa.Field) -> Column:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    mode = Mode.NULLABLE if field.nullable else Mode.REQUIRED
    if pa.types.is_list(kind):
        return Column(field.name, Type.STRING, "", Mode.REPEATED)
    if pa.types.is_struct(kind):
        return Column(field.name, Type.RECORD, "", mode, fields=tuple(_column(child) for child in kind))
    return Column(field.name, next(Type(name.upper()) for name, t in _TYPES.items() if t == kind), "", mode)
