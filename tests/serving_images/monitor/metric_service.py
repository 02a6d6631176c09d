"""Cloud Monitoring's MetricService on a real gRPC port, with its limits.

It keeps what `CreateTimeSeries` writes, and refuses, as the service does: more than 200 series in a call, a
series twice in one, more than one point, and points that are not newer than the series' last by 5 seconds.
"""

from collections import deque
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import grpc
from google.cloud import monitoring_v3
from google.cloud.monitoring_v3.services.metric_service import MetricServiceClient
from google.cloud.monitoring_v3.services.metric_service.transports import MetricServiceGrpcTransport
from google.protobuf import any_pb2, empty_pb2
from google.rpc import code_pb2, status_pb2

Series = tuple[str, tuple[tuple[str, str], ...]]
METHOD = "CreateTimeSeries"
SERVICE = "google.monitoring.v3.MetricService"


class MetricService:
    """What was written, and what the next calls are to answer."""

    def __init__(self) -> None:
        self.points: dict[Series, list[tuple[datetime, float]]] = {}
        self.calls: list[int] = []
        """Series per call."""
        self.failures: deque[grpc.StatusCode] = deque()
        """What the next calls are answered with; each is used once."""
        self.lose_answers = 0
        """Calls that are to be written, but whose answer is lost."""

    def latest(self, name: str, **labels: str) -> float:
        """Return the newest value of a series."""
        return self.points[name, tuple(sorted(labels.items()))][-1][1]

    def create(self, request: Any, context: grpc.ServicerContext) -> empty_pb2.Empty:
        """Answer one call."""
        assert request.name.startswith("projects/")
        self.calls.append(len(request.time_series))
        if self.failures:
            context.abort(self.failures.popleft(), "for a moment")
        if len(request.time_series) > 200:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Request contained more than 200 TimeSeries")
        names = [_series(series) for series in request.time_series]
        if len(set(names)) < len(names):
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "Field timeSeries had an invalid value: Duplicate TimeSeries encountered. Only one point can "
                "be written per TimeSeries per request.",
            )
        refused = sum(not self._written(series) for series in request.time_series)
        if self.lose_answers:
            self.lose_answers -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was lost")
        if refused:
            _refuse(context, len(names), refused)
        return empty_pb2.Empty()

    def _written(self, series: Any) -> bool:
        assert series.resource.type == "global"
        assert len(series.points) == 1
        held = self.points.setdefault(_series(series), [])
        end = series.points[0].interval.end_time
        if held and end < held[-1][0] + timedelta(seconds=5):
            return False
        held.append((end, series.points[0].value.double_value))
        return True


def _series(series: Any) -> Series:
    name = series.metric.type.removeprefix("custom.googleapis.com/modelyard/")
    return name, tuple(sorted(dict(series.metric.labels).items()))


def _refuse(context: grpc.ServicerContext, total: int, refused: int) -> None:
    summary = monitoring_v3.CreateTimeSeriesSummary(
        total_point_count=total, success_point_count=total - refused
    )
    detail = any_pb2.Any()
    detail.Pack(monitoring_v3.CreateTimeSeriesSummary.pb(summary))
    text = "One or more TimeSeries could not be written: Points must be written in order."
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=text, details=[detail])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)


@contextmanager
def serving() -> Iterator[tuple[MetricService, MetricServiceClient]]:
    """Serve on a free port; yield the service and Google's client to it."""
    service = MetricService()
    handler = grpc.unary_unary_rpc_method_handler(
        service.create,
        request_deserializer=monitoring_v3.CreateTimeSeriesRequest.deserialize,
        response_serializer=empty_pb2.Empty.SerializeToString,
    )
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    try:
        yield service, MetricServiceClient(transport=MetricServiceGrpcTransport(channel=channel))
    finally:
        channel.close()
        server.stop(grace=None).wait()
