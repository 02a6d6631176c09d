"""The two calls of the Kubernetes API that the job makes, over real HTTP."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes import client

CONFIG_MAP = "modelyard-monitoring"


@contextmanager
def serving(documents: Mapping[str, str | None]) -> Iterator[client.CoreV1Api]:
    """Serve namespaces, each with the text of its monitoring document or None; yield a client to them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            parts = url.path.strip("/").split("/")
            if parts == ["api", "v1", "namespaces"]:
                assert parse_qs(url.query) == {"labelSelector": ["managed_by=modelyard"]}
                items = [{"metadata": {"name": name}} for name in documents]
                self._answer(200, {"kind": "NamespaceList", "items": items})
                return
            assert parts[:3] + parts[4:] == ["api", "v1", "namespaces", "configmaps", CONFIG_MAP]
            text = documents[parts[3]]
            if text is None:
                self._answer(404, {"kind": "Status", "reason": "NotFound", "code": 404})
            else:
                self._answer(200, {"kind": "ConfigMap", "data": {"monitoring.json": text}})

        def _answer(self, status: int, body: Mapping[str, Any]) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        settings = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
        with client.ApiClient(settings) as made:
            yield client.CoreV1Api(made)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
