"""The identity of a component of the platform, such as the monitor job."""

from collections.abc import Iterable

from cdktf_cdktf_provider_google.service_account import ServiceAccount
from cdktf_cdktf_provider_google.service_account_iam_member import ServiceAccountIamMember
from constructs import Construct

from modelyard.naming import Names
from modules.project_access import ProjectAccess


class PlatformIdentity(Construct):
    """A service account without key, for one Kubernetes service account in the platform's namespace.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.platform_identity import PlatformIdentity

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        PlatformIdentity(stack, "monitor", names=names, purpose="monitor", description="Computes metrics.",
                         roles=["roles/bigquery.jobUser", "roles/monitoring.metricWriter"])
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment.
        purpose: what it is for; also the name of its Kubernetes service account.
        description: what it does.
        roles: roles on the environment's project; what it may do to single datasets is granted there.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: Names,
        purpose: str,
        description: str,
        roles: Iterable[str] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        email = names.service_account(purpose)
        self.member = f"serviceAccount:{email}"
        self.resource = ServiceAccount(
            self,
            "account",
            project=names.project,
            account_id=names.service_account_id(purpose),
            display_name=purpose,
            description=description,
        )
        ServiceAccountIamMember(
            self,
            "workload-identity",
            service_account_id=f"projects/{names.project}/serviceAccounts/{email}",
            role="roles/iam.workloadIdentityUser",
            member=names.workload_member(names.system_namespace, purpose),
            depends_on=[self.resource],
        )
        ProjectAccess(
            self,
            "access",
            project=names.project,
            member=self.member,
            roles=roles,
            depends_on=[self.resource],
        )
