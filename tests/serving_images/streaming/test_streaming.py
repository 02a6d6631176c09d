"""A worker between topics: what comes in leaves scored, logged once and in order, or as a dead letter."""

import json
import random
import signal
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import grpc

from serving_images.runtime import artifact
from serving_images.runtime.config import load
from serving_images.runtime.inputs import Inputs
from serving_images.runtime.model import OnlineModel
from tests.pubsub_server import PubSubServer
from tests.serving_images.sample import ROW, settings
from tests.serving_images.streaming.streams import (
    ANSWERS,
    DEAD,
    STREAMING,
    SUBSCRIPTION,
    TOPIC,
    Worker,
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


def answers(server: PubSubServer) -> list[tuple[Any, dict[str, Any]]]:
    return [(message, json.loads(message.data)) for message in server.published(ANSWERS)]


def test_messages_are_scored_logged_answered_and_acknowledged(pubsub: PubSubServer, tmp_path: Path) -> None:
    config = configured(tmp_path)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    published([(row(number), f"key-{number % 3}", {"traceparent": trace}) for number in range(40)])
    published([({"instances": [row(40), row(41) | {"carrier": "??"}]}, "", {})])
    with Worker(tmp_path, config) as worker:
        assert pubsub.drained(SUBSCRIPTION, SECONDS), worker.said()
        assert worker.page("/readyz")[0] == 200
        assert worker.page("/healthz")[0] == 200
        metrics = worker.page("/metrics")[1]
        assert worker.stop() == 0
    labels = 'team="flights",model="delay",version="1"'
    assert f'modelyard_requests_total{{{labels},code="ok"}} 41' in metrics
    assert f"modelyard_predictions_total{{{labels}}} 42" in metrics
    assert 'modelyard_log_rows_total{team="flights",model="delay",state="durable"} 42' in metrics

    (settings,) = load(config)
    model = OnlineModel(settings, artifact.fetch([settings], "online", tmp_path / "cache")[settings.key])
    inputs = Inputs(settings)
    logged = {each["prediction_id"]: each for each in log_rows(tmp_path)}
    ids = expected_ids(pubsub)
    given = {message.message_id: message for message in pubsub.published(TOPIC)}
    made = {message.attributes["message_id"]: (message, answer) for message, answer in answers(pubsub)}
    assert len(logged) == 42
    assert made.keys() == ids.keys()
    for message_id, (message, answer) in made.items():
        read = inputs.read(given[message_id].data)
        wanted = model.answers(model(read.values))
        assert message.ordering_key == given[message_id].ordering_key
        assert message.attributes["prediction_id"] == ids[message_id]
        if not read.single:
            assert answer["predictions"] == wanted
            assert answer["flags"] == [[], ["unknown_category:carrier"]]
            assert [logged[i]["prediction"] for i in answer["prediction_ids"]] == wanted
            continue
        assert [answer["prediction"]] == wanted
        assert message.attributes["traceparent"] == trace
        mine = logged[answer["prediction_id"]]
        assert mine["prediction"] == answer["prediction"]
        assert (mine["pattern"], mine["trace_id"]) == ("streaming", trace.split("-")[1])
        assert mine["features"]["distance"] == read.values[0][0]
        assert mine["latency_ms"] > 0


def test_poison_goes_to_the_dead_letters_with_the_reason(pubsub: PubSubServer, tmp_path: Path) -> None:
    poison: dict[bytes, str] = {
        b"no json": "is no JSON",
        b"[]": "must be an object of features",
        b"\xff\xfe": "is not UTF-8",
        json.dumps(ROW | {"stops": "many"}).encode(): "#/stops: must be a whole number",
        json.dumps({k: v for k, v in ROW.items() if k != "carrier"}).encode(): "#/carrier: is missing",
        json.dumps(ROW | {"speed": 3}).encode(): "#/speed: is no feature of this model",
        json.dumps({"instances": [ROW] * 6}).encode(): "at most 5 are taken at once",
        json.dumps({"instances": []}).encode(): "holds no row",
        b" " * 2000: "it holds 2000 bytes, more than 1500",
        b'{"a":' * 250: "is no JSON",
    }
    config = configured(tmp_path, serving={"max_rows": 5, "max_body_bytes": 1500})
    # Names of arguments of the client, and one that Pub/Sub keeps for itself.
    attributes = {"topic": "t", "data": "d", "retry": "r", "kept": "yes"}
    with Worker(tmp_path, config) as worker:
        worker.page("/readyz")
        for data in poison:
            with_attributes(data, "key", attributes)
        with_attributes(b"", "", {"only": "attributes"})
        published([(row(1), "key", {})])
        assert pubsub.drained(SUBSCRIPTION, SECONDS), worker.said()
        metrics = worker.page("/metrics")[1]
        assert worker.stop() == 0
    assert 'code="error"} 11' in metrics
    dead = pubsub.published(DEAD)
    assert len(dead) == 11
    for letter in dead:
        if not letter.data:
            assert letter.attributes["only"] == "attributes"
            continue
        assert poison[letter.data] in letter.attributes["modelyard_reason"]
        assert letter.attributes["modelyard_subscription"] == SUBSCRIPTION
        assert letter.attributes["modelyard_ordering_key"] == "key"
        assert letter.attributes["kept"] == "yes"
        assert letter.attributes["modelyard_attribute_topic"] == "t"
        original = next(m for m in pubsub.published(TOPIC) if m.data == letter.data)
        assert letter.attributes["modelyard_message_id"] == original.message_id
    # What is poison has no row, and does not stop what comes after it.
    assert len(log_rows(tmp_path)) == len(pubsub.published(ANSWERS)) == 1


def with_attributes(data: bytes, key: str, attributes: dict[str, str]) -> None:
    """Publish with any attributes: the client takes them as arguments, beside its own."""
    import os

    from google.pubsub_v1 import types

    with grpc.insecure_channel(os.environ["PUBSUB_EMULATOR_HOST"]) as channel:
        call = channel.unary_unary(
            "/google.pubsub.v1.Publisher/Publish",
            request_serializer=types.PublishRequest.meta.pb.SerializeToString,
            response_deserializer=types.PublishResponse.meta.pb.FromString,
        )
        message = {"data": data, "ordering_key": key, "attributes": attributes}
        call(types.PublishRequest.meta.pb(topic=TOPIC, messages=[message]))


def in_order(server: PubSubServer) -> None:
    """Assert that the first answers of each key stand in the order of its messages."""
    wanted: dict[str, list[str]] = defaultdict(list)
    for message in server.published(TOPIC):
        wanted[message.ordering_key].append(message.message_id)
    got: dict[str, dict[str, None]] = defaultdict(dict)
    for message in server.published(ANSWERS):
        got[message.ordering_key].setdefault(message.attributes["message_id"])
    wanted.pop("", None)
    for key, ids in wanted.items():
        assert list(got[key]) == ids, key


def logged_once(server: PubSubServer, folder: Path) -> None:
    """Assert that each message has one distinct row, and an answer with its prediction."""
    rows: dict[str, set[float]] = defaultdict(set)
    for each in log_rows(folder):
        rows[each["prediction_id"]].add(each["prediction"])
    assert set(rows) == set(expected_ids(server).values())
    said: dict[str, set[float]] = defaultdict(set)
    for message, answer in answers(server):
        said[message.attributes["message_id"]].add(answer["prediction"])
    for message_id, prediction_id in expected_ids(server).items():
        assert said[message_id] == rows[prediction_id]
        assert len(rows[prediction_id]) == 1


def test_killed_workers_lose_nothing(pubsub: PubSubServer, tmp_path: Path) -> None:
    """Two workers are killed at random under load, again and again; then each message has one row."""
    config = configured(tmp_path)
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    count, done = 0, threading.Event()

    def load() -> None:
        nonlocal count
        while not done.is_set():
            published(
                (row(number), f"key-{number % 7}" if number % 2 else "", {})
                for number in range(count, count + 60)
            )
            count += 60
            time.sleep(0.1)

    publisher = threading.Thread(target=load)
    publisher.start()
    workers = {name: Worker(tmp_path, config, name) for name in ("a", "b")}
    kills = 0
    try:
        for worker in workers.values():
            worker.page("/readyz")
        for _ in range(6):
            handled = len(pubsub.published(ANSWERS))
            assert eventually(SECONDS, lambda n=handled: len(pubsub.published(ANSWERS)) > n), f"seed {seed}"
            time.sleep(chance.uniform(0, 0.8))
            name = chance.choice("ab")
            workers[name].process.send_signal(signal.SIGKILL)
            workers[name].process.wait()
            kills += 1
            workers[name] = Worker(tmp_path, config, name)
        done.set()
        publisher.join()
        assert pubsub.drained(SUBSCRIPTION, SECONDS), [worker.said() for worker in workers.values()]
        assert [worker.stop() for worker in workers.values()] == [0, 0]
    finally:
        done.set()
        for worker in workers.values():
            worker.__exit__()
    assert kills == 6
    assert len(expected_ids(pubsub)) == count > 200
    logged_once(pubsub, tmp_path)
    in_order(pubsub)
    assert not pubsub.published(DEAD)


def test_what_another_version_answers_again_is_another_prediction(
    pubsub: PubSubServer, tmp_path: Path
) -> None:
    """A worker dies after its rows are durable and before it acknowledges; a new version takes over."""
    pubsub.topic_faults[ANSWERS] = grpc.StatusCode.UNAVAILABLE
    published((row(number), "", {}) for number in range(20))
    with Worker(tmp_path, configured(tmp_path)) as worker:
        worker.page("/readyz")
        logged = 'state="durable"} 20'
        assert eventually(SECONDS, lambda: logged in worker.page("/metrics")[1]), worker.said()
        worker.process.send_signal(signal.SIGKILL)
        worker.process.wait()
    del pubsub.topic_faults[ANSWERS]
    pubsub.expire(SUBSCRIPTION)
    document = settings(tmp_path, 2, pattern="streaming", streaming=STREAMING)
    second = tmp_path / "second.json"
    second.write_text(json.dumps(document))
    with Worker(tmp_path, second) as worker:
        assert pubsub.drained(SUBSCRIPTION, SECONDS), worker.said()
        assert worker.stop() == 0
    first, then = expected_ids(pubsub, 1), expected_ids(pubsub, 2)
    assert set(first.values()).isdisjoint(then.values())
    rows = {each["prediction_id"]: each for each in log_rows(tmp_path)}
    assert set(rows) == {*first.values(), *then.values()}
    for message, answer in answers(pubsub):
        assert answer["prediction_id"] == then[message.attributes["message_id"]]
        assert rows[answer["prediction_id"]]["prediction"] == answer["prediction"]
        # Version 2 of the sample model answers a thousand minutes more.
        before = rows[first[message.attributes["message_id"]]]["prediction"]
        assert answer["prediction"] - before > 500


def test_late_deadlines_repeat_no_row(pubsub: PubSubServer, tmp_path: Path) -> None:
    config = configured(tmp_path)
    with Worker(tmp_path, config) as worker:
        worker.page("/readyz")
        expired = 0
        for start in range(0, 400, 100):
            published((row(number), f"k{number % 5}", {}) for number in range(start, start + 100))
            for _ in range(5):
                expired += pubsub.expire(SUBSCRIPTION)
                time.sleep(0.02)
        assert pubsub.drained(SUBSCRIPTION, SECONDS), worker.said()
        assert worker.stop() == 0
    assert expired
    assert len(pubsub.published(ANSWERS)) > 400
    logged_once(pubsub, tmp_path)


def test_a_topic_that_is_away_stops_no_message_and_no_order(pubsub: PubSubServer, tmp_path: Path) -> None:
    config = configured(tmp_path)
    pubsub.topic_faults[ANSWERS] = grpc.StatusCode.PERMISSION_DENIED
    published((row(number), f"key-{number % 4}", {}) for number in range(80))
    with Worker(tmp_path, config) as worker:
        assert eventually(SECONDS, lambda: worker.page("/readyz")[0] == 503)
        assert eventually(SECONDS, lambda: "PERMISSION_DENIED" in worker.page("/readyz")[1])
        assert worker.page("/healthz")[0] == 200
        time.sleep(1.5)
        assert pubsub.unacknowledged(SUBSCRIPTION) == 80
        del pubsub.topic_faults[ANSWERS]
        assert pubsub.drained(SUBSCRIPTION, SECONDS), worker.said()
        assert worker.page("/readyz")[0] == 200
        assert worker.stop() == 0
    logged_once(pubsub, tmp_path)
    in_order(pubsub)


def test_a_stopped_worker_finishes_or_gives_back(pubsub: PubSubServer, tmp_path: Path) -> None:
    config = configured(tmp_path)
    published((row(number), f"key-{number % 50}" if number % 2 else "", {}) for number in range(1500))
    with Worker(tmp_path, config) as worker:
        assert eventually(SECONDS, lambda: bool(pubsub.published(ANSWERS)))
        assert worker.stop() == 0, worker.said()
        # What it took is done: every answer that left is acknowledged.
        left = pubsub.unacknowledged(SUBSCRIPTION)
        assert len({m.attributes["message_id"] for m in pubsub.published(ANSWERS)}) == 1500 - left
    with Worker(tmp_path, config) as worker:
        assert pubsub.drained(SUBSCRIPTION, SECONDS), worker.said()
        assert worker.stop() == 0
    assert len(pubsub.published(ANSWERS)) == 1500
    logged_once(pubsub, tmp_path)
    in_order(pubsub)


def test_a_missing_subscription_is_told(pubsub: PubSubServer, tmp_path: Path) -> None:
    streaming = {"subscription": "projects/test/subscriptions/other", "predictions": ANSWERS}
    config = configured(tmp_path)
    document = json.loads(config.read_text())
    config.write_text(json.dumps(document | {"streaming": streaming}))
    with Worker(tmp_path, config) as worker:
        assert worker.process.wait(SECONDS) == 2
        assert "missing required field `dead_letters`" in worker.said()
    config.write_text(json.dumps(document | {"streaming": document["streaming"] | streaming}))
    with Worker(tmp_path, config) as worker:
        assert worker.process.wait(SECONDS) == 2
        assert "projects/test/subscriptions/other cannot be read" in worker.said()
        assert "Traceback" not in worker.said()
