"""Customer-managed keys, and who may use them: only the agents of the services that store things."""

from collections.abc import Iterable, Mapping, Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.data_google_bigquery_default_service_account import (
    DataGoogleBigqueryDefaultServiceAccount as BigqueryAgent,
)
from cdktf_cdktf_provider_google.data_google_storage_project_service_account import (
    DataGoogleStorageProjectServiceAccount as StorageAgent,
)
from cdktf_cdktf_provider_google.kms_crypto_key import KmsCryptoKey, KmsCryptoKeyVersionTemplate
from cdktf_cdktf_provider_google.kms_crypto_key_iam_member import KmsCryptoKeyIamMember
from cdktf_cdktf_provider_google.kms_key_ring import KmsKeyRing
from constructs import Construct

from modelyard.naming import Names

ROTATION = f"{90 * 86400}s"
# How long a key version that was set to be destroyed can still be rescued.
DESTRUCTION_DELAY = f"{30 * 86400}s"

# Which agents encrypt and decrypt with the key of each purpose, by project number.
AGENTS: Mapping[str, tuple[str, ...]] = {
    "artifacts": ("service-{}@gcp-sa-artifactregistry.iam.gserviceaccount.com",),
    "bigquery": ("bq-{}@bigquery-encryption.iam.gserviceaccount.com",),
    # The cluster's secrets, and the boot disks of its nodes.
    "cluster": (
        "service-{}@container-engine-robot.iam.gserviceaccount.com",
        "service-{}@compute-system.iam.gserviceaccount.com",
    ),
    "pubsub": ("service-{}@gcp-sa-pubsub.iam.gserviceaccount.com",),
    "storage": ("service-{}@gs-project-accounts.iam.gserviceaccount.com",),
}


class KeyUse(Construct):
    """Lets the service agents of a project encrypt and decrypt with the environment's keys.

    An agent must exist before it can be granted anything. Reading the two data sources brings those of
    BigQuery and Cloud Storage into being. Those of Kubernetes Engine, Compute, Pub/Sub and Artifact Registry
    come with their API; should Google answer that one does not exist, `gcloud beta services identity create
    --service=<api> --project=<project>` makes it, and the next apply goes on.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.keys import KeyUse

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-a")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        KeyUse(stack, "keys", names=names, project="example-a", project_number="1", purposes=["bigquery"])
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment that has the keys.
        project: project whose agents may use them.
        project_number: its number.
        purposes: which keys: artifacts, bigquery, cluster, pubsub, storage.
        depends_on: what must be there before: the keys, and the services whose agents are granted.

    Raises:
        KeyError: a purpose is unknown.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: Names,
        project: str,
        project_number: str,
        purposes: Iterable[str],
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        before = list(depends_on)
        self._grants: dict[str, list[ITerraformDependable]] = {}
        for purpose in sorted(set(purposes)):
            made = self._agent_of(purpose, project, before)
            self._grants[purpose] = [
                KmsCryptoKeyIamMember(
                    self,
                    agent.split("@")[1].split(".")[0],
                    crypto_key_id=names.key(purpose),
                    role="roles/cloudkms.cryptoKeyEncrypterDecrypter",
                    member=f"serviceAccount:{agent.format(project_number)}",
                    depends_on=made,
                )
                for agent in AGENTS[purpose]
            ]

    def _agent_of(
        self, purpose: str, project: str, before: list[ITerraformDependable]
    ) -> list[ITerraformDependable]:
        """Return what to depend on for the agents of `purpose` to exist."""
        if purpose == "bigquery":
            return [BigqueryAgent(self, purpose, project=project, depends_on=before)]
        if purpose == "storage":
            return [StorageAgent(self, purpose, project=project, depends_on=before)]
        return before

    def of(self, *purposes: str) -> list[ITerraformDependable]:
        """Return what to depend on for the keys of `purposes` to be usable.

        Raises:
            KeyError: one of them is not granted here.
        """
        return [grant for purpose in purposes for grant in self._grants[purpose]]


class Keys(Construct):
    """A key per kind of storage, rotated every 90 days, used by the services' agents alone.

    Keys of BigQuery and Cloud Storage stand where the data is, a multi-region where it is one; the others
    stand in the region. Keys and key rings cannot be destroyed by Terraform.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.keys import Keys

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        Keys(stack, "keys", names=names, labels={"team": "platform"})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment.
        labels: labels of the keys.
        depends_on: what must be there before: the services whose agents are granted.
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
        rings: dict[str, KmsKeyRing] = {}
        self.keys: dict[str, KmsCryptoKey] = {}
        for purpose in (*AGENTS, "logs"):
            location = names.key(purpose).split("/")[3]
            if location not in rings:
                rings[location] = KmsKeyRing(
                    self,
                    f"ring-{location}",
                    project=names.project,
                    location=location,
                    name=names.key_ring,
                    depends_on=list(depends_on),
                    lifecycle={"prevent_destroy": True},
                )
            self.keys[purpose] = KmsCryptoKey(
                self,
                purpose,
                key_ring=rings[location].id,
                name=purpose,
                purpose="ENCRYPT_DECRYPT",
                rotation_period=ROTATION,
                destroy_scheduled_duration=DESTRUCTION_DELAY,
                version_template=KmsCryptoKeyVersionTemplate(
                    algorithm="GOOGLE_SYMMETRIC_ENCRYPTION", protection_level="SOFTWARE"
                ),
                labels=dict(labels),
                lifecycle={"prevent_destroy": True},
            )
        self.use = KeyUse(
            self,
            "use",
            names=names,
            project=names.project,
            project_number=names.project_number,
            purposes=AGENTS,
            depends_on=list(self.keys.values()),
        )
