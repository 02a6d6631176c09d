"""Messages on their way: read, scored, logged, answered, acknowledged.

Threads hand a message on. Pub/Sub's client delivers it, one thread scores what has arrived together, the
log's own makes its rows durable, another publishes the answer, and the client's acknowledges the message once
Pub/Sub has that. Nothing is acknowledged before, so what a dying worker held is delivered to another.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from serving_images.prediction_log.entry import Entry, encode
from serving_images.prediction_log.journal import Outcome
from serving_images.runtime.config import Config
from serving_images.runtime.inputs import InputError, Inputs, Rows, logged
from serving_images.runtime.metrics import VersionMetrics
from serving_images.runtime.model import Answer
from serving_images.streaming.messages import (
    Message,
    answer,
    answer_attributes,
    dead_letter_attributes,
    prediction_ids,
    trace_of,
)

_LOGGER = logging.getLogger("modelyard")
# Rows in one call of the model.
CALL_ROWS = 256
_POLL_SECONDS = 0.1
# Between two attempts to log or to publish what was refused.
RETRY_SECONDS = 0.5


class Log(Protocol):
    """What is needed of the prediction log."""

    def append(self, key: str, entries: bytes, rows: int, done: Callable[[Outcome], object]) -> None:
        """Have entries written; `done` is called with their outcome in the log's own thread."""


class Publisher(Protocol):
    """What is needed of a `google.cloud.pubsub_v1.PublisherClient`."""

    def publish(self, topic: str, data: bytes, ordering_key: str = "", **attrs: str) -> "Future[str]":
        """Publish a message; the future has its id once Pub/Sub has it."""

    def resume_publish(self, topic: str, ordering_key: str) -> None:
        """Publish again with a key whose last message failed."""


class Model(Protocol):
    """A version that scores checked rows."""

    answers: Callable[[Any], list[Answer]]

    def __call__(self, rows: Sequence[Any]) -> Any:
        """Return the model's output on rows."""


class Job:
    """A message being handled."""

    __slots__ = ("attributes", "content", "entry", "message", "ok", "rows", "topic")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.rows: Rows | None = None
        self.entry = b""
        self.content = b""
        self.attributes: dict[str, str] = {}
        self.topic = ""
        self.ok = True
        """Whether it was scored; else it is a dead letter."""


