"""The log for threads: its event loop runs in one of its own."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from serving_images.prediction_log.entry import LogSchema
from serving_images.prediction_log.journal import Done, Outcome
from serving_images.prediction_log.log import LogCounts, PredictionLog

__all__ = ["ThreadedLog"]


class ThreadedLog:
    """A `PredictionLog`, with its arguments and errors, whose methods any thread may call."""

    def __init__(self, folder: Path, schemas: Mapping[str, LogSchema], **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="prediction-log", daemon=True)
        self._thread.start()
        self._ending = threading.Lock()
        self._ended = False

        async def opened() -> PredictionLog:
            return PredictionLog(folder, schemas, **options)

        try:
            self.log = asyncio.run_coroutine_threadsafe(opened(), self._loop).result()
        except BaseException:
            self._end()
            raise

    def add(self, key: str, schema: LogSchema) -> None:
        """Take entries of another key from now on; see `PredictionLog.add`."""

        async def add() -> None:
            self.log.add(key, schema)

        asyncio.run_coroutine_threadsafe(add(), self._loop).result()

    def append(self, key: str, entries: bytes, rows: int, done: Done) -> None:
        """Have entries written; `done` is called with their outcome in the log's own thread: be quick."""
        with self._ending:
            if not self._ended:
                self._loop.call_soon_threadsafe(self.log.append, key, entries, rows, done)
                return
        done(self.log.lose(key, rows))

    def write(self, key: str, entries: bytes, rows: int) -> Outcome:
        """Have entries written, and return their outcome."""
        answer: SimpleQueue[Outcome] = SimpleQueue()
        self.append(key, entries, rows, answer.put)
        return answer.get()

    def refuses(self, key: str) -> bool:
        """Return whether entries would be refused now."""
        return self.log.refuses(key)

    def counts(self) -> LogCounts:
        """Return the counts of all keys together."""
        return self.log.counts()

    def counts_by_key(self) -> dict[str, LogCounts]:
        """Return the counts of each key."""
        return self.log.counts_by_key()

    def close(self, timeout: float = 20.0) -> None:
        """Write and send what is there; see `PredictionLog.aclose`."""
        if self._ended:
            return
        asyncio.run_coroutine_threadsafe(self.log.aclose(timeout), self._loop).result()
        self._end()

    def _end(self) -> None:
        with self._ending:
            self._ended = True
        # What was given before is told first.
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
