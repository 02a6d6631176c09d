"""Alert policies in Cloud Monitoring, one per declared alert."""

from collections.abc import Mapping, Sequence

from cdktf_cdktf_provider_google.monitoring_alert_policy import (
    MonitoringAlertPolicy,
    MonitoringAlertPolicyAlertStrategy,
    MonitoringAlertPolicyAlertStrategyNotificationChannelStrategy,
    MonitoringAlertPolicyAlertStrategyNotificationRateLimit,
    MonitoringAlertPolicyConditions,
    MonitoringAlertPolicyConditionsConditionMatchedLog,
    MonitoringAlertPolicyConditionsConditionPrometheusQueryLanguage,
    MonitoringAlertPolicyDocumentation,
    MonitoringAlertPolicyDocumentationLinks,
)
from constructs import Construct

from modelyard.monitors import Alert, LogCondition, PromqlCondition
from modelyard.spec.base import Severity
from modelyard.terraform_text import literal

# The shortest that Cloud Monitoring takes; a condition that no longer holds closes its incident at once.
AUTO_CLOSE = "1800s"
# How often a critical incident that nobody closed tells its channels again.
REMINDER = "14400s"


class AlertPolicies(Construct):
    """One alert policy per alert, with owner, severity, the first three steps and the runbook.

    Series that do not exist yet are no error: a model is watched before its first request.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.monitors import Alert, Family, PromqlCondition, Runbook
        from modelyard.spec.base import Severity
        from modules.alerts import AlertPolicies

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-a")
        runbook = Runbook("No order has come.", ("The shop is down.",), ("Look.", "Start it.", "Call them."))
        silent = Alert("silence", Family.USAGE, "Orders", "No order for 5 minutes.",
                       PromqlCondition("absent(orders_total)", 300), Severity.CRITICAL,
                       "a", "a@example.com", "pager", runbook)
        AlertPolicies(stack, "alerts", alerts=[silent], labels={"team": "a"}, channels={})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        alerts: what `monitors_of` or `platform_alerts` returned.
        labels: labels of the policies; the severity is added.
        channels: names of the notification channels to tell, by severity.
        project: project of the policies; default: the provider's.
        repository_url: where the repository's files can be read, without a slash at its end.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        alerts: Sequence[Alert],
        labels: Mapping[str, str],
        channels: Mapping[Severity, Sequence[str]],
        project: str | None = None,
        repository_url: str | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        for alert in alerts:
            tell = list(channels.get(alert.severity, ()))
            MonitoringAlertPolicy(
                self,
                alert.key,
                project=project,
                display_name=f"{alert.subject}: {alert.title}",
                combiner="OR",
                severity=alert.severity.upper(),
                conditions=[_condition(alert)],
                notification_channels=tell,
                alert_strategy=_strategy(alert, tell),
                documentation=_documentation(alert, repository_url),
                user_labels={**labels, "severity": alert.severity.lower()},
            )


def _condition(alert: Alert) -> MonitoringAlertPolicyConditions:
    match alert.condition:
        case PromqlCondition(query, for_seconds, every_seconds):
            return MonitoringAlertPolicyConditions(
                display_name=alert.title,
                condition_prometheus_query_language=MonitoringAlertPolicyConditionsConditionPrometheusQueryLanguage(
                    query=literal(query),
                    duration=f"{for_seconds}s",
                    evaluation_interval=f"{every_seconds}s",
                    rule_group=f"modelyard/{alert.subject}",
                    alert_rule=alert.key.replace("-", "_"),
                    disable_metric_validation=True,
                ),
            )
        case LogCondition(filter_):
            return MonitoringAlertPolicyConditions(
                display_name=alert.title,
                condition_matched_log=MonitoringAlertPolicyConditionsConditionMatchedLog(
                    filter=literal(filter_)
                ),
            )


def _strategy(alert: Alert, channels: list[str]) -> MonitoringAlertPolicyAlertStrategy:
    # Cloud Monitoring takes a rate limit for log conditions alone, and reminders for all others.
    if isinstance(alert.condition, LogCondition):
        limit = MonitoringAlertPolicyAlertStrategyNotificationRateLimit(
            period=f"{alert.condition.quiet_seconds}s"
        )
        return MonitoringAlertPolicyAlertStrategy(auto_close=AUTO_CLOSE, notification_rate_limit=limit)
    reminders = [
        MonitoringAlertPolicyAlertStrategyNotificationChannelStrategy(
            notification_channel_names=channels, renotify_interval=REMINDER
        )
    ]
    remind = channels and alert.severity is Severity.CRITICAL
    return MonitoringAlertPolicyAlertStrategy(
        auto_close=AUTO_CLOSE, notification_channel_strategy=reminders if remind else None
    )


def _documentation(alert: Alert, repository_url: str | None) -> MonitoringAlertPolicyDocumentation:
    links = None
    if repository_url:
        url = f"{repository_url}/{alert.runbook_path}"
        links = [MonitoringAlertPolicyDocumentationLinks(display_name="Runbook", url=url)]
    return MonitoringAlertPolicyDocumentation(
        subject=literal(f"{alert.severity.upper()} {alert.subject}: {alert.title}"),
        content=literal(alert.documentation),
        mime_type="text/markdown",
        links=links,
    )
