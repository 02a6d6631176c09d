from collections.abc import Sequence
from typing import Any

import pytest

from modelyard.spec.base import Severity
from modelyard.spec.environment import Channel
from modelyard.spec.team import Owners
from tests.modules.synthesis import Resources, synthesized

from modules.notification import NotificationChannels, TeamChannels  # isort: skip - the bindings come first

EMAIL = Channel(name="mail", type="email", address="a@example.com")
TOPIC = Channel(
    name="chat", type="pubsub", address="projects/example-dev/topics/alerts", severities=(Severity.CRITICAL,)
)
PAGER = Channel(name="pager", type="pagerduty", address="projects/example-a/notificationChannels/1234567890")


def made(
    channels: Sequence[Channel], project: str = "example-a", owners: Owners | None = None
) -> tuple[Resources, dict[Severity, list[str]]]:
    found: list[NotificationChannels] = []

    def add(stack: Any) -> None:
        arguments: dict[str, Any] = {"project": project, "channels": channels, "labels": {"team": "a"}}
        if owners:
            found.append(TeamChannels(stack, "c", owners=owners, **arguments))
        else:
            found.append(NotificationChannels(stack, "c", **arguments))

    return synthesized(add), found[0].by_severity


def test_channels_without_a_secret_are_made() -> None:
    resources, by_severity = made([EMAIL, TOPIC])
    channels = resources["google_monitoring_notification_channel"]
    assert channels["c/mail"]["labels"] == {"email_address": "a@example.com"}
    assert channels["c/chat"]["labels"] == {"topic": "projects/example-dev/topics/alerts"}
    assert all(c["user_labels"] == {"team": "a"} and c["project"] == "example-a" for c in channels.values())
    assert {severity: len(names) for severity, names in by_severity.items()} == {
        Severity.CRITICAL: 2,
        Severity.ERROR: 1,
        Severity.WARNING: 1,
    }


def test_a_channel_with_a_secret_is_only_referred_to() -> None:
    resources, by_severity = made([PAGER])
    assert resources == {}
    assert by_severity[Severity.ERROR] == [PAGER.address]


def test_a_channel_of_another_project_is_refused() -> None:
    with pytest.raises(ValueError, match=r"channel pager: .* is no channel of project example-b"):
        made([PAGER], project="example-b")


def test_owners_hear_everything_and_the_escalation_what_is_critical() -> None:
    owners = Owners(group="owners@example.com", escalation="pager")
    resources, by_severity = made([EMAIL, PAGER], owners=owners)
    (group,) = resources["google_monitoring_notification_channel"].values()
    assert group["labels"] == {"email_address": "owners@example.com"}
    assert len(by_severity[Severity.WARNING]) == len(by_severity[Severity.ERROR]) == 1
    assert by_severity[Severity.CRITICAL] == [*by_severity[Severity.WARNING], PAGER.address]


def test_an_unknown_escalation_names_the_known_ones() -> None:
    owners = Owners(group="owners@example.com", escalation="pagr")
    with pytest.raises(ValueError, match=r"no channel is named pagr; the environment has mail, pager"):
        made([EMAIL, PAGER], owners=owners)
