"""The life of a stream worker: load, pull, pause while the log is away, stop."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import msgspec

from serving_images.prediction_log.entry import LogSchema, encode
from serving_images.prediction_log.journal import Outcome
from serving_images.prediction_log.log import PATIENCE_SECONDS, LogCounts, Policy
from serving_images.prediction_log.threaded import ThreadedLog
from serving_images.runtime import artifact
from serving_images.runtime.config import Config, config_path, load, log_folder
from serving_images.runtime.errors import Refused
from serving_images.runtime.logs import opening
from serving_images.runtime.metrics import Metrics, Sample
from serving_images.runtime.model import OnlineModel
from serving_images.runtime.pages import Pages
from serving_images.streaming.worker import Worker

_LOGGER = logging.getLogger("modelyard")
_POLL_SECONDS = 0.1
# For messages that are between two threads when they are to be given back.
GIVE_BACK_SECONDS = 3.0


class Streams(msgspec.Struct, frozen=True):
    """The part `streaming` of `model.json`."""

    subscription: str
    predictions: str
    dead_letters: str
    max_delivery_attempts: int = 5


@dataclass(frozen=True)
class Settings:
    """How a worker runs."""

    host: str = "0.0.0.0"
    port: int = 8080
    """0: any free one."""
    config: Path = field(default_factory=config_path)
    log: Path = field(default_factory=log_folder)
    log_bytes: int = 1 << 30
    """Disk for rows that are not yet sent."""
    max_messages: int = 1000
    """Messages held at once; beyond it Pub/Sub is asked for no more."""
    max_message_bytes: int = 64 << 20
    """Bytes of them."""
    patience_seconds: float = 30.0
    """How long messages wait for the log before they are given back and no more are asked for."""
    finish_seconds: float = 25.0
    """For messages in flight, once told to stop."""
    flush_seconds: float = 20.0
    """For the log to be sent; what is not sent stays on disk."""


def work(settings: Settings) -> int:
    """Handle messages until SIGTERM or SIGINT; return the exit code.

    Raises:
        Refused: settings, model files or subscription are wrong, or the port or the log's folder is taken.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    service = Service(settings)
    return service.run(stop)


def log_schema(config: Config) -> LogSchema:
    """Return what the version's rows look like."""
    return LogSchema(
        table=config.log.table,
        team=config.team,
        model=config.model,
        version=config.version,
        pattern=config.pattern,
        features=tuple((feature.name, feature.type) for feature in config.signature.features),
        prediction=config.signature.prediction.type,
        image_digest=config.image_digest or None,
        code_digest=config.manifest_digest or None,
    )


