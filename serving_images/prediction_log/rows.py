"""Entries as the rows of the prediction-log table, in Arrow: for the shipper and for jobs."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, repeat
from types import NoneType
from typing import Any

import pyarrow as pa

from serving_images.prediction_log.entry import Entry, LogSchema

_TIMESTAMP = pa.timestamp("us", tz="UTC")
_TYPES = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp": _TIMESTAMP,
}
# Of other types Arrow would take some as well, and cut 5.5 to 5.
_FAST: dict[str, set[type]] = {
    "bool": {bool, NoneType},
    "int64": {int, NoneType},
    "float64": {float, int, NoneType},
    "string": {str, NoneType},
    "timestamp": {int, NoneType},
}
_YEAR_1_US = -62_135_596_800_000_000
_YEAR_10000_US = 253_402_300_800_000_000
_FLAGS = pa.list_(pa.field("item", pa.string(), nullable=False))


def arrow_schema(schema: LogSchema) -> pa.Schema:
    """Return the Arrow schema of the rows: that of `modelyard.tables.prediction_log`."""
    columns = schema.columns or schema.features
    return pa.schema(
        [
            pa.field("prediction_id", pa.string(), nullable=False),
            pa.field("time", _TIMESTAMP, nullable=False),
            pa.field("team", pa.string(), nullable=False),
            pa.field("model", pa.string(), nullable=False),
            pa.field("version", pa.int64(), nullable=False),
            pa.field("pattern", pa.string(), nullable=False),
            pa.field("caller", pa.string()),
            pa.field("features", pa.struct([pa.field(name, _TYPES[kind]) for name, kind in columns])),
            pa.field("prediction", _TYPES[schema.prediction]),
            pa.field("latency_ms", pa.float64()),
            pa.field("flags", _FLAGS, nullable=False),
            pa.field("image_digest", pa.string()),
            pa.field("code_digest", pa.string()),
            pa.field("trace_id", pa.string()),
        ]
    )


def log_table(
    schema: LogSchema,
    *,
    ids: Sequence[str] | pa.Array,
    time_us: int | Sequence[int],
    features: pa.RecordBatch | Mapping[str, pa.Array],
    predictions: pa.Array,
    caller: str | Sequence[str | None] | None = None,
    trace_id: str | Sequence[str | None] | None = None,
    latency_ms: float | pa.Array | None = None,
    flags: Sequence[Sequence[str]] | None = None,
) -> pa.Table:
    """Return n rows of the log.

    Args:
        schema: what they share.
        ids: n ids.
        time_us: time of the answers, microseconds since 1970, UTC; one for all or n.
        features: columns of n values; those that `schema` does not know are left out, others are null.
        predictions: n values.
        caller: who asked; one for all or n.
        trace_id: trace; one for all or n.
        latency_ms: milliseconds from request to answer; one for all or n.
        flags: n lists; None: no row has any.

    Raises:
        pyarrow.ArrowException: a column does not fit the schema.
    """
    count = len(ids)
    arrow = arrow_schema(schema)
    given = (
        dict(zip(features.schema.names, features.columns, strict=True))
        if isinstance(features, pa.RecordBatch)
        else features
    )
    struct = arrow.field("features").type
    children = [
        _cast(given[field.name], field.type) if field.name in given else pa.nulls(count, field.type)
        for field in struct
    ]
    columns = {
        "prediction_id": pa.array(ids, pa.string()),
        "time": _spread(time_us, count, _TIMESTAMP),
        "team": pa.repeat(schema.team, count),
        "model": pa.repeat(schema.model, count),
        "version": pa.repeat(pa.scalar(schema.version, pa.int64()), count),
        "pattern": pa.repeat(schema.pattern, count),
        "caller": _spread(caller, count, pa.string()),
        "features": pa.StructArray.from_arrays(children, fields=list(struct)),
        "prediction": _cast(predictions, _TYPES[schema.prediction]),
        "latency_ms": _spread(latency_ms, count, pa.float64()),
        "flags": _flags(flags, count),
        "image_digest": _spread(schema.image_digest, count, pa.string()),
        "code_digest": _spread(schema.code_digest, count, pa.string()),
        "trace_id": _spread(trace_id, count, pa.string()),
    }
    return pa.table([columns[name] for name in arrow.names], schema=arrow)


def _cast(array: Any, kind: pa.DataType) -> Any:
    # A cast, even to the same type, loads Arrow's compute functions: 8 MB that the shipper can do without.
    return array if array.type == kind else array.cast(kind)


def _spread(value: Any, count: int, kind: pa.DataType) -> pa.Array:
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return _cast(value, kind)
    if isinstance(value, list):
        return pa.array(value, kind)
    return pa.repeat(pa.scalar(value, kind), count)


def _flags(flags: Sequence[Sequence[str]] | None, count: int) -> pa.Array:
    if flags is not None and any(flags):
        return pa.array(flags, _FLAGS)
    offsets = pa.repeat(pa.scalar(0, pa.int32()), count + 1)
    return pa.ListArray.from_arrays(offsets, pa.array([], pa.string()), type=_FLAGS)


def sound(schema: LogSchema, entry: Entry) -> bool:
    """Return whether an entry has as many values as its rows need."""
    count, width = len(entry.ids), len(schema.features)
    features, predictions = entry.features, entry.predictions
    return (
        (
            len(features) == count * width
            if isinstance(features, list)
            else _matrix_size(features, count * width) > 0
        )
        and (
            len(predictions) == count
            if isinstance(predictions, list)
            else _matrix_size(predictions, count) > 0
        )
        and (entry.flags is None or len(entry.flags) == count)
        and count > 0
    )


def _matrix_size(data: bytes, values: int) -> int:
    """Return the bytes of one value, 4 or 8; 0 where the length fits neither."""
    return next((size for size in (4, 8) if len(data) == size * values), 0)


def from_entries(schema: LogSchema, entries: Sequence[Entry]) -> pa.Table:
    """Return the rows of sound entries of one schema.

    A value that does not fit the type of its column becomes null, and its row gets the flag
    `mistyped:<feature>`: no row is lost over one.
    """
    parts = []
    for packed in (False, True):
        chosen = [entry for entry in entries if isinstance(entry.features, bytes) == packed]
        if chosen:
            parts.append(_rows(schema, chosen, packed))
    return pa.concat_tables(parts) if parts else arrow_schema(schema).empty_table()


def _rows(schema: LogSchema, entries: list[Entry], packed: bool) -> pa.Table:
    counts = [len(entry.ids) for entry in entries]
    count, width = sum(counts), len(schema.features)
    columns: list[Any]
    if packed:
        import pyarrow.compute as pc

        matrix = pa.concat_arrays([_floats(entry.features, len(entry.ids) * width) for entry in entries])
        rows = pa.FixedSizeListArray.from_arrays(matrix, width)
        columns = [pc.list_element(rows, index) for index in range(width)]
    else:
        values = list(chain.from_iterable(entry.features for entry in entries))
        columns = [values[index::width] for index in range(width)]
    flags: list[list[str]] | None = None
    if any(entry.flags for entry in entries):
        flags = []
        for entry in entries:
            flags += entry.flags or [[] for _ in entry.ids]
    features = {}
    bad: list[tuple[str, list[int]]] = []
    for (name, kind), column in zip(schema.features, columns, strict=True):
        features[name], wrong = _column(column, kind)
        bad.append((name, wrong))
    if all(isinstance(entry.predictions, bytes) for entry in entries):
        answers: Any = pa.concat_arrays([_floats(entry.predictions, len(entry.ids)) for entry in entries])
    else:
        answers = list(chain.from_iterable(_listed(entry) for entry in entries))
    predictions, wrong = _column(answers, schema.prediction)
    bad.append(("prediction", wrong))
    for name, rows in bad:
        for row in rows:
            flags = flags if flags is not None else [[] for _ in range(count)]
            flags[row] = [*flags[row], f"mistyped:{name}"]
    return log_table(
        schema,
        ids=list(chain.from_iterable(entry.ids for entry in entries)),
        time_us=_each(entries, counts, lambda entry: entry.time_us),
        features=features,
        predictions=predictions,
        caller=_each(entries, counts, lambda entry: entry.caller),
        trace_id=_each(entries, counts, lambda entry: entry.trace_id),
        latency_ms=pa.array(
            _each(entries, counts, lambda e: None if e.latency_us < 0 else e.latency_us / 1000), pa.float64()
        ),
        flags=flags,
    )


def _each(entries: list[Entry], counts: list[int], value: Callable[[Entry], Any]) -> list[Any]:
    """Return each entry's value once per row."""
    if len(counts) == sum(counts):
        return [value(entry) for entry in entries]
    return list(
        chain.from_iterable(repeat(value(entry), count) for entry, count in zip(entries, counts, strict=True))
    )


