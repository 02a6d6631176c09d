"""The local warehouse: which files it reads, what it refuses, and what it leaves behind."""

import bisect
import math
import multiprocessing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelyard.warehouse
from modelyard.tables import Column, Granularity, Mode, Partition, Table, Type, arrow_schema
from modelyard.warehouse import WarehouseError

REF = "acme-ml.predictions.delays"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
COLUMNS = (
    Column("time", Type.TIMESTAMP, "Time", Mode.REQUIRED),
    Column("value", Type.FLOAT64, "Value"),
    Column("features", Type.RECORD, "Inputs", fields=(Column("carrier", Type.STRING, "Carrier"),)),
)
TABLE = Table("delays", "predictions", "Predictions.", COLUMNS, Partition("time"))
GROWN = Table(
    "delays",
    "predictions",
    "Predictions.",
    (
        *COLUMNS[:2],
        Column(
            "features",
            Type.RECORD,
            "Inputs",
            fields=(Column("carrier", Type.STRING, "Carrier"), Column("distance", Type.FLOAT64, "Distance")),
        ),
        Column("caller", Type.STRING, "Caller"),
        Column("flags", Type.STRING, "Flags", Mode.REPEATED),
    ),
    Partition("time"),
)
MONTHLY = Table("delays", "predictions", "x", COLUMNS, Partition("time", Granularity.MONTH))


def rows(count: int = 6, days: int = 3) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"time": START + timedelta(days=n % days), "value": float(n), "features": {"carrier": "AA"}}
            for n in range(count)
        ],
        schema=arrow_schema(TABLE),
    )


def test_a_file_per_day_named_by_its_writer(tmp_path: Path) -> None:
    warehouse = modelyard.warehouse.local(tmp_path)
    warehouse.append(REF, TABLE, rows(), "shipper-7")
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert found == [f"acme-ml/predictions/delays/day=2026-03-0{day}/shipper-7.parquet" for day in (1, 2, 3)]


def test_other_days_are_not_opened(tmp_path: Path) -> None:
    """Files of other days are replaced with what is no Parquet: reading one would fail."""
    warehouse = modelyard.warehouse.local(tmp_path)
    warehouse.append(REF, TABLE, rows(), "first")
    for day in ("2026-03-01", "2026-03-03"):
        (tmp_path / "acme-ml/predictions/delays" / f"day={day}" / "first.parquet").write_bytes(b"garbage")
    sql = f"SELECT SUM(value) AS total FROM `{REF}`"
    middle = date(2026, 3, 2)
    assert warehouse.query(sql, tables={REF: TABLE}, days=(middle, middle)).to_pylist() == [{"total": 5.0}]
    with pytest.raises(WarehouseError, match="the statement failed"):
        warehouse.query(sql, tables={REF: TABLE})


def test_days_do_not_confine_tables_by_month(tmp_path: Path) -> None:
    warehouse = modelyard.warehouse.local(tmp_path)
    warehouse.append(REF, TABLE, rows(), "first")
    days = (date(2026, 3, 2), date(2026, 3, 2))
    sql = f"SELECT COUNT(*) AS n FROM `{REF}`"
    assert warehouse.query(sql, tables={REF: MONTHLY}, days=days).to_pylist() == [{"n": 6}]
    assert warehouse.query(sql, days=days).to_pylist() == [{"n": 6}]


def test_fewer_days_scan_fewer_bytes(tmp_path: Path) -> None:
    warehouse = modelyard.warehouse.local(tmp_path)
    warehouse.append(REF, TABLE, rows(60_000, days=30), "first")
    sql = f"SELECT SUM(value) AS total FROM `{REF}`"
    whole = warehouse.run(sql, tables={REF: TABLE}).statistics
    part = warehouse.run(sql, tables={REF: TABLE}, days=(date(2026, 3, 1), date(2026, 3, 1))).statistics
    assert (whole.rows_scanned, part.rows_scanned) == (60_000, 2_000)
    assert 0 < part.bytes_scanned < whole.bytes_scanned / 10


