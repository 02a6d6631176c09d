"""A REST model: a deployment per version behind one route of the shared gateway."""

from collections.abc import Mapping
from typing import Any

from cdktf_cdktf_provider_kubernetes.deployment_v1 import (
    DeploymentV1SpecStrategy,
    DeploymentV1SpecStrategyRollingUpdate,
)
from cdktf_cdktf_provider_kubernetes.horizontal_pod_autoscaler_v2 import (
    HorizontalPodAutoscalerV2SpecMetric,
    HorizontalPodAutoscalerV2SpecMetricResource,
    HorizontalPodAutoscalerV2SpecMetricResourceTarget,
)
from cdktf_cdktf_provider_kubernetes.manifest import Manifest
from cdktf_cdktf_provider_kubernetes.service_v1 import (
    ServiceV1,
    ServiceV1Metadata,
    ServiceV1Spec,
    ServiceV1SpecPort,
)
from constructs import Construct

from modelyard.spec.team import Replicas
from modules.workload import HTTP_PORT, PodShape
from modules.workload.scaled import scaled_deployment

CANARY_HEADER = "x-modelyard-canary"


class RestDeployment(Construct):
    """One version of a REST model: Deployment, Service, autoscaler, disruption budget and health check.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from modelyard.naming import Names
        from modelyard.spec.team import Replicas, Resources
        from modules.kubernetes import provider
        from modules.rest_service import RestDeployment
        from modules.workload import PodShape

        stack = TerraformStack(App(), "example")
        provider(stack, Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example"))
        shape = PodShape("registry/rest@sha256:" + 64 * "0", Resources(), "m", "model-m", ["serve"], {})
        RestDeployment(stack, "m", name="m", namespace="team-a", labels={"model": "m"}, version=1,
                       shape=shape, replicas=Replicas())
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        name: name of the deployment and its service.
        namespace: where it runs.
        labels: labels of everything in it.
        version: model version, as a label of its series.
        shape: its pods.
        replicas: how far it scales.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        namespace: str,
        labels: Mapping[str, str],
        version: int,
        shape: PodShape,
        replicas: Replicas,
    ) -> None:
        super().__init__(scope, construct_id)
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
                type="Resource",
                resource=HorizontalPodAutoscalerV2SpecMetricResource(
                    name="cpu",
                    target=HorizontalPodAutoscalerV2SpecMetricResourceTarget(
                        type="Utilization", average_utilization=replicas.target_cpu
                    ),
                ),
            ),
            strategy=DeploymentV1SpecStrategy(
                type="RollingUpdate",
                rolling_update=DeploymentV1SpecStrategyRollingUpdate(max_surge="25%", max_unavailable="0"),
            ),
        )
        ServiceV1(
            self,
            "service",
            metadata=ServiceV1Metadata(**where),
            spec=ServiceV1Spec(
                type="ClusterIP",
                selector=selector,
                port=[ServiceV1SpecPort(name="http", port=80, target_port=str(HTTP_PORT), protocol="TCP")],
            ),
        )
        # Without it the load balancer probes "/", which no model answers.
        Manifest(
            self,
            "health-check",
            manifest={
                "apiVersion": "networking.gke.io/v1",
                "kind": "HealthCheckPolicy",
                "metadata": where,
                "spec": {
                    "default": {
                        "checkIntervalSec": 5,
                        "timeoutSec": 2,
                        "config": {
                            "type": "HTTP",
                            "httpHealthCheck": {"port": HTTP_PORT, "requestPath": "/readyz"},
                        },
                    },
                    "targetRef": {"group": "", "kind": "Service", "name": name},
                },
            },
        )


class RestRoute(Construct):
    """The route of a REST model through the shared internal gateway, with a share for a canary.

    A request that carries `x-modelyard-canary: always` goes to the canary, whatever its share.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from modelyard.naming import Names
        from modules.kubernetes import provider
        from modules.rest_service import RestRoute

        stack = TerraformStack(App(), "example")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        provider(stack, names)
        RestRoute(stack, "route", name="m", namespace="team-a", labels={"model": "m"}, path="/a/m",
                  gateway=(names.gateway_namespace, names.gateway), canary_percent=10)
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        name: name of the route and of the stable version's service; the canary's has `-canary` appended.
        namespace: where the services are.
        labels: labels of the route.
        path: URL path prefix; it is cut off before the request reaches the model.
        gateway: namespace and name of the gateway.
        canary_percent: share of requests for the canary in percent; 0: there is none.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        namespace: str,
        labels: Mapping[str, str],
        path: str,
        gateway: tuple[str, str],
        canary_percent: int = 0,
    ) -> None:
        super().__init__(scope, construct_id)
        stable = {"kind": "Service", "name": name, "port": 80, "weight": 100 - canary_percent}
        canary = {"kind": "Service", "name": canary_of(name), "port": 80, "weight": canary_percent}
        at_path = {"path": {"type": "PathPrefix", "value": path}}
        by_header = {"headers": [{"type": "Exact", "name": CANARY_HEADER, "value": "always"}]}
        cut = [
            {
                "type": "URLRewrite",
                "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
            }
        ]
        shared = {"matches": [at_path], "filters": cut, "backendRefs": [stable]}
        if canary_percent:
            forced = {
                "matches": [{**at_path, **by_header}],
                "filters": cut,
                "backendRefs": [{**canary, "weight": 1}],
            }
            rules = [forced, {**shared, "backendRefs": [stable, canary]}]
        else:
            rules = [shared]
        Manifest(
            self,
            "route",
            manifest={
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "HTTPRoute",
                "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
                "spec": {
                    "parentRefs": [{"kind": "Gateway", "namespace": gateway[0], "name": gateway[1]}],
                    "rules": rules,
                },
            },
        )


def canary_of(name: str) -> str:
    """Return the name of the canary beside the stable deployment `name`."""
    return f"{name}-canary"
