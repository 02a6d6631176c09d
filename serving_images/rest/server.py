"""The life of the server: load, serve, reload, stop."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from serving_images.prediction_log.log import (
    PATIENCE_SECONDS,
    LogCounts,
    Policy,
    PredictionLog,
)
from serving_images.rest.app import App
from serving_images.rest.http import HttpServer, Limits
from serving_images.rest.versions import Version, Versions, check, log_key, log_schema, policies
from serving_images.runtime import artifact
from serving_images.runtime.config import Config, config_files, config_path, load, log_folder
from serving_images.runtime.errors import Refused
from serving_images.runtime.logs import opening
from serving_images.runtime.metrics import Metrics, Sample

_LOGGER = logging.getLogger("modelyard")
CODES = ("200", "400", "413", "415", "422", "500", "503")


@dataclass(frozen=True)
class Settings:
    """How a server runs."""

    host: str = "0.0.0.0"
    port: int = 8080
    """0: any free one."""
    config: Path = field(default_factory=config_path)
    log: Path = field(default_factory=log_folder)
    log_bytes: int = 1 << 30
    """Disk for rows that are not yet sent."""
    drain_seconds: float = 10.0
    """Between being told to stop and accepting no more: the gateway learns late that a pod goes."""
    finish_seconds: float = 25.0
    """For requests under way, once no more are accepted."""
    flush_seconds: float = 20.0
    """For the log to be sent; what is not sent stays on disk."""
    watch_seconds: float = 2.0
    """Between two looks at the settings, for a reload."""
    limits: Limits = field(default_factory=Limits)


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Raises:
        Refused: settings or model files are wrong, or the port or the log's folder is taken.
    """
    import uvloop

    return uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    server = Server(settings)
    await server.start()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.told_to_stop, stop)
    loop.add_signal_handler(signal.SIGHUP, server.told_to_reload)
    names = ", ".join(version.config.key for version in server.app.versions.all())
    print(f"modelyard: serving {names} on http://{settings.host}:{server.port}", file=sys.stderr, flush=True)
    watcher = loop.create_task(server.watch())
    await stop.wait()
    watcher.cancel()
    return await server.stop()


