import re
from typing import Any

import pytest

from modelyard.monitors import (
    MONITORS,
    Alert,
    Family,
    LogCondition,
    MonitorError,
    PromqlCondition,
    Runbook,
    monitors_of,
    platform,
    tiles_of,
)
from modelyard.monitors.promql import series
from modelyard.spec.base import Pattern, Severity
from tests.modelyard.sample import NAMES, deployed, environment, manifest

COMMON = {
    "quality-infinite",
    *("usage-drop", "usage-rise", "usage-silence"),
    *("quality-invalid", "quality-schema", "quality-stuck", "quality-duplicates"),
    *(
        "drift-features",
        "drift-predictions",
        "drift-stuck",
        "performance-unexpected",
        "performance-loss",
        "performance-estimate",
    ),
    "performance-labels",
}
# Versions share the traffic: these judge the model as a whole.
OF_THE_MODEL = {"performance-labels", "usage-drop", "usage-rise", "usage-silence", "quality-duplicates"}
KEYS = {
    Pattern.REST: {"latency-p95", "latency-errors", "latency-unavailable"} | COMMON,
    Pattern.BATCH: {"latency-freshness", "latency-failed-rows"} | COMMON,
    Pattern.STREAMING: {"latency-backlog", "latency-dead-letters"} | COMMON,
}
RUNBOOK = Runbook("It is bad.", ("A cause.",), ("Look.", "Think.", "Act."))
ALERT: dict[str, Any] = {
    "key": "k",
    "family": Family.USAGE,
    "title": "t",
    "summary": "s",
    "condition": PromqlCondition("up == 0"),
    "severity": Severity.ERROR,
    "team": "a",
    "owner": "a@example.com",
    "escalation": "pager",
    "runbook": RUNBOOK,
}


def alerts(pattern: Pattern = Pattern.REST, **settings: Any) -> dict[str, Alert]:
    return {alert.key: alert for alert in monitors_of(*deployed(pattern, **settings))}


def query(alert: Alert) -> str:
    assert isinstance(alert.condition, PromqlCondition)
    return alert.condition.query


@pytest.mark.parametrize("pattern", Pattern)
def test_each_pattern_has_its_alerts(pattern: Pattern) -> None:
    assert alerts(pattern).keys() == KEYS[pattern]


@pytest.mark.parametrize("family", ["latency", "usage", "quality", "drift", "performance"])
def test_a_family_can_be_switched_off_and_the_others_stay(family: str) -> None:
    found = alerts(monitors={family: {"enabled": False}})
    assert found.keys() == {key for key in KEYS[Pattern.REST] if not key.startswith(family)}


@pytest.mark.parametrize(
    ("pattern", "key", "settings", "line", "words"),
    [
        (Pattern.REST, "latency-p95", {"latency": {"threshold": 120.5}}, 120.5, "120.5 ms"),
        (Pattern.REST, "latency-errors", {"latency": {"error_rate": 0.005}}, 0.005, "0.5 %"),
        (Pattern.BATCH, "latency-failed-rows", {"latency": {"error_rate": 0.07}}, 0.07, "7 %"),
        (Pattern.STREAMING, "latency-backlog", {"latency": {"window": "3m"}}, 180, "3 minutes"),
        (Pattern.STREAMING, "latency-dead-letters", {"latency": {"error_rate": 0.02}}, 0.02, "2 %"),
        (Pattern.REST, "usage-drop", {"usage": {"threshold": 0.55}}, 0.55, "55 %"),
        (Pattern.BATCH, "quality-invalid", {"quality": {"threshold": 0.033}}, 0.033, "3.3 %"),
        (Pattern.BATCH, "drift-features", {"drift": {"threshold": 0.35}}, 0.35, "0.35"),
        (Pattern.BATCH, "drift-predictions", {"drift": {"threshold": 0.35}}, 0.35, "0.35"),
        (Pattern.REST, "performance-loss", {"performance": {"threshold": 0.12}}, 0.12, "12 %"),
    ],
)
def test_a_threshold_reaches_condition_tile_and_words(
    pattern: Pattern, key: str, settings: dict[str, Any], line: float, words: str
) -> None:
    alert = alerts(pattern, monitors=settings)[key]
    assert re.search(rf"[<>] {line:g}\)", query(alert)), query(alert)
    assert alert.tile is not None
    assert alert.tile.threshold == line
    assert alert.tile.query in query(alert)
    assert words in alert.summary
    assert words in alert.documentation


def test_severity_and_window_reach_the_alert() -> None:
    alert = alerts(monitors={"latency": {"severity": "warning", "window": "15m"}})["latency-p95"]
    assert alert.severity is Severity.WARNING
    assert "[15m]" in query(alert)
    assert "over 15 minutes" in alert.summary


def test_a_batch_may_be_as_old_as_its_schedule_and_deadline_allow() -> None:
    weekdays = {"schedule": "0 3 * * 1-5", "deadline": "2h"}
    alert = alerts(Pattern.BATCH, batch=weekdays)["latency-freshness"]
    assert f"> {3 * 86_400 + 2 * 3600})" in query(alert)
    assert "74 hours" in alert.summary


def test_a_value_of_a_long_window_stays_in_force_for_a_day_at_most() -> None:
    for window, held in (("5m", "[1h]"), ("6h", "[12h]"), ("30d", "[25h]")):
        assert held in query(alerts(monitors={"drift": {"window": window}})["drift-features"])


