"""Who is told: notification channels, by severity."""

import re
from collections.abc import Mapping, Sequence

from cdktf_cdktf_provider_google.monitoring_notification_channel import MonitoringNotificationChannel
from constructs import Construct

from modelyard.spec.base import Severity
from modelyard.spec.environment import Channel
from modelyard.spec.team import Owners

BY_HAND = re.compile(r"projects/([^/]+)/notificationChannels/[0-9]+")


class NotificationChannels(Construct):
    """Channels of one project. Those that hold a secret are made by hand, and only referred to.

    `by_severity` has the names of the channels to tell.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.spec.environment import Channel
        from modules.notification import NotificationChannels

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        oncall = Channel(name="oncall", type="email", address="oncall@example.com")
        NotificationChannels(stack, "channels", project="example-dev", channels=[oncall], labels={})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        project: project of the channels; alert policies use channels of their own project alone.
        channels: the channels, each with the severities it is told.
        labels: labels of the channels.

    Raises:
        ValueError: a channel that was made by hand is not one of `project`.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        project: str,
        channels: Sequence[Channel],
        labels: Mapping[str, str],
    ) -> None:
        super().__init__(scope, construct_id)
        self.by_severity: dict[Severity, list[str]] = {severity: [] for severity in Severity}
        for channel in channels:
            name = self._made(channel, project, labels)
            for severity in channel.severities:
                self.by_severity[severity].append(name)

    def _made(self, channel: Channel, project: str, labels: Mapping[str, str]) -> str:
        if channel.by_hand:
            made = BY_HAND.fullmatch(channel.address)
            if made is None or made[1] != project:
                raise ValueError(
                    f"channel {channel.name}: {channel.address} is no channel of project {project}, whose "
                    "alerts it should be told; make one there, or use an e-mail address or a topic"
                )
            return channel.address
        kind = "email_address" if channel.type == "email" else "topic"
        resource = MonitoringNotificationChannel(
            self,
            channel.name,
            project=project,
            display_name=channel.name,
            type=channel.type,
            labels={kind: channel.address},
            user_labels=dict(labels),
            force_delete=False,
        )
        return resource.name


class TeamChannels(NotificationChannels):
    """The channels of a team: its owners' group for everything, its escalation channel for what is critical.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.spec.environment import Channel
        from modelyard.spec.team import Owners
        from modules.notification import TeamChannels

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-a")
        pager = Channel(name="pager-a", type="email", address="a@pager.example.com")
        TeamChannels(stack, "channels", project="example-a", channels=[pager], labels={"team": "a"},
                     owners=Owners(group="a@example.com", escalation="pager-a"))
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        project: the team's project.
        owners: the team's owners.
        channels: the environment's channels, among them the one that the owners name for escalation.
        labels: labels of the channels.

    Raises:
        ValueError: the escalation channel is unknown, or was made by hand in another project.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        project: str,
        owners: Owners,
        channels: Sequence[Channel],
        labels: Mapping[str, str],
    ) -> None:
        named = [channel for channel in channels if channel.name == owners.escalation]
        if not named:
            known = ", ".join(channel.name for channel in channels)
            raise ValueError(f"no channel is named {owners.escalation}; the environment has {known}")
        group = Channel(name="owners", type="email", address=owners.group)
        escalation = named[0].model_copy(update={"name": "escalation", "severities": (Severity.CRITICAL,)})
        super().__init__(scope, construct_id, project=project, channels=[group, escalation], labels=labels)
