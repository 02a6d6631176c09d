"""The registry of the serving images."""

from collections.abc import Mapping, Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.artifact_registry_repository import (
    ArtifactRegistryRepository,
    ArtifactRegistryRepositoryCleanupPolicies,
    ArtifactRegistryRepositoryCleanupPoliciesCondition,
    ArtifactRegistryRepositoryCleanupPoliciesMostRecentVersions,
    ArtifactRegistryRepositoryDockerConfig,
    ArtifactRegistryRepositoryVulnerabilityScanningConfig,
)
from cdktf_cdktf_provider_google.artifact_registry_repository_iam_member import (
    ArtifactRegistryRepositoryIamMember,
)
from cdktf_cdktf_provider_google.service_account import ServiceAccount
from cdktf_cdktf_provider_google.service_account_iam_member import ServiceAccountIamMember
from constructs import Construct

from modelyard.naming import IMAGE_PUBLISHER, Names

UNTAGGED_AGE = f"{90 * 86400}s"
KEPT_VERSIONS = 20


class ImageRegistry(Construct):
    """A Docker repository with a customer key, tags that never move, clean-up and vulnerability scanning.

    Clean-up deletes only images without a tag, older than 90 days and not among the newest 20 of their name:
    an image in use is tagged, and its tag never moves.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.image_registry import ImageRegistry

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        ImageRegistry(stack, "images", names=names, labels={"team": "platform"})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment.
        labels: labels of the repository.
        depends_on: what must be there before: the API, and the grant of its key.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: Names,
        labels: Mapping[str, str],
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        self.repository = ArtifactRegistryRepository(
            self,
            "repository",
            project=names.project,
            location=names.region,
            repository_id=names.image_repository,
            description="Serving images, by digest.",
            format="DOCKER",
            kms_key_name=names.key("artifacts"),
            labels=dict(labels),
            docker_config=ArtifactRegistryRepositoryDockerConfig(immutable_tags=True),
            cleanup_policy_dry_run=False,
            cleanup_policies=[
                ArtifactRegistryRepositoryCleanupPolicies(
                    id="delete-old-untagged",
                    action="DELETE",
                    condition=ArtifactRegistryRepositoryCleanupPoliciesCondition(
                        tag_state="UNTAGGED", older_than=UNTAGGED_AGE
                    ),
                ),
                ArtifactRegistryRepositoryCleanupPolicies(
                    id="keep-newest",
                    action="KEEP",
                    most_recent_versions=ArtifactRegistryRepositoryCleanupPoliciesMostRecentVersions(
                        keep_count=KEPT_VERSIONS
                    ),
                ),
            ],
            vulnerability_scanning_config=ArtifactRegistryRepositoryVulnerabilityScanningConfig(
                enablement_config="INHERITED"
            ),
            lifecycle={"prevent_destroy": True},
            depends_on=list(depends_on),
        )


class ImagePublisher(Construct):
    """The identity by which workflows push images, and do nothing else; it has no key.

    It belongs to the GitHub environment `<environment>-images`, on the deploying branch alone.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.image_registry import ImagePublisher, ImageRegistry

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        registry = ImageRegistry(stack, "images", names=names, labels={"team": "platform"})
        ImagePublisher(stack, "publisher", names=names, registry=registry)
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment.
        registry: what it may write to.
        depends_on: what must be there before: the IAM API, and the pool of the workflows.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: Names,
        registry: ImageRegistry,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        email = names.service_account(IMAGE_PUBLISHER)
        account = ServiceAccount(
            self,
            "account",
            project=names.project,
            account_id=names.service_account_id(IMAGE_PUBLISHER),
            display_name=IMAGE_PUBLISHER,
            description="Pushes serving images; used by workflows on the deploying branch, never by key.",
            depends_on=list(depends_on),
        )
        ServiceAccountIamMember(
            self,
            "users",
            service_account_id=account.name,
            role="roles/iam.workloadIdentityUser",
            member=names.ci_members("deploys", f"{names.environment}-images"),
        )
        ArtifactRegistryRepositoryIamMember(
            self,
            "writes",
            project=names.project,
            location=names.region,
            repository=registry.repository.name,
            role="roles/artifactregistry.writer",
            member=f"serviceAccount:{email}",
            depends_on=[account],
        )