class Server:
    """A server with its models, log and listener.

    Args:
        settings: how it runs.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.port = 0
        self.metrics = Metrics(CODES)
        self._hurry = asyncio.Event()
        self._reload = asyncio.Event()

    async def start(self) -> None:
        """Load the models, open the log, listen.

        Raises:
            Refused: something is wrong with them.
        """
        settings = self.settings
        self._seen = _fingerprint(settings.config)
        configs = load(settings.config, "rest")
        check(configs)
        files = artifact.begin(configs, "online")
        import onnxruntime  # noqa: F401 - takes as long as the child takes to fetch and verify

        # The log's processes start while the models are fetched and loaded.
        self._log = self._open_log(configs)
        try:
            versions = self._load(configs, files())
        except Refused:
            self._log.abandon()
            raise
        limits = settings.limits
        if limits.body_bytes == Limits.body_bytes:
            most = max(config.serving.max_body_bytes for config in configs)
            limits = Limits(**{**limits.__dict__, "body_bytes": most})
        self.metrics.add(
            "modelyard_log_rows_total", "counter", "Log rows by what became of them.", self._log_rows
        )
        self.metrics.add(
            "modelyard_log_lag_seconds",
            "gauge",
            "Age of the oldest log row not yet sent, in seconds.",
            self._log_lag,
        )
        self.app = App(versions, self._log, self.metrics)
        self._http = HttpServer(self.app, limits, self.app.rejected)
        try:
            await self._http.start(settings.host, settings.port)
        except OSError as error:
            self._log.abandon()
            raise Refused(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. Name another "
                "port with MODELYARD_PORT"
            ) from None
        self.port = self._http.port

    def told_to_stop(self, stop: asyncio.Event) -> None:
        """Stop; told twice, hurry."""
        if stop.is_set():
            self._hurry.set()
        stop.set()

    def told_to_reload(self) -> None:
        """Look at the settings now."""
        self._seen = ()
        self._reload.set()

    async def watch(self) -> None:
        """Reload when the settings change."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._reload.wait(), self.settings.watch_seconds)
            self._reload.clear()
            fingerprint = _fingerprint(self.settings.config)
            if fingerprint != self._seen:
                self._seen = fingerprint
                await self.reload()

    async def reload(self) -> bool:
        """Serve what the settings say now; where they are wrong, go on as before and say so."""
        loop = asyncio.get_running_loop()
        started = time.monotonic()
        try:
            configs = await loop.run_in_executor(None, load, self.settings.config, "rest")
            check(configs)
            kept = {log_key(each.config): each for each in self.app.versions.all()}
            new = [c for c in configs if log_key(c) not in kept or kept[log_key(c)].config != c]
            paths = await loop.run_in_executor(None, artifact.fetch, new, "online")
            versions = await loop.run_in_executor(None, self._load, new, paths)
            for config in configs:
                self._log.add(log_key(config), log_schema(config, configs))
        except (Refused, ValueError) as error:
            _LOGGER.error("the new settings are not served: %s", error)
            return False
        merged = [*versions.all(), *(kept[log_key(config)] for config in configs if config not in new)]
        self.app.serve(Versions(merged))
        self.metrics.keep((c.team, c.model, str(c.version)) for c in configs)
        names = ", ".join(version.config.key for version in self.app.versions.all())
        print(
            f"modelyard: serving {names} since a reload of {time.monotonic() - started:.1f} s",
            file=sys.stderr,
            flush=True,
        )
        return True

    async def stop(self) -> int:
        """Answer what is under way, write and send the log, end; return the exit code."""
        self.app.ready = False
        self._http.stopping = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), self.settings.drain_seconds)
        finished = await self._http.stop(self.settings.finish_seconds)
        await self._log.aclose(self.settings.flush_seconds)
        if not finished:
            _LOGGER.error("requests were still under way after %g s", self.settings.finish_seconds)
        return 0 if finished else 1

    def _load(self, configs: Sequence[Config], paths: dict[str, Path]) -> Versions:
        return Versions(Version(config, paths[config.key], self.metrics) for config in configs)

    def _open_log(self, configs: Sequence[Config]) -> PredictionLog:
        folder = self.settings.log
        with opening(folder):
            return PredictionLog(
                folder,
                {log_key(config): log_schema(config, configs) for config in configs},
                policy={key: Policy(policy) for key, policy in policies(configs).items()},
                max_bytes=self.settings.log_bytes,
                warehouse=Path(configs[0].warehouse) if configs[0].warehouse else None,
                patience=PATIENCE_SECONDS,
            )

    def _log_rows(self) -> Iterable[Sample]:
        for labels, counts in self._log_counts():
            for state in ("accepted", "durable", "sent", "failed", "dropped"):
                yield "", {**labels, "state": state}, getattr(counts, state)

    def _log_lag(self) -> Iterable[Sample]:
        for labels, counts in self._log_counts():
            yield "", labels, counts.lag_seconds

    def _log_counts(self) -> Iterable[tuple[dict[str, str], LogCounts]]:
        models: dict[tuple[str, str], LogCounts] = {}
        for key, counts in self._log.counts_by_key().items():
            team, model, _ = key.split("/")
            models[team, model] = models[team, model] + counts if (team, model) in models else counts
        for (team, model), counts in models.items():
            yield {"team": team, "model": model}, counts


def _fingerprint(path: Path) -> tuple[object, ...]:
    """Return what changes when the settings do: a ConfigMap is replaced by another symbolic link."""
    try:
        found = [(str(file), os.stat(file)) for file in config_files(path)]
    except (OSError, Refused):
        return ("missing",)
    return tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in found)
