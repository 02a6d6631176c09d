"""Kill server, disk's process and shipper at random points under load; find answered = logged, each row once.

python -m tests.serving_images.prediction_log.kill --rounds 100 [--server rest]

After every round the server starts on the same folder. In the end each row that was answered is in the store
exactly once, and each row of the store that was not answered belongs to a request that was under way when the
server was killed.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

from serving_images.prediction_log import Outcome
from serving_images.prediction_log.folder import holder
from tests.serving_images import sample
from tests.serving_images.prediction_log.samples import SCHEMA, closed, ids, stored
from tests.serving_images.rest.serving import Served, request

ROOT = Path(__file__).resolve().parents[3]


class Lines:
    """How to speak to the load server."""

    under_way = 8  # requests of a connection at once

    def ask(self, name: str, rows: int) -> bytes:
        """Return a request."""
        return f"{name} {rows}\n".encode()

    def answer(self, connection: BinaryIO, waiting: list[str]) -> tuple[str, str, list[str]]:
        """Read one answer: the request's name, the outcome, the rows' ids."""
        line = connection.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the server is gone")
        name, outcome, *ids = line.decode().split()
        return name, outcome, ids


class Http:
    """How to speak to the REST image."""

    under_way = 1

    def ask(self, name: str, rows: int) -> bytes:
        """Return a request; its name is its trace."""
        body = {"instances": [sample.ROW] * rows}
        return request("POST", "/predict", body, traceparent=f"00-{name}-{1:016x}-01")

    def answer(self, connection: BinaryIO, waiting: list[str]) -> tuple[str, str, list[str]]:
        """Read one answer."""
        lines = []
        while (line := connection.readline()) != b"\r\n":
            if not line.endswith(b"\r\n"):
                raise ConnectionError("the server is gone")
            lines.append(line)
        length = next(int(line[15:]) for line in lines if line.lower().startswith(b"content-length:"))
        body = connection.read(length)
        if len(body) < length:
            raise ConnectionError("the server is gone")
        if not lines[0].startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"the server answered {lines[0]!r} {body!r}")
        return waiting[0], Outcome.DURABLE, json.loads(body)["prediction_ids"]


class Server:
    """A server as a process: the load server."""

    speech: Lines | Http = Lines()

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.serving_images.prediction_log.load_server", str(folder), *options],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server ended with {self._process.wait()} before it served")
        self.port = int(line)

    def shipper(self, timeout: float = 120.0) -> int:
        """Return the process id of its shipper, once it has started to ship."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            process = holder(self.folder, "shipper.lock")
            if process in descendants(self.pid):
                return process
            time.sleep(0.005)
        raise RuntimeError("the server has no shipper")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> str:
        """End it gracefully; return what it says of its counts."""
        self._process.terminate()
        said, _ = self._process.communicate()
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()


class RestServer(Server):
    """The REST image's server, with a small model."""

    speech = Http()

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        root = folder.parent
        if not (root / "config").is_dir():
            sample.write(root, sample.settings(root, log={"table": SCHEMA.table}))
        self._served = Served(root, root / "config")
        self.pid = self._served.process.pid
        self._served.wait_until_ready()
        self.port = self._served.port

    def kill(self) -> None:
        """End it as a power cut would."""
        self._served.stop(signal.SIGKILL)

    def stop(self) -> str:
        """End it gracefully; return what it said."""
        self._served.stop()
        return self._served.said()

    def __exit__(self, *_: object) -> None:
        self.kill()


def descendants(pid: int) -> list[int]:
    """Return what a process has started, and what that has: its log may be written by another process."""
    found = [pid]
    for one in found:  # it grows while it is walked
        found += children(one)
    return found[1:]


def disk_of(pid: int) -> int:
    """Return the process that writes a server's log to the disk."""
    return next(child for child in children(pid) if b"disk.py" in Path(f"/proc/{child}/cmdline").read_bytes())


