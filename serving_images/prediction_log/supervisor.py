"""Starts the shipper process and starts it again when it ends."""

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

_LOGGER = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parent.parent.parent
_PATIENCE = (0.5, 30.0)  # seconds before it is started again: at first, and at most
# One arena and the system's allocator give memory back.
_THRIFT = {"MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
_STEADY = 60.0  # a shipper that lived so long had started well


class Shipper:
    """The shipper of a folder. It ends by itself when this process ends: it reads the end of a pipe."""

    def __init__(self, folder: Path, warehouse: Path | None, bigquery_endpoint: str | None = None) -> None:
        self.restarts = 0
        self._command = [sys.executable, "-m", "serving_images.prediction_log", "ship", str(folder)]
        if warehouse:
            self._command += ["--warehouse", str(warehouse)]
        if bigquery_endpoint:
            self._command += ["--bigquery-endpoint", bigquery_endpoint]
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="prediction-log-shipper", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Process id; None while none runs."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    def _start(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [*self._command, "--until-stdin-ends"],
            stdin=subprocess.PIPE,
            env=_THRIFT | os.environ | {"PYTHONPATH": path},
            # Ctrl-C is for the server, also while the shipper is still starting.
            process_group=0,
        )
        return self._process

    def _run(self) -> None:
        wait, longest = _PATIENCE
        while True:
            started = time.monotonic()
            try:
                with self._starting:
                    if self._stopping.is_set():
                        return
                    process = self._start()
                code = process.wait()
                self._close_pipe(process)
            except OSError as error:
                code = -1
                _LOGGER.error("the shipper of the prediction log cannot be started: %s", error)
            if self._stopping.is_set():
                return
            if time.monotonic() - started > _STEADY:
                wait = _PATIENCE[0]
            _LOGGER.error("the shipper of the prediction log ended with %d; next start in %.1f s", code, wait)
            self.restarts += 1
            if self._stopping.wait(wait):
                return
            wait = min(2 * wait, longest)

    @staticmethod
    def _close_pipe(process: subprocess.Popen[bytes], patience: float | None = None) -> None:
        """End the pipe, and say before for how many seconds to go on."""
        with contextlib.suppress(OSError):  # it has ended
            assert process.stdin is not None
            if patience is not None:
                process.stdin.write(f"{patience}".encode())
            process.stdin.close()

    def close(self, timeout: float) -> None:
        """Let it send what is there; end it after `timeout` seconds."""
        with self._starting:
            self._stopping.set()
            process = self._process
            if process is None or process.poll() is not None:
                process = self._start()  # it had not begun, or was to begin again
        self._close_pipe(process, timeout)
        try:
            process.wait(timeout + 1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._thread.join()
