"""Metrics of every model, collected by one rule for the whole cluster."""

from collections.abc import Mapping

from cdktf_cdktf_provider_kubernetes.manifest import Manifest
from constructs import Construct

from modules.workload import HTTP_PORT, SCRAPED


class Scraping(Construct):
    """Lets managed Prometheus collect from all pods labelled `modelyard.dev/metrics: "true"`.

    The labels team, model and version of a pod become labels of its series, so a container need not know
    them.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from modelyard.naming import Names
        from modules.kubernetes import provider
        from modules.scraping import Scraping

        stack = TerraformStack(App(), "example")
        provider(stack, Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example"))
        Scraping(stack, "scraping", labels={"team": "platform"})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        labels: labels of the rule.
        interval_seconds: time between two collections.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, labels: Mapping[str, str], interval_seconds: int = 30
    ) -> None:
        super().__init__(scope, construct_id)
        Manifest(
            self,
            "models",
            manifest={
                "apiVersion": "monitoring.googleapis.com/v1",
                "kind": "ClusterPodMonitoring",
                "metadata": {"name": "modelyard-models", "labels": dict(labels)},
                "spec": {
                    "selector": {"matchLabels": dict(SCRAPED)},
                    "endpoints": [
                        {"port": HTTP_PORT, "path": "/metrics", "interval": f"{interval_seconds}s"}
                    ],
                    "targetLabels": {
                        "fromPod": [{"from": name, "to": name} for name in ("team", "model", "version")]
                    },
                },
            },
        )
