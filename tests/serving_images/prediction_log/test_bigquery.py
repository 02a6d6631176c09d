"""Rows through the official client to a real gRPC server: nothing is lost, whatever the server does."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from serving_images.prediction_log import ThreadedLog
from serving_images.prediction_log import state as states
from serving_images.prediction_log.rows import arrow_schema, from_entries
from serving_images.prediction_log.shipper import Shipper
from serving_images.prediction_log.sinks import RowsRefusedError, StoreAwayError, bigquery, open_sink
from serving_images.prediction_log.sinks.bigquery import BigQuerySink
from tests.serving_images.prediction_log.bigquery_server import (
    RESOURCE_EXHAUSTED,
    BigQuery,
    answers,
    disconnects,
    passes,
    refuses,
    serving,
)
from tests.serving_images.prediction_log.samples import (
    IDS,
    KEY,
    OTHER_SCHEMA,
    SCHEMA,
    closed,
    encoded,
    entry,
    within,
)

TABLE = SCHEMA.table


@pytest.fixture
def store() -> BigQuery:
    return BigQuery({schema.table: arrow_schema(schema) for schema in (SCHEMA, OTHER_SCHEMA)})


@pytest.fixture
def sink(store: BigQuery) -> Iterator[BigQuerySink]:
    with serving(store) as (address, _), BigQuerySink(address) as sink:
        yield sink


def send(sink: BigQuerySink, given: list[str]) -> None:
    sink.write(TABLE, from_entries(SCHEMA, [entry(len(given), ids=given)]), "name")


@pytest.fixture
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bigquery, "REQUEST_BYTES", 20_000)


def test_rows_arrive_typed_and_once(sink: BigQuerySink, store: BigQuery) -> None:
    given = IDS.take(1000)
    send(sink, given[:600])
    send(sink, given[600:])
    assert store.ids(TABLE) == given
    assert (store.connections, store.requests) == (1, 2)
    first = store.rows[TABLE][0].slice(0, 1).to_pylist()[0]
    assert first["features"] == {"distance": 500.5, "carrier": "UA", "stops": 1, "night": True}


def test_large_writes_are_cut_by_bytes(sink: BigQuerySink, store: BigQuery) -> None:
    given = IDS.take(60)
    long = "x" * 500_000
    rows = from_entries(SCHEMA, [entry(ids=[one], caller=long) for one in given])
    sink.write(TABLE, rows, "name")
    assert Counter(store.ids(TABLE)) == Counter(given)
    assert store.requests >= 4
    assert store.largest < 10_000_000


def test_row_that_fits_into_no_request_is_refused_alone(sink: BigQuerySink, store: BigQuery) -> None:
    given = IDS.take(3)
    rows = from_entries(
        SCHEMA,
        [
            entry(ids=given[:1]),
            entry(ids=given[1:2], caller="x" * 9_000_000),
            entry(ids=given[2:]),
        ],
    )
    with pytest.raises(RowsRefusedError, match="fit into no request") as caught:
        sink.write(TABLE, rows, "name")
    assert [place for place, _ in caught.value.refused] == [1]
    assert store.ids(TABLE) == [given[0], given[2]]


@pytest.mark.usefixtures("small_requests")
@pytest.mark.parametrize("taken", [0, 1, 3])
@pytest.mark.parametrize("committed", [False, True])
def test_disconnect_midway_loses_nothing(
    sink: BigQuerySink, store: BigQuery, taken: int, committed: bool
) -> None:
    faults = [*[passes] * taken, disconnects()]
    if committed:
        store.after = list(faults)
    else:
        store.before = list(faults)
    given = IDS.take(1000)
    send(sink, given)
    assert set(store.ids(TABLE)) == set(given)
    assert store.connections == 2
    # Only requests whose answer was lost are sent again.
    assert len(store.ids(TABLE)) - len(given) <= (0 if not committed else 600)


@pytest.mark.usefixtures("small_requests")
def test_many_faults_in_a_row(sink: BigQuerySink, store: BigQuery) -> None:
    store.before = [
        passes,
        disconnects(),
        answers(RESOURCE_EXHAUSTED, "Exceeds quota"),
        disconnects(grpc.StatusCode.ABORTED),
    ]
    store.after = [passes, passes, disconnects()]
    given = IDS.take(1000)
    send(sink, given)
    assert set(store.ids(TABLE)) == set(given)


def test_exhausted_quota_is_waited_for(sink: BigQuerySink, store: BigQuery) -> None:
    store.before = [answers(RESOURCE_EXHAUSTED, "Exceeds quota")] * 2
    given = IDS.take(10)
    send(sink, given)
    assert store.ids(TABLE) == given
    assert store.requests == 3


def test_lasting_fault_is_a_store_away(sink: BigQuerySink, store: BigQuery) -> None:
    store.before = [answers(RESOURCE_EXHAUSTED, "Exceeds quota")] * 4
    given = IDS.take(10)
    with pytest.raises(StoreAwayError, match="Exceeds quota"):
        send(sink, given)
    assert store.ids(TABLE) == []
    send(sink, given)
    assert store.ids(TABLE) == given


def test_missing_table_is_a_store_away(sink: BigQuerySink, store: BigQuery) -> None:
    schema = store.tables.pop(TABLE)
    given = IDS.take(10)
    with pytest.raises(StoreAwayError, match="not found"):
        send(sink, given)
    store.tables[TABLE] = schema
    send(sink, given)
    assert store.ids(TABLE) == given


@pytest.mark.usefixtures("small_requests")
def test_rows_that_bigquery_refuses_cost_no_others(sink: BigQuerySink, store: BigQuery) -> None:
    given = IDS.take(1000)
    bad = {given[3], given[4], given[777]}
    store.before = [refuses(bad, "time is too long ago")] * 40
    with pytest.raises(RowsRefusedError) as caught:
        send(sink, given)
    assert caught.value.refused == tuple((place, "time is too long ago") for place in (3, 4, 777))
    assert Counter(store.ids(TABLE)) == Counter(one for one in given if one not in bad)


def test_all_rows_refused(sink: BigQuerySink, store: BigQuery) -> None:
    given = IDS.take(2)
    store.before = [refuses(set(given), "no")]
    with pytest.raises(RowsRefusedError):
        send(sink, given)
    assert store.ids(TABLE) == []


def test_server_that_is_not_there_and_comes(store: BigQuery) -> None:
    with serving(store) as (_, port):
        pass
    given = IDS.take(10)
    with BigQuerySink(f"127.0.0.1:{port}") as sink:
        with pytest.raises(StoreAwayError):
            send(sink, given)
        with serving(store, port), within(60) as ticks:
            for _ in ticks:
                try:
                    send(sink, given)
                    break
                except StoreAwayError:
                    continue
    assert set(store.ids(TABLE)) == set(given)


def test_idle_streams_are_closed_and_opened_again(
    sink: BigQuerySink, store: BigQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = IDS.take(2)
    send(sink, given[:1])
    sink.idle()
    send(sink, given[1:])
    assert store.connections == 1
    monkeypatch.setattr(bigquery, "_IDLE_SECONDS", 0.0)
    sink.idle()
    send(sink, IDS.take(1))
    assert store.connections == 2
    assert store.ids(TABLE)[:2] == given


def test_shipper_keeps_refused_rows_and_sends_the_rest(tmp_path: Path, store: BigQuery) -> None:
    log = ThreadedLog(tmp_path, {KEY: SCHEMA}, ship=False)
    given = IDS.take(20)
    for one in given:
        log.write(KEY, encoded(ids=[one]), 1)
    log.close()
    store.before = [refuses({given[7]}, "no"), disconnects()]
    store.after = [disconnects()]
    with serving(store) as (address, _):
        shipper = Shipper(tmp_path, lambda: open_sink(None, address))
        assert shipper.pass_over()
        shipper.close()
    assert set(store.ids(TABLE)) == {*given} - {given[7]}
    state = states.read(tmp_path)
    assert (state.sent, state.failed) == ({KEY: 19}, {KEY: 1})
    assert closed(tmp_path) == []


def test_server_and_shipper_process_send_to_bigquery(tmp_path: Path, store: BigQuery) -> None:
    given = IDS.take(200)
    with serving(store) as (address, _):
        log = ThreadedLog(tmp_path, {KEY: SCHEMA}, bigquery_endpoint=address, roll_seconds=0.2)
        for one in given:
            log.write(KEY, encoded(ids=[one]), 1)
        log.close(timeout=60)
        assert log.counts().sent == 200
    assert store.ids(TABLE) == given
    assert closed(tmp_path) == []
