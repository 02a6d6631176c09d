"""Pub/Sub for tests: its gRPC services in memory, behind a real socket, spoken to by Google's own client.

    with PubSubServer() as server:
        os.environ["PUBSUB_EMULATOR_HOST"] = server.address
        server.topic("projects/p/topics/in")
        server.subscription("projects/p/subscriptions/in", "projects/p/topics/in")

It keeps what a worker relies on: a message is delivered until it is acknowledged; one that is given back, or
whose deadline passes, is delivered again with a higher attempt, after the last attempt to the dead letters;
messages of an ordering key come in order and to one stream at a time, and a repetition brings all later
messages of the key again, acknowledged or not. A stream is sent no more than it asked for. One thing is not
as in the service, which waits for deadlines: messages of a stream that breaks come back within a second.
"""

import itertools
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.pubsub_v1 import types

_STREAM_LIMIT = 64
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 0.5


@dataclass
class Stored:
    """A message of a subscription."""

    message: Any
    number: int
    """Its place among those of its key."""
    attempts: int = 0
    acknowledged: bool = False
    pending: bool = True
    """Whether it waits to be delivered."""


@dataclass
class Delivery:
    """A message in the hands of a stream."""

    stored: Stored
    stream: int
    deadline: float


@dataclass
class Subscription:
    """What is known of a subscription."""

    name: str
    topic: str
    ordered: bool
    dead_letters: str
    max_attempts: int
    free: deque[Stored] = field(default_factory=deque)
    """Messages without key that wait."""
    keyed: dict[str, list[Stored]] = field(default_factory=lambda: defaultdict(list))
    waiting_keys: dict[str, None] = field(default_factory=dict)
    """Keys of which a message may wait, in the order of their arrival."""
    deliveries: dict[str, Delivery] = field(default_factory=dict)

    def put(self, message: Any) -> None:
        """Take a message that was published."""
        key = message.ordering_key if self.ordered else ""
        if not key:
            self.free.append(Stored(message, 0))
            return
        self.keyed[key].append(Stored(message, len(self.keyed[key])))
        self.waiting_keys[key] = None

    def back(self, delivery: Delivery) -> None:
        """Have a message delivered again, and the later ones of its key."""
        stored = delivery.stored
        key = stored.message.ordering_key if self.ordered else ""
        if not key:
            self.free.append(stored)
            return
        for later in self.keyed[key][stored.number :]:
            later.pending = True
        stale = [
            ack_id
            for ack_id, other in self.deliveries.items()
            if other.stored.message.ordering_key == key and other.stored.number > stored.number
        ]
        for ack_id in stale:
            del self.deliveries[ack_id]
        self.waiting_keys[key] = None

    def next(self, stream: int) -> Stored | None:
        """Return a message for a stream."""
        if self.free:
            return self.free.popleft()
        for key in list(self.waiting_keys):
            holders = {
                delivery.stream
                for delivery in self.deliveries.values()
                if delivery.stored.message.ordering_key == key
            }
            if holders - {stream}:
                continue
            for stored in self.keyed[key]:
                if stored.pending:
                    stored.pending = False
                    return stored
            del self.waiting_keys[key]
        return None

    @property
    def unacknowledged(self) -> int:
        """Messages that wait or are in the hands of a stream."""
        keyed = sum(not stored.acknowledged for stored in itertools.chain(*self.keyed.values()))
        free = sum(not d.stored.message.ordering_key or not self.ordered for d in self.deliveries.values())
        return keyed + len(self.free) + free


