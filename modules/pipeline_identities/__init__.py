"""The pair of identities that plans and applies a stack."""

from collections.abc import Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.service_account import ServiceAccount
from cdktf_cdktf_provider_google.service_account_iam_member import ServiceAccountIamMember
from constructs import Construct

from modelyard.naming import Names

PURPOSES = {"planner": "Reads what the stack has made, to plan it.", "deployer": "Applies the stack."}


class PipelineIdentities(Construct):
    """A planner that any workflow of the repository may be, and a deployer for reviewed deployments alone.

    Neither has a key. What they may do, the caller grants.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.pipeline_identities import PipelineIdentities

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-a")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        PipelineIdentities(stack, "identities", names=names, project="example-a", repository="example/models",
                           deploys="dev-team-a")
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment, whose workload identity pool the workflows come through.
        project: project the identities are made in.
        repository: `owner/name` of the repository whose workflows may be the planner.
        deploys: GitHub environment whose workflows may be the deployer.
        depends_on: what must be there before: the project's IAM API, and the pool.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: Names,
        project: str,
        repository: str,
        deploys: str,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        self.accounts: list[ITerraformDependable] = []
        users = {
            "planner": names.ci_members("repository", repository),
            "deployer": names.ci_members("deploys", deploys),
        }
        for purpose, description in PURPOSES.items():
            account = ServiceAccount(
                self,
                purpose,
                project=project,
                account_id=f"modelyard-{purpose}",
                display_name=f"{deploys} {purpose}",
                description=description,
                depends_on=list(depends_on),
            )
            self.accounts.append(account)
            ServiceAccountIamMember(
                self,
                f"{purpose}-users",
                service_account_id=account.name,
                role="roles/iam.workloadIdentityUser",
                member=users[purpose],
            )