def test_columns_that_are_not_asked_for_are_not_read(tmp_path: Path) -> None:
    """Of a record, too, only the fields asked for."""
    warehouse = modelyard.warehouse.local(tmp_path)
    wide = Column(
        "features", Type.RECORD, "Inputs", fields=tuple(Column(f"f{n}", Type.FLOAT64, "x") for n in range(40))
    )
    table = Table("delays", "predictions", "x", (COLUMNS[0], wide), Partition("time"))
    values = pa.table(
        {
            "time": pa.repeat(pa.scalar(START, pa.timestamp("us", "UTC")), 20_000),
            "features": pa.StructArray.from_arrays(
                [pa.array([math.sin(n * 20_000 + i) for i in range(20_000)]) for n in range(40)],
                names=[f"f{n}" for n in range(40)],
            ),
        }
    )
    warehouse.append(REF, table, values, "first")
    one, all_of_them = (
        warehouse.run(f"SELECT {columns} FROM `{REF}`", tables={REF: table}).statistics.bytes_scanned
        for columns in ("SUM(features.f7) AS x", ", ".join(f"SUM(features.f{n}) AS x{n}" for n in range(40)))
    )
    assert one < all_of_them / 4


def test_a_table_without_rows_reads_as_empty(tmp_path: Path) -> None:
    warehouse = modelyard.warehouse.local(tmp_path / "not-there-yet")
    found = warehouse.query(f"SELECT * FROM `{REF}`", tables={REF: GROWN})
    assert found.num_rows == 0
    assert found.column_names == [column.name for column in GROWN.columns]
    assert found.schema.field("time").type == pa.timestamp("us", tz="UTC")
    with pytest.raises(WarehouseError, match=rf"no table {REF} in .*; there are: none"):
        warehouse.query(f"SELECT * FROM `{REF}`")


def test_columns_that_came_later_are_null_in_older_rows(tmp_path: Path) -> None:
    warehouse = modelyard.warehouse.local(tmp_path)
    warehouse.append(REF, TABLE, rows(2, days=1), "old")
    sql = f"SELECT value, features, caller, flags FROM `{REF}` ORDER BY value"
    before = warehouse.query(sql, tables={REF: GROWN}).to_pylist()
    new = [
        {
            "time": START,
            "value": 9.0,
            "features": {"carrier": "BB", "distance": 3.5},
            "caller": "me",
            "flags": ["x"],
        }
    ]
    warehouse.append(REF, GROWN, pa.Table.from_pylist(new, schema=arrow_schema(GROWN)), "new")
    after = warehouse.query(sql, tables={REF: GROWN}).to_pylist()
    assert after[:2] == before
    assert before[0] == {
        "value": 0.0, "features": {"carrier": "AA", "distance": None}, "caller": None, "flags": None,
    }  # fmt: skip
    assert after[2] == {key: value for key, value in new[0].items() if key != "time"}


def test_unfinished_files_are_not_seen(tmp_path: Path) -> None:
    warehouse = modelyard.warehouse.local(tmp_path)
    warehouse.append(REF, TABLE, rows(2, days=1), "first")
    folder = tmp_path / "acme-ml/predictions/delays/day=2026-03-01"
    (folder / ".second.parquet.77.aa").write_bytes(b"torn")
    (folder / ".third.parquet").write_bytes(b"torn")
    assert warehouse.query(f"SELECT COUNT(*) AS n FROM `{REF}`").to_pylist() == [{"n": 2}]


def test_an_addition_that_was_cut_short_is_completed(tmp_path: Path) -> None:
    warehouse = modelyard.warehouse.local(tmp_path)
    warehouse.append(REF, TABLE, rows(), "first")
    (tmp_path / "acme-ml/predictions/delays/day=2026-03-02/first.parquet").unlink()
    warehouse.append(REF, TABLE, rows(), "first")
    assert warehouse.query(f"SELECT COUNT(*) AS n FROM `{REF}`").to_pylist() == [{"n": 6}]