class PubSubServer:
    """A server; use as a context manager."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._topics: dict[str, list[Any]] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._numbers = itertools.count(1)
        self._streams = itertools.count(1)
        self._stopped = False
        self.publish_faults: deque[grpc.StatusCode] = deque()
        """Codes that the next calls of Publish fail with."""
        self.topic_faults: dict[str, grpc.StatusCode] = {}
        """Codes that calls of Publish to a topic fail with."""
        self.largest_outstanding = 0
        """Messages that one stream held at once, at most."""

    def __enter__(self) -> "PubSubServer":
        self._pool = ThreadPoolExecutor(_STREAM_LIMIT)
        self._server = grpc.server(self._pool)
        self._server.add_generic_rpc_handlers((self._publisher(), self._subscriber()))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._server.stop(0.2).wait()
        self._pool.shutdown(wait=True, cancel_futures=True)

    # What tests ask
    def topic(self, name: str) -> None:
        """Make a topic."""
        with self._changed:
            self._topics.setdefault(name, [])

    def subscription(
        self, name: str, topic: str, *, ordered: bool = True, dead_letters: str = "", max_attempts: int = 5
    ) -> None:
        """Make a subscription."""
        with self._changed:
            self._subscriptions[name] = Subscription(name, topic, ordered, dead_letters, max_attempts)

    def published(self, topic: str) -> list[Any]:
        """Return all messages of a topic, in the order in which they came."""
        with self._changed:
            return list(self._topics[topic])

    def unacknowledged(self, subscription: str) -> int:
        """Return how many messages are not acknowledged."""
        with self._changed:
            return self._subscriptions[subscription].unacknowledged

    def drained(self, subscription: str, seconds: float) -> bool:
        """Wait until all messages are acknowledged; return whether they are."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not self.unacknowledged(subscription):
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def expire(self, subscription: str) -> int:
        """Let the deadline of every message that is being handled pass; return how many there are."""
        with self._changed:
            deliveries = list(self._subscriptions[subscription].deliveries.values())
            for delivery in deliveries:
                delivery.deadline = 0.0
            self._changed.notify_all()
            return len(deliveries)

    # Publisher
    def _publisher(self) -> Any:
        return _service(
            "google.pubsub.v1.Publisher",
            CreateTopic=(self._create_topic, types.Topic, types.Topic),
            Publish=(self._publish, types.PublishRequest, types.PublishResponse),
        )

    def _create_topic(self, request: Any, _: grpc.ServicerContext) -> Any:
        self.topic(request.name)
        return request

    def _publish(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._changed:
            fault = self.topic_faults.get(request.topic)
            if self.publish_faults:
                fault = self.publish_faults.popleft()
            if fault is None and request.topic not in self._topics:
                fault = grpc.StatusCode.NOT_FOUND
            for message in request.messages:
                if not message.data and not message.attributes:
                    fault = grpc.StatusCode.INVALID_ARGUMENT
                if any(len(value.encode()) > 1024 for value in message.attributes.values()):
                    fault = grpc.StatusCode.INVALID_ARGUMENT
                if len(message.attributes) > 100 or any(k.startswith("goog") for k in message.attributes):
                    fault = grpc.StatusCode.INVALID_ARGUMENT
            if fault is not None:
                context.abort(fault, f"a test wants {fault.name}")
            ids = [self._store(request.topic, message) for message in request.messages]
            self._changed.notify_all()
            return types.PublishResponse.meta.pb(message_ids=ids)

    def _store(self, topic: str, message: Any) -> str:
        message.message_id = str(next(self._numbers))
        message.publish_time.GetCurrentTime()
        self._topics[topic].append(message)
        for subscription in self._subscriptions.values():
            if subscription.topic == topic:
                subscription.put(message)
        return str(message.message_id)

    # Subscriber
    def _subscriber(self) -> Any:
        empty = types.AcknowledgeRequest  # its answer is google.protobuf.Empty, which has no fields either
        return _service(
            "google.pubsub.v1.Subscriber",
            CreateSubscription=(self._create_subscription, types.Subscription, types.Subscription),
            Acknowledge=(self._acknowledge, types.AcknowledgeRequest, empty),
            ModifyAckDeadline=(self._modify, types.ModifyAckDeadlineRequest, empty),
            StreamingPull=(self._pull, types.StreamingPullRequest, types.StreamingPullResponse),
        )

    def _create_subscription(self, request: Any, _: grpc.ServicerContext) -> Any:
        policy = request.dead_letter_policy
        self.subscription(
            request.name,
            request.topic,
            ordered=request.enable_message_ordering,
            dead_letters=policy.dead_letter_topic,
            max_attempts=policy.max_delivery_attempts or 5,
        )
        return request

    def _acknowledge(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._changed:
            subscription = self._found(request.subscription, context)
            for ack_id in request.ack_ids:
                if delivery := subscription.deliveries.pop(ack_id, None):
                    delivery.stored.acknowledged = True
            self._changed.notify_all()
        return types.AcknowledgeRequest.meta.pb()

    def _modify(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._changed:
            subscription = self._found(request.subscription, context)
            for ack_id in request.ack_ids:
                if delivery := subscription.deliveries.get(ack_id):
                    delivery.deadline = time.monotonic() + request.ack_deadline_seconds
            self._changed.notify_all()
        return types.AcknowledgeRequest.meta.pb()

    def _pull(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        first = next(requests)
        stream = next(self._streams)
        most = first.max_outstanding_messages or 1 << 30
        with self._changed:
            subscription = self._found(first.subscription, context)
        # The client's further requests are heartbeats; somebody has to read them.
        threading.Thread(target=_consume, args=(requests,), daemon=True).start()
        try:
            while context.is_active() and not self._stopped:
                with self._changed:
                    batch = self._take(subscription, stream, most, first.stream_ack_deadline_seconds)
                    if not batch:
                        self._changed.wait(_POLL_SECONDS)
                        continue
                yield types.StreamingPullResponse.meta.pb(
                    received_messages=batch,
                    subscription_properties={"message_ordering_enabled": subscription.ordered},
                )
        finally:
            with self._changed:
                # A client that closes its stream in good order acknowledges some messages after that.
                for delivery in subscription.deliveries.values():
                    if delivery.stream == stream:
                        delivery.deadline = min(delivery.deadline, time.monotonic() + _GRACE_SECONDS)
                self._changed.notify_all()

    def _take(self, subscription: Subscription, stream: int, most: int, deadline_seconds: int) -> list[Any]:
        now = time.monotonic()
        late = {k: d for k, d in subscription.deliveries.items() if d.deadline <= now}
        for ack_id, delivery in late.items():
            if subscription.deliveries.pop(ack_id, None):
                subscription.back(delivery)
        batch: list[Any] = []
        held = sum(delivery.stream == stream for delivery in subscription.deliveries.values())
        while held < most and len(batch) < 100 and (stored := subscription.next(stream)):
            stored.attempts += 1
            if subscription.dead_letters and stored.attempts > subscription.max_attempts:
                stored.acknowledged = True
                dead = type(stored.message)()
                dead.CopyFrom(stored.message)
                self._store(subscription.dead_letters, dead)
                continue
            ack_id = f"{stream}-{next(self._numbers)}"
            subscription.deliveries[ack_id] = Delivery(stored, stream, now + deadline_seconds)
            held += 1
            batch.append(
                types.ReceivedMessage.meta.pb(
                    ack_id=ack_id,
                    message=stored.message,
                    delivery_attempt=stored.attempts if subscription.dead_letters else 0,
                )
            )
        self.largest_outstanding = max(self.largest_outstanding, held)
        return batch

    def _found(self, name: str, context: grpc.ServicerContext) -> Subscription:
        if name not in self._subscriptions:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no subscription {name}")
        return self._subscriptions[name]


def _consume(requests: Iterator[Any]) -> None:
    try:
        for _ in requests:
            pass
    except Exception:  # the stream has ended
        return


def _service(name: str, **methods: tuple[Any, Any, Any]) -> Any:
    handlers = {}
    for method, (function, request, response) in methods.items():
        make = (
            grpc.stream_stream_rpc_method_handler
            if method == "StreamingPull"
            else grpc.unary_unary_rpc_method_handler
        )
        handlers[method] = make(
            function,
            request_deserializer=request.meta.pb.FromString,
            response_serializer=response.meta.pb.SerializeToString,
        )
    return grpc.method_handlers_generic_handler(name, handlers)
