"""What the platform gives one team: its project, its identities, and its rights in the shared cluster."""

from constructs import Construct

from modelyard.naming import Names, labels
from modelyard.spec.environment import Environment
from modules.cluster_access import TeamAccess
from modules.kubernetes import provider
from modules.tenant import Tenant
from stacks.base import BaseStack


class TenantStack(BaseStack):
    """The ground a team's own stack stands on; platform engineers apply it with their own credentials.

    A stack for each team: a new team changes no stack that is there already.

    Args:
        scope: the app.
        environment: the environment deployed to.
        team: name of the team.
        cost_center: cost centre of the team.
    """

    def __init__(self, scope: Construct, environment: Environment, team: str, cost_center: str) -> None:
        names = Names.of(environment).team(team)
        super().__init__(scope, names.tenant_stack, environment)
        own = labels(environment.environment, team, cost_center)
        provider(self, self.names, self.cluster_endpoint)
        Tenant(
            self,
            "tenant",
            names=names,
            labels=own,
            parent=environment.tenants.parent,
            billing_account=environment.tenants.billing_account,
            repository=environment.ci.repository,
            state_bucket=environment.state.bucket,
        )
        TeamAccess(self, "cluster-access", names=names, labels=own)