class Worker:
    """Handles messages of one version; start it, give it messages, stop it.

    Args:
        config: the version's settings.
        subscription: where the messages come from.
        predictions: topic of the answers.
        dead_letters: topic of messages that cannot be scored.
        model: scores rows.
        log: takes their rows under `log_key`.
        log_key: key of the version in the log.
        publisher: publishes answers and dead letters.
        metrics: counts them.
    """

    def __init__(
        self,
        config: Config,
        subscription: str,
        predictions: str,
        dead_letters: str,
        model: Model,
        log: Log,
        log_key: str,
        publisher: Publisher,
        metrics: VersionMetrics,
    ) -> None:
        self._config = config
        self._features = config.signature.features
        self._subscription = subscription
        self._predictions = predictions
        self._dead_letters = dead_letters
        self._inputs = Inputs(config)
        self._model = model
        self._log = log
        self._key = log_key
        self._publisher = publisher
        self._metrics = metrics
        self._arrived: SimpleQueue[Message] = SimpleQueue()
        self._durable: SimpleQueue[Job] = SimpleQueue()
        self._again: deque[tuple[float, Callable[[Job], None], Job]] = deque()
        self._held: list[Message] = []
        self._lock = threading.Condition()
        self._in_flight = 0
        self._holding = False
        self._stopped = threading.Event()
        self.beat = time.monotonic()
        """When the scoring thread was last seen alive."""
        self.log_away_since: float | None = None
        """Since when the log takes no rows; None: it does."""
        self.publish_fault: str | None = None
        """Why answers cannot be published; None: they can."""
        self._threads = [
            threading.Thread(target=self._score_all, name="score", daemon=True),
            threading.Thread(target=self._publish_all, name="publish", daemon=True),
        ]

    def start(self) -> None:
        """Begin to handle messages."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; what is in flight is left as it is."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    @property
    def alive(self) -> bool:
        """Whether all threads run."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def in_flight(self) -> int:
        """Messages that are neither acknowledged nor given back."""
        return self._in_flight

    def receive(self, message: Message) -> None:
        """Take a message; called by Pub/Sub's client, from any thread."""
        with self._lock:
            if self._holding:
                self._held.append(message)
                return
            self._in_flight += 1
        self._arrived.put(message)

    def hold(self) -> None:
        """Begin no further message; those that come are kept for `release`."""
        with self._lock:
            self._holding = True

    def wait(self, seconds: float, unless: Callable[[], bool] = lambda: False) -> bool:
        """Wait until nothing is in flight; return whether that is so. Ends early once `unless` holds."""
        end = time.monotonic() + seconds
        with self._lock:
            while self._in_flight and time.monotonic() < end and not unless():
                self._lock.wait(_POLL_SECONDS)
            return not self._in_flight

    def release(self) -> int:
        """Give back to Pub/Sub what was held and what waits for log or topic; return how many messages."""
        with self._lock:
            held, self._held = self._held, []
            waiting = [job.message for _, _, job in self._again]
            self._again.clear()
            self._in_flight -= len(waiting)
        for message in (*waiting, *held):
            message.nack()
        return len(held) + len(waiting)

    def resume(self) -> None:
        """Handle messages again."""
        with self._lock:
            self._holding = False
            self.log_away_since = None

    # Scoring
    def _score_all(self) -> None:
        while not self._stopped.is_set():
            self.beat = time.monotonic()
            self._retry()
            try:
                jobs = [self._read(self._arrived.get(timeout=_POLL_SECONDS))]
            except Empty:
                continue
            rows = len(jobs[0].rows.values) if jobs[0].rows else 0
            while rows < CALL_ROWS:
                try:
                    job = self._read(self._arrived.get_nowait())
                except Empty:
                    break
                rows += len(job.rows.values) if job.rows else 0
                jobs.append(job)
            if good := [job for job in jobs if job.rows]:
                self._score(good)

    def _read(self, message: Message) -> Job:
        """Return the job of a message; one that cannot be read becomes a dead letter."""
        job = Job(message)
        most = self._config.serving.max_body_bytes
        try:
            if len(message.data) > most:
                self._bury(job, f"it holds {len(message.data)} bytes, more than {most}")
            else:
                job.rows = self._inputs.read(message.data)
        except InputError as error:
            self._bury(job, str(error))
        return job

    def _score(self, jobs: list[Job]) -> None:
        try:
            answers = self._model.answers(self._model([row for job in jobs for row in _rows(job).values]))
        except Exception as error:  # whatever a model's operators raise
            if len(jobs) > 1:  # the fault of one is not the others'
                for job in jobs:
                    self._score([job])
            else:
                self._bury(jobs[0], f"the model failed on rows that fit its signature: {error}")
            return
        start = 0
        now_us = time.time_ns() // 1000
        for job in jobs:
            rows, message = _rows(job), job.message
            count = len(rows.values)
            predictions = list(answers[start : start + count])
            start += count
            ids = prediction_ids(self._subscription, self._config.version, message, count)
            entry = Entry(
                now_us,
                max(0, now_us - int(message.publish_time.timestamp() * 1_000_000)),
                None,
                trace_of(message.attributes),
                ids,
                logged(rows.values, self._features),
                predictions,
                [list(flags) for flags in rows.flags] if rows.flags else None,
            )
            job.entry = encode([entry])
            job.topic = self._predictions
            job.content = answer(self._config, rows, ids, predictions)
            job.attributes = answer_attributes(self._config, message, ids[0])
            self._append(job)

    # Logging
    def _append(self, job: Job) -> None:
        def done(outcome: Outcome) -> None:
            if outcome is Outcome.DURABLE:
                self.log_away_since = None
                self._durable.put(job)
                return
            if self.log_away_since is None:
                self.log_away_since = time.monotonic()
                _LOGGER.error("the prediction log takes no rows; messages wait")
            self._later(self._append, job)

        self._log.append(self._key, job.entry, len(_rows(job).values), done)

    def _later(self, step: Callable[[Job], None], job: Job) -> None:
        with self._lock:
            self._again.append((time.monotonic() + RETRY_SECONDS, step, job))

    def _retry(self) -> None:
        """Try again what is due; jobs stand in the order in which they are due."""
        due: list[tuple[Callable[[Job], None], Job]] = []
        with self._lock:
            while self._again and self._again[0][0] <= time.monotonic():
                _, step, job = self._again.popleft()
                due.append((step, job))
        for step, job in due:
            step(job)

    # Answering
    def _bury(self, job: Job, reason: str) -> None:
        """Send a message to the dead letters, with the reason."""
        job.ok = False
        job.topic = self._dead_letters
        job.content = job.message.data
        job.attributes = dead_letter_attributes(self._config, self._subscription, job.message, reason)
        self._durable.put(job)

    def _publish_all(self) -> None:
        while not self._stopped.is_set():
            try:
                job = self._durable.get(timeout=_POLL_SECONDS)
            except Empty:
                continue
            self._publish(job)

    def _publish(self, job: Job) -> None:
        key = job.message.ordering_key if job.ok else ""
        try:
            future = self._publisher.publish(job.topic, job.content, ordering_key=key, **job.attributes)
        except Exception as error:  # a key that is paused, a client that is stopped
            self._unpublished(job, key, error)
            return

        def published(future: "Future[str]") -> None:
            error = future.exception()
            if error:
                self._unpublished(job, key, error)
                return
            self.publish_fault = None
            self._settled(job)

        future.add_done_callback(published)

    def _unpublished(self, job: Job, key: str, error: BaseException) -> None:
        if self.publish_fault is None:
            _LOGGER.error("%s takes no messages: %s", job.topic, error)
        self.publish_fault = f"{job.topic} takes no messages: {error}"
        if key:
            self._publisher.resume_publish(job.topic, key)
        self._later(self._publish, job)

    def _settled(self, job: Job) -> None:
        """Acknowledge: the rows are durable, and Pub/Sub has the answer."""
        job.message.ack()
        waited = max(0.0, time.time() - job.message.publish_time.timestamp())
        with self._lock:
            rows = len(job.rows.values) if job.ok and job.rows else 0
            self._metrics.answered("ok" if job.ok else "error", waited, rows)
            self._in_flight -= 1
            if not self._in_flight:
                self._lock.notify_all()


def _rows(job: Job) -> Rows:
    assert job.rows is not None
    return job.rows
