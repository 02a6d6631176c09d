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
from constructs import Construct

from modelyard.naming import Names

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
