"""A streaming model: topics in and out, a dead letter, and workers that scale with the backlog."""

from collections.abc import Mapping, Sequence
from typing import Any

from cdktf_cdktf_provider_google.pubsub_subscription import (
    PubsubSubscription,
    PubsubSubscriptionDeadLetterPolicy,
    PubsubSubscriptionExpirationPolicy,
    PubsubSubscriptionRetryPolicy,
)
from cdktf_cdktf_provider_google.pubsub_subscription_iam_member import PubsubSubscriptionIamMember
from cdktf_cdktf_provider_google.pubsub_topic import PubsubTopic, PubsubTopicMessageStoragePolicy
from cdktf_cdktf_provider_google.pubsub_topic_iam_member import PubsubTopicIamMember
from cdktf_cdktf_provider_kubernetes.horizontal_pod_autoscaler_v2 import (
    HorizontalPodAutoscalerV2SpecMetric,
    HorizontalPodAutoscalerV2SpecMetricExternal,
    HorizontalPodAutoscalerV2SpecMetricExternalMetric,
    HorizontalPodAutoscalerV2SpecMetricExternalMetricSelector,
    HorizontalPodAutoscalerV2SpecMetricExternalTarget,
)
from constructs import Construct

from modelyard.naming import ModelNames
from modelyard.spec.base import seconds
from modelyard.spec.team import Replicas, Streaming
from modules.workload import PodShape
from modules.workload.scaled import scaled_deployment

# Unread dead letters wait this long for a person.
DEAD_LETTER_RETENTION = "2678400s"


class StreamTopics(Construct):
    """The input and prediction topics of a streaming model, its subscription and its dead letter.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modelyard.spec.team import Streaming
        from modules.streaming_worker import StreamTopics

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-a")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        StreamTopics(stack, "m", names=names.team("a").model("m"), labels={"model": "m"}, project_number="1",
                     streaming=Streaming(), publishers=[],
                     worker="serviceAccount:m@example-a.iam.gserviceaccount.com")
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the model.
        labels: labels of topics and subscriptions.
        streaming: retention and delivery attempts.
        worker: IAM member that reads the input and writes predictions.
        project_number: number of the project the topics are in, for Pub/Sub's own agent.
        publishers: IAM members that may publish to the input.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: ModelNames,
        labels: Mapping[str, str],
        streaming: Streaming,
        worker: str,
        project_number: str,
        publishers: Sequence[str],
    ) -> None:
        super().__init__(scope, construct_id)
        self._names = names
        self._labels = dict(labels)
        self._agent = f"serviceAccount:service-{project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
        source = self._topic("input", names.topic)
        predictions = self._topic("predictions", names.predictions_topic)
        dead = self._topic("dead-letter", names.dead_letter_topic)
        retention = f"{seconds(streaming.retention)}s"
        subscription = PubsubSubscription(
            self,
            "subscription",
            name=names.topic,
            topic=source.id,
            labels=self._labels,
            ack_deadline_seconds=60,
            message_retention_duration=retention,
            enable_message_ordering=True,
            expiration_policy=PubsubSubscriptionExpirationPolicy(ttl=""),
            retry_policy=PubsubSubscriptionRetryPolicy(minimum_backoff="1s", maximum_backoff="600s"),
            dead_letter_policy=PubsubSubscriptionDeadLetterPolicy(
                dead_letter_topic=dead.id, max_delivery_attempts=streaming.max_delivery_attempts
            ),
            lifecycle={"prevent_destroy": True},
        )
        PubsubSubscription(
            self,
            "dead-letter-subscription",
            name=names.dead_letter_topic,
            topic=dead.id,
            labels=self._labels,
            message_retention_duration=DEAD_LETTER_RETENTION,
            expiration_policy=PubsubSubscriptionExpirationPolicy(ttl=""),
            lifecycle={"prevent_destroy": True},
        )
        self._may_publish("worker-publishes", predictions, worker)
        self._may_publish("worker-rejects", dead, worker)
        self._may_publish("agent-publishes", dead, self._agent)
        # By name, not by position: a new publisher must not replace the grants of those after it.
        for publisher in sorted(set(publishers)):
            self._may_publish(f"publisher-{publisher}", source, publisher)
        for who, member in (("worker", worker), ("agent", self._agent)):
            PubsubSubscriptionIamMember(
                self,
                f"{who}-subscribes",
                subscription=subscription.name,
                role="roles/pubsub.subscriber",
                member=member,
            )

    def _topic(self, construct_id: str, name: str) -> PubsubTopic:
        environment = self._names.team.environment
        return PubsubTopic(
            self,
            construct_id,
            name=name,
            labels=self._labels,
            kms_key_name=environment.key("pubsub"),
            message_storage_policy=PubsubTopicMessageStoragePolicy(
                allowed_persistence_regions=[environment.region]
            ),
            lifecycle={"prevent_destroy": True},
        )

    def _may_publish(self, construct_id: str, topic: PubsubTopic, member: str) -> None:
        PubsubTopicIamMember(
            self, construct_id, topic=topic.name, role="roles/pubsub.publisher", member=member
        )


class StreamWorker(Construct):
    """The pods of a streaming model, scaled so that each has at most `max_backlog` messages waiting.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from modelyard.naming import Names
        from modelyard.spec.team import Replicas, Resources, Streaming
        from modules.kubernetes import provider
        from modules.streaming_worker import StreamWorker
        from modules.workload import PodShape

        stack = TerraformStack(App(), "example")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        provider(stack, names)
        shape = PodShape("registry/streaming@sha256:" + 64 * "0", Resources(), "m", "model-m", ["work"], {})
        StreamWorker(stack, "m", names=names.team("a").model("m"), namespace="team-a", labels={}, version=1,
                     shape=shape, replicas=Replicas(), streaming=Streaming())
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the model.
        namespace: where it runs.
        labels: labels of everything in it.
        version: model version, as a label of its series.
        shape: its pods.
        replicas: how far it scales.
        streaming: the backlog it scales on.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: ModelNames,
        namespace: str,
        labels: Mapping[str, str],
        version: int,
        shape: PodShape,
        replicas: Replicas,
        streaming: Streaming,
    ) -> None:
        super().__init__(scope, construct_id)
        name = names.workload
        selector = {"app.kubernetes.io/name": name}
        marked = {**labels, **selector, "version": str(version)}
        where: dict[str, Any] = {"name": name, "namespace": namespace, "labels": marked}
        scaled_deployment(
            self,
            where,
            selector,
            shape=shape,
            replicas=replicas,
            metric=HorizontalPodAutoscalerV2SpecMetric(
                type="External",
                external=HorizontalPodAutoscalerV2SpecMetricExternal(
                    metric=HorizontalPodAutoscalerV2SpecMetricExternalMetric(
                        name="pubsub.googleapis.com|subscription|num_undelivered_messages",
                        selector=[
                            HorizontalPodAutoscalerV2SpecMetricExternalMetricSelector(
                                match_labels={
                                    "resource.labels.project_id": names.team.project,
                                    "resource.labels.subscription_id": names.topic,
                                }
                            )
                        ],
                    ),
                    target=HorizontalPodAutoscalerV2SpecMetricExternalTarget(
                        type="AverageValue", average_value=str(streaming.max_backlog)
                    ),
                ),
            ),
        )
