"""Pushing through Google's client to a real gRPC port that has Cloud Monitoring's limits."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from serving_images.monitor.exposition import TextFile
from serving_images.monitor.push import Point, Pusher
from tests.serving_images.monitor.metric_service import MetricService, serving

AT = datetime(2026, 3, 1, 6, 5, tzinfo=UTC)


class Clock:
    """Time that passes only where it is slept."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def cloud() -> Iterator[tuple[MetricService, Any]]:
    with serving() as made:
        yield made


def pusher(client: Any, clock: Clock) -> Pusher:
    return Pusher("example", client, sleep=clock.sleep, clock=clock)


def points(count: int, value: float = 1.0) -> list[Point]:
    return [Point("monitor_value", (("feature", f"f{i}"), ("team", "a")), value + i) for i in range(count)]


def test_many_series_go_in_batches(cloud: tuple[MetricService, Any]) -> None:
    service, client = cloud
    pushed = pusher(client, Clock()).push(points(450), AT)
    assert (pushed.written, pushed.late, pushed.failed) == (450, 0, 0)
    assert service.calls == [200, 200, 50]
    assert service.latest("monitor_value", feature="f449", team="a") == 450.0
    assert {at for held in service.points.values() for at, _ in held} == {AT}


def test_of_one_series_one_point_goes(cloud: tuple[MetricService, Any]) -> None:
    service, client = cloud
    pushed = pusher(client, Clock()).push([*points(1, 1.0), *points(1, 7.0)], AT)
    assert (pushed.written, pushed.failed) == (1, 0)
    assert service.latest("monitor_value", feature="f0", team="a") == 7.0


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    ],
)
def test_what_passes_is_tried_again(cloud: tuple[MetricService, Any], code: grpc.StatusCode) -> None:
    service, client = cloud
    clock = Clock()
    service.failures.extend([code, code])
    pushed = pusher(client, clock).push(points(3), AT)
    assert (pushed.written, pushed.failed) == (3, 0)
    assert service.calls == [3, 3, 3]
    assert clock.slept == [1.0, 2.0]


def test_what_does_not_pass_is_told_and_harms_no_other_batch(cloud: tuple[MetricService, Any]) -> None:
    service, client = cloud
    service.failures.extend([grpc.StatusCode.UNAVAILABLE] * 5)
    pushed = pusher(client, Clock()).push(points(201), AT)
    assert (pushed.written, pushed.failed) == (1, 200)
    service.failures.append(grpc.StatusCode.PERMISSION_DENIED)
    pushed = pusher(client, Clock()).push(points(2), AT + timedelta(minutes=5))
    assert (pushed.written, pushed.failed) == (0, 2)


def test_a_lost_answer_writes_nothing_twice(cloud: tuple[MetricService, Any]) -> None:
    service, client = cloud
    service.lose_answers = 1
    pushed = pusher(client, Clock()).push(points(3), AT)
    assert (pushed.written, pushed.late, pushed.failed) == (0, 3, 0)
    assert [len(held) for held in service.points.values()] == [1, 1, 1]


def test_a_point_that_is_no_newer_is_late_and_the_others_are_written(
    cloud: tuple[MetricService, Any],
) -> None:
    service, client = cloud
    pusher(client, Clock()).push(points(2), AT)
    pushed = pusher(client, Clock()).push(points(5), AT - timedelta(minutes=1))
    assert (pushed.written, pushed.late, pushed.failed) == (3, 2, 0)
    assert len(service.points) == 5


def test_points_of_one_series_keep_their_distance(cloud: tuple[MetricService, Any]) -> None:
    _, client = cloud
    clock = Clock()
    made = pusher(client, clock)
    made.push(points(2), AT)
    clock.now += 2
    pushed = made.push(points(1), AT + timedelta(seconds=6))
    assert clock.slept == [pytest.approx(3.0)]
    assert pushed.written == 1


def test_the_file_holds_the_newest_point_of_each_series(tmp_path: Path) -> None:
    path = tmp_path / "somewhere" / "monitor.prom"
    file = TextFile(path)
    file.push([*points(2), Point("monitor_last_run", (), 5.0)], AT)
    file.push([Point("monitor_value", (("feature", 'a"b\\c\n'), ("team", "a")), 2.5), *points(1, 9.0)], AT)
    assert path.read_text() == (
        "# TYPE custom_googleapis_com:modelyard_monitor_last_run gauge\n"
        "custom_googleapis_com:modelyard_monitor_last_run 5.0\n"
        "# TYPE custom_googleapis_com:modelyard_monitor_value gauge\n"
        'custom_googleapis_com:modelyard_monitor_value{feature="a\\"b\\\\c\\n",team="a"} 2.5\n'
        'custom_googleapis_com:modelyard_monitor_value{feature="f0",team="a"} 9.0\n'
        'custom_googleapis_com:modelyard_monitor_value{feature="f1",team="a"} 2.0\n'
    )
    assert [child.name for child in path.parent.iterdir()] == ["monitor.prom"]
