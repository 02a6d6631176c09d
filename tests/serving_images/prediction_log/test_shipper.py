"""Segments reach the store whole and once, whatever is wrong with them, the store, or the shipper."""

import itertools
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pytest

from serving_images.prediction_log import LogSchema, ThreadedLog
from serving_images.prediction_log import folder as folders
from serving_images.prediction_log import segment as segments
from serving_images.prediction_log import shipper as shippers
from serving_images.prediction_log import state as states
from serving_images.prediction_log.shipper import UNKNOWN, Shipper
from serving_images.prediction_log.sinks import RowsRefusedError, StoreAwayError
from serving_images.prediction_log.sinks.parquet import ParquetSink
from tests.serving_images.prediction_log.samples import (
    IDS,
    KEY,
    OTHER,
    OTHER_SCHEMA,
    SCHEMA,
    closed,
    encoded,
    ids,
    other,
    stored,
    within,
)


class Store:
    """Parquet that can be away, refuse rows, or end the process as SIGKILL does."""

    def __init__(self, warehouse: Path) -> None:
        self._parquet = ParquetSink(warehouse)
        self.away: set[str] = set()
        self.refuses: Sequence[tuple[int, str]] = ()
        self.killed_after = -1
        self.written: list[str] = []

    def write(self, table: str, rows: pa.Table, name: str) -> None:
        if table in self.away:
            raise StoreAwayError(f"{table} is away")
        if self.refuses:
            bad = {place for place, _ in self.refuses}
            kept = [place for place in range(rows.num_rows) if place not in bad]
            self._parquet.write(table, rows.take(pa.array(kept, pa.int64())), name)
            raise RowsRefusedError(self.refuses)
        self._parquet.write(table, rows, name)
        self.written.append(name)
        self.killed_after -= 1
        if self.killed_after == 0:
            raise Killed

    def idle(self) -> None:
        self._parquet.idle()

    def close(self) -> None:
        self._parquet.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Killed(BaseException):
    """Nothing after it runs."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    return tmp_path / "warehouse"


@pytest.fixture
def store(warehouse: Path) -> Store:
    return Store(warehouse)


@pytest.fixture
def shipper(folder: Path, store: Store) -> Shipper:
    folder.mkdir()
    return Shipper(folder, lambda: store)


def fill(
    folder: Path, entries: int = 10, both: bool = False, schemas: dict[str, LogSchema] | None = None
) -> list[str]:
    """Write one segment of one-row entries, and return the ids of SCHEMA's."""
    log = ThreadedLog(folder, schemas or {KEY: SCHEMA, OTHER: OTHER_SCHEMA}, ship=False)
    given = IDS.take(entries)
    for one in given:
        log.write(KEY, encoded(ids=[one]), 1)
        if both:
            log.write(OTHER, other(), 1)
    log.close()
    return given


def quarantined(folder: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_bytes()) for path in sorted((folder / "quarantine").glob("*.json"))]


def test_segment_is_sent_and_deleted(shipper: Shipper, folder: Path, warehouse: Path) -> None:
    given = fill(folder, both=True)
    assert shipper.pass_over()
    assert ids(stored(warehouse)) == given
    assert stored(warehouse, OTHER_SCHEMA).num_rows == 10
    assert closed(folder) == []
    assert states.read(folder).sent == {KEY: 10, OTHER: 10}
    fill(folder)
    assert shipper.pass_over()
    assert len(states.read(folder).partial) == 1  # forgets what is gone


def test_rows_lie_in_the_folder_of_their_day(shipper: Shipper, folder: Path, warehouse: Path) -> None:
    log = ThreadedLog(folder, {KEY: SCHEMA}, ship=False)
    midnight_us = 1_795_392_000_000_000  # 2026-11-23
    for time_us in (midnight_us - 1, midnight_us):
        log.write(KEY, encoded(time_us=time_us), 1)
    log.close()
    shipper.pass_over()
    files = sorted(warehouse.rglob("*.parquet"))
    assert [file.relative_to(warehouse).parts[:-1] for file in files] == [
        ("acme", "predictions", "arrival_delay", "day=2026-11-22"),
        ("acme", "predictions", "arrival_delay", "day=2026-11-23"),
    ]
    assert files[0].name == files[1].name
    assert not [path for path in warehouse.rglob(".*")]


@pytest.mark.parametrize("kill_after", [1, 2, 3, 4])
def test_killed_after_any_write_each_row_is_there_once(
    folder: Path, warehouse: Path, kill_after: int
) -> None:
    given = [*fill(folder, both=True), *fill(folder, both=True)]
    store = Store(warehouse)
    store.killed_after = kill_after
    with pytest.raises(Killed):
        Shipper(folder, lambda: store).pass_over()
    again = Store(warehouse)
    assert Shipper(folder, lambda: again).pass_over()
    assert sorted(ids(stored(warehouse))) == sorted(given)
    assert len(set(ids(stored(warehouse, OTHER_SCHEMA)))) == 20
    assert stored(warehouse, OTHER_SCHEMA).num_rows == 20
    assert states.read(folder).sent == {KEY: 20, OTHER: 20}
    # What was acknowledged before the kill was written down, but for the last.
    assert len(again.written) == 4 - kill_after + 1