class Service:
    """A worker with its model, log, clients and pages.

    Args:
        settings: how it runs.

    Raises:
        Refused: something is wrong with settings or model file.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        configs = load(settings.config, "streaming")
        if len(configs) > 1:
            raise Refused(f"{len(configs)} models are configured, and a worker has one: give each its own")
        self._config = config = configs[0]
        try:
            self._streams = msgspec.convert(config.streaming, Streams)
        except msgspec.ValidationError as error:
            raise Refused(f"{config.key}: the part `streaming` of its settings: {error}") from None
        files = artifact.begin(configs, "online")
        # Their import takes as long as the child takes to fetch and verify.
        from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
        from google.cloud.pubsub_v1.types import FlowControl, PublisherOptions

        self._flow: Any = FlowControl(
            max_messages=settings.max_messages, max_bytes=settings.max_message_bytes
        )
        self._log_key = f"{config.team}/{config.model}/{config.version}"
        self._metrics = Metrics()
        model = OnlineModel(config, files()[config.key])
        self._log = self._open_log(config)
        for name, kind, meaning, samples in (
            ("modelyard_log_rows_total", "counter", "Log rows by what became of them.", self._log_rows),
            ("modelyard_log_lag_seconds", "gauge", "Age of the oldest log row not yet sent.", self._log_lag),
            ("modelyard_stream_in_flight", "gauge", "Messages being handled.", self._in_flight),
        ):
            self._metrics.add(name, kind, meaning, samples)
        self._publisher: Any = PublisherClient(
            publisher_options=PublisherOptions(enable_message_ordering=True)
        )
        self._subscriber: Any = SubscriberClient()
        self.worker = Worker(
            config,
            self._streams.subscription,
            self._streams.predictions,
            self._streams.dead_letters,
            model,
            self._log,
            self._log_key,
            self._publisher,
            self._metrics.version(config.team, config.model, config.version),
        )
        self._pulling = False
        self._fault: str | None = None

    def run(self, stop: threading.Event) -> int:
        """Handle messages until `stop` is set; return the exit code.

        Raises:
            Refused: there is no such subscription, or this identity may not read it.
        """
        settings = self.settings
        pages = Pages(
            self._metrics,
            healthy=self._unhealthy,
            ready=self._unready,
            host=settings.host,
            port=settings.port,
        )
        with pages:
            where = f"http://{settings.host}:{pages.port}"
            said = f"modelyard: working on {self._streams.subscription}, pages on {where}"
            print(said, file=sys.stderr, flush=True)
            self.worker.start()
            try:
                self._pull_until(stop)
            finally:
                finished = self.worker.wait(0)
                self.worker.stop()
                self._publisher.stop()
                self._subscriber.close()
                self._log.close(settings.flush_seconds)
        return 0 if finished else 1

    def _pull_until(self, stop: threading.Event) -> None:
        backoff = 1.0
        while not stop.is_set():
            began = time.monotonic()
            self._pull_once(stop)
            if stop.is_set():
                return
            if self.worker.log_away_since is not None:
                self._await_log(stop)
                backoff = 1.0
            else:  # the stream broke
                backoff = 1.0 if time.monotonic() - began > 60 else min(30.0, 2 * backoff)
                stop.wait(backoff)
            self.worker.resume()

    def _pull_once(self, stop: threading.Event) -> None:
        """Pull until told to stop, or the log is away for too long, or the stream breaks."""
        worker, settings = self.worker, self.settings
        pull = self._subscriber.subscribe(
            self._streams.subscription,
            worker.receive,
            flow_control=self._flow,
            await_callbacks_on_shutdown=True,
        )
        self._pulling, self._fault = True, None
        while not stop.wait(_POLL_SECONDS) and not pull.done() and not self._log_is_away():
            pass
        self._pulling = False
        worker.hold()
        if not pull.done():
            # What is in flight is finished while the client still takes acknowledgements.
            worker.wait(settings.finish_seconds, unless=self._log_is_away)
            self._give_back()
            pull.cancel()
        self._after(pull)
        worker.release()

    def _give_back(self) -> None:
        """Give back what could not be finished; Pub/Sub delivers it again, to this or another worker."""
        given, end = self.worker.release(), time.monotonic() + GIVE_BACK_SECONDS
        while not self.worker.wait(_POLL_SECONDS) and time.monotonic() < end:
            given += self.worker.release()
        if given:
            _LOGGER.warning("%d messages were given back", given)

    def _after(self, pull: Any) -> None:
        from google.api_core.exceptions import NotFound, PermissionDenied

        try:
            pull.result(timeout=self.settings.finish_seconds)
        except (NotFound, PermissionDenied) as error:
            raise Refused(
                f"{self._streams.subscription} cannot be read: {error.message}. The deployment makes it, and "
                "lets this model's identity read it"
            ) from None
        except Exception as error:  # of grpc, of the client, or of time
            self._fault = f"{self._streams.subscription} broke: {error}"
            _LOGGER.error("%s; pulling anew", self._fault)

    def _log_is_away(self) -> bool:
        since = self.worker.log_away_since
        return since is not None and time.monotonic() - since > self.settings.patience_seconds

    def _await_log(self, stop: threading.Event) -> None:
        """Wait until the log takes an empty entry: to try messages would use up their attempts."""
        empty = encode([])
        told: SimpleQueue[Outcome] = SimpleQueue()
        while not stop.wait(1.0):
            self._log.append(self._log_key, empty, 0, told.put)
            while not stop.is_set():  # a disk that hangs tells nothing
                with suppress(Empty):
                    if told.get(timeout=_POLL_SECONDS) is Outcome.DURABLE:
                        return
                    break

    def _open_log(self, config: Config) -> ThreadedLog:
        folder = self.settings.log
        with opening(folder):
            return ThreadedLog(
                folder,
                {self._log_key: log_schema(config)},
                # What comes from a stream stays there, so it can wait.
                policy=Policy.STOP_SERVING,
                max_bytes=self.settings.log_bytes,
                warehouse=Path(config.warehouse) if config.warehouse else None,
                patience=PATIENCE_SECONDS,
            )

    # Pages
    def _unhealthy(self) -> str | None:
        if not self.worker.alive:
            return "a thread has died"
        silent = time.monotonic() - self.worker.beat
        return f"no message was begun or waited for in {silent:.0f} s" if silent > 60 else None

    def _unready(self) -> str | None:
        if not self._pulling:
            return self._fault or "no messages are asked for"
        if self.worker.log_away_since is not None:
            return "the prediction log takes no rows"
        return self.worker.publish_fault

    def _in_flight(self) -> Iterable[Sample]:
        labels = {
            "team": self._config.team,
            "model": self._config.model,
            "version": str(self._config.version),
        }
        yield "", labels, self.worker.in_flight

    def _log_counts(self) -> tuple[dict[str, str], LogCounts]:
        return {"team": self._config.team, "model": self._config.model}, self._log.counts()

    def _log_rows(self) -> Iterable[Sample]:
        labels, counts = self._log_counts()
        for state in ("accepted", "durable", "sent", "failed", "dropped"):
            yield "", {**labels, "state": state}, getattr(counts, state)

    def _log_lag(self) -> Iterable[Sample]:
        labels, counts = self._log_counts()
        yield "", labels, counts.lag_seconds
