"""`/healthz`, `/readyz` and `/metrics` of images that answer no requests, served from a thread."""

import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from serving_images.runtime.errors import Refused
from serving_images.runtime.metrics import CONTENT_TYPE, Metrics

PORT_VARIABLE = "MODELYARD_PORT"
PORT_DEFAULT = 8080

Check = Callable[[], str | None]
"""Says what is wrong; None: nothing."""


def port() -> int:
    """Return the port that `MODELYARD_PORT` names; 0 is any that is free.

    Raises:
        Refused: it is no port.
    """
    text = os.environ.get(PORT_VARIABLE) or str(PORT_DEFAULT)
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise Refused(f"{PORT_VARIABLE} is {text!r}: give a port from 0 to 65535")
    return int(text)


def _nothing() -> None:
    return None


class Pages:
    """A small server for probes and scrapes; use as a context manager.

    Args:
        metrics: what `/metrics` shows.
        healthy: asked by `/healthz`.
        ready: asked by `/readyz`.
        host: address to listen on.
        port: port to listen on; 0: any.

    Raises:
        Refused: the port is taken.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        healthy: Check = _nothing,
        ready: Check = _nothing,
        host: str = "0.0.0.0",
        port: int = PORT_DEFAULT,
    ) -> None:
        checks = {"/healthz": healthy, "/readyz": ready}

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    self._answer(200, metrics.text(), CONTENT_TYPE)
                elif path in checks:
                    wrong = checks[path]()
                    self._answer(503 if wrong else 200, (wrong or "ok").encode() + b"\n", "text/plain")
                else:
                    self._answer(404, b"there are /healthz, /readyz and /metrics\n", "text/plain")

            def _answer(self, code: int, body: bytes, kind: str) -> None:
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Probes and scrapes are no news."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise Refused(f"cannot listen on {host}:{port}: {error.strerror}; set {PORT_VARIABLE}") from None
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="pages", daemon=True)

    def __enter__(self) -> "Pages":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
