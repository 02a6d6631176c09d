"""What the server answers to which request."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from typing import Any

from serving_images.rest import inference, openapi, plain
from serving_images.rest.batching import RETRY, Batcher, Job, Log, fail, refuse_unlogged
from serving_images.rest.http import Request
from serving_images.rest.identity import Callers, trace_of
from serving_images.rest.versions import Version, Versions
from serving_images.runtime.inputs import InputError
from serving_images.runtime.metrics import CONTENT_TYPE, Metrics

CANARY_HEADER = b"x-modelyard-canary"
# A body larger than this is read and scored in a thread: some 100 rows, a few milliseconds.
LARGE_BYTES = 32_768
# Requests that are scored or wait for their log; a queue longer than this only adds to everyone's time.
IN_FLIGHT = 1024

Handler = Callable[[Request], None]
Pick = Callable[[Request], Version]


class App:
    """Routes requests.

    Args:
        versions: what is served.
        log: the prediction log.
        metrics: what `/metrics` answers.
        callers: tells who asks.
    """

    def __init__(
        self, versions: Versions, log: Log, metrics: Metrics, callers: Callers | None = None
    ) -> None:
        self.ready = True
        """Whether requests should be sent here."""
        self.in_flight = 0
        self._log = log
        self._metrics = metrics
        self._callers = callers or Callers()
        self.batcher = Batcher(log)
        self._thread = ThreadPoolExecutor(1, "large-requests")
        self._large: set[asyncio.Task[None]] = set()
        self._rejected: dict[str, int] = dict.fromkeys(("400", "404", "405", "408", "413", "431", "503"), 0)
        metrics.add(
            "modelyard_unrouted_requests_total",
            "counter",
            "Requests that were answered before it was known which version they ask, by HTTP status.",
            lambda: [("", {"code": code}, count) for code, count in self._rejected.items()],
        )
        self.serve(versions)

    def serve(self, versions: Versions) -> None:
        """Serve `versions` from now on; requests under way are answered by those that they came to."""
        self.versions = versions
        document = openapi.document(versions)
        self._routes: dict[bytes, dict[bytes, Handler]] = {
            b"/healthz": _get(self._alive),
            b"/readyz": _get(self._is_ready),
            b"/metrics": _get(lambda r: r.respond(200, self._metrics.text(), CONTENT_TYPE.encode())),
            b"/openapi.json": _get(lambda r: r.respond(200, document)),
            b"/v2": _get(lambda r: r.respond(200, inference.SERVER)),
            b"/v2/health/live": _get(self._alive),
            b"/v2/health/ready": _get(self._is_ready),
        }
        for name, numbers in versions.models.items():
            self._add(name.encode(), self._by_header(versions.stable(name), versions.canary(name)))
            for number, version in numbers.items():
                self._add(b"%b/versions/%d" % (name.encode(), number), _always(version))
        if len(versions.models) == 1:
            (name,) = versions.models
            pick = self._by_header(versions.stable(name), versions.canary(name))
            self._routes[b"/predict"] = _post(self._predicting(pick, plain.read, plain.render))

    def _add(self, path: bytes, pick: Pick) -> None:
        routes = self._routes
        routes[b"/models/%b/predict" % path] = _post(self._predicting(pick, plain.read, plain.render))
        routes[b"/v2/models/%b" % path] = _get(lambda r: inference.describe(pick(r), self.versions, r))
        routes[b"/v2/models/%b/ready" % path] = _get(self._is_ready)
        routes[b"/v2/models/%b/infer" % path] = _post(
            self._predicting(pick, inference.read, inference.render)
        )

    def __call__(self, request: Request) -> None:
        """Answer a request, now or later."""
        methods = self._routes.get(request.path)
        if methods is None:
            self._unknown(request)
            return
        handler = methods.get(request.method)
        if handler is None:
            allowed = b", ".join(sorted(methods))
            self.rejected(405)
            request.refuse(
                405,
                "method-not-allowed",
                f"{request.path.decode('latin-1')} takes {allowed.decode()}",
                b"allow: %b\r\n" % allowed,
            )
            return
        handler(request)

    def rejected(self, status: int) -> None:
        """Count an answer that was given before it was known which version was asked."""
        self._rejected[str(status)] = self._rejected.get(str(status), 0) + 1

    def _by_header(self, stable: Version, canary: Version) -> Pick:
        if stable is canary:
            return _always(stable)
        return lambda request: canary if request.headers.get(CANARY_HEADER) == b"always" else stable

    def _predicting(
        self, pick: Pick, read: Callable[[Version, Request], Any], render: Callable[[Job], Any]
    ) -> Handler:
        def settle() -> None:
            self.in_flight -= 1

        def predict(request: Request) -> None:
            version = pick(request)
            request.observer = version.metrics.answered
            if self.in_flight >= IN_FLIGHT:
                request.refuse(503, "overloaded", "too many requests are under way", RETRY)
                return
            if self._log.refuses(version.log_key):
                refuse_unlogged(request)
                return
            if len(request.body) > LARGE_BYTES:
                self.in_flight += 1
                task = asyncio.get_running_loop().create_task(large(request, version))
                self._large.add(task)
                task.add_done_callback(self._large.discard)
                return
            try:
                rows = read(version, request)
            except InputError as error:
                plain.refuse(request, error)
                return
            except plain.WrongTypeError as error:
                request.refuse(415, "unsupported-media-type", str(error))
                return
            self.in_flight += 1
            headers = request.headers
            self.batcher.add(
                Job(request, version, rows, render, settle, self._callers(headers), trace_of(headers))
            )

        async def large(request: Request, version: Version) -> None:
            def score() -> tuple[Any, Any]:
                rows = read(version, request)
                return rows, version.model.answers(version.model(rows.values))

            headers = request.headers
            try:
                rows, scores = await asyncio.get_running_loop().run_in_executor(self._thread, score)
            except InputError as error:
                settle()
                plain.refuse(request, error)
                return
            except plain.WrongTypeError as error:
                settle()
                request.refuse(415, "unsupported-media-type", str(error))
                return
            except Exception as error:  # whatever a model's operators raise
                fail(request, settle, error)
                return
            job = Job(request, version, rows, render, settle, self._callers(headers), trace_of(headers))
            self.batcher.log([job], scores)

        return predict

    def _alive(self, request: Request) -> None:
        request.respond(200, b'{"live":true}')

    def _is_ready(self, request: Request) -> None:
        if not self.ready:
            request.refuse(503, "stopping", "the server is stopping")
        elif all(self._log.refuses(version.log_key) for version in self.versions.all()):
            request.refuse(503, "log-unavailable", "the prediction log takes no rows", RETRY)
        else:
            request.respond(200, b'{"ready":true}')

    def _unknown(self, request: Request) -> None:
        self.rejected(404)
        path = request.path[:64].decode("latin-1")
        near = get_close_matches(path, [route.decode() for route in self._routes], 1)
        hint = f"; did you mean {near[0]}?" if near else "; /openapi.json lists what is"
        request.refuse(404, "not-found", f"{ascii(path)[1:-1]} is not served here{hint}")


def _always(version: Version) -> Pick:
    return lambda request: version


def _get(handler: Handler) -> dict[bytes, Handler]:
    return {b"GET": handler, b"HEAD": handler}


def _post(handler: Handler) -> dict[bytes, Handler]:
    return {b"POST": handler}
