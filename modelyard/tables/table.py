"""What a table is: typed columns, partitioning and clustering, checked when it is made."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from modelyard.spec.base import Sensitivity


class Type(StrEnum):
    """Column types, in BigQuery's words."""

    BOOL = "BOOL"
    INT64 = "INT64"
    FLOAT64 = "FLOAT64"
    STRING = "STRING"
    TIMESTAMP = "TIMESTAMP"
    RECORD = "RECORD"


class Mode(StrEnum):
    """Whether a column may be null, must have a value, or holds many."""

    NULLABLE = "NULLABLE"
    REQUIRED = "REQUIRED"
    REPEATED = "REPEATED"


class Granularity(StrEnum):
    """Length of a time partition."""

    HOUR = "HOUR"
    DAY = "DAY"
    MONTH = "MONTH"


class TableError(ValueError):
    """A table that BigQuery would refuse, or a change that would lose data."""


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
# BigQuery keeps these for itself, in any case.
_RESERVED_PREFIXES = ("_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier")
_MAX_CLUSTERING = 4
DESCRIPTION = 1024  # characters of a column's


@dataclass(frozen=True)
class Column:
    """One column.

    `policy_tag` restricts who reads the values in clear; BigQuery takes tags on leaves only, not on a record.
    """

    name: str
    type: Type
    description: str
    mode: Mode = Mode.NULLABLE
    policy_tag: Sensitivity | None = None
    fields: tuple["Column", ...] = ()

    def __post_init__(self) -> None:
        """Refuse what BigQuery would refuse."""
        if not _NAME.fullmatch(self.name) or self.name.lower().startswith(_RESERVED_PREFIXES):
            raise TableError(f"column {self.name!r}: not a name that BigQuery takes")
        if (self.type is Type.RECORD) != bool(self.fields):
            raise TableError(f"column {self.name}: a RECORD has fields, and nothing else has")
        if self.type is Type.RECORD and self.policy_tag:
            raise TableError(f"column {self.name}: a policy tag belongs on the fields of a record")
        if len(self.description) > DESCRIPTION:
            raise TableError(f"column {self.name}: its description has more than {DESCRIPTION} characters")
        _check_unique(self.name, self.fields)


@dataclass(frozen=True)
class Partition:
    """Partitioning by a timestamp column."""

    column: str
    granularity: Granularity = Granularity.DAY
    require_filter: bool = False


@dataclass(frozen=True)
class Table:
    """One table. `dataset` is its purpose: metadata, predictions or monitoring."""

    name: str
    dataset: str
    description: str
    columns: tuple[Column, ...]
    partition: Partition
    clustering: tuple[str, ...] = ()
    paths: dict[str, Column] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        """Refuse what BigQuery would refuse."""
        _check_unique(self.name, self.columns)
        columns = {column.name: column for column in self.columns}
        by = columns.get(self.partition.column)
        if by is None or by.type is not Type.TIMESTAMP or by.mode is Mode.REPEATED:
            raise TableError(
                f"table {self.name}: partition column {self.partition.column} is no TIMESTAMP of it"
            )
        if len(self.clustering) > _MAX_CLUSTERING:
            raise TableError(f"table {self.name}: BigQuery clusters by {_MAX_CLUSTERING} columns at most")
        for name in self.clustering:
            if name not in columns or columns[name].type in (Type.RECORD, Type.FLOAT64):
                raise TableError(f"table {self.name}: cannot cluster by {name}")
        object.__setattr__(self, "paths", dict(_walk(self.columns)))

    @property
    def policy_tags(self) -> frozenset[Sensitivity]:
        """Levels whose policy tags the table's columns carry."""
        return frozenset(column.policy_tag for column in self.paths.values() if column.policy_tag)


def _check_unique(owner: str, columns: tuple[Column, ...]) -> None:
    """BigQuery compares column names without case."""
    seen: dict[str, str] = {}
    for column in columns:
        other = seen.setdefault(column.name.lower(), column.name)
        if other is not column.name:
            raise TableError(f"{owner}: {other} and {column.name} are one name to BigQuery")


def _walk(columns: tuple[Column, ...], prefix: str = "") -> Iterator[tuple[str, Column]]:
    for column in columns:
        yield prefix + column.name, column
        yield from _walk(column.fields, f"{prefix}{column.name}.")