def _listed(entry: Entry) -> list[Any]:
    if isinstance(entry.predictions, bytes):
        listed: list[Any] = _floats(entry.predictions, len(entry.ids)).to_pylist()
        return listed
    return entry.predictions


def _floats(data: Any, values: int) -> pa.Array:
    kind = pa.float32() if _matrix_size(data, values) == 4 else pa.float64()
    return pa.Array.from_buffers(kind, values, [None, pa.py_buffer(data)]).cast(pa.float64())


def _column(values: Any, kind: str) -> tuple[pa.Array, list[int]]:
    """Return values as an array, NaN as null, and the places of those that do not fit."""
    target = _TYPES[kind]
    try:
        if isinstance(values, pa.Array):
            return _from_floats(values, target), []
        if set(map(type, values)) <= _FAST[kind]:
            array = pa.array(values, type=target, from_pandas=kind == "float64")  # NaN is null
            if kind != "timestamp" or _within_years(array):
                return array, []
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    wrong = []
    fitting = []
    for index, value in enumerate(values.to_pylist() if isinstance(values, pa.Array) else values):
        try:
            fitting.append(_fitted(value, kind))
        except (TypeError, ValueError, OverflowError):
            fitting.append(None)
            wrong.append(index)
    return pa.array(fitting, type=target), wrong


