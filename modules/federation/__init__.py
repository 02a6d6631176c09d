"""Workflows of one repository act on the cloud without any key: their short-lived tokens are exchanged."""

from collections.abc import Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.iam_workload_identity_pool import IamWorkloadIdentityPool
from cdktf_cdktf_provider_google.iam_workload_identity_pool_provider import (
    IamWorkloadIdentityPoolProvider,
    IamWorkloadIdentityPoolProviderOidc,
)
from constructs import Construct

from modelyard.naming import Names

ISSUER = "https://token.actions.githubusercontent.com"


class Federation(Construct):
    """Trusts the GitHub workflows of one repository, and no other's.

    Tokens carry two attributes. `repository` is set for every workflow, those of pull requests included:
    planners are granted to it. `deploys` is the workflow's GitHub environment where the workflow runs on
    `deploy_ref`, and `nothing` elsewhere: a deployer is granted to one environment, named like the stack it
    deploys, so that the reviewers whom GitHub asks for that environment guard that stack.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.federation import Federation

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        Federation(stack, "ci", names=names, repository="example/models", deploy_ref="refs/heads/main")
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment.
        repository: `owner/name`.
        deploy_ref: the one ref whose workflows may deploy.
        depends_on: what must be there before: the IAM and STS APIs.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: Names,
        repository: str,
        deploy_ref: str,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        self.pool = IamWorkloadIdentityPool(
            self,
            "pool",
            project=names.project,
            workload_identity_pool_id=names.ci_pool,
            display_name="Modelyard workflows",
            description=f"Workflows of {repository}.",
            depends_on=list(depends_on),
        )
        may_deploy = f"assertion.ref == '{deploy_ref}' && has(assertion.environment)"
        IamWorkloadIdentityPoolProvider(
            self,
            "github",
            project=names.project,
            workload_identity_pool_id=self.pool.workload_identity_pool_id,
            workload_identity_pool_provider_id="github",
            display_name="GitHub Actions",
            attribute_condition=f"assertion.repository == '{repository}'",
            attribute_mapping={
                "google.subject": "assertion.sub",
                "attribute.repository": "assertion.repository",
                "attribute.deploys": f"{may_deploy} ? assertion.environment : 'nothing'",
            },
            oidc=IamWorkloadIdentityPoolProviderOidc(issuer_uri=ISSUER),
        )
