"""What the platform has inside the cluster: gateway, scraping, admission policies, roles, people's access."""

from constructs import Construct

from modelyard.naming import Names, labels
from modelyard.spec.environment import Environment
from modules.admission import WorkloadAdmission
from modules.cluster_access import READER, ClusterRoles, GroupAccess
from modules.gateway import Gateway
from modules.kubernetes import VIEW, provider
from modules.metrics_adapter import MetricsAdapter
from modules.monitor_job import MonitorJob
from modules.scraping import Scraping
from modules.system_namespace import SystemNamespace
from stacks.base import BaseStack


class ClusterStack(BaseStack):
    """The shared objects inside the cluster; a stack of its own, since planning them needs the cluster.

    Args:
        scope: the app.
        environment: the environment deployed to.
    """

    def __init__(self, scope: Construct, environment: Environment) -> None:
        names = Names.of(environment)
        super().__init__(scope, names.stack("cluster"), environment)
        shared = labels(environment.environment, "platform", environment.cost_center)
        provider(self, names, self.cluster_endpoint)
        system = SystemNamespace(self, "system", name=names.system_namespace, labels=shared)
        MetricsAdapter(
            self,
            "metrics-adapter",
            names=names,
            labels=shared,
            image=names.image("metrics-adapter", environment.images.metrics_adapter),
            control_plane=environment.network.control_plane,
            depends_on=[system.namespace],
        )
        MonitorJob(
            self,
            "monitor",
            names=names,
            labels=shared,
            image=names.image("monitor", environment.images.monitor),
            control_plane=environment.network.control_plane,
            depends_on=[system.namespace],
        )
        home = SystemNamespace(self, "gateway-namespace", name=names.gateway_namespace, labels=shared)
        Gateway(
            self,
            "gateway",
            names=names,
            host=names.gateway_host(environment.organization),
            labels=shared,
            depends_on=[home.namespace],
        )
        Scraping(self, "scraping", labels=shared)
        WorkloadAdmission(self, "admission", registry=names.registry, labels=shared)
        roles = ClusterRoles(self, "roles", labels=shared).roles
        groups = environment.groups
        GroupAccess(
            self,
            "people",
            groups={
                "platform": (groups.platform, [VIEW, READER]),
                "auditors": (groups.auditors, [VIEW, READER]),
                "viewers": (groups.viewers, [VIEW]),
            },
            labels=shared,
            depends_on=roles,
        )
