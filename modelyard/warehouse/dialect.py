"""One SQL: statements in BigQuery's dialect, made ready for BigQuery and translated for DuckDB.

sqlglot translates. What it would translate to something that gives other results is corrected here, or
refused with a `WarehouseError`; `docs/decisions/0009-one-sql-two-engines.md` lists what stays different.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from modelyard.tables import Granularity, Table
from modelyard.warehouse.errors import WarehouseError
from modelyard.warehouse.names import parse
from modelyard.warehouse.parameters import Parameter

if TYPE_CHECKING:
    from modelyard.warehouse import Days


@dataclass(frozen=True)
class Statement:
    """A statement ready to run."""

    sql: str
    parameters: frozenset[str]
    """Names of the parameters that it has."""


def read(sql: str) -> exp.Query:
    """Return the tree of one SELECT in BigQuery's dialect.

    Raises:
        WarehouseError: it is none.
    """
    try:
        trees = [tree for tree in sqlglot.parse(sql, read="bigquery") if tree is not None]
    except SqlglotError as error:
        raise WarehouseError(f"the statement cannot be read: {_first_line(error)}") from None
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise WarehouseError("the statement must be one SELECT")
    return trees[0]


def references(tree: exp.Expr) -> dict[str, list[exp.Table]]:
    """Return the tables that a statement reads, by reference; its WITH names are none.

    Raises:
        WarehouseError: a table is not named in full.
    """
    names = {cte.alias_or_name for cte in tree.find_all(exp.CTE)}
    found: dict[str, list[exp.Table]] = {}
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier) or (not table.db and table.name in names):
            continue
        ref = ".".join(part.name for part in table.parts)
        parse(ref)
        found.setdefault(ref, []).append(table)
    return found


def day_range(
    ref: str, tables: Mapping[str, Table], days: "Days | Mapping[str, Days] | None"
) -> "Days | None":
    """Return the first and last day to read of a table, or None: all.

    Raises:
        WarehouseError: days are asked of a table whose partitions are not known to be days.
    """
    definition = tables.get(ref)
    by_day = definition is not None and definition.partition.granularity is not Granularity.MONTH
    if isinstance(days, Mapping):
        if ref in days and not by_day:
            raise WarehouseError(f"{ref}: days need its definition in `tables`, partitioned by day or hour")
        found = days.get(ref)
    else:
        found = days if by_day else None
    if found and found[0] > found[1]:
        raise WarehouseError(f"{ref}: the first day, {found[0]}, is after the last, {found[1]}")
    return found


def for_bigquery(
    sql: str, tables: Mapping[str, Table], days: "Days | Mapping[str, Days] | None"
) -> Statement:
    """Return the statement with each table that `days` restricts confined to these partitions."""
    tree = read(sql)
    parameters = _parameters(tree)
    ranges = {ref: found for ref in references(tree) if (found := day_range(ref, tables, days))}
    if not ranges:
        return Statement(sql, parameters)

    def confined(ref: str, table: exp.Table) -> exp.Expr:
        if ref not in ranges:
            return table
        column, (first, last) = tables[ref].partition.column, ranges[ref]
        return _parsed(
            f"(SELECT * FROM `{ref}` WHERE `{column}` >= TIMESTAMP '{_midnight(first)}' "
            f"AND `{column}` < TIMESTAMP '{_midnight(last + timedelta(days=1))}')",
            "bigquery",
        )

    return Statement(_replaced(tree, confined).sql("bigquery"), parameters)


def for_duckdb(sql: str, parameters: Mapping[str, Parameter], source: Callable[[str], str]) -> Statement:
    """Return the statement in DuckDB's dialect.

    Args:
        sql: in BigQuery's dialect.
        parameters: by name; each is cast to its type.
        source: gives, for a reference, the SELECT in DuckDB's dialect that reads its rows.
    """
    types = tuple(sorted((name, parameter.sql_type) for name, parameter in parameters.items()))
    text, found, names = _translated(sql, types)
    for ref in found:
        text = text.replace(_place_of(ref), f"({source(ref)})")
    return Statement(text, names)


@functools.lru_cache(maxsize=256)
def _translated(sql: str, types: tuple[tuple[str, str], ...]) -> tuple[str, tuple[str, ...], frozenset[str]]:
    """Return the statement in DuckDB's dialect with a place for each table, the tables and the parameters.

    To parse a wide statement costs more than to run it on little data, and monitors repeat theirs.
    """
    tree = read(sql)
    names = _parameters(tree)
    by_name = dict(types)
    for node in reversed(list(tree.walk())):  # from the leaves up
        if (made := _corrected(node, by_name)) is not None:
            node.replace(made)
    read_from = tuple(references(tree))
    made = _replaced(tree, lambda ref, _table: exp.Table(this=_identifier(ref)))
    try:
        text = _generated(made)
        if any(unnest.args.get("offset") for unnest in made.find_all(exp.Unnest)):
            translated = sqlglot.parse_one(text, read="duckdb")
            for unnest in list(translated.find_all(exp.Unnest)):
                if unnest.args.get("offset"):
                    _count_from_zero(unnest)
            text = translated.sql("duckdb")
    except SqlglotError as error:
        raise WarehouseError(f"the statement has no local form: {_first_line(error)}") from None
    return text, read_from, names


def _identifier(ref: str) -> exp.Identifier:
    return exp.to_identifier(f"rows of {ref}", quoted=True)


def _place_of(ref: str) -> str:
    """Return what stands for the rows of a table; no reference has a blank or a quote in it."""
    return f'"rows of {ref}"'


def _parameters(tree: exp.Expr) -> frozenset[str]:
    return frozenset(node.name for node in tree.find_all(exp.Parameter))


def _midnight(day: date) -> str:
    return f"{day.isoformat()} 00:00:00+00:00"


def _parsed(sql: str, dialect: str) -> exp.Subquery:
    tree = sqlglot.parse_one(sql, read=dialect)
    assert isinstance(tree, exp.Subquery)
    return tree


def _replaced(tree: exp.Expr, make: Callable[[str, exp.Table], exp.Expr]) -> exp.Expr:
    """Put what `make` returns in place of each table, under the name that the statement calls it."""
    for ref, found in references(tree).items():
        for table in found:
            made = make(ref, table)
            if made is table:
                continue
            alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name, quoted=True))
            made.set("alias", alias.copy())
            for key in ("joins", "laterals", "pivots", "sample"):
                if value := table.args.get(key):
                    made.set(key, value)
            table.replace(made)
    return tree


def _corrected(node: exp.Expr, types: Mapping[str, str]) -> exp.Expr | None:
    """Return what DuckDB computes as BigQuery computes `node`; None where that is `node` itself."""
    match node:
        case exp.FarmFingerprint():
            raise WarehouseError("FARM_FINGERPRINT has no local form; hash with TO_HEX(SHA256(...))")
        case exp.RangeBucket():
            return _range_bucket(node)
        case exp.ArrayAgg(this=exp.Limit(this=within, expression=limit)):
            # ARRAY_AGG(x ORDER BY y LIMIT n): all of them, cut to n.
            whole = node.copy()
            whole.set("this", within.copy())
            return exp.Anonymous(this="LIST_SLICE", expressions=[whole, _number("1"), limit.copy()])
        case exp.TimestampDiff() | exp.DatetimeDiff():
            # BigQuery counts whole units that passed, DuckDB's date_diff the borders that were crossed.
            unit = exp.Literal.string(node.args["unit"].name.lower())
            return exp.Anonymous(this="DATESUB", expressions=[unit, node.expression.copy(), node.this.copy()])
        case exp.Extract():
            return _extract(node)
        case exp.Format():
            # DuckDB's FORMAT has {} for %d, and would return the text as it is.
            return exp.Anonymous(this="PRINTF", expressions=[node.this.copy(), *_copies(node.expressions)])
        case exp.Div():
            # DuckDB returns infinity where BigQuery fails.
            zero = exp.EQ(this=exp.Paren(this=node.expression.copy()), expression=_number("0"))
            failure = exp.Anonymous(this="ERROR", expressions=[exp.Literal.string("division by zero")])
            divisor = exp.case().when(zero, failure).else_(node.expression.copy())
            return None if _constant(node.expression) else _division(node.this, divisor)
        case exp.Anonymous() if node.name.upper() == "IEEE_DIVIDE":
            return _division(*node.expressions)
        case exp.Cast(to=exp.DataType(this=exp.DType.BIGINT)) if type(node) is exp.Cast:
            # BigQuery rounds a half away from zero, DuckDB to the even neighbour.
            return _rounded(node.this)
        case exp.Literal() if not node.is_string and "." in node.name and "e" not in node.name.lower():
            return _number(f"{node.name}e0")  # a FLOAT64; DuckDB would take it for a DECIMAL
        case exp.Parameter() if node.name in types:
            kind = exp.DataType.build(types[node.name], dialect="bigquery")
            return exp.Cast(this=node.copy(), to=kind)
    return None


def _generated(tree: exp.Expr) -> str:
    """Return a tree in DuckDB's dialect; refuse what sqlglot knows that it cannot translate."""
    generator = sqlglot.Dialect.get_or_raise("duckdb").generator(unsupported_level=sqlglot.ErrorLevel.IGNORE)
    text = generator.generate(tree)
    # The session's time zone is UTC, as BigQuery's is.
    faults = [fault for fault in generator.unsupported_messages if "timezone" not in fault]
    if faults:
        raise WarehouseError(f"the statement has no local form: {'; '.join(faults)}")
    return text


