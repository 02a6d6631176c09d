"""HTTP/1.1 on an event loop: framing, limits and time-outs of connections; what is asked is the handler's.

llhttp parses, through httptools. A connection may send requests ahead; answers leave in the order of the
requests. Nothing that a client sends or leaves unsent takes more than the limits allow.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote_to_bytes

import httptools

from serving_images.rest.problems import PROBLEM, problem

JSON = b"application/json"
_LOGGER = logging.getLogger("modelyard")
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class Limits:
    """What clients may take up."""

    head_bytes: int = 32_768
    """Request line and headers."""
    body_bytes: int = 1 << 20
    """Body of a request."""
    buffered_bytes: int = 64 << 20
    """Bodies of all requests that are being received."""
    connections: int = 4096
    pipelined: int = 32
    """Requests of one connection that wait for their answers, before no more is read from it."""
    request_seconds: float = 20.0
    """From the first byte of a request to its last."""
    idle_seconds: float = 620.0
    """Between requests; longer than load balancers keep a connection, so that they are who closes it."""
    linger_seconds: float = 2.0
    """For a client to take an answer that closes the connection."""
    write_seconds: float = 30.0
    """For a client to take an answer."""


class Request:
    """A request with its body, to be answered once, by `respond`, now or later."""

    __slots__ = (
        "_answer",
        "_connection",
        "body",
        "headers",
        "keep_alive",
        "method",
        "observer",
        "path",
        "started",
    )

    def __init__(
        self,
        connection: "Connection | None",
        method: bytes,
        path: bytes,
        headers: dict[bytes, bytes],
        body: bytes = b"",
    ) -> None:
        self._connection = connection
        self._answer: bytes | None = None
        self.method = method
        self.path = path
        """Path without query, percent-decoded."""
        self.headers = headers
        """Headers by name in lower case; of one that is repeated, the last."""
        self.body = body
        self.keep_alive = False
        self.started = time.monotonic()
        self.observer: Callable[[int, float], None] | None = None
        """Told status and seconds of the answer."""

    def respond(self, status: int, body: bytes, kind: bytes = JSON, extra: bytes = b"") -> None:
        """Answer.

        Args:
            status: HTTP status.
            body: content.
            kind: its media type.
            extra: further header lines, each ended by CRLF.
        """
        connection = self._connection
        if self.observer is not None:
            self.observer(status, time.monotonic() - self.started)
        if connection is None or connection.lost:
            return
        server = connection.server
        if server.stopping:
            self.keep_alive = False
        if not self.keep_alive:
            extra += b"connection: close\r\n"
        elif connection.old:
            extra += b"connection: keep-alive\r\n"
        head = b"HTTP/1.1 %d %b\r\ndate: %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n" % (
            status,
            _REASONS[status],
            server.date,
            kind,
            len(body),
            extra,
        )
        self._answer = head if self.method == b"HEAD" else head + body
        connection.answered(self)

    def refuse(self, status: int, kind: str, detail: str, extra: bytes = b"", **members: Any) -> None:
        """Answer with a problem (RFC 9457)."""
        self.respond(status, problem(status, kind, detail, **members), PROBLEM, extra)


Handler = Callable[[Request], None]


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: "HttpServer") -> None:
        self.server = server
        self.lost = False
        self.old = False
        self._limits = server.limits
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._closing = False
        self._ended = False
        self._paused = False
        self._blocked = 0.0
        self._since = time.monotonic()
        self._receiving = False
        self._first = True
        self._head = 0
        self._size = 0
        self._buffered = 0
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._in_head = False
        self._body: list[bytes] = []
        self._fault: tuple[int, str, str] | None = None

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, unless there are too many."""
        self._transport = cast(asyncio.Transport, transport)
        connections = self.server.connections
        if len(connections) >= self._limits.connections:
            self._reject(503, "overloaded", "too many connections", b"retry-after: 1\r\n")
        connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; what it asked for is computed all the same, and answered to nobody."""
        self.lost = True
        self._release()
        self._waiting.clear()
        self.server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived."""
        if self._closing:
            return
        try:
            if self._receiving and not self._in_head:
                self._parser.feed_data(data)
            else:
                # Only heads grow without their parts being told before their end.
                self._head += len(data)
                self._parser.feed_data(data)
                if self._in_head and self._head > self._limits.head_bytes:
                    self._reject(431, "head-too-large", f"the head exceeds {self._limits.head_bytes} bytes")
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError:
            raise
        except httptools.HttpParserError as error:
            self._reject(400, "malformed-http", f"this is no HTTP/1.1: {error}")

    def eof_received(self) -> bool:
        """Let a client that will send no more have its answers."""
        self._ended = True
        return bool(self._waiting) and not self._closing

    def pause_writing(self) -> None:
        """Read no more from a client that does not take its answers."""
        self._blocked = time.monotonic()
        self._pause()

    def resume_writing(self) -> None:
        """Read on."""
        self._blocked = 0.0
        self._resume()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._receiving = self._in_head = True
        self._since = time.monotonic()
        self._url = b""
        self._headers = {}
        self._size = 0
        self._body = []
        self._fault = None

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        if not self._in_head:
            return  # a trailer
        self._size += len(name) + len(value) + 4
        name = name.lower()
        if name == b"host" and name in self._headers:
            self._fault = (400, "malformed-http", "there are two Host headers")
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        """Refuse what need not be read; let a client go on that asked."""
        self._in_head = False
        headers = self._headers
        if self._size + len(self._url) > self._limits.head_bytes:
            self._fault = (431, "head-too-large", f"the head exceeds {self._limits.head_bytes} bytes")
        self._head = 0
        version = self._parser.get_http_version()
        self.old = version == "1.0"
        if version not in ("1.1", "1.0"):
            self._fault = (400, "malformed-http", f"HTTP/{version} is not spoken here")
        elif b"host" not in headers and not self.old:
            self._fault = (400, "malformed-http", "there is no Host header")
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._limits.body_bytes:
            self._fault = self._too_large()
        expect = headers.get(b"expect")
        if expect is not None and not self._fault:
            if expect.lower() == b"100-continue":
                if not self.old and not self._waiting:
                    self._transport.write(_CONTINUE)
            else:
                self._fault = (417, "unknown-expectation", "only 100-continue can be expected")
        if self._fault:
            self._fail()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._closing:
            return
        self._body.append(body)
        self._buffered += len(body)
        self.server.buffered += len(body)
        if self._buffered > self._limits.body_bytes:
            self._fault = self._too_large()
            self._fail()
        elif self.server.buffered > self._limits.buffered_bytes:
            self._reject(503, "overloaded", "too much is being received", b"retry-after: 1\r\n")

    def on_message_complete(self) -> None:
        """Hand the request over."""
        if self._closing:
            return
        parser = self._parser
        if parser.should_upgrade():
            return
        self._receiving = self._first = False
        url = self._url
        if b"?" in url or b"%" in url or not url.startswith(b"/"):
            try:
                url = unquote_to_bytes(httptools.parse_url(url).path or b"/")
            except httptools.HttpParserInvalidURLError:
                self._reject(400, "malformed-http", "the target is no URL")
                return
        body = self._body
        content = body[0] if len(body) == 1 else b"".join(body)
        request = Request(self, parser.get_method(), url, self._headers, content)
        request.keep_alive = parser.should_keep_alive()
        request.started = self._since
        self._release()
        self._waiting.append(request)
        if not request.keep_alive:
            self._closing = True
        if len(self._waiting) > self._limits.pipelined:
            self._pause()
        try:
            self.server.handler(request)
        except Exception:
            _LOGGER.exception("the handler failed")
            if request in self._waiting:
                request.refuse(500, "internal-error", "the server failed; its log says how")

    # What answers call.

    def answered(self, request: Request) -> None:
        """Send the answers that are due: those that no earlier request still waits before."""
        waiting = self._waiting
        while waiting and (answer := waiting[0]._answer) is not None:
            last = not waiting.popleft().keep_alive
            self._transport.write(answer)
            if last:
                waiting.clear()
                self._linger()
                return
        if self._paused and not self._blocked and len(waiting) <= self._limits.pipelined // 2:
            self._resume()
        if not waiting and self._ended:
            self._transport.close()

    def sweep(self, now: float) -> None:
        """End the connection where the client keeps it waiting too long."""
        limits = self._limits
        if self._blocked and now - self._blocked > limits.write_seconds:
            self._transport.abort()
        elif self._closing and not self._waiting:
            if now - self._since > limits.linger_seconds:
                self._transport.abort()
        elif self._receiving or (self._first and not self._waiting):
            if now - self._since > limits.request_seconds:
                seconds = f"{limits.request_seconds:g} s"
                self._reject(408, "slow-request", f"the request did not arrive within {seconds}")
        elif not self._waiting and now - self._since > limits.idle_seconds:
            self._transport.close()

    def stop(self) -> None:
        """Close the connection unless it has a request under way."""
        if not self._waiting and not self._receiving:
            self._transport.close()

    @property
    def busy(self) -> bool:
        """Whether a request is being received or answered."""
        return bool(self._waiting) or (self._receiving and not self._closing)

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read a request that offers another protocol as one that does not (RFC 9110, 7.8)."""
        if self._closing:
            return
        headers = self._headers
        method = self._parser.get_method()
        offer = headers.pop(b"connection", b"").lower()
        if not headers.pop(b"upgrade", None):
            self._reject(405, "method-not-allowed", "CONNECT is for proxies", b"allow: GET, HEAD, POST\r\n")
            return
        if b"close" in offer:
            headers[b"connection"] = b"close"
        lines = b"".join(b"%b: %b\r\n" % header for header in headers.items())
        self._parser = httptools.HttpRequestParser(self)
        self.data_received(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, self._url, lines, rest))

    def _too_large(self) -> tuple[int, str, str]:
        return 413, "body-too-large", f"the body exceeds {self._limits.body_bytes} bytes"

    def _fail(self) -> None:
        assert self._fault is not None
        self._reject(*self._fault)

    def _reject(self, status: int, kind: str, detail: str, extra: bytes = b"") -> None:
        """Answer what cannot be read any further, after what was asked before, and close."""
        if self._closing:
            return
        method = b"GET" if self._in_head or not self._receiving else self._parser.get_method()
        request = Request(self, method, self._url, self._headers)
        request.started = self._since
        self._closing = True
        self._receiving = False
        self._release()
        self._waiting.append(request)
        self.server.rejected(status)
        request.refuse(status, kind, detail, extra)

    def _linger(self) -> None:
        """Close, once the client had time to read: a reset would take the answer from it."""
        self._closing = True
        self._since = time.monotonic()
        if self._transport.can_write_eof() and not self._ended:
            self._transport.write_eof()
            self._resume()
        else:
            self._transport.close()

    def _release(self) -> None:
        self.server.buffered -= self._buffered
        self._buffered = 0
        self._body = []

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()


class HttpServer:
    """Listens, and hands requests to `handler`.

    Args:
        handler: answers each request, now or later.
        limits: what clients may take up.
        rejected: told the status of each answer that is given without the handler.
    """

    def __init__(
        self, handler: Handler, limits: Limits, rejected: Callable[[int], None] = lambda status: None
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.rejected = rejected
        self.connections: set[Connection] = set()
        self.buffered = 0
        self.stopping = False
        """Whether answers close their connections."""
        self.date = b""
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError where the address is taken."""
        loop = asyncio.get_running_loop()
        self._sweep(loop)
        self._listener = await loop.create_server(lambda: Connection(self), host, port, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self, seconds: float) -> bool:
        """Accept no more, answer what is under way, and close; return whether all of it was answered."""
        self.stopping = True
        if self._listener:
            self._listener.close()
        end = time.monotonic() + seconds
        while True:
            for connection in list(self.connections):
                connection.stop()
            busy = any(connection.busy for connection in self.connections)
            if not busy or time.monotonic() > end:
                break
            await asyncio.sleep(0.02)
        for _ in range(50):  # answers on their way to clients that read them
            if not self.connections:
                break
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection._transport.abort()
        if self._sweeper:
            self._sweeper.cancel()
        return not busy

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self.date = formatdate(usegmt=True).encode()
        now = time.monotonic()
        for connection in list(self.connections):
            connection.sweep(now)
        self._sweeper = loop.call_later(0.5, self._sweep, loop)
