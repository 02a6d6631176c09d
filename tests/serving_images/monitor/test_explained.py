"""What the job pushes of incidents is what the conditions of the alerts ask for."""

from datetime import UTC, datetime

from modelyard.incidents import Evaluation, SeriesKey
from modelyard.incidents.run import Outcome
from modelyard.monitors import monitors_of
from modelyard.spec.base import Pattern
from serving_images.monitor.exposition import line_of
from serving_images.monitor.job import explained
from tests.modelyard.sample import deployed

UNTIL = datetime(2026, 3, 1, 12, tzinfo=UTC)


def lines(keys: dict[SeriesKey, bool], silenced: dict[tuple[str, str, str], datetime]) -> dict[str, float]:
    outcome = Outcome(Evaluation((), (), (), (), frozenset()), keys, silenced)
    return {line_of(point): point.value for point in explained(outcome)}


def test_explained_has_the_labels_of_the_value() -> None:
    key = SeriesKey("flights", "delay", 1, "quality", "excess_invalid_share", "distance")
    assert lines({key: True}, {}) == {
        'custom_googleapis_com:modelyard_monitor_explained{family="quality",feature="distance",'
        'metric="excess_invalid_share",model="delay",team="flights",version="1"}': 1.0
    }


def test_values_that_are_not_pushed_are_not_explained() -> None:
    assert lines({SeriesKey("flights", "delay", 1, "latency", "p95"): False}, {}) == {}


def test_a_silence_is_pushed_as_the_time_of_its_end() -> None:
    found = lines({}, {("flights", "delay", "all"): UNTIL})
    assert found == {
        'custom_googleapis_com:modelyard_silenced_until{alert="all",model="delay",team="flights"}': (
            UNTIL.timestamp()
        )
    }


def test_every_condition_on_a_pushed_value_asks_whether_it_is_explained() -> None:
    alerts = monitors_of(*deployed(Pattern.REST))
    asked = {alert.key for alert in alerts if "modelyard_monitor_explained" in str(alert.condition)}
    pushed = {alert.key for alert in alerts if "modelyard_monitor_value" in str(alert.condition)}
    assert asked == pushed and "quality-invalid" in asked
    assert all("modelyard_silenced_until" in str(alert.condition) for alert in alerts)