def _extract(node: exp.Extract) -> exp.Expr | None:
    part = node.name.upper()
    if part == "DAYOFWEEK":  # Sunday is 1 in BigQuery and 0 in DuckDB
        return exp.Paren(this=exp.Add(this=node.copy(), expression=_number("1")))
    if part == "WEEK":
        raise WarehouseError("EXTRACT(WEEK ...) counts from Sundays, which has no local form; write ISOWEEK")
    if part == "ISOWEEK":
        return exp.Extract(this=exp.var("WEEK"), expression=node.expression.copy())
    if part == "DATE":
        return exp.Cast(this=node.expression.copy(), to=exp.DataType.build("DATE"))
    return None


def _constant(node: exp.Expr) -> bool:
    """Return whether a divisor is a number that is not 0."""
    while isinstance(node, exp.Paren):
        node = node.this
    return isinstance(node, exp.Literal) and not node.is_string and float(node.name) != 0


def _division(dividend: exp.Expr, divisor: exp.Expr) -> exp.Expr:
    double = exp.DataType.build("DOUBLE")
    parts = [exp.Cast(this=part.copy(), to=double.copy()) for part in (dividend, divisor)]
    return exp.Paren(this=exp.Div(this=parts[0], expression=parts[1]))


def _rounded(value: exp.Expr) -> exp.Expr:
    text = _text(value)
    return sqlglot.parse_one(
        f"CASE WHEN TYPEOF({text}) IN ('DOUBLE', 'FLOAT') "
        f"THEN CAST(ROUND(TRY_CAST({text} AS DOUBLE)) AS BIGINT) ELSE CAST({text} AS BIGINT) END",
        read="duckdb",
    )


