"""The log is away: messages wait, are given back once, and none is lost or given up."""

import os
import signal
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from serving_images.streaming.service import Service, Settings
from tests.pubsub_server import PubSubServer
from tests.serving_images.streaming.streams import (
    ANSWERS,
    DEAD,
    SUBSCRIPTION,
    TOPIC,
    configured,
    eventually,
    expected_ids,
    log_rows,
    published,
    pubsub,
    row,
)

__all__ = ["pubsub"]
SECONDS = 60


def test_messages_wait_for_the_log(
    pubsub: PubSubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELYARD_CACHE", str(tmp_path / "cache"))
    pubsub.subscription(SUBSCRIPTION, TOPIC, dead_letters=DEAD, max_attempts=5)
    config = configured(tmp_path)
    warehouse = tmp_path / "warehouse"
    warehouse.write_text("no folder: the shipper cannot write, so the log fills up")
    settings = Settings(
        host="127.0.0.1",
        port=0,
        config=config,
        log=tmp_path / "log",
        log_bytes=128 << 10,
        patience_seconds=2.0,
        flush_seconds=10,
    )
    service = Service(settings)
    stop = threading.Event()
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(service.run(stop)))
    thread.start()

    def ready() -> int:
        line = next(line for line in said() if "pages on" in line)
        try:
            with urllib.request.urlopen(line.rsplit(" ", 1)[1] + "/readyz", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    heard: list[str] = []

    def said() -> list[str]:
        heard.extend(capsys.readouterr().err.splitlines())
        return heard

    try:
        assert eventually(SECONDS, lambda: any("pages on" in line for line in said()))
        assert eventually(SECONDS, lambda: ready() == 200)
        published((row(number), f"key-{number % 3}" if number % 2 else "", {}) for number in range(2000))
        # Some fit into the log; then it is full, and nothing is acknowledged that has no durable row.
        assert eventually(SECONDS, lambda: ready() == 503)
        assert eventually(SECONDS, lambda: service.worker.in_flight == 0)
        waiting = pubsub.unacknowledged(SUBSCRIPTION)
        answered = len({m.attributes["message_id"] for m in pubsub.published(ANSWERS)})
        assert 0 < waiting <= 2000 - answered < 2000
        assert not pubsub.published(DEAD)
        warehouse.unlink()
        assert pubsub.drained(SUBSCRIPTION, SECONDS)
        assert eventually(SECONDS, lambda: ready() == 200)
    finally:
        stop.set()
        thread.join()
    assert codes == [0]
    # However long the log was away, no message has used up its attempts.
    assert not pubsub.published(DEAD)
    assert {each["prediction_id"] for each in log_rows(tmp_path)} == set(expected_ids(pubsub).values())
    assert {m.attributes["message_id"] for m in pubsub.published(ANSWERS)} == set(expected_ids(pubsub))
    # What the log was tried with is no damage.
    assert not list((tmp_path / "log").glob("quarantine/*"))


def test_no_more_messages_are_held_than_settings_allow(
    pubsub: PubSubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_CACHE", str(tmp_path / "cache"))
    config = configured(tmp_path)
    published((row(number), "", {}) for number in range(300))
    service = Service(
        Settings(host="127.0.0.1", port=0, config=config, log=tmp_path / "log", max_messages=20)
    )
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    try:
        assert pubsub.drained(SUBSCRIPTION, SECONDS)
    finally:
        stop.set()
        thread.join()
    assert 0 < pubsub.largest_outstanding <= 20
    assert len(log_rows(tmp_path)) == 300


def test_worker_whose_disk_hangs_hears_that_it_shall_stop(
    pubsub: PubSubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_CACHE", str(tmp_path / "cache"))
    service = Service(Settings(host="127.0.0.1", port=0, config=configured(tmp_path), log=tmp_path / "log"))
    disk = service._log.log.disk_pid
    os.kill(disk, signal.SIGSTOP)
    stop = threading.Event()
    waiting = threading.Thread(target=service._await_log, args=(stop,), daemon=True)
    waiting.start()
    try:
        assert eventually(SECONDS, lambda: bool(service._log.log._journal._flying))
        stop.set()
        waiting.join(SECONDS)
        assert not waiting.is_alive()
    finally:
        os.kill(disk, signal.SIGCONT)
        service._publisher.stop()
        service._subscriber.close()
        service._log.close(1.0)
