"""A small server of the JSON API of Google Cloud Storage, for the official client on a real socket.

It knows uploads with `ifGenerationMatch`, downloads of a generation or a range, metadata, and
lists of a prefix.
"""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c


class Bucket(dict[str, tuple[int, bytes]]):
    """Name -> generation and content, as they are; tests may alter them."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.buckets: dict[str, Bucket] = {}
        self.lock = threading.Lock()
        self.generation = 1_700_000_000_000_000


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers["Content-Length"]))
        found = re.fullmatch(r"/upload/storage/v1/b/([^/]+)/o", url.path)
        if not found or query.get("uploadType") != "multipart":
            return self._answer(501, {"error": {"message": self.path}})
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        metadata, media = BytesParser(policy=HTTP).parsebytes(head + body).iter_parts()
        name, content = json.loads(metadata.get_content())["name"], _payload(body, media)
        with self.server.lock:
            bucket = self.server.buckets.get(found[1])
            if bucket is None:
                return self._answer(404, {"error": {"message": "The specified bucket does not exist."}})
            held = bucket.get(name, (0, b""))[0]
            if "ifGenerationMatch" in query and int(query["ifGenerationMatch"]) != held:
                return self._answer(412, {"error": {"message": "conditionNotMet"}})
            self.server.generation += 1
            bucket[name] = (self.server.generation, content)
        return self._answer(200, _resource(found[1], name, *bucket[name]))

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if found := re.fullmatch(r"/storage/v1/b/([^/]+)/o", url.path):
            bucket = self.server.buckets.get(found[1])
            if bucket is None:
                return self._answer(404, {"error": {"message": "The specified bucket does not exist."}})
            names = sorted(name for name in bucket if name.startswith(query.get("prefix", "")))
            return self._answer(200, {"items": [_resource(found[1], name, *bucket[name]) for name in names]})
        found = re.fullmatch(r"/(?:download/)?storage/v1/b/([^/]+)/o/([^/]+)", url.path)
        bucket = self.server.buckets.get(found[1]) if found else None
        held = bucket.get(unquote(found[2])) if found and bucket else None
        if not found or not held or int(query.get("generation", held[0])) != held[0]:
            return self._answer(404, {"error": {"message": f"No such object: {url.path}"}})
        if query.get("alt") == "media":
            return self._send_media(held[1])
        return self._answer(200, _resource(found[1], unquote(found[2]), *held))

    def _send_media(self, content: bytes) -> None:
        headers = {"X-Goog-Hash": f"crc32c={_crc(content)}"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            return self._send(200, content, headers)
        first, size = int(asked[1]), len(content)
        if first >= size:
            return self._send(416, b"", {"Content-Range": f"bytes */{size}"})
        last = min(int(asked[2] or size - 1), size - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        return self._send(206, content[first : last + 1], headers)

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        self._send(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _payload(body: bytes, media: Any) -> bytes:
    """Return the second part's bytes as they were sent: the parser of e-mail alters line ends."""
    boundary = body[: body.index(b"\r\n")]
    part = body.split(boundary)[2]
    return part[part.index(b"\r\n\r\n") + 4 : -2]


def _crc(content: bytes) -> str:
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


def _resource(bucket: str, name: str, generation: int, content: bytes) -> dict[str, Any]:
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "generation": str(generation),
        "metageneration": "1",
        "size": str(len(content)),
        "crc32c": _crc(content),
    }


@contextmanager
def serving(*buckets: str) -> Iterator[tuple[str, dict[str, Bucket]]]:
    """Serve empty `buckets`; yield the address for `STORAGE_EMULATOR_HOST`, and the buckets themselves."""
    server = _Server()
    server.buckets |= {name: Bucket() for name in buckets}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.buckets
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
