"""The log in a process of its own: outcomes, counts, and what happens when that process is killed."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from serving_images.prediction_log import Entry, LogSchema, PredictionIds, encode
from serving_images.prediction_log.log import LogInUseError, Policy
from serving_images.prediction_log.remote import RemoteLog
from serving_images.prediction_log.writer import Outcome

KEY, STRICT = "t/m/1", "t/m/2"
IDS = PredictionIds()


def schema(version: int) -> LogSchema:
    features = (("x", "float64"),)
    return LogSchema(
        table="p.d.t",
        team="t",
        model="m",
        version=version,
        pattern="rest",
        features=features,
        prediction="float64",
    )


def entry(rows: int = 1) -> tuple[list[str], bytes]:
    ids = IDS.take(rows)
    return ids, encode(Entry(1_772_353_800_000_000, 10, "me", None, ids, [1.0] * rows, [2.0] * rows))


class Asked:
    """Entries given to a log, and what became of them."""

    def __init__(self, log: RemoteLog) -> None:
        self.log = log
        self.outcomes: dict[str, Outcome] = {}
        self.given: list[str] = []

    def append(self, key: str = KEY, rows: int = 1) -> None:
        ids, content = entry(rows)
        self.given += ids

        def done(outcome: Outcome) -> None:
            for name in ids:
                assert name not in self.outcomes, "told twice"
                self.outcomes[name] = outcome

        self.log.append(key, content, rows, done)

    async def settled(self) -> None:
        await until(lambda: len(self.outcomes) == len(self.given))

    def durable(self) -> set[str]:
        return {name for name, outcome in self.outcomes.items() if outcome is Outcome.DURABLE}


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def sent(warehouse: Path) -> list[str]:
    found: list[str] = []
    for path in warehouse.rglob("[!.]*.parquet"):
        found += parquet.read_table(path, columns=["prediction_id"], partitioning=None)[0].to_pylist()
    return found


async def opened(folder: Path, max_bytes: int = 1 << 30) -> RemoteLog:
    log = RemoteLog(
        folder / "log",
        {KEY: schema(1), STRICT: schema(2)},
        policy={STRICT: Policy.STOP_SERVING},
        max_bytes=max_bytes,
        warehouse=folder / "warehouse",
    )
    await log.opened()
    return log


def test_entries_are_durable_counted_and_sent(tmp_path: Path) -> None:
    async def run() -> None:
        log = await opened(tmp_path)
        asked = Asked(log)
        for number in range(500):
            asked.append(rows=number % 3 + 1)
            if number % 50 == 0:
                await asyncio.sleep(0.001)
        asked.append(rows=5000)  # more than a socket holds
        await asked.settled()
        assert asked.durable() == set(asked.given)
        await until(lambda: log.counts().durable == len(asked.given))
        log.add("t/m/3", schema(3))
        asked.append("t/m/3")
        await asked.settled()
        with pytest.raises(ValueError, match="another schema"):
            log.add(KEY, schema(3))
        await log.aclose(30)
        assert sorted(sent(tmp_path / "warehouse")) == sorted(asked.given)
        asked.append()
        await asked.settled()
        assert asked.outcomes[asked.given[-1]] is Outcome.DROPPED, "a log that is closed takes nothing"

    asyncio.run(run())


def test_no_room(tmp_path: Path) -> None:
    async def run() -> None:
        log = await opened(tmp_path, max_bytes=16)
        asked = Asked(log)
        asked.append()
        asked.append(STRICT)
        await asked.settled()
        assert list(asked.outcomes.values()) == [Outcome.DROPPED, Outcome.REFUSED]
        assert log.refuses(STRICT) and not log.refuses(KEY)
        await until(lambda: (log.counts().dropped, log.counts().refused) == (1, 1))
        await log.aclose(5)

    asyncio.run(run())


def test_two_servers_on_one_folder(tmp_path: Path) -> None:
    async def run() -> None:
        first = await opened(tmp_path)
        with pytest.raises(LogInUseError, match="log folder of its own"):
            await opened(tmp_path)
        await first.aclose(5)

    asyncio.run(run())


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")

    async def run() -> None:
        with pytest.raises(OSError):
            await opened(tmp_path)

    asyncio.run(run())


def test_a_writing_process_that_is_killed_is_started_again(tmp_path: Path) -> None:
    """Each entry has an outcome, once; those that are durable are sent; it goes on."""

    async def run() -> None:
        log = await opened(tmp_path)
        asked = Asked(log)
        for _ in range(2):
            asked.append()
            await asked.settled()
            for number in range(2000):
                asked.append()
                if number == 1000:
                    os.kill(log._process.pid, signal.SIGKILL)
                if number % 20 == 0:
                    await asyncio.sleep(0)
            await asked.settled()
            assert set(asked.outcomes.values()) == {Outcome.DURABLE, Outcome.DROPPED}
            restarts = log.restarts
            await until(lambda: log.restarts > restarts)  # noqa: B023
            await log_takes(log)
        assert log.restarts == 2
        await log.aclose(30)
        found = sent(tmp_path / "warehouse")
        assert len(found) == len(set(found))
        assert asked.durable() <= set(found)

    asyncio.run(run())


async def log_takes(log: RemoteLog) -> None:
    """Wait until entries are durable again."""
    while True:
        asked = Asked(log)
        asked.append()
        await asked.settled()
        if asked.durable():
            return
        await asyncio.sleep(0.05)
