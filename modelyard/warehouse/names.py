"""References of tables and names of additions: what both warehouses take."""

import re
from typing import TYPE_CHECKING, NamedTuple

from modelyard.tables import Table, arrow_schema
from modelyard.warehouse.errors import WarehouseError

if TYPE_CHECKING:
    import pyarrow as pa

    from modelyard.naming import Names

_PART = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_REF = re.compile(rf"({_PART})\.({_PART})\.([A-Za-z0-9_][A-Za-z0-9_-]*)")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=-]{0,199}")


class Ref(NamedTuple):
    """A table."""

    project: str
    dataset: str
    table: str

    def __str__(self) -> str:
        return ".".join(self)


def reference(names: "Names", table: Table) -> str:
    """Return the reference of a table that all teams share, in the environment's project."""
    return f"{names.project}.{names.dataset(table.dataset)}.{table.name}"


def parse(ref: str) -> Ref:
    """Return the parts of `project.dataset.table`.

    Raises:
        WarehouseError: it is not of that form.
    """
    match = _REF.fullmatch(ref)
    if not match:
        raise WarehouseError(f"{ref!r} is no table: write project.dataset.table")
    return Ref(*match.groups())


def checked_name(name: str) -> str:
    """Return `name`, of an addition.

    Raises:
        WarehouseError: it could not be a file's name.
    """
    if not _NAME.fullmatch(name):
        raise WarehouseError(
            f"{name!r} cannot name an addition: up to 200 letters, digits and . _ = -, no point in front"
        )
    return name


def conform(ref: str, table: Table, rows: "pa.Table") -> "pa.Table":
    """Return `rows` in the columns and types of `table`; nullable columns that they lack are null.

    Raises:
        WarehouseError: a column is unknown, missing, of another type, or null where a value is required.
    """
    import pyarrow as pa

    schema = arrow_schema(table)
    if unknown := sorted(set(rows.column_names) - set(schema.names)):
        raise WarehouseError(f"{ref}: the table has no column {', '.join(unknown)}")
    columns = []
    for field in schema:
        if field.name not in rows.column_names:
            if not field.nullable and not pa.types.is_list(field.type):
                raise WarehouseError(f"{ref}: the rows lack the column {field.name}")
            empty = pa.scalar([] if pa.types.is_list(field.type) else None, field.type)
            columns.append(pa.repeat(empty, rows.num_rows))
            continue
        column = rows.column(field.name)
        try:
            column = column if column.type.equals(field.type) else column.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise WarehouseError(f"{ref}: column {field.name} does not fit: {error}") from None
        if not field.nullable and column.null_count:
            raise WarehouseError(f"{ref}: column {field.name} needs a value in every row")
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)