def _text(node: exp.Expr) -> str:
    return node.sql("duckdb", unsupported_level=sqlglot.ErrorLevel.IGNORE)


def _copies(nodes: list[exp.Expr]) -> list[exp.Expr]:
    return [node.copy() for node in nodes]


def _range_bucket(node: exp.RangeBucket) -> exp.Expr:
    """Return RANGE_BUCKET: how many of the ascending edges are at or below the point."""
    point, edges = _text(node.this), node.expression
    if isinstance(edges, exp.Array):
        # A sum of comparisons runs over whole columns at once, a list per row does not.
        counted = " + ".join(f"CAST({point} >= {_text(edge)} AS BIGINT)" for edge in edges.expressions)
    else:
        counted = f"LEN(LIST_FILTER({_text(edges)}, edge -> edge <= {point}))"
    unknown = f"{point} IS NULL OR ISNAN(CAST({point} AS DOUBLE))"
    return sqlglot.parse_one(f"CASE WHEN {unknown} THEN NULL ELSE {counted or '0'} END", read="duckdb")


def _count_from_zero(unnest: exp.Unnest) -> None:
    """Make an offset begin at 0, as in BigQuery: WITH ORDINALITY begins at 1."""
    alias, offset = unnest.args["alias"], unnest.args["offset"]
    value = alias.columns[0]
    shifted = exp.Sub(this=exp.column(offset.copy()), expression=_number("1"))
    query = exp.select(exp.column(value.copy()), exp.alias_(shifted, offset.copy())).from_(unnest.copy())
    unnest.replace(exp.Subquery(this=query, alias=exp.TableAlias(this=alias.this.copy())))


def _number(text: str) -> exp.Literal:
    return exp.Literal(this=text, is_string=False)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
