import pytest

from modelyard.spec.base import Sensitivity
from modelyard.tables import SHARED_TABLES, Column, Mode, Partition, Table, TableError, Type

TIME = Column("time", Type.TIMESTAMP, "When", Mode.REQUIRED)
RECORD = Column("r", Type.RECORD, "", fields=(Column("a", Type.STRING, ""),))

# BigQuery's reserved words, which would have to be quoted in every query.
RESERVED_WORDS = """
all and any array as asc assert_rows_modified at between by case cast collate contains create cross cube
current default define desc distinct else end enum escape except exclude exists extract false fetch
following for from full group grouping groups hash having if ignore in inner intersect interval into is
join lateral left like limit lookup merge natural new no not null nulls of on or order outer over
partition preceding proto qualify range recursive respect right rollup rows select set some struct
tablesample then to treat true unbounded union unnest using when where window with within
"""


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a.b", "é", "x" * 301, "_PARTITIONTIME", "_table_x"])
def test_names_that_bigquery_refuses_are_refused(name: str) -> None:
    with pytest.raises(TableError, match="not a name that BigQuery takes"):
        Column(name, Type.STRING, "")


def test_a_record_has_fields_and_nothing_else_has() -> None:
    with pytest.raises(TableError, match="a RECORD has fields"):
        Column("a", Type.RECORD, "")
    with pytest.raises(TableError, match="a RECORD has fields"):
        Column("a", Type.STRING, "", fields=(TIME,))


def test_a_description_is_as_long_as_bigquery_takes() -> None:
    Column("a", Type.STRING, "x" * 1024)
    with pytest.raises(TableError, match="more than 1024 characters"):
        Column("a", Type.STRING, "x" * 1025)


def test_a_policy_tag_belongs_on_leaves() -> None:
    with pytest.raises(TableError, match="policy tag"):
        Column("r", Type.RECORD, "", policy_tag=Sensitivity.PII, fields=(TIME,))


def test_names_that_differ_only_in_case_are_one_name() -> None:
    pair = (Column("Age", Type.STRING, ""), Column("age", Type.STRING, ""))
    with pytest.raises(TableError, match="Age and age are one name"):
        Column("r", Type.RECORD, "", fields=pair)
    with pytest.raises(TableError, match="Age and age are one name"):
        Table("t", "d", "", (TIME, *pair), Partition("time"))


@pytest.mark.parametrize("by", ["missing", "text"])
def test_tables_are_partitioned_by_a_timestamp_they_have(by: str) -> None:
    with pytest.raises(TableError, match=f"partition column {by}"):
        Table("t", "d", "", (TIME, Column("text", Type.STRING, "")), Partition(by))


@pytest.mark.parametrize("by", [("missing",), ("r",), ("a", "b", "c", "d", "e")])
def test_clustering_that_bigquery_refuses_is_refused(by: tuple[str, ...]) -> None:
    columns = (TIME, RECORD, *(Column(name, Type.STRING, "") for name in "abcde"))
    with pytest.raises(TableError, match="cluster"):
        Table("t", "d", "", columns, Partition("time"), by)


@pytest.mark.parametrize("table", SHARED_TABLES, ids=lambda table: table.name)
def test_shared_tables_read_without_quotes_and_say_what_each_column_is(table: Table) -> None:
    names = {name.lower() for path in table.paths for name in path.split(".")}
    assert not names & set(RESERVED_WORDS.split())
    assert all(column.description for column in table.paths.values())
    assert table.description and table.dataset in ("metadata", "predictions", "monitoring")


def test_who_asked_is_protected() -> None:
    callers = {
        (table.name, path): column.policy_tag
        for table in SHARED_TABLES
        for path, column in table.paths.items()
        if path == "caller"
    }
    assert callers == {("prediction_usage", "caller"): Sensitivity.PII}
