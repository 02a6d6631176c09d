"""What every stack has: a backend, the Google provider, names and labels."""

from cdktf import GcsBackend, LocalBackend, TerraformStack
from cdktf_cdktf_provider_google.provider import GoogleProvider
from constructs import Construct

from modelyard.naming import Names
from modelyard.spec.environment import Environment

# Keeps environments for the stand-in from Google. No name under .invalid is ever resolved (RFC 2606), and no
# credentials are of this universe, so Google's own provider refuses before it asks for anything.
NOWHERE = "deploy-with-modelyard-standin.invalid"


class BaseStack(TerraformStack):
    """A stack with its own state, acting on one project.

    Args:
        scope: the app.
        stack_id: id of the stack, also the name of its state.
        environment: the environment deployed to.
        project: project the provider acts on; default: the environment's.
    """

    def __init__(
        self, scope: Construct, stack_id: str, environment: Environment, project: str | None = None
    ) -> None:
        super().__init__(scope, stack_id)
        self.environment = environment
        self.names = Names.of(environment)
        if environment.state.bucket:
            GcsBackend(self, bucket=environment.state.bucket, prefix=stack_id)
        else:
            LocalBackend(self, path=f"../../../build/state/{stack_id}.tfstate")
        GoogleProvider(
            self,
            "google",
            project=project or environment.project,
            region=environment.region,
            universe_domain=NOWHERE if environment.stand_in else None,
        )

    @property
    def cluster_endpoint(self) -> str:
        """URL of the cluster's API; none that exists where the environment is for the stand-in."""
        return f"https://{NOWHERE}" if self.environment.stand_in else self.names.cluster_endpoint