def test_killed_before_the_segment_is_deleted_sends_nothing_again(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder)

    def killed(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr(Shipper, "_remove", killed)
    with pytest.raises(Killed):
        Shipper(folder, lambda: store).pass_over()
    monkeypatch.undo()
    assert len(closed(folder)) == 1
    assert Shipper(folder, lambda: store).pass_over()
    assert len(store.written) == 1
    assert states.read(folder).sent == {KEY: 10}
    assert closed(folder) == []


def test_store_that_is_away_is_tried_at_once_when_the_server_ends(
    shipper: Shipper, store: Store, folder: Path, warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shippers, "waits", lambda longest: itertools.repeat(1000.0))
    given = fill(folder)
    store.away = {SCHEMA.table}
    assert not shipper.pass_over()
    store.away = set()
    assert not shipper.pass_over()
    assert shipper.next_attempt() > 900
    shipper.hurry()
    assert shipper.pass_over()
    assert ids(stored(warehouse)) == given


def test_table_that_is_away_holds_up_no_other(
    shipper: Shipper, store: Store, folder: Path, warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shippers, "_LONGEST_WAIT", 0.01)
    given = fill(folder, both=True)
    store.away = {SCHEMA.table}
    assert not shipper.pass_over()
    given += fill(folder, both=True)
    assert not shipper.pass_over()
    assert ids(stored(warehouse)) == []
    assert stored(warehouse, OTHER_SCHEMA).num_rows == 20
    log = ThreadedLog(folder, {KEY: SCHEMA, OTHER: OTHER_SCHEMA}, ship=False)
    by_key = log.counts_by_key()
    assert {key: counts.lag_rows for key, counts in by_key.items()} == {KEY: 20, OTHER: 0}
    assert by_key[KEY].lag_seconds > 0
    assert states.read(folder).error == f"{SCHEMA.table} is away"
    store.away = set()
    with within(30) as ticks:
        for _ in ticks:
            if shipper.pass_over():
                break
    assert sorted(ids(stored(warehouse))) == sorted(given)
    assert stored(warehouse, OTHER_SCHEMA).num_rows == 20
    assert states.read(folder).error is None
    counts = log.counts_by_key()[KEY]
    assert (counts.lag_rows, counts.sent) == (0, 20)
    log.close()


def test_store_that_is_away_is_left_alone_for_a_while(
    shipper: Shipper, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder)
    store.away = {SCHEMA.table}
    assert not shipper.pass_over()
    read = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or read_bytes(path))  # type: ignore[func-returns-value]
    assert not shipper.pass_over()
    assert read == []
    assert shipper.next_attempt() > 0


