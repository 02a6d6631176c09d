"""A deployment that scales: what REST services and stream workers have in common."""

from collections.abc import Mapping
from typing import Any

from cdktf_cdktf_provider_kubernetes import deployment_v1
from cdktf_cdktf_provider_kubernetes.horizontal_pod_autoscaler_v2 import (
    HorizontalPodAutoscalerV2,
    HorizontalPodAutoscalerV2Metadata,
    HorizontalPodAutoscalerV2Spec,
    HorizontalPodAutoscalerV2SpecMetric,
    HorizontalPodAutoscalerV2SpecScaleTargetRef,
)
from cdktf_cdktf_provider_kubernetes.pod_disruption_budget_v1 import (
    PodDisruptionBudgetV1,
    PodDisruptionBudgetV1Metadata,
    PodDisruptionBudgetV1Spec,
    PodDisruptionBudgetV1SpecSelector,
)
from constructs import Construct

from modelyard.spec.team import Replicas
from modules.workload import SCRAPED, PodShape, pod


def scaled_deployment(
    scope: Construct,
    where: Mapping[str, Any],
    selector: Mapping[str, str],
    *,
    shape: PodShape,
    replicas: Replicas,
    metric: HorizontalPodAutoscalerV2SpecMetric,
    strategy: deployment_v1.DeploymentV1SpecStrategy | None = None,
) -> None:
    """Add a Deployment, its autoscaler and its disruption budget.

    Args:
        scope: parent of the three.
        where: name, namespace and labels of each.
        selector: labels that tell its pods from others.
        shape: its pods.
        replicas: how far it scales.
        metric: what it scales on.
        strategy: how pods are replaced; default: Kubernetes' own.
    """
    deployment_v1.DeploymentV1(
        scope,
        "deployment",
        metadata=deployment_v1.DeploymentV1Metadata(**where),
        # The autoscaler owns the number of replicas from here on.
        lifecycle={"ignore_changes": ["spec[0].replicas"]},
        wait_for_rollout=True,
        spec=deployment_v1.DeploymentV1Spec(
            replicas=str(replicas.min),
            selector=deployment_v1.DeploymentV1SpecSelector(match_labels=dict(selector)),
            strategy=strategy,
            template=deployment_v1.DeploymentV1SpecTemplate(
                metadata=deployment_v1.DeploymentV1SpecTemplateMetadata(
                    labels={**where["labels"], **SCRAPED},
                    annotations={"modelyard.dev/config": shape.config_digest},
                ),
                spec=pod(deployment_v1, "DeploymentV1SpecTemplateSpec", shape, selector),
            ),
        ),
    )
    HorizontalPodAutoscalerV2(
        scope,
        "autoscaler",
        metadata=HorizontalPodAutoscalerV2Metadata(**where),
        spec=HorizontalPodAutoscalerV2Spec(
            min_replicas=replicas.min,
            max_replicas=replicas.max,
            scale_target_ref=HorizontalPodAutoscalerV2SpecScaleTargetRef(
                api_version="apps/v1", kind="Deployment", name=where["name"]
            ),
            metric=[metric],
        ),
    )
    PodDisruptionBudgetV1(
        scope,
        "disruption-budget",
        metadata=PodDisruptionBudgetV1Metadata(**where),
        spec=PodDisruptionBudgetV1Spec(
            max_unavailable="1", selector=PodDisruptionBudgetV1SpecSelector(match_labels=dict(selector))
        ),
    )
