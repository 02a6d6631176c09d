"""A disk that is full: a small tmpfs, filled and emptied under load."""

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.serving_images.prediction_log.kill import ROOT, Load, Server, compare
from tests.serving_images.prediction_log.samples import closed, within

_SIZE = 4 << 20


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a tmpfs of 4 MiB."""
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={_SIZE}".encode()):
        number = ctypes.get_errno()
        raise OSError(number, f"a tmpfs cannot be mounted: {os.strerror(number)}")
    try:
        yield folder
    finally:
        libc.umount2(os.fsencode(folder), 2)


@pytest.mark.parametrize(("policy", "outcome"), [("keep-serving", "dropped"), ("stop-serving", "refused")])
def test_full_disk(tmp_path: Path, policy: str, outcome: str) -> None:
    if os.geteuid() == 0:
        check(tmp_path, policy, outcome)
        return
    own_mounts = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        subprocess.run([*own_mounts, "true"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a tmpfs can be mounted neither as this user nor in a namespace of its own: {error}")
    module = "tests.serving_images.prediction_log.test_disk"
    command = [*own_mounts, sys.executable, "-m", module, str(tmp_path), policy, outcome]
    subprocess.run(command, check=True, cwd=ROOT)


def check(tmp_path: Path, policy: str, outcome: str) -> None:
    with small_disk(tmp_path / "disk") as disk:
        warehouse = tmp_path / "warehouse"
        ballast = disk / "ballast"
        load, until = Load(rows=4), threading.Event()
        options = ["--warehouse", str(warehouse), "--policy", policy, "--segment-bytes", "200000"]
        with Server(disk / "log", *options, "--roll-seconds", "0.1") as server:
            threads = load.run(server, connections=4, until=until)
            _fill(ballast)
            _until(lambda: load.outcomes[outcome] > 500)
            before = load.outcomes["durable"]
            ballast.unlink()
            _until(lambda: load.outcomes["durable"] > before + 500)
            until.set()
            for thread in threads:
                thread.join()
            said = server.stop()
        assert closed(disk / "log") == []
        assert set(load.outcomes) == {"durable", outcome}
        assert f"durable={load.outcomes['durable']}" in said
        assert f"{outcome}={load.outcomes[outcome]}" in said
        finding = compare(load, warehouse)
        assert not finding.missing
        assert not finding.twice
        assert finding.logged == load.outcomes["durable"], "what was dropped or refused is not in the store"


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def _until(condition: Callable[[], bool]) -> None:
    with within(60) as ticks:
        for _ in ticks:
            if condition():
                return


if __name__ == "__main__":
    check(Path(sys.argv[1]), *sys.argv[2:])
