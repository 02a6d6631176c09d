"""All shards of a run as processes of this machine; one that dies is tried again, as Kubernetes does."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from types import FrameType

from serving_images.batch.progress import Progress, Reporter, as_line
from serving_images.runtime.errors import EXIT_REFUSED

# How often one shard is tried again.
RETRIES = 3


def supervise(run: str, shards: int, arguments: Sequence[str], every: float) -> int:
    """Score all shards, each in a process of its own; return the exit code.

    Args:
        run: name of the run.
        shards: how many there are.
        arguments: further arguments of the processes.
        every: seconds between lines of progress.
    """
    told = _Told()
    workers = [_Worker(run, index, shards, arguments, told) for index in range(shards)]

    def stop(number: int, _: FrameType | None) -> None:
        for worker in workers:
            worker.stop()
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    total = Progress()
    tell = as_line(run)

    def summed(progress: Progress, seconds: float) -> None:
        _sum(progress, workers)
        if progress.total or not any(worker.code == EXIT_REFUSED for worker in workers):
            tell(progress, seconds)

    try:
        with Reporter(summed, total, every):
            for worker in workers:
                worker.thread.start()
            for worker in workers:
                worker.thread.join()
    finally:
        for worker in workers:
            worker.stop()
    codes = [worker.code for worker in workers]
    return EXIT_REFUSED if EXIT_REFUSED in codes else max(codes)


def _sum(total: Progress, workers: Sequence["_Worker"]) -> None:
    for name in ("total", "written", "failed", "resumed"):
        setattr(total, name, sum(getattr(worker.progress, name) for worker in workers))


class _Told:
    """Passes on what processes say on standard error: the same line of several once."""

    def __init__(self) -> None:
        self._lines: set[str] = set()
        self._lock = threading.Lock()

    def pass_on(self, lines: Iterable[str]) -> None:
        for line in lines:
            with self._lock:
                if line not in self._lines:
                    self._lines.add(line)
                    print(line, end="", file=sys.stderr, flush=True)


class _Worker:
    """A shard, from its first process to the last."""

    def __init__(self, run: str, index: int, shards: int, arguments: Sequence[str], told: _Told) -> None:
        self._command = [
            *(sys.executable, "-m", "serving_images.batch", "score", *arguments),
            *("--run", run, "--index", str(index), "--shards", str(shards), "--json"),
        ]
        self._index = index
        self._told = told
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        self.progress = Progress()
        self.code = 1
        self.thread = threading.Thread(target=self._run, name=f"shard-{index}", daemon=True)

    def stop(self) -> None:
        """End the process; what it has written stays."""
        self._stopped = True
        if self._process and self._process.poll() is None:
            self._process.kill()

    def _run(self) -> None:
        for attempt in range(RETRIES + 1):
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=os.environ,
            )
            with self._process as process:
                said = threading.Thread(target=self._told.pass_on, args=(process.stderr or (),), daemon=True)
                said.start()
                for line in process.stdout or ():
                    self.progress = Progress(**json.loads(line))
                said.join()
            self.code = abs(process.returncode)
            if process.returncode in (0, EXIT_REFUSED) or self._stopped:
                return
            how = (
                f"signal {-process.returncode}"
                if process.returncode < 0
                else f"exit code {process.returncode}"
            )
            again = "giving it up" if attempt == RETRIES else "starting it again"
            print(f"shard {self._index} ended by {how}; {again}", file=sys.stderr, flush=True)
