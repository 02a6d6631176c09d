"""Answered = logged, whatever is killed when. `kill.py` has the long form."""

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from serving_images.prediction_log.folder import holder
from tests.serving_images.prediction_log.kill import Load, RestServer, Server, compare, run
from tests.serving_images.prediction_log.samples import closed, within


@pytest.mark.parametrize(("kind", "rounds"), [(Server, 4), (RestServer, 3)])
def test_killed_at_random_points_every_answered_row_is_logged_once(
    tmp_path: Path, kind: type[Server], rounds: int
) -> None:
    seed = random.randrange(10**6)
    finding, killed = run(tmp_path, rounds, seed, kind=kind)
    assert finding.sound, f"seed {seed}: {finding}"
    assert finding.answered > 100
    assert killed.total() == rounds


def test_shipper_alone_is_started_again(tmp_path: Path) -> None:
    load, until = Load(), threading.Event()
    log, warehouse = tmp_path / "log", tmp_path / "warehouse"
    with Server(log, "--warehouse", str(warehouse), "--roll-seconds", "0.05") as server:
        threads = load.run(server, connections=2, until=until)
        first = server.shipper()
        os.kill(first, signal.SIGKILL)
        with within(60) as ticks:
            for _ in ticks:
                if holder(log, "shipper.lock") not in (0, first) and not list(warehouse.rglob(".*")):
                    break
        time.sleep(0.2)
        until.set()
        for thread in threads:
            thread.join()
        server.stop()
    assert closed(log) == []
    finding = compare(load, warehouse)
    assert finding.sound, finding
    assert finding.answered == finding.logged > 0


def test_shipper_ends_with_its_server(tmp_path: Path) -> None:
    with Server(tmp_path / "log", "--warehouse", str(tmp_path / "warehouse")) as server:
        shipper = server.shipper()
        server.kill()
    with within(30) as ticks:
        for _ in ticks:
            if not Path(f"/proc/{shipper}").exists() or _is_zombie(shipper):
                break


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