def test_the_canary_is_covered() -> None:
    found = {alert.key: query(alert) for alert in monitors_of(*deployed(canary=manifest(2)))}
    together = {key for key, text in found.items() if 'version=~"1|2"' in text}
    assert together == KEYS[Pattern.REST] - {"latency-unavailable"} - OF_THE_MODEL
    assert 'version="1"' in found["latency-unavailable"] and 'version="2"' in found["latency-unavailable"]
    assert "version" not in found["usage-drop"], "versions share the traffic"


@pytest.mark.parametrize("pattern", Pattern)
def test_the_documentation_tells_a_person_what_to_do(pattern: Pattern) -> None:
    for alert in alerts(pattern).values():
        text = alert.documentation
        for part in (
            "flights/delay",
            "flights@example.com",
            "pager-flights",
            alert.severity,
            alert.summary,
            f"docs/runbooks/{alert.key}.md",
            "1. ",
            "2. ",
            "3. ",
            "${metric.label.value}",
        ):
            assert part in text, (alert.key, part)
        assert not re.search(
            r"(?<!\$)\{(team|model|project|namespace|workload|dead_letters|threshold)\}", text
        )
        assert len(text) <= 8192, "Cloud Monitoring takes no more"


def test_keys_are_unique_and_name_their_family() -> None:
    keys = [monitor.key for monitor in MONITORS] + [monitor.key for monitor in platform.MONITORS]
    assert len(keys) == len(set(keys))
    assert all(monitor.key.startswith(monitor.family.value) for monitor in MONITORS)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", key) for key in keys)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("owner", "", "no owner"),
        ("owner", "nobody", "no owner"),
        ("team", "", "no owner"),
        ("escalation", "", "no owner"),
        ("severity", None, "no severity"),
        ("severity", "critical", "no severity"),
        ("runbook", None, "no runbook"),
    ],
)
def test_an_alert_that_nobody_can_act_on_cannot_be_made(field: str, value: Any, problem: str) -> None:
    assert Alert(**ALERT).subject == "a"
    with pytest.raises(MonitorError, match=problem):
        Alert(**ALERT | {field: value})


@pytest.mark.parametrize(
    "parts",
    [
        (" ", ("A cause.",), ("Look.", "Think.", "Act.")),
        ("It is bad.", (), ("Look.", "Think.", "Act.")),
        ("It is bad.", ("",), ("Look.", "Think.", "Act.")),
        ("It is bad.", ("A cause.",), ("Look.", "", "Act.")),
        ("It is bad.", ("A cause.",), ("Look.", "Act.")),
    ],
)
def test_an_empty_runbook_cannot_be_made(parts: Any) -> None:
    with pytest.raises(MonitorError):
        Runbook(*parts)


@pytest.mark.parametrize("timing", [(0, 0), (0, 45), (90, 60), (-60, 25)])
def test_a_timing_that_cloud_monitoring_refuses_cannot_be_made(timing: tuple[int, int]) -> None:
    with pytest.raises(MonitorError):
        PromqlCondition("up == 0", *timing)


def test_a_log_condition_is_quiet_for_five_minutes_at_least() -> None:
    with pytest.raises(MonitorError):
        LogCondition('logName="x"', 60)


def test_labels_cannot_break_out_of_a_selector() -> None:
    assert series("m", team='a"} or up{x="\\') == 'm{team="a\\"} or up{x=\\"\\\\"}'


@pytest.mark.parametrize("pattern", Pattern)
def test_a_dashboard_has_the_overview_and_a_tile_per_alert(pattern: Pattern) -> None:
    tiles = tiles_of(*deployed(pattern))
    watched = [alert.tile for alert in alerts(pattern).values()]
    assert [tile for tile in tiles if tile.threshold is not None] == watched
    assert [tile.title for tile in tiles[:3]] == [
        "Predictions per version",
        "Rows of the prediction log",
        "Age of the oldest log row not yet sent",
    ]


def test_the_labels_coverage_is_shown_where_labels_arrive() -> None:
    titles = [tile.title for tile in tiles_of(*deployed(label={"table": "a.b", "delay": "1d"}))]
    assert "Share of predictions with a label" in titles


def test_the_platform_engineers_own_the_platform_alerts() -> None:
    found = platform.platform_alerts(environment())
    assert {alert.key for alert in found} == {monitor.key for monitor in platform.MONITORS}
    assert {(alert.team, alert.owner, alert.model) for alert in found} == {
        ("platform", "platform@example.com", None)
    }
    assert all(len(alert.documentation) <= 8192 for alert in found)
    assert not any(re.search(r"(?<!\$)\{\w+\}", alert.runbook.steps[2]) for alert in found)


def test_the_platform_is_told_by_its_own_channels() -> None:
    own = {"name": "platform-chat", "type": "pubsub", "address": "projects/example-dev/topics/alerts"}
    other = {"name": "pager-a", "type": "email", "address": "a@example.com"}
    assert [c.name for c in environment(channels=[other, own]).platform_channels] == ["platform-chat"]
    (fallback,) = environment(channels=[other]).platform_channels
    assert (fallback.type, fallback.address) == ("email", "platform@example.com")


def test_the_fleet_dashboard_ends_with_the_platform() -> None:
    tiles = platform.fleet_tiles(NAMES)
    measured = [m.title for m in platform.MONITORS if isinstance(m, platform.PlatformMonitor)]
    assert [tile.title for tile in tiles if tile.threshold is not None] == measured
    assert len({tile.title for tile in tiles}) == len(tiles)
