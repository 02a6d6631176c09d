"""Both warehouses do the same: each test here runs on local files and on BigQuery's API."""

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import modelyard.warehouse
from modelyard.tables import Column, Mode, Partition, Table, Type, arrow_schema
from modelyard.warehouse import Warehouse, WarehouseError, dedupe
from tests.bigquery_emulator import bigquery_client, bigquery_endpoint, create_table

__all__ = ["bigquery_client", "bigquery_endpoint"]

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOG = Table(
    name="delays",
    dataset="predictions",
    description="Predictions.",
    columns=(
        Column("prediction_id", Type.STRING, "Id", Mode.REQUIRED),
        Column("time", Type.TIMESTAMP, "Time", Mode.REQUIRED),
        Column("version", Type.INT64, "Version", Mode.REQUIRED),
        Column(
            "features",
            Type.RECORD,
            "Inputs",
            fields=(
                Column("distance", Type.FLOAT64, "Distance"),
                Column("carrier", Type.STRING, "Carrier"),
                Column("night", Type.BOOL, "Night"),
            ),
        ),
        Column("flags", Type.STRING, "Flags", Mode.REPEATED),
    ),
    partition=Partition("time", require_filter=True),
)


def rows(count: int, days: int = 1, start: datetime = START, first: int = 0) -> pa.Table:
    """Rows whose number is in their id, spread over days."""
    return pa.Table.from_pylist(
        [
            {
                "prediction_id": f"p{number}",
                "time": start + timedelta(days=number % days),
                "version": 1 + number % 2,
                "features": {
                    "distance": None if number % 5 == 0 else number / 4,
                    "carrier": "AA" if number % 3 else "B'\"6`",
                    "night": number % 2 == 0,
                },
                "flags": ["late", "far"][: number % 3],
            }
            for number in range(first, first + count)
        ],
        schema=arrow_schema(LOG),
    )


class Place:
    """A warehouse with a table to write to."""

    def __init__(self, warehouse: Warehouse, ref: str, make: Callable[[str, Table], None]) -> None:
        self.warehouse = warehouse
        self.ref = ref
        self.make = make

    def append(self, table: pa.Table, name: str) -> None:
        self.warehouse.append(self.ref, LOG, table, name)

    def select(self, sql: str, *arguments: Any, **options: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.warehouse.query(
            sql.replace("LOG", f"`{self.ref}`"), *arguments, **options
        ).to_pylist()
        return found

    def count(self) -> int:
        [row] = self.select("SELECT COUNT(*) AS n FROM LOG")
        return int(row["n"])


@pytest.fixture(params=["local", "bigquery"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """The two warehouses."""
    if request.param == "local":
        return Place(
            modelyard.warehouse.local(tmp_path), "acme-ml.predictions.delays", lambda _ref, _table: None
        )
    client = request.getfixturevalue("bigquery_client")
    ref = f"{client.project}.predictions.delays"
    create_table(client, ref, LOG)
    return Place(
        modelyard.warehouse.bigquery(client.project, client),
        ref,
        lambda other, table: create_table(client, other, table),
    )


def test_rows_come_back_as_they_went_in(place: Place) -> None:
    given = rows(20, days=3)
    place.append(given, "first")
    found = place.warehouse.query(
        f"SELECT * FROM `{place.ref}` ORDER BY LENGTH(prediction_id), prediction_id"
    )
    assert found.to_pylist() == given.to_pylist()
    assert found.schema.field("time").type == pa.timestamp("us", tz="UTC")


def test_the_same_name_adds_once(place: Place) -> None:
    place.append(rows(4), "first")
    place.append(rows(4), "first")
    assert place.count() == 4
    place.append(rows(4), "second")
    assert place.count() == 8


def test_a_name_counts_whatever_its_rows_are(place: Place) -> None:
    place.append(rows(4), "first")
    place.append(rows(9), "first")
    assert place.count() == 4


def test_many_writers_of_one_name_add_once(place: Place) -> None:
    faults: list[Exception] = []

    def write() -> None:
        try:
            place.append(rows(50, days=2), "same")
        except WarehouseError as error:
            faults.append(error)

    writers = [threading.Thread(target=write) for _ in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not faults
    assert place.count() == 50


def test_columns_may_stand_in_any_order_and_nullable_ones_be_left_out(place: Place) -> None:
    given = rows(3).select(["version", "time", "prediction_id"])
    place.append(given, "first")
    [first, *_] = place.select("SELECT * FROM LOG ORDER BY prediction_id")
    assert (first["prediction_id"], first["features"], first["flags"]) == ("p0", None, [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["version"]), "lack the column version"),
        (lambda table: table.append_column("colour", pa.array(["red"] * 3)), "no column colour"),
        (lambda table: table.set_column(2, "version", pa.array(["x"] * 3)), "column version does not fit"),
        (lambda table: table.set_column(2, "version", pa.array([1, None, 3])), "version needs a value"),
    ],
)
def test_rows_that_do_not_fit_are_refused_whole(place: Place, change: Any, message: str) -> None:
    place.append(rows(1), "before")
    with pytest.raises(WarehouseError, match=message):
        place.append(change(rows(3)), "first")
    assert place.count() == 1


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b", "a b", "a" * 201])
def test_names_that_are_no_file_names_are_refused(place: Place, name: str) -> None:
    with pytest.raises(WarehouseError, match="cannot name an addition"):
        place.append(rows(1), name)


@pytest.mark.parametrize("ref", ["predictions.delays", "a.b.c.d", "../x.y.z", "a.b.", "a.b.c`"])
def test_references_that_are_none_are_refused(place: Place, ref: str) -> None:
    with pytest.raises(WarehouseError, match=r"write project\.dataset\.table"):
        place.warehouse.append(ref, LOG, rows(1), "first")


def test_parameters(place: Place) -> None:
    place.append(rows(10), "first")
    values = {
        "text": 'it\'s "quoted" \\ back',
        "flag": True,
        "number": 7,
        "real": 0.1,
        "moment": datetime(2026, 3, 1, 13, tzinfo=UTC) + timedelta(microseconds=7),
        "day": date(2026, 3, 1),
        "texts": ["a", "b"],
        "reals": [1, 2.5],
        "none": pa.array([], pa.float64()),
        "null": pa.scalar(None, pa.string()),
    }
    [found] = place.select(
        """
        SELECT
          @text AS text, @flag AS flag, @number AS number, @real AS real, @moment AS moment, @day AS day,
          @texts AS texts, @reals AS reals, ARRAY_LENGTH(@none) AS none, @null IS NULL AS is_null
        """,
        values,
    )
    assert found == {
        **{
            name: values[name]
            for name in ("text", "flag", "number", "real", "moment", "day", "texts", "reals")
        },
        "none": 0,
        "is_null": True,
    }
    assert place.select(
        "SELECT prediction_id FROM LOG WHERE prediction_id IN UNNEST(@ids)", {"ids": ["p3"]}
    ) == [{"prediction_id": "p3"}]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "an empty list"),
        (["a", 1], "a list of INT64 and STRING"),
        (None, "null without a type"),
        (datetime(2026, 1, 1), "a time without a time zone"),
        ({"a": 1}, "no type for dict"),
        (pa.array([b"x"]), "no type for Arrow's binary"),
    ],
)
def test_parameters_without_a_type_are_refused(place: Place, value: Any, message: str) -> None:
    with pytest.raises(WarehouseError, match=f"parameter p: {message}"):
        place.select("SELECT @p AS p", {"p": value})


