"""The identity a model's pods run as."""

from collections.abc import Mapping

from cdktf_cdktf_provider_google.service_account import ServiceAccount
from cdktf_cdktf_provider_google.service_account_iam_member import ServiceAccountIamMember
from cdktf_cdktf_provider_google.storage_managed_folder_iam_member import StorageManagedFolderIamMember
from cdktf_cdktf_provider_kubernetes.service_account_v1 import ServiceAccountV1, ServiceAccountV1Metadata
from constructs import Construct

from modelyard.naming import ModelNames


class ModelIdentity(Construct):
    """A service account for one model, used by its pods through Workload Identity; it has no key.

    It may read the team's model artefacts. What else it needs, the modules that need it grant on the single
    table, topic or subscription.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.kubernetes import provider
        from modules.model_identity import ModelIdentity

        stack = TerraformStack(App(), "example")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        GoogleProvider(stack, "google", project="example-a"), provider(stack, names)
        ModelIdentity(stack, "identity", names=names.team("a").model("m"), namespace="team-a", labels={})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the model.
        namespace: the team's namespace.
        labels: labels of the Kubernetes service account.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: ModelNames,
        namespace: str,
        labels: Mapping[str, str],
    ) -> None:
        super().__init__(scope, construct_id)
        self.account = names.service_account_id
        self.member = f"serviceAccount:{names.service_account}"
        team = names.team
        self.resource = ServiceAccount(
            self,
            "account",
            account_id=names.service_account_id,
            display_name=f"{team.team}/{names.model}",
            description=f"Pods of model {names.model}; used through Workload Identity, never by key.",
        )
        ServiceAccountIamMember(
            self,
            "workload-identity",
            service_account_id=f"projects/{team.project}/serviceAccounts/{names.service_account}",
            role="roles/iam.workloadIdentityUser",
            member=team.environment.workload_member(team.namespace, names.service_account_id),
            depends_on=[self.resource],
        )
        StorageManagedFolderIamMember(
            self,
            "artifacts",
            bucket=team.environment.artifact_bucket,
            managed_folder=team.artifact_folder,
            role="roles/storage.objectViewer",
            member=self.member,
            depends_on=[self.resource],
        )
        ServiceAccountV1(
            self,
            "kubernetes",
            metadata=ServiceAccountV1Metadata(
                name=names.service_account_id,
                namespace=namespace,
                labels=dict(labels),
                annotations={"iam.gke.io/gcp-service-account": names.service_account},
            ),
            automount_service_account_token=False,
        )
