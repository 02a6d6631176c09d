"""More than the server takes: refused at once and counted, while what was taken is answered and logged."""

import contextlib
import os
import resource
import select
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from tests.serving_images import sample
from tests.serving_images.prediction_log.kill import disk_of
from tests.serving_images.rest.serving import Answer, Served, read_answer, request, served

MEBIBYTE = 1 << 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    config = sample.settings(tmp_path, serving={"max_body_bytes": MEBIBYTE})
    with served(tmp_path, sample.write(tmp_path, config)) as running:
        yield running


@contextlib.contextmanager
def hanging_disk(server: Served) -> Iterator[None]:
    """Stop the process that writes the log, as a disk does that hangs."""
    pid = disk_of(server.process.pid)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def connected(server: Served, count: int) -> Iterator[list[socket.socket]]:
    """Open many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * count)), hard))
    with contextlib.ExitStack() as held:
        yield [held.enter_context(server.connect()) for _ in range(count)]


def memory(server: Served) -> int:
    """Return the bytes that the server has of its own."""
    for line in Path(f"/proc/{server.process.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel tells no memory")


def test_requests_beyond_the_bound_are_refused_and_the_others_answered_and_logged(server: Served) -> None:
    ask = request("POST", "/predict", sample.ROW)
    answers: list[Answer] = []
    with connected(server, 50) as connections:
        with hanging_disk(server):
            for connection in connections:
                connection.sendall(ask * 30)
            end = time.monotonic() + 60
            while server.series("modelyard_requests_total", code="503") < 50 * 30 - 1024:
                assert time.monotonic() < end
                time.sleep(0.02)
            assert server.ask("GET", "/healthz").status == 200
            refused = server.ask("POST", "/predict", sample.ROW)
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert refused.json["type"].endswith("overloaded")
        for connection in connections:
            buffer = bytearray()
            answers += [read_answer(connection, buffer) for _ in range(30)]
    assert Counter(answer.status for answer in answers) == {200: 1024, 503: 50 * 30 - 1024}
    assert server.ask("POST", "/predict", sample.ROW).status == 200
    assert server.stop() == 0
    logged = Counter(
        one
        for path in (server.folder / "warehouse").rglob("[!.]*.parquet")
        for one in parquet.read_table(path, columns=["prediction_id"], partitioning=None)[0].to_pylist()
    )
    answered = [answer.json["prediction_id"] for answer in answers if answer.status == 200]
    assert len(set(answered)) == 1024
    assert all(logged[one] == 1 for one in answered)
    assert len(logged) == 1025


def test_bodies_that_are_being_received_have_a_bound(server: Served) -> None:
    head = request("POST", "/predict", b"x" * MEBIBYTE)[:-MEBIBYTE]
    before = memory(server)
    with connected(server, 100) as connections:
        for connection in connections:
            with contextlib.suppress(ConnectionError):
                connection.sendall(head + b" " * (MEBIBYTE - 1))
        refused: list[socket.socket] = []
        end = time.monotonic() + 60
        while len(refused) < 30:
            assert time.monotonic() < end
            refused = select.select(connections, [], [], 0.1)[0]
        assert memory(server) - before < 150 * MEBIBYTE
        assert server.ask("GET", "/healthz").status == 200
        with contextlib.suppress(ConnectionError):
            assert read_answer(refused[0]).status == 503
    assert server.ask("POST", "/predict", sample.ROW).status == 200


def test_connections_have_a_bound(server: Served) -> None:
    with connected(server, 4096) as connections:
        connections[-1].sendall(request("POST", "/predict", sample.ROW))
        assert read_answer(connections[-1]).status == 200
        with server.connect() as one_too_many:
            assert read_answer(one_too_many).status == 503
        connections[0].sendall(request("POST", "/predict", sample.ROW))
        assert read_answer(connections[0]).status == 200
    end = time.monotonic() + 60
    while server.ask("GET", "/healthz").status != 200:
        assert time.monotonic() < end
        time.sleep(0.02)
