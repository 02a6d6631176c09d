"""How far a shard is: a line for people, JSON for the process that started it, series for the monitors."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass
class Progress:
    """Counts of one shard, or of several together.

    Attributes:
        total: rows to score, an estimate where the source does not know better.
        written: rows that are durable; each count has one thread that changes it.
        failed: of these, rows without a prediction.
        resumed: rows that earlier attempts had written.
    """

    total: int = 0
    written: int = 0
    failed: int = 0
    resumed: int = 0

    @property
    def done(self) -> int:
        """Rows that are durable, of earlier attempts too."""
        return self.written + self.resumed

    def line(self, seconds: float) -> str:
        """Return what a person reads after `seconds` of work."""
        rate = self.written / seconds if seconds > 0 else 0.0
        share = min(1.0, self.done / self.total) if self.total else 1.0
        left = (self.total - self.done) / rate if rate else 0.0
        parts = [
            f"{self.done:,} of {self.total:,} rows ({share:.0%})",
            f"{rate:,.0f} rows/s",
            f"{_clock(left)} left" if rate or self.done >= self.total else "time left unknown",
        ]
        if self.failed:
            parts.append(f"{self.failed:,} without a prediction")
        return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"


class Reporter:
    """Tells the progress every `every` seconds from a thread; use as a context manager.

    Args:
        tell: what to do with the progress and the seconds since the start.
        progress: what to tell.
        every: seconds.
    """

    def __init__(self, tell: Callable[[Progress, float], None], progress: Progress, every: float) -> None:
        self._tell = tell
        self._progress = progress
        self._every = every
        self._stopped = threading.Event()
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> "Reporter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._tell(self._progress, time.monotonic() - self._started)

    def _run(self) -> None:
        while not self._stopped.wait(self._every):
            self._tell(self._progress, time.monotonic() - self._started)


def as_line(name: str) -> Callable[[Progress, float], None]:
    """Return what prints a line per report, on standard error."""

    def tell(progress: Progress, seconds: float) -> None:
        print(f"{name}: {progress.line(seconds)}", file=sys.stderr, flush=True)

    return tell


def as_json(progress: Progress, seconds: float) -> None:
    """Print the progress as a line of JSON, for the process that started this one; end if that has died."""
    try:
        print(json.dumps(asdict(progress)), flush=True)
    except BrokenPipeError:
        os._exit(1)
