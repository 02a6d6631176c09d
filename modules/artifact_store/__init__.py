"""The store of model artefacts: written once, kept for a time, read by the models of one team."""

from collections.abc import Mapping, Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.project_iam_custom_role import ProjectIamCustomRole
from cdktf_cdktf_provider_google.storage_bucket import (
    StorageBucket,
    StorageBucketEncryption,
    StorageBucketLifecycleRule,
    StorageBucketLifecycleRuleAction,
    StorageBucketLifecycleRuleCondition,
    StorageBucketRetentionPolicy,
    StorageBucketSoftDeletePolicy,
    StorageBucketVersioning,
)
from cdktf_cdktf_provider_google.storage_managed_folder import StorageManagedFolder
from cdktf_cdktf_provider_google.storage_managed_folder_iam_member import StorageManagedFolderIamMember
from constructs import Construct

from modelyard.naming import Names, TeamNames

DAY = 86400
SOFT_DELETE_DAYS = 30
# No predefined role lets a planner read who has access to a folder, and no more.
_POLICY_READER = "modelyardFolderPolicyReader"


class ArtifactStore(Construct):
    """A bucket of model artefacts that nobody can make public and nothing can leave before its time.

    Reads and writes stand in the data-access audit log; access is by managed folder, one per team.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.artifact_store import ArtifactStore

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        ArtifactStore(stack, "artifacts", names=names, labels={"team": "platform"}, retention_days=400)
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment.
        labels: labels of the bucket.
        retention_days: age in days before which no object can be deleted or overwritten.
        depends_on: what must be there before: the API, and the grant of its key.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: Names,
        labels: Mapping[str, str],
        retention_days: int,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        self.bucket = StorageBucket(
            self,
            "bucket",
            project=names.project,
            name=names.artifact_bucket,
            location=names.data_location,
            storage_class="STANDARD",
            labels=dict(labels),
            force_destroy=False,
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            encryption=StorageBucketEncryption(default_kms_key_name=names.key("storage")),
            versioning=StorageBucketVersioning(enabled=True),
            retention_policy=StorageBucketRetentionPolicy(retention_period=retention_days * DAY),
            soft_delete_policy=StorageBucketSoftDeletePolicy(
                retention_duration_seconds=SOFT_DELETE_DAYS * DAY
            ),
            lifecycle_rule=[
                StorageBucketLifecycleRule(
                    action=StorageBucketLifecycleRuleAction(type="Delete"),
                    condition=StorageBucketLifecycleRuleCondition(
                        with_state="ARCHIVED", days_since_noncurrent_time=retention_days
                    ),
                ),
                StorageBucketLifecycleRule(
                    action=StorageBucketLifecycleRuleAction(type="AbortIncompleteMultipartUpload"),
                    condition=StorageBucketLifecycleRuleCondition(age=7),
                ),
            ],
            lifecycle={"prevent_destroy": True},
            depends_on=list(depends_on),
        )
        self.policy_reader = ProjectIamCustomRole(
            self,
            "policy-reader",
            project=names.project,
            role_id=_POLICY_READER,
            title="Modelyard folder policy reader",
            description="Reads who has access to a team's folder of artefacts.",
            permissions=["storage.managedFolders.get", "storage.managedFolders.getIamPolicy"],
            stage="GA",
        )


class ArtifactFolder(Construct):
    """A team's folder in the store, administered by the team's deployer, who admits the team's models to it.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.artifact_store import ArtifactFolder

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        ArtifactFolder(stack, "artifacts", names=names.team("a"))
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the team, whose planner and deployer are admitted.
        depends_on: what must be there before: the store, and the team's identities.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: TeamNames,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        bucket = names.environment.artifact_bucket
        folder = StorageManagedFolder(
            self,
            "folder",
            bucket=bucket,
            name=names.artifact_folder,
            force_destroy=False,
            lifecycle={"prevent_destroy": True},
            depends_on=list(depends_on),
        )
        roles = {
            "deployer": "roles/storage.folderAdmin",
            "planner": f"projects/{names.environment.project}/roles/{_POLICY_READER}",
        }
        for purpose, role in roles.items():
            StorageManagedFolderIamMember(
                self,
                purpose,
                bucket=bucket,
                managed_folder=folder.name,
                role=role,
                member=f"serviceAccount:{names.identity(purpose)}",
            )
