"""The shared cluster and the address its models are reached at."""

from constructs import Construct

from modelyard.naming import Names, labels
from modelyard.spec.environment import Environment
from modules.cluster import Cluster
from modules.gateway import GatewayAddress
from stacks.base import BaseStack


class PlatformStack(BaseStack):
    """The cluster of an environment; what runs in it, the cluster stack and the teams' stacks make.

    Args:
        scope: the app.
        environment: the environment deployed to.
    """

    def __init__(self, scope: Construct, environment: Environment) -> None:
        names = Names.of(environment)
        super().__init__(scope, names.stack("platform"), environment)
        shared = labels(environment.environment, "platform", environment.cost_center)
        Cluster(
            self,
            "cluster",
            names=names,
            settings=environment.cluster,
            control_plane=environment.network.control_plane,
            callers={"nodes": environment.network.nodes},
            organization=environment.organization,
            labels=shared,
        )
        GatewayAddress(
            self,
            "gateway",
            names=names,
            host=names.gateway_host(environment.organization),
            labels=shared,
        )