def _without_nan(array: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    nan = pc.is_nan(array)
    return pc.if_else(nan, pa.scalar(None, array.type), array) if pc.any(nan).as_py() else array


def _within_years(array: pa.Array) -> bool:
    """Return whether timestamps are of years that BigQuery has."""
    import pyarrow.compute as pc

    ends = pc.min_max(array.cast(pa.int64()))
    first, last = ends["min"].as_py(), ends["max"].as_py()
    return first is None or (first >= _YEAR_1_US and last < _YEAR_10000_US)


def _from_floats(values: Any, target: pa.DataType) -> pa.Array:
    import pyarrow.compute as pc

    array = _without_nan(values)
    if pa.types.is_boolean(target):
        if not pc.all(pc.is_in(array, pa.array([0.0, 1.0, None]))).as_py():
            raise ValueError("a bool is 0 or 1")
        return pc.equal(array, 1.0)
    if pa.types.is_timestamp(target):
        array = array.cast(pa.int64()).cast(target)
        if not _within_years(array):
            raise ValueError("no year that BigQuery has")
        return array
    if pa.types.is_string(target):
        raise TypeError("a number is no string")
    return array.cast(target)


def _fitted(value: Any, kind: str) -> Any:
    """Return a value as the column takes it, or raise."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if kind == "bool" and value in (0, 1):
        return bool(value)
    if (
        kind == "int64"
        and isinstance(value, int | float)
        and int(value) == value
        and -(2**63) <= value < 2**63
    ):
        return int(value)
    if kind == "float64" and isinstance(value, int | float):
        return float(value)
    if kind == "string" and isinstance(value, str):
        value.encode()  # a lone surrogate is no text
        return value
    if kind == "timestamp":
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and int(value) == value
            and _YEAR_1_US <= value < _YEAR_10000_US
        ):
            return int(value)
    raise ValueError(f"{value!r} is no {kind}")