def children(pid: int) -> list[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        threads = [path.name for path in Path(f"/proc/{pid}/task").iterdir() if path.name != str(pid)]
        for thread in threads:
            found += " " + Path(f"/proc/{pid}/task/{thread}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in found.split()]


@dataclass
class Load:
    """Connections that ask without pause, and what they were told."""

    rows: int = 1
    outcomes: Counter[str] = field(default_factory=Counter)
    answered: dict[str, str] = field(default_factory=dict)
    """Id of each answered row, and its request."""
    unanswered: set[str] = field(default_factory=set)
    """Requests that got no answer."""
    _requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, server: Server, connections: int, until: threading.Event) -> list[threading.Thread]:
        """Start the connections; each ends with the server or when `until` is set."""
        threads = [threading.Thread(target=self._ask, args=(server, until)) for _ in range(connections)]
        for thread in threads:
            thread.start()
        return threads

    def explains(self, one: str, name: str) -> bool:
        """Return whether the store may have this row of this request."""
        return self.answered[one] == name if one in self.answered else name in self.unanswered

    def _ask(self, server: Server, until: threading.Event) -> None:
        speech = server.speech
        waiting: list[str] = []
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
                answers = connection.makefile("rb")
                while waiting or not until.is_set():
                    if not until.is_set():
                        new = [self._name() for _ in range(speech.under_way - len(waiting))]
                        waiting += new
                        connection.sendall(b"".join(speech.ask(name, self.rows) for name in new))
                    name, outcome, ids = speech.answer(answers, waiting)
                    waiting.remove(name)
                    self._answered(name, outcome, ids)
        except ConnectionError:
            pass
        finally:
            with self._lock:
                self.unanswered.update(waiting)

    def _name(self) -> str:
        with self._lock:
            self._requests += 1
            return f"{self._requests:032x}"

    def _answered(self, name: str, outcome: str, ids: list[str]) -> None:
        with self._lock:
            self.outcomes[outcome] += len(ids)
            if outcome == Outcome.DURABLE:
                self.answered.update(dict.fromkeys(ids, name))


@dataclass
class Finding:
    """What the store has against what was answered."""

    answered: int
    logged: int
    missing: set[str]
    twice: set[str]
    unexplained: set[str]
    """Rows of the store that were not answered, of requests that were."""

    @property
    def sound(self) -> bool:
        return not (self.missing or self.twice or self.unexplained)


def compare(load: Load, warehouse: Path) -> Finding:
    table = stored(warehouse)
    names = table.column("trace_id").to_pylist() if table.num_rows else []
    logged = ids(table)
    times = Counter(logged)
    return Finding(
        answered=len(load.answered),
        logged=len(times),
        missing=load.answered.keys() - times.keys(),
        twice={one for one, count in times.items() if count > 1},
        unexplained={one for one, name in zip(logged, names, strict=True) if not load.explains(one, name)},
    )


def run(
    folder: Path, rounds: int, seed: int, longest: float = 0.6, kind: type[Server] = Server
) -> tuple[Finding, Counter[str]]:
    """Kill something in each round; return what was found, and how often what was killed."""
    chance = random.Random(seed)
    log, warehouse = folder / "log", folder / "warehouse"
    options = ["--warehouse", str(warehouse), "--segment-bytes", "65536", "--roll-seconds", "0.05"]
    load = Load()
    killed: Counter[str] = Counter()
    for _ in range(rounds):
        victim = chance.choice(["server", "server", "disk", "shipper", "both", "all"])
        until = threading.Event()
        with kind(log, *options) as server:
            threads = load.run(server, connections=4, until=until)
            needed = victim in ("shipper", "both") or chance.random() < 0.7
            shipper = server.shipper() if needed else None
            time.sleep(chance.uniform(0, longest))
            if victim in ("shipper", "both") and shipper:
                os.kill(shipper, signal.SIGKILL)
            if victim == "disk":
                os.kill(disk_of(server.pid), signal.SIGKILL)
            if victim in ("shipper", "disk"):
                time.sleep(chance.uniform(0, longest))
            if victim != "both":
                time.sleep(chance.uniform(0, 0.02))
            others = descendants(server.pid) if victim == "all" else []
            server.kill()  # first, so that nobody is told what happened to the others
            for other in others:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(other, signal.SIGKILL)
            killed[victim] += 1
            for thread in threads:
                thread.join()
    with kind(log, *options) as server:
        server.stop()
    if closed(log):
        raise RuntimeError(f"segments are left: {closed(log)}")
    return compare(load, warehouse), killed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--server", choices=["load", "rest"], default="load")
    options = parser.parse_args()
    kind = RestServer if options.server == "rest" else Server
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        finding, killed = run(Path(folder), options.rounds, options.seed, kind=kind)
    print(
        f"{options.rounds} rounds (seed {options.seed}) in {time.monotonic() - started:.0f} s; killed: "
        + ", ".join(f"{victim} {count}" for victim, count in sorted(killed.items()))
    )
    print(
        f"{finding.answered} rows answered, {finding.logged} logged, {len(finding.missing)} missing, "
        f"{len(finding.twice)} twice, {len(finding.unexplained)} of nobody"
    )
    return 0 if finding.sound and finding.answered else 1


if __name__ == "__main__":
    sys.exit(main())