def test_a_parameter_without_a_value_is_named(place: Place) -> None:
    with pytest.raises(WarehouseError, match="no value for parameter @b"):
        place.select("SELECT @a AS a, @b AS b", {"a": 1})


def test_days_confine_what_is_read(place: Place) -> None:
    place.append(rows(30, days=10), "first")
    days = (date(2026, 3, 3), date(2026, 3, 5))
    [found] = place.select(
        "SELECT COUNT(*) AS n, MIN(a.time) AS first, MAX(a.time) AS last FROM LOG AS a",
        tables={place.ref: LOG},
        days=days,
    )
    assert found == {"n": 9, "first": START + timedelta(days=2), "last": START + timedelta(days=4)}
    [found] = place.select(
        "SELECT COUNT(*) AS n FROM LOG AS a JOIN LOG AS b USING (prediction_id)",
        tables={place.ref: LOG},
        days={place.ref: days},
    )
    assert found == {"n": 9}


@pytest.mark.parametrize(
    ("tables", "days", "message"),
    [
        ({}, {"REF": (date(2026, 1, 1), date(2026, 1, 2))}, "days need its definition"),
        ({"REF": LOG}, (date(2026, 1, 2), date(2026, 1, 1)), "is after the last"),
    ],
)
def test_days_that_cannot_be(place: Place, tables: Any, days: Any, message: str) -> None:
    place.append(rows(1), "first")
    tables = dict.fromkeys([place.ref] * len(tables), LOG)
    days = {place.ref: days["REF"]} if isinstance(days, dict) else days
    with pytest.raises(WarehouseError, match=message):
        place.select("SELECT 1 AS one FROM LOG", tables=tables, days=days)


def test_dedupe_sees_each_prediction_once(place: Place) -> None:
    place.append(rows(10), "first")
    place.append(rows(10, first=5), "again")
    assert place.count() == 20
    source = dedupe.predictions(place.ref, ["prediction_id", "time"], "time >= @start")
    [found] = place.select(f"SELECT COUNT(*) AS n FROM {source}", {"start": START})
    assert found == {"n": 15}