def test_unwritable_warehouse_is_a_store_away(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    given = fill(folder)
    shipper = Shipper(folder, lambda: ParquetSink(tmp_path / "file"))
    assert not shipper.pass_over()
    assert "Not a directory" in (states.read(folder).error or "")
    assert len(closed(folder)) == 1
    (tmp_path / "file").unlink()
    with within(30) as ticks:
        for _ in ticks:
            if shipper.pass_over():
                break
    assert ids(stored(tmp_path / "file")) == given


def test_refused_rows_are_kept_for_people(
    shipper: Shipper, store: Store, folder: Path, warehouse: Path
) -> None:
    given = fill(folder)
    store.refuses = [(2, "too old"), (7, "too old")]
    assert shipper.pass_over()
    assert ids(stored(warehouse)) == [one for index, one in enumerate(given) if index not in (2, 7)]
    state = states.read(folder)
    assert (state.sent, state.failed) == ({KEY: 8}, {KEY: 2})
    (report,) = quarantined(folder)
    assert report["rows"] == 2
    assert report["reason"] == ["too old"]
    kept = pa.ipc.open_file(next((folder / "quarantine").glob("*.bin")).read_bytes()).read_all()
    assert ids(kept) == [given[2], given[7]]
    assert closed(folder) == []


def test_full_quarantine_keeps_the_segment(
    shipper: Shipper, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "MAX_QUARANTINE", 10)
    fill(folder)
    store.refuses = [(0, "too old")]
    assert not shipper.pass_over()
    assert len(closed(folder)) == 1
    assert "quarantine is full" in (states.read(folder).error or "")


def test_torn_last_record(
    shipper: Shipper, folder: Path, warehouse: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = fill(folder, schemas={KEY: SCHEMA})
    (path,) = closed(folder)
    data = path.read_bytes()
    end = len(segments.ending(bytes(8), {KEY: 10}))
    path.write_bytes(data[: -end - 5])
    assert shipper.pass_over()
    assert ids(stored(warehouse)) == given[:-1]
    (report,) = quarantined(folder)
    assert (report["reason"], report["rows"]) == ("torn", None)
    assert "belong to no answered request; the rest is recovered" in caplog.text
    assert states.read(folder).failed == {}


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("both", [True, False])
def test_corrupt_middle_record(
    shipper: Shipper,
    folder: Path,
    warehouse: Path,
    caplog: pytest.LogCaptureFixture,
    ended: bool,
    both: bool,
) -> None:
    given = fill(folder, both=both, schemas=None if both else {KEY: SCHEMA})
    (path,) = closed(folder)
    data = bytearray(path.read_bytes())
    at = data.index(given[4].encode())
    data[at] ^= 1
    if not ended:
        end = len(segments.ending(bytes(8), {KEY: 10, OTHER: 10} if both else {KEY: 10}))
        del data[-end:]
    path.write_bytes(data)
    assert shipper.pass_over()
    assert ids(stored(warehouse)) == [*given[:4], *given[5:]]
    (report,) = quarantined(folder)
    assert (report["reason"], report["rows"], report["segment"]) == ("corrupt", 1, path.name)
    assert "1 rows lost; the rest is recovered" in caplog.text
    assert states.read(folder).failed == {KEY if ended or not both else UNKNOWN: 1}
    log = ThreadedLog(folder, {KEY: SCHEMA}, ship=False)
    assert log.counts().failed == 0  # since this process's start
    log.close()


def test_older_format_is_kept_whole_and_the_rest_is_sent(
    shipper: Shipper, folder: Path, warehouse: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(folder)
    (path,) = closed(folder)
    data = bytearray(path.read_bytes())
    for offset in (0, 24):
        struct.pack_into("<I", data, offset + 8, 0)
        fields = bytes(data[offset : offset + 20])
        struct.pack_into("<I", data, offset + 20, zlib.crc32(fields))
    path.write_bytes(data)
    given = fill(folder)
    assert shipper.pass_over()
    assert ids(stored(warehouse)) == given
    (report,) = quarantined(folder)
    assert report["reason"] == "its format is 0; this version reads 2"
    assert next((folder / "quarantine").glob("*.bin")).read_bytes() == data
    assert "it lies in quarantine whole" in caplog.text
    assert closed(folder) == []


def test_file_of_garbage_is_kept_whole_and_the_rest_is_sent(
    shipper: Shipper, folder: Path, warehouse: Path
) -> None:
    given = fill(folder)
    (folder / folders.name(0, 1_795_392_000_000_000, "0" * 16)).with_suffix(".log").write_bytes(b"garbage")
    assert shipper.pass_over()
    assert ids(stored(warehouse)) == given
    assert [report["reason"] for report in quarantined(folder)] == ["it does not begin as a segment does"]


def test_frame_that_is_no_entry_costs_its_rows_only(shipper: Shipper, folder: Path, warehouse: Path) -> None:
    log = ThreadedLog(folder, {KEY: SCHEMA}, ship=False)
    given = IDS.take(3)
    log.write(KEY, encoded(ids=given[:1]), 1)
    log.write(KEY, b"no entry", 4)
    log.write(KEY, encoded(features=[1.0]), 1)
    log.write(KEY, encoded(2, ids=given[1:]), 2)
    log.close()
    assert shipper.pass_over()
    assert ids(stored(warehouse)) == given
    assert states.read(folder).failed == {KEY: 5}
    assert [report["rows"] for report in quarantined(folder)] == [5]


def test_large_segment_is_sent_in_order(shipper: Shipper, folder: Path, warehouse: Path) -> None:
    log = ThreadedLog(folder, {KEY: SCHEMA}, ship=False)
    given = []
    for _ in range(7):
        given += IDS.take(3000)
        log.write(KEY, encoded(3000, ids=given[-3000:]), 3000)
    log.close()
    assert shipper.pass_over()
    assert ids(stored(warehouse)) == given


def ship(folder: Path, warehouse: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "serving_images.prediction_log", "ship", str(folder)]
    return subprocess.run(
        [*command, "--warehouse", str(warehouse), *options], capture_output=True, text=True, check=False
    )


def test_command_sends_what_a_dead_server_left(folder: Path, warehouse: Path) -> None:
    given = fill(folder)
    (path,) = closed(folder)
    path.rename(path.with_suffix(".open"))
    assert ship(folder, warehouse).returncode == 0
    assert ids(stored(warehouse)) == given


def test_command_says_when_rows_are_left(folder: Path, tmp_path: Path) -> None:
    fill(folder)
    (tmp_path / "file").touch()
    result = ship(folder, tmp_path / "file")
    assert result.returncode == 1
    assert "rows are left that the store does not take now; try again later" in result.stderr
    assert len(closed(folder)) == 1


def test_command_refuses_what_is_no_folder(tmp_path: Path) -> None:
    result = ship(tmp_path / "nowhere", tmp_path)
    assert result.returncode == 2
    assert "there is no such folder" in result.stderr
    assert "Traceback" not in result.stderr


def test_two_shippers_do_not_share_a_folder(folder: Path, warehouse: Path) -> None:
    given = fill(folder)
    held = folders.lock(folder, "shipper.lock")
    result = ship(folder, warehouse)
    assert result.returncode == 2
    assert f"process {os.getpid()} holds its shipper.lock" in result.stderr
    os.close(held)
    assert ship(folder, warehouse).returncode == 0
    assert ids(stored(warehouse)) == given
