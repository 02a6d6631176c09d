"""How every stack reaches the cluster, and what it calls there by name."""

from cdktf_cdktf_provider_kubernetes.provider import KubernetesProvider, KubernetesProviderExec
from constructs import Construct

from modelyard.naming import Names

# API group of roles and bindings.
RBAC = "rbac.authorization.k8s.io"
# Kubernetes' own role, which shows no secrets; teams' stacks give it to their groups.
VIEW = "view"


def provider(scope: Construct, names: Names, endpoint: str | None = None) -> KubernetesProvider:
    """Add the Kubernetes provider to a stack: through Connect Gateway, with the caller's own credentials.

    The endpoint is known before the cluster exists and the cluster has no public one. The plug-in
    `gke-gcloud-auth-plugin` gets a short-lived token from application default credentials at each call, so no
    token is written into plan or state.

    Args:
        scope: the stack.
        names: names of the environment.
        endpoint: URL of the cluster's API; default: the one behind Connect Gateway.

    Example:
        ```python
        from cdktf import App, TerraformStack

        from modelyard.naming import Names
        from modules.kubernetes import provider

        stack = TerraformStack(App(), "example")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        provider(stack, names)
        ```
    """
    return KubernetesProvider(
        scope,
        "kubernetes",
        host=endpoint or names.cluster_endpoint,
        exec=[
            KubernetesProviderExec(
                api_version="client.authentication.k8s.io/v1beta1",
                command="gke-gcloud-auth-plugin",
                args=["--use_application_default_credentials"],
            )
        ],
    )
