"""Outcomes, counts and policies of the log in a server, and a disk that hangs, refuses, or dies."""

import asyncio
import errno
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving_images.prediction_log import (
    LogInUseError,
    Outcome,
    Policy,
    PredictionLog,
    ThreadedLog,
    decode,
)
from serving_images.prediction_log import disk as disks
from serving_images.prediction_log import folder as folders
from serving_images.prediction_log import segment as segments
from serving_images.prediction_log.disk import CLOSE, OPEN, REOPEN, WRITE, Disk
from tests.serving_images.prediction_log.samples import (
    IDS,
    KEY,
    OTHER,
    OTHER_SCHEMA,
    SCHEMA,
    closed,
    encoded,
    other,
    stored,
    within,
)


class Logs:
    """Opens logs, and closes them at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: list[ThreadedLog] = []

    def __call__(self, **options: Any) -> ThreadedLog:
        log = ThreadedLog(self.folder, {KEY: SCHEMA}, **{"ship": False} | options)
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


def in_loop(folder: Path, **options: Any) -> PredictionLog:
    return PredictionLog(folder, {KEY: SCHEMA}, **{"ship": False} | options)


def written(folder: Path) -> list[str]:
    """Return the ids in all closed segments, in the order of writing."""
    found = []
    for path in closed(folder):
        segment = segments.parse(path.read_bytes())
        assert not segment.damages
        for frame in segment.frames:
            found += [one for entry in decode(frame.payload) for one in entry.ids]
    return found


def test_durable_entries_are_on_disk_in_order(logs: Logs) -> None:
    async def serve() -> list[str]:
        log = in_loop(logs.folder)
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
        log = in_loop(logs.folder)
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
        await log.aclose()

    asyncio.run(serve())


def test_fault_in_what_waits_does_not_keep_others_waiting(logs: Logs) -> None:
    async def serve() -> None:
        log = in_loop(logs.folder)

        def faulty(outcome: Outcome) -> None:
            raise RuntimeError("connection gone")

        for _ in range(5):
            log.append(KEY, encoded(), 1, faulty)
        assert await log.write(KEY, encoded(), 1) is Outcome.DURABLE
        await log.aclose()

    asyncio.run(serve())


def test_many_threads_write_at_once(logs: Logs) -> None:
    log = logs()
    given = [[IDS.take(7) for _ in range(40)] for _ in range(8)]

    def work(batches: list[list[str]]) -> None:
        for ids in batches:
            assert log.write(KEY, encoded(7, ids=ids), 7) is Outcome.DURABLE

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

    log.append(KEY, encoded(), 1, done)
    assert told.wait(10)
    assert answers == [Outcome.DURABLE]


def test_key_that_comes_later_gets_its_schema_into_a_segment(logs: Logs) -> None:
    log = logs()
    log.write(KEY, encoded(), 1)
    log.add(OTHER, OTHER_SCHEMA)
    log.add(OTHER, OTHER_SCHEMA)
    log.write(OTHER, other(), 1)
    log.write(KEY, encoded(2), 2)
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
        log.write(KEY, encoded(), 1)
    log.close()
    sizes = [path.stat().st_size for path in closed(logs.folder)]
    assert len(sizes) > 2
    assert max(sizes) < 2 * 4096
    assert len(written(logs.folder)) == 100


def test_segment_closes_by_age_only_when_no_other_waits(logs: Logs) -> None:
    log = logs(roll_seconds=0.05)
    log.write(KEY, encoded(), 1)
    rolled = threading.Event()
    while not closed(logs.folder):
        rolled.wait(0.01)
    for _ in range(20):
        log.write(KEY, encoded(), 1)
        rolled.wait(0.01)
    assert len(closed(logs.folder)) == 1
    assert log.counts().lag_rows == 21
    log.close()
    assert len(closed(logs.folder)) == 2


def test_second_log_on_a_folder_is_told_who_has_it(logs: Logs) -> None:
    log = logs()
    with pytest.raises(LogInUseError, match=f"process {os.getpid()} holds its lock; give each process"):
        logs()
    log.write(KEY, encoded(), 1)
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
        outcomes[log.write(KEY, encoded(), 1)] += 1
    assert folders.size(logs.folder) <= bound
    assert log.refuses(KEY) == (policy is Policy.STOP_SERVING)
    for _ in range(50):
        outcomes[log.write(KEY, encoded(), 1)] += 1
    assert folders.size(logs.folder) <= bound
    assert "cannot be written" in caplog.text
    for path in closed(logs.folder):  # as the shipper does once they are sent
        path.unlink()
    durable = outcomes[Outcome.DURABLE]
    while outcomes[Outcome.DURABLE] == durable:
        outcomes[log.write(KEY, encoded(), 1)] += 1
    assert not log.refuses(KEY)
    counts = log.counts()
    assert counts.accepted == sum(outcomes.values())
    assert counts.durable == outcomes[Outcome.DURABLE]
    assert counts.dropped == outcomes[Outcome.DROPPED]
    assert counts.refused == outcomes[Outcome.REFUSED]
    assert counts.dropped + counts.refused > 50


def test_waiting_entries_are_bounded(logs: Logs) -> None:
    async def serve() -> None:
        log = in_loop(logs.folder, max_waiting_bytes=20_000)
        await log.write(KEY, encoded(), 1)
        os.kill(log.disk_pid, signal.SIGSTOP)  # a disk that hangs
        first = asyncio.create_task(log.write(KEY, encoded(), 1))
        await asyncio.sleep(0.05)
        queued = [asyncio.create_task(log.write(KEY, encoded(), 1)) for _ in range(2000)]
        while not log.counts().dropped:
            await asyncio.sleep(0)
        assert not first.done()
        os.kill(log.disk_pid, signal.SIGCONT)
        outcomes = Counter(await asyncio.gather(*queued))
        # About 100 bytes each.
        assert 100 < outcomes[Outcome.DURABLE] < 400
        assert outcomes[Outcome.DROPPED] == 2000 - outcomes[Outcome.DURABLE]
        assert log.counts().accepted == 2002
        await log.aclose()

    asyncio.run(serve())


def test_end_beside_a_disk_that_hangs_tells_all_who_wait(logs: Logs) -> None:
    async def serve() -> None:
        log = in_loop(logs.folder)
        await log.write(KEY, encoded(), 1)
        disk = log.disk_pid
        os.kill(disk, signal.SIGSTOP)
        try:
            waiting = [asyncio.create_task(log.write(KEY, encoded(), 1))]
            await asyncio.sleep(0.05)  # the first is on its way, the others are queued
            waiting += [asyncio.create_task(log.write(KEY, encoded(), 1)) for _ in range(2)]
            await asyncio.sleep(0)
            await log.aclose(timeout=-9.9)
        finally:
            os.kill(disk, signal.SIGCONT)
        assert await asyncio.gather(*waiting) == [Outcome.DROPPED] * 3
        assert (log.counts().accepted, log.counts().durable, log.counts().dropped) == (4, 1, 3)

    asyncio.run(serve())


def test_segment_closes_by_age_though_files_ran_out(logs: Logs) -> None:
    log = logs(roll_seconds=0.05)
    log.write(KEY, encoded(), 1)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))  # no folder can be looked into
    try:
        time.sleep(0.2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    with within(10) as ticks:
        for _ in ticks:
            if closed(logs.folder):
                break


def test_segments_that_are_gone_are_forgotten(logs: Logs) -> None:
    log = logs(segment_bytes=100)
    for _ in range(300):
        log.write(KEY, encoded(), 1)
        for path in closed(logs.folder):  # as the shipper does once they are sent
            path.unlink()
    assert len(log.log._journal.closed) < 150


def test_group_larger_than_a_pipe(logs: Logs) -> None:
    async def serve() -> None:
        log = in_loop(logs.folder)
        sizes = [20_000, 1, 30_000, 5]
        outcomes = await asyncio.gather(*[log.write(KEY, encoded(rows), rows) for rows in sizes])
        assert set(outcomes) == {Outcome.DURABLE}
        assert log.commits == 1
        assert log.counts().durable == sum(sizes)
        await log.aclose()

    asyncio.run(serve())


def test_failed_write_is_no_durable_outcome_and_ends(logs: Logs, caplog: pytest.LogCaptureFixture) -> None:
    """A disk with a fault: nothing counts as written that the kernel did not confirm."""
    log = logs()
    kept = IDS.take(3)
    assert log.write(KEY, encoded(ids=kept[:1]), 1) is Outcome.DURABLE
    pid, no_limit = log.log.disk_pid, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))  # the kernel refuses: EFBIG
    assert log.write(KEY, encoded(), 1) is Outcome.DROPPED
    assert "File too large" in caplog.text
    resource.prlimit(pid, resource.RLIMIT_FSIZE, no_limit)
    for one in kept[1:]:
        while log.write(KEY, encoded(ids=[one]), 1) is not Outcome.DURABLE:
            continue
    log.close()
    assert written(logs.folder) == kept
    assert "can be written again" in caplog.text


def test_disk_that_cannot_sync_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(str(tmp_path))
    name = folders.name(1, 1_795_392_000_000_000, "0" * 16)
    assert disk.obey(OPEN, 1, 0, 0, name.encode()) == 0
    assert disk.obey(WRITE, 1, 0, 0, b"first") == 0

    def broken(file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", broken)
        assert disk.obey(WRITE, 1, 5, 0, b"second") == 5
    assert disk.obey(CLOSE, 1, 5, 0, b" end") == 0
    assert (tmp_path / f"{name}.log").read_bytes() == b"first end"
    assert disk.obey(WRITE, 1, 9, 0, b"late") == errno.ENOENT


@pytest.mark.parametrize("direct", [True, False])
def test_groups_of_all_sizes_lie_behind_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: bool
) -> None:
    """Past the page cache or through it, over zeros or beyond them, by one process or another after it."""
    if not direct:
        monkeypatch.setattr(disks, "_DIRECT", 0)
    chance, content = random.Random(1), b""
    name = folders.name(1, 1_795_392_000_000_000, "0" * 16)
    disk = Disk(str(tmp_path))
    assert disk.obey(OPEN, 1, 0, 0, name.encode()) == 0
    assert disk.obey(WRITE, 1, 0, 300_000, b"") == 0
    for number in range(300):
        group = chance.randbytes(chance.choice([1, 7, 900, 4095, 4096, 4097, 20_000, 70_000]))
        zeros = 100_000 if number % 50 == 49 else 0
        assert disk.obey(WRITE, 1, len(content), zeros, group) == 0
        content += group
        if number % 100 == 99:
            disk = Disk(str(tmp_path))
            assert disk.obey(REOPEN, 1, 0, 0, name.encode()) == 0
        assert (tmp_path / f"{name}.open").read_bytes().startswith(content)
    assert disk.obey(CLOSE, 1, len(content), 0, b"end") == 0
    assert (tmp_path / f"{name}.log").read_bytes() == content + b"end"


def test_process_that_writes_is_killed_and_nothing_is_lost(tmp_path: Path) -> None:
    """Each entry has an outcome, once, and what is durable is there once; it goes on."""

    async def run() -> None:
        log = in_loop(tmp_path / "log", segment_bytes=20_000)
        given: list[list[str]] = []
        waiting: list[asyncio.Task[Outcome]] = []
        for number in range(4000):
            given.append(IDS.take(1))
            waiting.append(asyncio.create_task(log.write(KEY, encoded(ids=given[-1]), 1)))
            if number % 1500 == 500:
                while log.restarts < number // 1500:
                    await asyncio.sleep(0.01)
                os.kill(log.disk_pid, signal.SIGKILL)
            if number % 20 == 0:
                await asyncio.sleep(0.001)
        assert set(await asyncio.gather(*waiting)) == {Outcome.DURABLE}
        assert log.restarts == 3
        await log.aclose()
        assert sorted(written(tmp_path / "log")) == sorted(one for ids in given for one in ids)

    asyncio.run(run())


@pytest.mark.parametrize("program", ["/dev/null", "/bin/false"])
def test_process_that_cannot_be_started_again_is_a_disk_that_refuses(
    logs: Logs, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    async def run() -> None:
        log = in_loop(logs.folder, roll_seconds=1000)
        kept = IDS.take(2)
        assert await log.write(KEY, encoded(ids=kept[:1]), 1) is Outcome.DURABLE
        with monkeypatch.context() as patched:
            patched.setattr(sys, "executable", program)
            os.kill(log.disk_pid, signal.SIGKILL)
            for _ in range(2):
                while await log.write(KEY, encoded(), 1) is not Outcome.DROPPED:
                    continue
                await asyncio.sleep(0.15)  # until it is tried again
        while await log.write(KEY, encoded(ids=kept[1:]), 1) is not Outcome.DURABLE:
            await asyncio.sleep(0.05)
        counts = log.counts()
        assert counts.accepted == counts.durable + counts.dropped
        await log.aclose()
        assert [one for one in written(logs.folder) if one in kept] == kept
        assert len(written(logs.folder)) == counts.durable
        assert not list(logs.folder.glob("*.open"))

    asyncio.run(run())


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    with pytest.raises(OSError):
        ThreadedLog(tmp_path / "log", {KEY: SCHEMA}, ship=False)


def test_log_that_is_abandoned_leaves_the_folder(tmp_path: Path) -> None:
    async def run() -> None:
        in_loop(tmp_path / "log").abandon()
        log = in_loop(tmp_path / "log", patience=10.0)
        assert await log.write(KEY, encoded(), 1) is Outcome.DURABLE
        await log.aclose()

    asyncio.run(run())


def test_what_a_killed_server_was_writing_is_still_sent(tmp_path: Path) -> None:
    """Its shipper closes the segment that it left open."""
    folder, warehouse = tmp_path / "log", tmp_path / "warehouse"
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from serving_images.prediction_log import PredictionLog\n"
        "from tests.serving_images.prediction_log.samples import KEY, SCHEMA, encoded\n"
        "async def serve():\n"
        "    folder, warehouse = map(Path, sys.argv[1:])\n"
        "    log = PredictionLog(folder, {KEY: SCHEMA}, warehouse=warehouse, roll_seconds=1000)\n"
        "    while not (folder / 'shipper.lock').exists(): await asyncio.sleep(0.01)\n"
        "    print(await log.write(KEY, encoded(3), 3), flush=True)\n"
        "    await asyncio.sleep(1000)\n"
        "asyncio.run(serve())"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", program, str(folder), str(warehouse)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    with server.stdout:
        assert server.stdout.readline() == "durable\n"
        server.kill()
        server.wait()
    with within(30) as ticks:
        for _ in ticks:
            if stored(warehouse).num_rows == 3 and not closed(folder):
                break
    log = ThreadedLog(folder, {KEY: SCHEMA}, ship=False, patience=10.0)
    assert log.counts().lag_rows == 0
    log.close()


def test_what_an_earlier_process_left_is_closed_and_counted(logs: Logs) -> None:
    log = logs()
    log.write(KEY, encoded(3), 3)
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
    assert log.write(KEY, encoded(), 1) is Outcome.DROPPED
    assert log.counts().dropped == 1


def test_server_imports_neither_arrow_nor_clients() -> None:
    program = (
        "import sys, serving_images.prediction_log.log\n"
        "print(*[name for name in sys.modules if name.startswith("
        "('pyarrow', 'numpy', 'google.api', 'google.cloud.', 'grpc', 'pydantic', 'duckdb'))])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