# What sqlglot translates wrongly or not at all, and what DuckDB computes differently.
@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT x, o FROM UNNEST(['a', 'b']) AS x WITH OFFSET AS o ORDER BY o", [("a", 0), ("b", 1)]),
        ("SELECT x, offset FROM UNNEST(['a', 'b']) AS x WITH OFFSET ORDER BY offset", [("a", 0), ("b", 1)]),
        (
            "SELECT flag, place FROM LOG AS l, UNNEST(l.flags) AS flag WITH OFFSET AS place "
            "WHERE l.prediction_id = 'p2' ORDER BY place",
            [("late", 0), ("far", 1)],
        ),
        ("SELECT ARRAY_AGG(x ORDER BY x DESC LIMIT 2) AS a FROM UNNEST([1, 3, 2]) AS x", [([3, 2],)]),
        (
            "SELECT TIMESTAMP_DIFF(TIMESTAMP '2026-01-01 01:00:00', "
            "TIMESTAMP '2026-01-01 00:00:01', HOUR) AS h",
            [(0,)],
        ),
        (
            "SELECT TIMESTAMP_DIFF(TIMESTAMP '2026-01-02 00:00:00', "
            "TIMESTAMP '2026-01-01 00:00:01', DAY) AS d",
            [(0,)],
        ),
        ("SELECT EXTRACT(DAYOFWEEK FROM TIMESTAMP '2026-11-22 00:00:00') AS d", [(1,)]),
        ("SELECT DATE(TIMESTAMP '2026-11-22 23:00:00') AS d", [(date(2026, 11, 22),)]),
        (
            "SELECT CAST(x AS INT64) AS n FROM UNNEST([0.5, 1.5, 2.5, -2.5]) AS x ORDER BY n",
            [(-3,), (1,), (2,), (3,)],
        ),
        ("SELECT CAST('12' AS INT64) AS a, CAST(TRUE AS INT64) AS b", [(12, 1)]),
        (
            "SELECT 0.1 + 0.2 AS sum, 7 / 2 AS ratio, DIV(-7, 2) AS whole, MOD(-7, 2) AS rest",
            [(0.1 + 0.2, 3.5, -3, -1)],
        ),
        ("SELECT SAFE_DIVIDE(1, 0) AS none", [(None,)]),
        ("SELECT FORMAT('%d-%s', 7, 'x') AS text", [("7-x",)]),
        ("SELECT SUM(x) AS total, COUNTIF(x > 1) AS many FROM UNNEST([1, 2, 3]) AS x", [(6, 2)]),
        ("SELECT x FROM UNNEST([2, NULL, 1]) AS x ORDER BY x", [(None,), (1,), (2,)]),
        (
            "SELECT TO_HEX(SHA256('a')) AS digest",
            [("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",)],
        ),
        (
            "SELECT TIMESTAMP_TRUNC(TIMESTAMP '2026-11-22 05:00:00', WEEK) AS sunday, "
            "TIMESTAMP_TRUNC(TIMESTAMP '2026-11-22 05:00:00', ISOWEEK) AS monday",
            [(datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 16, tzinfo=UTC))],
        ),
        ("WITH a AS (SELECT 1 AS k) SELECT a.k FROM a JOIN a AS b USING (k)", [(1,)]),
        (
            "SELECT l.features.carrier AS carrier, COUNT(*) AS n FROM LOG AS l "
            "GROUP BY carrier ORDER BY carrier",
            [("AA", 3), ("B'\"6`", 2)],
        ),
    ],
)
def test_one_statement_has_one_result(place: Place, sql: str, expected: list[tuple[Any, ...]]) -> None:
    place.append(rows(5), "first")
    assert [tuple(row.values()) for row in place.select(sql)] == expected


@pytest.mark.parametrize("sql", ["SELECT 1 / x AS y FROM UNNEST([1, 0]) AS x", "SELECT 1 / 0 AS y"])
def test_division_by_zero_fails(place: Place, sql: str) -> None:
    with pytest.raises(WarehouseError, match=r"(?i)division by zero"):
        place.select(sql)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT nothing(1) AS x", "(?i)nothing"),
        ("SELECT missing FROM LOG", "(?i)missing"),
        ("SELECT 1 AS x FROM LOG WHERE (", "(?i)expect|read|syntax"),
    ],
)
def test_statements_that_cannot_run(place: Place, sql: str, message: str) -> None:
    place.append(rows(1), "first")
    with pytest.raises(WarehouseError, match=message):
        place.select(sql)


def test_a_table_that_nobody_made_is_an_error(place: Place) -> None:
    place.append(rows(1), "first")
    ref = place.ref.replace("delays", "nowhere")
    with pytest.raises(WarehouseError, match="nowhere"):
        place.warehouse.query(f"SELECT * FROM `{ref}`")
