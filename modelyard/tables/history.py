"""Schemas only grow: the released form of the shared tables, and what a change to it may not do."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from modelyard.tables.table import Column, Mode, Table, TableError

LOCK = Path(__file__).with_name("schemas.lock.json")
COMMAND = "python -m modelyard.tables"

Schemas = dict[str, dict[str, Any]]


def described(tables: Iterable[Table]) -> Schemas:
    """Return what is fixed about released tables: columns with type and mode, and partitioning."""
    return {
        f"{table.dataset}.{table.name}": {
            "columns": {path: _kind(column) for path, column in table.paths.items()},
            "partition": f"{table.partition.granularity} {table.partition.column}",
        }
        for table in tables
    }


def _kind(column: Column) -> str:
    return f"{column.mode} {column.type}"


def read(path: Path = LOCK) -> Schemas:
    """Return the released schemas."""
    schemas: Schemas = json.loads(path.read_text(encoding="utf-8"))
    return schemas


def rendered(tables: Iterable[Table]) -> str:
    """Return the text of the lock file for `tables`."""
    return json.dumps(described(tables), indent=2, sort_keys=True) + "\n"


def breaks(released: Schemas, current: Schemas) -> list[str]:
    """Return what in `current` would lose or refuse data that `released` holds; empty if it only grows."""
    found = []
    for table, before in released.items():
        after = current.get(table)
        if after is None:
            found.append(f"{table}: the table was removed")
            continue
        if after["partition"] != before["partition"]:
            found.append(f"{table}: partitioning changed from {before['partition']} to {after['partition']}")
        for path, kind in before["columns"].items():
            now = after["columns"].get(path)
            if now is None:
                found.append(f"{table}.{path}: the column was removed")
            elif now != kind and not _relaxed(kind, now):
                found.append(f"{table}.{path}: changed from {kind} to {now}")
        for path in after["columns"].keys() - before["columns"].keys():
            parent = path.rpartition(".")[0]
            required = after["columns"][path].startswith(Mode.REQUIRED)
            if required and (not parent or parent in before["columns"]):
                found.append(
                    f"{table}.{path}: a new column cannot be REQUIRED, the rows already there lack it"
                )
    return sorted(found)


def _relaxed(before: str, after: str) -> bool:
    """A REQUIRED column may become NULLABLE."""
    return before.startswith(Mode.REQUIRED) and after == before.replace(Mode.REQUIRED, Mode.NULLABLE, 1)


def check(tables: Iterable[Table], path: Path = LOCK) -> None:
    """Refuse a change to the shared tables that is not an addition.

    Raises:
        TableError: with every column that was removed or retyped.
    """
    found = breaks(read(path), described(tables))
    if found:
        raise TableError("schemas only grow:\n  " + "\n  ".join(found))
