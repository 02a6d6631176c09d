import re
from typing import Any

import pytest

from modelyard.monitors import LogCondition, monitors_of, platform
from modelyard.spec.base import Pattern, Severity
from tests.modelyard.sample import deployed, environment, manifest
from tests.modules.synthesis import synthesized

from modules.alerts import AlertPolicies  # isort: skip - the bindings come first

CHANNELS = {Severity.CRITICAL: ["projects/p/notificationChannels/1"], Severity.WARNING: []}
LABELS = {"environment": "dev", "team": "flights", "model": "delay", "cost_center": "4711"}


def policies(alerts: Any, **options: Any) -> dict[str, dict[str, Any]]:
    made = synthesized(
        lambda stack: AlertPolicies(stack, "a", alerts=alerts, labels=LABELS, channels=CHANNELS, **options)
    )
    return {
        path.removeprefix("a/"): policy for path, policy in made["google_monitoring_alert_policy"].items()
    }


@pytest.mark.parametrize("pattern", Pattern)
def test_every_alert_has_a_policy_of_its_own_severity_and_condition(pattern: Pattern) -> None:
    alerts = monitors_of(*deployed(pattern, canary=manifest(2) if pattern is Pattern.REST else None))
    made = policies(alerts)
    assert made.keys() == {alert.key for alert in alerts}
    for alert in alerts:
        policy = made[alert.key]
        assert policy["severity"] == alert.severity.name
        assert policy["user_labels"] == {**LABELS, "severity": alert.severity.value}
        assert policy["notification_channels"] == CHANNELS.get(alert.severity, [])
        condition = policy["conditions"][0]["condition_prometheus_query_language"]
        assert condition["query"] == alert.condition.query  # type: ignore[union-attr]
        assert condition["disable_metric_validation"] is True
        assert condition["rule_group"] == "modelyard/flights/delay"
        assert re.fullmatch(r"[a-zA-Z_]\w*", condition["alert_rule"])


def test_only_what_is_critical_reminds_and_only_where_there_is_a_channel() -> None:
    made = policies(monitors_of(*deployed(monitors={"quality": {"severity": "warning"}})))
    assert made["latency-p95"]["alert_strategy"]["notification_channel_strategy"] == [
        {"notification_channel_names": CHANNELS[Severity.CRITICAL], "renotify_interval": "14400s"}
    ]
    for key in ("drift-features", "quality-invalid"):
        assert made[key]["alert_strategy"] == {"auto_close": "1800s"}


def test_log_conditions_have_the_rate_limit_that_cloud_monitoring_asks_for() -> None:
    alerts = platform.platform_alerts(environment())
    made = policies(alerts)
    for alert in alerts:
        strategy, condition = made[alert.key]["alert_strategy"], made[alert.key]["conditions"][0]
        on_log = isinstance(alert.condition, LogCondition)
        assert ("notification_rate_limit" in strategy) == on_log
        assert ("condition_matched_log" in condition) == on_log
        assert not (on_log and "notification_channel_strategy" in strategy)


def test_the_text_is_for_cloud_monitoring_not_for_terraform() -> None:
    (policy,) = policies(
        monitors_of(*deployed())[:1], repository_url="https://example.com/r/blob/HEAD"
    ).values()
    assert "$${metric.label.value}" in policy["documentation"]["content"]
    assert not re.search(r"(?<!\$)\$\{", policy["documentation"]["content"])
    assert policy["documentation"]["links"] == [
        {"display_name": "Runbook", "url": "https://example.com/r/blob/HEAD/docs/runbooks/latency-p95.md"}
    ]