def test_files_outside_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.parquet"
    pq.write_table(rows(), secret)
    warehouse = modelyard.warehouse.local(tmp_path / "warehouse")
    for sql in (f"SELECT * FROM READ_PARQUET('{secret}')", f"SELECT * FROM `{secret}`", "DROP TABLE `a.b.c`"):
        with pytest.raises(WarehouseError):
            warehouse.query(sql)


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "acme-ml").write_text("")
    with pytest.raises(WarehouseError, match=f"{REF}: cannot write into"):
        modelyard.warehouse.local(tmp_path).append(REF, TABLE, rows(), "first")
    assert [path.name for path in tmp_path.rglob("*")] == ["acme-ml"]


def test_memory_is_bounded_and_the_rest_goes_to_the_temp_folder(tmp_path: Path) -> None:
    temp = tmp_path / "temp"
    warehouse = modelyard.warehouse.local(tmp_path / "w", memory_limit="64MB", temp_folder=temp, threads=1)
    sql = "SELECT COUNT(*) AS n FROM (SELECT x, x * 7919 AS y FROM UNNEST(GENERATE_ARRAY(1, @n)) AS x ORDER BY MOD(y, 1000003), x)"  # noqa: E501
    assert warehouse.query(sql, {"n": 400_000}).to_pylist() == [{"n": 400_000}]
    assert any(temp.iterdir())
    del warehouse
    assert not any(temp.iterdir())


def write(root: Path, barrier: "multiprocessing.synchronize.Barrier") -> None:
    warehouse = modelyard.warehouse.local(root)
    barrier.wait()
    for number in range(20):
        warehouse.append(REF, TABLE, rows(), f"addition-{number}")


def test_processes_write_the_same_additions_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    writers = [context.Process(target=write, args=(tmp_path, barrier)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    found = modelyard.warehouse.local(tmp_path).query(f"SELECT COUNT(*) AS n FROM `{REF}`")
    assert found.to_pylist() == [{"n": 120}]
    assert not list(tmp_path.rglob(".*"))


WAREHOUSE = modelyard.warehouse.local(Path("nowhere"))


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.none(), min_size=1, max_size=20),
    st.lists(st.floats(-1e6, 1e6), max_size=8, unique=True).map(sorted),
)
def test_range_bucket_counts_the_edges_at_or_below(points: list[float | None], edges: list[float]) -> None:
    literals = ", ".join(repr(edge) for edge in edges)
    forms = {"@edges": {"edges": pa.array(edges, pa.float64())}}
    if edges:
        forms[f"[{literals}]"] = {}
    expected = [None if p is None or math.isnan(p) else bisect.bisect_right(edges, p) for p in points]
    for form, parameters in forms.items():
        sql = f"SELECT RANGE_BUCKET(p, {form}) AS b FROM UNNEST(@points) AS p WITH OFFSET AS o ORDER BY o"
        found = WAREHOUSE.query(sql, {"points": pa.array(points, pa.float64()), **parameters})
        assert found.column("b").to_pylist() == expected


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT FARM_FINGERPRINT('a') AS x", "FARM_FINGERPRINT has no local form"),
        ("SELECT EXTRACT(WEEK FROM TIMESTAMP '2026-01-01 00:00:00') AS w", "write ISOWEEK"),
        ("SELECT APPROX_TOP_COUNT(x, 3) AS t FROM UNNEST([1]) AS x", "no local form"),
        ("SELECT 1 AS a; SELECT 2 AS b", "must be one SELECT"),
        ("DELETE FROM `a.b.c` WHERE TRUE", "must be one SELECT"),
        ("SELEC 1", "cannot be read"),
        ("SELECT * FROM somewhere", "write project.dataset.table"),
    ],
)
def test_what_has_no_local_form_is_refused(sql: str, message: str) -> None:
    with pytest.raises(WarehouseError, match=message):
        WAREHOUSE.query(sql)


def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_WAREHOUSE", str(tmp_path))
    modelyard.warehouse.local().append(REF, TABLE, rows(1), "first")
    assert (tmp_path / "acme-ml").is_dir()
    assert modelyard.warehouse.local(tmp_path).tables() == [REF]
