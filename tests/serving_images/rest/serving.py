"""A real server in a process of its own, and clients that speak to it byte by byte."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Answer:
    """What the server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """A server process."""

    def __init__(self, folder: Path, config: Path, *options: str, **environment: str) -> None:
        self.folder = folder
        self.log = folder / "log"
        command = [sys.executable, "-m", "serving_images.rest", "serve", "--config", str(config)]
        command += ["--log", str(self.log), "--host", "127.0.0.1", "--port", "0", *options]
        if "--drain-seconds" not in options:
            command += ["--drain-seconds", "0"]
        self.errors = folder / f"stderr-{time.monotonic_ns()}"
        self._file = self.errors.open("wb")
        variables = os.environ | {"MODELYARD_CACHE": str(folder / "cache")} | environment
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=self._file, env=variables)
        self.port = 0

    def wait_until_ready(self) -> None:
        for _ in range(1200):
            for line in self.said().splitlines():
                if line.startswith("modelyard: serving ") and ":" in line:
                    self.port = int(line.rsplit(":", 1)[1])
                    return
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}: {self.said()}")
            time.sleep(0.05)
        raise AssertionError(f"the server did not start: {self.said()}")

    def said(self) -> str:
        return self.errors.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()
            self._file.close()

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send one request on a connection of its own; `_` in names of headers is `-`."""
        with self.connect() as connection:
            connection.sendall(request(method, path, body, **headers))
            return read_answer(connection, head=method == "HEAD")

    def raw(self, *parts: bytes, pause: float = 0.0) -> bytes:
        """Send parts on a connection of its own; return all that is answered until the server closes it."""
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError):
                for part in parts:
                    connection.sendall(part)
                    time.sleep(pause)
            return read_all(connection)

    def series(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a series that have `labels`."""
        total = 0.0
        for line in self.ask("GET", "/metrics").body.decode().splitlines():
            named = line.startswith((name + "{", name + " "))
            if named and all(f'{key}="{value}"' in line for key, value in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total


def request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    """Return the bytes of a request; a body that is no bytes is sent as JSON."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"host": "models", "content-length": str(len(content))}
    if body is not None:
        fields["content-type"] = "application/json"
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


def read_answer(connection: socket.socket, buffer: bytearray | None = None, head: bool = False) -> Answer:
    """Read one answer; what came after it stays in `buffer`."""
    data = bytearray() if buffer is None else buffer
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            raise ConnectionError(f"the server closed the connection after {bytes(data)!r}")
        data += part
    top, _, _ = bytes(data).partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    length = 0 if head else int(headers.get("content-length", "0"))
    del data[: len(top) + 4]
    while len(data) < length:
        part = connection.recv(65536)
        if not part:
            raise ConnectionError("the server closed the connection within an answer")
        data += part
    body = bytes(data[:length])
    del data[:length]
    return Answer(int(first.split(" ")[1]), headers, body)


def read_all(connection: socket.socket) -> bytes:
    """Return what is sent until the other side closes."""
    data = bytearray()
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            data += part
    return bytes(data)


@contextlib.contextmanager
def served(folder: Path, config: Path, *options: str, **environment: str) -> Iterator[Served]:
    """Run a server for a block; it must end well."""
    server = Served(folder, config, *options, **environment)
    try:
        server.wait_until_ready()
        yield server
        assert server.stop() == 0, server.said()
    finally:
        server.stop(signal.SIGKILL)


def refused(folder: Path, config: Path, *options: str, **environment: str) -> tuple[int, str]:
    """Run a server that must not start; return its exit code and what it said."""
    server = Served(folder, config, *options, **environment)
    try:
        code = server.process.wait(60)
    finally:
        server.stop(signal.SIGKILL)
    return code, server.said()
