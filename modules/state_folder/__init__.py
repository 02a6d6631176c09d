"""Who may read and write the Terraform state of one stack."""

from collections.abc import Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.storage_managed_folder import StorageManagedFolder
from cdktf_cdktf_provider_google.storage_managed_folder_iam_member import StorageManagedFolderIamMember
from constructs import Construct


class StateFolder(Construct):
    """A managed folder around the state of one stack, so that its identities reach no other stack's.

    A managed folder, and not a condition on object names, since Terraform lists the folder and a condition on
    an object's name denies every listing. The planner cannot write, so it plans with `-lock=false`.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modules.state_folder import StateFolder

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        StateFolder(stack, "state", bucket="example-state", stack="dev-team-a",
                    planner="planner@example-a.iam.gserviceaccount.com",
                    deployer="deployer@example-a.iam.gserviceaccount.com")
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        bucket: bucket of the states; it has uniform access.
        stack: id of the stack, the prefix of its state.
        planner: e-mail of the identity that plans it.
        deployer: e-mail of the identity that applies it.
        depends_on: what must be there before: the identities.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        bucket: str,
        stack: str,
        planner: str,
        deployer: str,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        folder = StorageManagedFolder(
            self,
            "folder",
            bucket=bucket,
            name=f"{stack}/",
            force_destroy=False,
            lifecycle={"prevent_destroy": True},
        )
        grants = {"planner": (planner, "objectViewer"), "deployer": (deployer, "objectUser")}
        for who, (account, role) in grants.items():
            StorageManagedFolderIamMember(
                self,
                who,
                bucket=bucket,
                managed_folder=folder.name,
                role=f"roles/storage.{role}",
                member=f"serviceAccount:{account}",
                depends_on=list(depends_on),
            )
