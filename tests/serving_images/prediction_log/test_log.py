"""Outcomes, counts and policies of the log in a server, without its shipper."""

import asyncio
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving_images.prediction_log import LogInUseError, Outcome, Policy, PredictionLog, decode
from serving_images.prediction_log import folder as folders
from serving_images.prediction_log import segment as segments
from tests.serving_images.prediction_log.samples import (
    IDS,
    KEY,
    OTHER,
    OTHER_SCHEMA,
    SCHEMA,
    closed,
    encoded,
    other,
)


class Logs:
    """Opens logs, and closes them at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: list[PredictionLog] = []

    def __call__(self, **options: Any) -> PredictionLog:
        log = PredictionLog(self.folder, {KEY: SCHEMA}, **{"ship": False} | options)
        self._opened.append(log)
        return log

    def close(self) -> None:
        for log in self._opened:
            log.close()


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    opened = Logs(tmp_path / "log")
    yield opened
    opened.close()


def written(folder: Path) -> list[str]:
    """Return the ids in all closed segments, in the order of writing."""
    found = []
    for path in closed(folder):
        segment = segments.parse(path.read_bytes())
        assert not segment.damages
        for frame in segment.frames:
            found += decode(frame.payload).ids
    return found


def test_durable_entries_are_on_disk_in_order(logs: Logs) -> None:
    async def serve() -> list[str]:
        log = logs()
        given = [IDS.take(1 + index % 3) for index in range(300)]
        outcomes = await asyncio.gather(
            *[log.write(KEY, encoded(len(ids), ids=ids), len(ids)) for ids in given]
        )
        assert set(outcomes) == {Outcome.DURABLE}
        counts = log.counts()
        total = sum(map(len, given))
        assert (counts.accepted, counts.durable, counts.lag_rows) == (total, total, total)
        assert counts.sent == counts.failed == counts.dropped == counts.refused == 0
        await log.aclose()
        return [one for ids in given for one in ids]

    given = asyncio.run(serve())
    assert written(logs.folder) == given


def test_done_runs_in_the_loop_and_never_within_append(logs: Logs) -> None:
    async def serve() -> None:
        log = logs()
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        where = []

        def done(outcome: Outcome) -> None:
            where.append((outcome, threading.current_thread() is threading.main_thread()))
            assert asyncio.get_running_loop() is loop
            told.set()

        log.append(KEY, encoded(), 1, done)
        assert where == []
        await told.wait()
        assert where == [(Outcome.DURABLE, True)]

    asyncio.run(serve())


def test_fault_in_what_waits_does_not_keep_others_waiting(logs: Logs) -> None:
    async def serve() -> None:
        log = logs()

        def faulty(outcome: Outcome) -> None:
            raise RuntimeError("connection gone")

        for _ in range(5):
            log.append(KEY, encoded(), 1, faulty)
        assert await log.write(KEY, encoded(), 1) is Outcome.DURABLE

    asyncio.run(serve())


def test_many_threads_write_at_once(logs: Logs) -> None:
    log = logs()
    given = [[IDS.take(7) for _ in range(40)] for _ in range(8)]

    def work(batches: list[list[str]]) -> None:
        for ids in batches:
            assert log.append_sync(KEY, encoded(7, ids=ids), 7) is Outcome.DURABLE

    threads = [threading.Thread(target=work, args=(batches,)) for batches in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.counts().durable == 8 * 40 * 7
    log.close()
    expected = Counter(one for batches in given for ids in batches for one in ids)
    assert Counter(written(logs.folder)) == expected


def test_entry_in_thread_is_told_in_the_logs_own(logs: Logs) -> None:
    log = logs()
    answers: list[Outcome] = []
    told = threading.Event()

    def done(outcome: Outcome) -> None:
        answers.append(outcome)
        told.set()

    log.append_threaded(KEY, encoded(), 1, done)
    assert told.wait(10)
    assert answers == [Outcome.DURABLE]


def test_key_that_comes_later_gets_its_schema_into_a_segment(logs: Logs) -> None:
    log = logs()
    log.append_sync(KEY, encoded(), 1)
    log.add(OTHER, OTHER_SCHEMA)
    log.add(OTHER, OTHER_SCHEMA)
    log.append_sync(OTHER, other(), 1)
    log.append_sync(KEY, encoded(2), 2)
    assert {key: counts.durable for key, counts in log.counts_by_key().items()} == {KEY: 3, OTHER: 1}
    with pytest.raises(ValueError, match="has another schema already"):
        log.add(KEY, OTHER_SCHEMA)
    log.close()
    read = [segments.parse(path.read_bytes()) for path in closed(logs.folder)]
    assert [segment.rows() for segment in read] == [{KEY: 1}, {OTHER: 1, KEY: 2}]
    assert read[-1].ending == {KEY: 2, OTHER: 1}


def test_segments_close_by_size(logs: Logs) -> None:
    log = logs(segment_bytes=4096)
    for _ in range(100):
        log.append_sync(KEY, encoded(), 1)
    log.close()
    sizes = [path.stat().st_size for path in closed(logs.folder)]
    assert len(sizes) > 2
    assert max(sizes) < 2 * 4096
    assert len(written(logs.folder)) == 100


def test_segment_closes_by_age_only_when_no_other_waits(logs: Logs) -> None:
    log = logs(roll_seconds=0.05)
    log.append_sync(KEY, encoded(), 1)
    rolled = threading.Event()
    while not closed(logs.folder):
        rolled.wait(0.01)
    for _ in range(20):
        log.append_sync(KEY, encoded(), 1)
        rolled.wait(0.01)
    assert len(closed(logs.folder)) == 1
    assert log.counts().lag_rows == 21
    log.close()
    assert len(closed(logs.folder)) == 2


def test_second_process_on_a_folder_is_told_who_has_it(logs: Logs) -> None:
    log = logs()
    with pytest.raises(LogInUseError, match=f"process {os.getpid()} holds its lock; give each process"):
        logs()
    log.append_sync(KEY, encoded(), 1)
    log.close()
    logs().close()  # given back
    assert len(written(logs.folder)) == 1


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [(Policy.KEEP_SERVING, Outcome.DROPPED), (Policy.STOP_SERVING, Outcome.REFUSED)],
)
def test_bound_is_kept_told_and_left_when_there_is_room(
    logs: Logs, policy: Policy, outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    bound = 60_000
    log = logs(policy={KEY: policy}, max_bytes=bound, segment_bytes=10_000)
    outcomes: Counter[Outcome] = Counter()
    while not outcomes[outcome]:
        outcomes[log.append_sync(KEY, encoded(), 1)] += 1
    assert folders.size(logs.folder) <= bound
    assert log.refuses(KEY) == (policy is Policy.STOP_SERVING)
    for _ in range(50):
        outcomes[log.append_sync(KEY, encoded(), 1)] += 1
    assert folders.size(logs.folder) <= bound
    assert "cannot be written" in caplog.text
    for path in closed(logs.folder):  # as the shipper does once they are sent
        path.unlink()
    durable = outcomes[Outcome.DURABLE]
    while outcomes[Outcome.DURABLE] == durable:
        outcomes[log.append_sync(KEY, encoded(), 1)] += 1
    assert not log.refuses(KEY)
    counts = log.counts()
    assert counts.accepted == sum(outcomes.values())
    assert counts.durable == outcomes[Outcome.DURABLE]
    assert counts.dropped == outcomes[Outcome.DROPPED]
    assert counts.refused == outcomes[Outcome.REFUSED]
    assert counts.dropped + counts.refused > 50


def test_queue_in_memory_is_bounded(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, goes_on = threading.Event(), threading.Event()
    fdatasync = os.fdatasync

    def slow(file: int) -> None:
        hangs.set()
        assert goes_on.wait(30)
        fdatasync(file)

    async def serve() -> None:
        log = logs(max_queued_bytes=20_000)
        await log.write(KEY, encoded(), 1)
        monkeypatch.setattr(os, "fdatasync", slow)
        first = asyncio.create_task(log.write(KEY, encoded(), 1))
        await asyncio.to_thread(hangs.wait)
        queued = [asyncio.create_task(log.write(KEY, encoded(), 1)) for _ in range(2000)]
        while not log.counts().dropped:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not first.done()
        goes_on.set()
        outcomes = Counter(await asyncio.gather(*queued))
        # About 100 bytes each.
        assert 100 < outcomes[Outcome.DURABLE] < 400
        assert outcomes[Outcome.DROPPED] == 2000 - outcomes[Outcome.DURABLE]
        assert log.counts().accepted == 2002

    asyncio.run(serve())


def test_failed_sync_is_no_durable_outcome_and_ends(
    logs: Logs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk with a fault: nothing counts as written that the kernel did not confirm."""
    log = logs()
    kept = IDS.take(2)
    log.append_sync(KEY, encoded(ids=kept[:1]), 1)
    fdatasync = os.fdatasync

    def broken(file: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    assert log.append_sync(KEY, encoded(), 1) is Outcome.DROPPED
    assert "Input/output error" in caplog.text
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    while log.append_sync(KEY, encoded(ids=kept[1:]), 1) is not Outcome.DURABLE:
        continue
    log.close()
    assert written(logs.folder) == kept


def test_what_an_earlier_process_left_is_closed_and_counted(logs: Logs) -> None:
    log = logs()
    log.append_sync(KEY, encoded(3), 3)
    left = next(logs.folder.glob("*.open"))
    torn = left.read_bytes().rstrip(b"\0") + b"torn"
    log.close()
    for path in closed(logs.folder):
        path.unlink()
    (logs.folder / left.name).write_bytes(torn + bytes(10_000))
    (logs.folder / left.name.replace("0000000001-", "0000000002-")).touch()
    log = logs()
    assert [path.name for path in closed(logs.folder)] == [left.stem + ".log"]
    counts = log.counts()
    assert (counts.accepted, counts.durable, counts.lag_rows) == (0, 0, 3)
    assert counts.lag_seconds > 0


def test_entries_after_the_end_are_not_lost_silently(logs: Logs) -> None:
    log = logs()
    log.close()
    assert log.append_sync(KEY, encoded(), 1) is Outcome.DROPPED
    assert log.counts().dropped == 1


def test_server_imports_neither_arrow_nor_clients() -> None:
    program = (
        "import sys, serving_images.prediction_log.log\n"
        "print(*[name for name in sys.modules if name.startswith("
        "('pyarrow', 'numpy', 'google.api', 'google.cloud.', 'grpc', 'pydantic', 'duckdb'))])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
