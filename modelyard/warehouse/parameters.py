"""Parameters of statements: a Python or Arrow value with its type in BigQuery."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from modelyard.warehouse.errors import WarehouseError


@dataclass(frozen=True)
class Parameter:
    """A value for `@name`. `type` is of the value, or, where `repeated`, of the elements of its list."""

    type: str
    repeated: bool
    value: Any

    @property
    def sql_type(self) -> str:
        """Its type as a statement writes it."""
        return f"ARRAY<{self.type}>" if self.repeated else self.type


def typed(given: Mapping[str, Any]) -> dict[str, Parameter]:
    """Return the parameters with their types.

    Raises:
        WarehouseError: a value has no type in BigQuery, or none can be told.
    """
    return {name: _typed(name, value) for name, value in given.items()}


def _typed(name: str, value: Any) -> Parameter:
    if hasattr(value, "as_py") or hasattr(value, "to_pylist"):
        return _arrow(name, value)
    if not isinstance(value, list | tuple):
        return Parameter(_type(name, value), False, _plain(value))
    types = {_type(name, item) for item in value}
    if types == {"INT64", "FLOAT64"}:
        types = {"FLOAT64"}
    if len(types) != 1:
        what = f"a list of {' and '.join(sorted(types))}" if types else "an empty list: give an Arrow array"
        raise WarehouseError(f"parameter {name}: {what}")
    return Parameter(types.pop(), True, [_plain(item) for item in value])


def _type(name: str, value: Any) -> str:
    match value:
        case bool():
            return "BOOL"
        case int():
            return "INT64"
        case float():
            return "FLOAT64"
        case str():
            return "STRING"
        case datetime():
            if value.tzinfo is None:
                raise WarehouseError(f"parameter {name}: a time without a time zone")
            return "TIMESTAMP"
        case date():
            return "DATE"
        case None:
            raise WarehouseError(f"parameter {name}: null without a type: give an Arrow scalar")
    raise WarehouseError(f"parameter {name}: no type for {type(value).__name__}")


def _plain(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def _arrow(name: str, value: Any) -> Parameter:
    import pyarrow as pa

    repeated = hasattr(value, "to_pylist")
    kinds = {
        "BOOL": pa.types.is_boolean,
        "INT64": pa.types.is_integer,
        "FLOAT64": pa.types.is_floating,
        "STRING": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
        "TIMESTAMP": lambda kind: pa.types.is_timestamp(kind) and kind.tz is not None,
        "DATE": pa.types.is_date,
    }
    for kind, fits in kinds.items():
        if fits(value.type):
            return Parameter(kind, repeated, value.to_pylist() if repeated else value.as_py())
    raise WarehouseError(f"parameter {name}: no type for Arrow's {value.type}")
