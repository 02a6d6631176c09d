"""HTTP as clients and attackers speak it, on real sockets: every answer is right, and none is a 5xx."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import h11
import pytest

from tests.serving_images import sample
from tests.serving_images.rest.serving import Served, read_all, read_answer, request, served

PATH = "/predict"
BODY = json.dumps(sample.ROW).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("http")
    config = sample.settings(folder, serving={"max_rows": 50, "max_body_bytes": 65_536})
    with served(folder, sample.write(folder, config), "--request-seconds", "2") as running:
        yield running
        assert running.series("modelyard_requests_total", code="500") == 0


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def problem(answer: bytes) -> Any:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    return json.loads(body)


def test_one_connection_answers_many_requests(server: Served) -> None:
    with server.connect() as connection:
        buffer = bytearray()
        for _ in range(5):
            connection.sendall(request("POST", PATH, sample.ROW))
            assert read_answer(connection, buffer).status == 200


def test_pipelined_requests_are_answered_in_order(server: Served) -> None:
    rows = [sample.ROW | {"distance": float(n)} for n in range(40)]
    with server.connect() as connection:
        parts = []
        for index, row in enumerate(rows):
            # Answers that need no model are ready before those that do, and must wait for them.
            parts.append(request("POST", PATH, row))
            parts.append(request("GET", "/healthz" if index % 2 else f"/nowhere-{index}"))
        connection.sendall(b"".join(parts))
        buffer = bytearray()
        ids = []
        for index in range(len(rows)):
            answer = read_answer(connection, buffer)
            assert answer.status == 200
            ids.append(answer.json["prediction_id"])
            assert read_answer(connection, buffer).status == (200 if index % 2 else 404)
        assert len(set(ids)) == len(rows)


def test_a_request_may_come_byte_by_byte(server: Served) -> None:
    with server.connect() as connection:
        for byte in request("POST", PATH, sample.ROW):
            connection.sendall(bytes([byte]))
        assert read_answer(connection).status == 200


def test_chunked_bodies_with_trailers(server: Served) -> None:
    client = h11.Connection(h11.CLIENT)
    sent = client.send(
        h11.Request(
            method="POST",
            target=PATH,
            headers=[("host", "m"), ("content-type", "application/json"), ("transfer-encoding", "chunked")],
        )
    )
    assert sent is not None
    for start in range(0, len(BODY), 7):
        sent += client.send(h11.Data(BODY[start : start + 7])) or b""
    sent += client.send(h11.EndOfMessage(headers=[("content-type", "text/plain")])) or b""
    with server.connect() as connection:
        connection.sendall(sent)
        assert read_answer(connection).status == 200
        connection.sendall(request("GET", "/healthz"))
        assert read_answer(connection).status == 200


def test_expect_100_continue(server: Served) -> None:
    with server.connect() as connection:
        whole = request("POST", PATH, sample.ROW, expect="100-continue")
        head, _, body = whole.partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_answer(connection).status == 200


def test_what_will_be_refused_is_not_asked_for(server: Served) -> None:
    answer = server.raw(request("POST", PATH, None, expect="100-continue", content_length="99999999"))
    assert status(answer) == 413
    assert status(server.raw(request("POST", PATH, sample.ROW, expect="a-miracle"))) == 417


def test_http_1_0(server: Served) -> None:
    plain = b"POST /predict HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
    answer = server.raw(plain)
    assert status(answer) == 200 and b"connection: close" in answer
    kept = b"GET /healthz HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"
    with server.connect() as connection:
        for _ in range(2):
            connection.sendall(kept)
            assert read_answer(connection).headers["connection"] == "keep-alive"


def test_close_is_done(server: Served) -> None:
    answer = server.raw(request("GET", "/healthz", connection="close"), request("GET", "/healthz"))
    assert answer.count(b"HTTP/1.1 ") == 1 and b"connection: close" in answer


def test_half_closed_clients_get_their_answer(server: Served) -> None:
    with server.connect() as connection:
        connection.sendall(request("POST", PATH, sample.ROW))
        connection.shutdown(socket.SHUT_WR)
        assert status(read_all(connection)) == 200


def test_head_is_get_without_content(server: Served) -> None:
    get, head = server.ask("GET", "/openapi.json"), server.ask("HEAD", "/openapi.json")
    assert head.status == 200 and head.headers["content-length"] == get.headers["content-length"]


def test_an_offered_upgrade_is_not_taken(server: Served) -> None:
    # Java's client offers HTTP/2 this way, on each first request.
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2_settings": "AAMAAABk"}
    with server.connect() as connection:
        connection.sendall(request("POST", PATH, sample.ROW, **offer))
        assert read_answer(connection).status == 200
        connection.sendall(request("GET", "/healthz"))
        assert read_answer(connection).status == 200
    assert server.ask("GET", "/healthz", **offer).status == 200


def test_targets(server: Served) -> None:
    assert server.ask("GET", "/healthz?probe=1#x").status == 200
    assert server.ask("GET", "http://models/healthz").status == 200
    assert server.ask("GET", "/%68ealthz").status == 200
    assert server.ask("GET", "/../etc/passwd").status == 404
    assert server.ask("GET", "/" + "a" * 20_000).status == 404


@pytest.mark.parametrize(
    "sent, expected",
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /healthz HTTP/3.0\r\nhost: m\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"BREW /healthz HTTP/1.1\r\nhost: m\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost: m\r\nbad header\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost: m\r\nx: \x00\r\n\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nhost: m\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nhost: m\r\ncontent-length: 1x\r\n\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nhost: m\r\ncontent-length: " + b"9" * 40 + b"\r\n\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nhost: m\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}", 400),
        (
            b"POST /predict HTTP/1.1\r\nhost: m\r\ncontent-length: 5\r\n"
            b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),  # the ways to smuggle a request
        (b"POST /predict HTTP/1.1\r\nhost: m\r\ntransfer-encoding: gzip\r\n\r\nabc", 400),
        (b"POST /predict HTTP/1.1\r\nhost: m\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nhost: m\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: m\r\n" + b"x-a: b\r\n" * 8000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: m\r\nx: " + b"a" * 60_000, 431),
        (b"CONNECT models:80 HTTP/1.1\r\nhost: m\r\n\r\n", 405),
        (b"POST /predict HTTP/1.1\r\nhost: m\r\ncontent-length: 70000\r\n\r\n", 413),
        (
            b"POST /predict HTTP/1.1\r\nhost: m\r\ntransfer-encoding: chunked\r\n\r\n"
            + b"2000\r\n"
            + b" " * 8192
            + b"\r\n"
            + (b"2000\r\n" + b" " * 8192 + b"\r\n") * 12,
            413,
        ),
    ],
)
def test_what_is_no_request_is_refused_and_closed(server: Served, sent: bytes, expected: int) -> None:
    answer = server.raw(sent)
    assert status(answer) == expected
    assert problem(answer)["status"] == expected
    assert answer.count(b"HTTP/1.1 ") == 1
    assert server.ask("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /predict HT", request("POST", PATH, sample.ROW)[:-20]],
    ids=["nothing", "half a head", "half a body"],
)
def test_slow_clients_are_told_and_closed(server: Served, sent: bytes) -> None:
    begun = time.monotonic()
    answer = server.raw(sent)
    assert status(answer) == 408
    assert time.monotonic() - begun >= 2


def test_trickling_does_not_buy_time(server: Served) -> None:
    whole = request("POST", PATH, sample.ROW)
    answer = server.raw(*(whole[at : at + 1] for at in range(100)), pause=0.05)
    assert status(answer) == 408


def test_a_client_that_takes_no_answers_is_left(server: Served) -> None:
    """What it asks for piles up neither in the server's memory nor in its queue."""
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(1)
        sent = 0
        ask = request("GET", "/openapi.json") * 50
        try:
            while sent < 100_000_000:
                sent += connection.send(ask)
        except TimeoutError:
            pass
        assert sent < 100_000_000
        assert server.ask("GET", "/healthz").status == 200


def test_clients_that_vanish_do_no_harm(server: Served) -> None:
    for cut in (10, 60, 200, None):
        with server.connect() as connection:
            # A reset, not a close.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            connection.sendall(request("POST", PATH, sample.ROW)[:cut])
    assert server.ask("POST", PATH, sample.ROW).status == 200


def test_wrong_methods_and_paths(server: Served) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        answer = server.ask(method, PATH)
        assert (answer.status, answer.headers["allow"]) == (405, "post")
    assert server.ask("POST", "/metrics").headers["allow"] == "get, head"
    missing = server.ask("POST", "/predct", sample.ROW)
    assert missing.status == 404 and "did you mean /predict?" in missing.json["detail"]
