"""A worker in a process of its own, on a Pub/Sub of the tests, with a local warehouse."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from google.cloud.pubsub_v1 import PublisherClient
from google.cloud.pubsub_v1.types import PublisherOptions

from serving_images.streaming.messages import prediction_ids
from tests.pubsub_server import PubSubServer
from tests.serving_images.sample import ROW, settings

ROOT = Path(__file__).resolve().parents[3]
TOPIC = "projects/test/topics/delay-input"
ANSWERS = "projects/test/topics/delay-predictions"
DEAD = "projects/test/topics/delay-dead-letter"
SUBSCRIPTION = "projects/test/subscriptions/delay-input"
STREAMING = {"subscription": SUBSCRIPTION, "predictions": ANSWERS, "dead_letters": DEAD}


@pytest.fixture
def pubsub(monkeypatch: pytest.MonkeyPatch) -> Iterator[PubSubServer]:
    """A server with the topics and the subscription of the sample model; clients of this process find it."""
    with PubSubServer() as server:
        for topic in (TOPIC, ANSWERS, DEAD):
            server.topic(topic)
        server.subscription(SUBSCRIPTION, TOPIC, dead_letters=DEAD, max_attempts=100)
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.address)
        yield server


def published(messages: Iterable[tuple[Any, str, Mapping[str, str]]]) -> list[str]:
    """Publish data, ordering key and attributes of each through Google's client; return the messages' ids."""
    client = PublisherClient(publisher_options=PublisherOptions(enable_message_ordering=True))
    futures = [
        client.publish(TOPIC, data if isinstance(data, bytes) else json.dumps(data).encode(), key, **attrs)
        for data, key, attrs in messages
    ]
    ids = [future.result(30) for future in futures]
    client.stop()
    return ids


def row(number: int) -> dict[str, Any]:
    """Return a row that its number can be told from."""
    return ROW | {"distance": number / 8}


def configured(folder: Path, **changes: Any) -> Path:
    """Publish the sample model; return its model.json as a streaming model."""
    path = folder / "model.json"
    path.write_text(json.dumps(settings(folder, pattern="streaming", streaming=STREAMING, **changes)))
    return path


def log_rows(folder: Path) -> list[dict[str, Any]]:
    """Return all rows of the sample model's prediction log."""
    files = sorted((folder / "warehouse/test/predictions/delay").glob("day=*/[!.]*.parquet"))
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def expected_ids(server: PubSubServer, version: int = 1) -> dict[str, str]:
    """Return message -> the prediction id that its first row must have."""
    ids = {}
    for message in server.published(TOPIC):
        published_at = message.publish_time.ToDatetime(UTC)
        same: Any = SimpleNamespace(message_id=message.message_id, publish_time=published_at)
        ids[message.message_id] = prediction_ids(SUBSCRIPTION, version, same, 1)[0]
    return ids


class Worker:
    """A process; stop it when the test ends."""

    def __init__(self, folder: Path, config: Path, name: str = "worker") -> None:
        self.errors = folder / f"{name}-{time.monotonic_ns()}.stderr"
        variables = os.environ | {"MODELYARD_PORT": "0", "MODELYARD_CACHE": str(folder / "cache")}
        command = [sys.executable, "-m", "serving_images.streaming", "work", "--config", str(config)]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, "--log", str(folder / f"log-{name}")], cwd=ROOT, stderr=errors, env=variables
            )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        return self.errors.read_text(errors="replace")

    def page(self, path: str) -> tuple[int, str]:
        """Return code and text of a page."""
        for _ in range(1200):
            for line in self.said().splitlines():
                if line.startswith("modelyard: working on"):
                    port = line.rsplit(":", 1)[1]
                    try:
                        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                            return answer.status, answer.read().decode()
                    except urllib.error.HTTPError as error:
                        return error.code, error.read().decode()
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)
        raise AssertionError(f"the worker did not start: {self.said()}")

    def stop(self, seconds: float = 60) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def eventually(seconds: float, what: Any) -> bool:
    """Return whether `what()` holds within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.05)
    return bool(what())
