"""A BigQuery dataset with its tables, under a customer key, kept for a time, protected from destruction."""

from collections.abc import Mapping, Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.bigquery_dataset import (
    BigqueryDataset,
    BigqueryDatasetAccess,
    BigqueryDatasetDefaultEncryptionConfiguration,
)
from cdktf_cdktf_provider_google.bigquery_dataset_access import (
    BigqueryDatasetAccessA,
    BigqueryDatasetAccessDatasetA,
    BigqueryDatasetAccessDatasetDatasetA,
)
from cdktf_cdktf_provider_google.bigquery_table import (
    BigqueryTable,
    BigqueryTableEncryptionConfiguration,
    BigqueryTableTimePartitioning,
)
from constructs import Construct

from modelyard.spec.base import Sensitivity
from modelyard.tables import Table, bigquery_schema
from modelyard.terraform_text import literal

DAY_MS = 86_400_000
# Seven days, the longest: how far back a table can be read after a mistake.
TIME_TRAVEL_HOURS = "168"


class Dataset(Construct):
    """A dataset and tables from their one definition in `modelyard.tables`.

    Nobody has access but its owner and those who are granted it. Grants are single entries of the dataset's
    access list, since IAM members on a dataset may remove its authorised datasets.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.tables import DEPLOYMENTS
        from modules.dataset import Dataset

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        Dataset(stack, "metadata", project="example-dev", dataset_id="metadata", location="EU", labels={},
                kms_key="projects/example-dev/locations/europe/keyRings/r/cryptoKeys/bigquery",
                owner="group:platform@example.com", description="Metadata",
                tables=[DEPLOYMENTS])
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        project: project of the dataset.
        dataset_id: id of the dataset.
        description: what it is for.
        location: `EU`, `US` or a region.
        kms_key: path of the key for dataset and tables.
        owner: IAM member who deploys it, `group:...` or `serviceAccount:...`.
        labels: labels of the dataset, and of its tables where `table_labels` says nothing else.
        tables: its tables.
        table_labels: labels of single tables, by name.
        policy_tags: resource name of the policy tag per level that the tables use.
        table_policy_tags: the same for single tables, by name, in place of `policy_tags`.
        retention_days: age at which partitions of the tables are removed; absent: never.
        readers: IAM members, `group:...` or `serviceAccount:...`, who may read all its tables.
        depends_on: what must be there before: the API, and the grant of its key.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        project: str,
        dataset_id: str,
        description: str,
        location: str,
        kms_key: str,
        owner: str,
        labels: Mapping[str, str],
        tables: Sequence[Table] = (),
        table_labels: Mapping[str, Mapping[str, str]] | None = None,
        policy_tags: Mapping[Sensitivity, str] | None = None,
        table_policy_tags: Mapping[str, Mapping[Sensitivity, str]] | None = None,
        retention_days: int | None = None,
        readers: Sequence[str] = (),
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        self.project, self.dataset_id = project, dataset_id
        group, identity = _who(owner)
        self._kms_key = kms_key
        self._expiration_ms = None if retention_days is None else retention_days * DAY_MS
        self.resource = BigqueryDataset(
            self,
            "dataset",
            project=project,
            dataset_id=dataset_id,
            description=literal(description),
            location=location,
            labels=dict(labels),
            delete_contents_on_destroy=False,
            max_time_travel_hours=TIME_TRAVEL_HOURS,
            default_encryption_configuration=BigqueryDatasetDefaultEncryptionConfiguration(
                kms_key_name=kms_key
            ),
            default_partition_expiration_ms=self._expiration_ms,
            # Said once, so that BigQuery does not add the project's readers and writers; grants come on top.
            access=[BigqueryDatasetAccess(role="OWNER", group_by_email=group, user_by_email=identity)],
            lifecycle={"prevent_destroy": True, "ignore_changes": ["access"]},
            depends_on=list(depends_on),
        )
        own_labels, own_tags = table_labels or {}, table_policy_tags or {}
        self.tables = {
            table.name: self._table(
                table, own_labels.get(table.name, labels), own_tags.get(table.name, policy_tags)
            )
            for table in tables
        }
        for member in sorted(set(readers)):
            self.grant(member, "roles/bigquery.dataViewer")

    def _table(
        self, table: Table, labels: Mapping[str, str], policy_tags: Mapping[Sensitivity, str] | None
    ) -> BigqueryTable:
        return BigqueryTable(
            self,
            f"table-{table.name}",
            project=self.project,
            dataset_id=self.dataset_id,
            table_id=table.name,
            description=literal(table.description),
            schema=bigquery_schema(table, policy_tags),
            time_partitioning=BigqueryTableTimePartitioning(
                type=table.partition.granularity.value,
                field=table.partition.column,
                expiration_ms=self._expiration_ms,
            ),
            require_partition_filter=table.partition.require_filter,
            clustering=list(table.clustering),
            encryption_configuration=BigqueryTableEncryptionConfiguration(kms_key_name=self._kms_key),
            labels=dict(labels),
            deletion_protection=True,
            lifecycle={"prevent_destroy": True},
            depends_on=[self.resource],
        )

    def grant(self, member: str, role: str) -> None:
        """Grant `role` on all tables of the dataset to `member`, `group:...` or `serviceAccount:...`."""
        dataset_access(
            self, member, role, project=self.project, dataset_id=self.dataset_id, after=[self.resource]
        )

    def authorize(self, views: "Dataset") -> None:
        """Let the views in dataset `views` read this dataset, whoever asks them."""
        BigqueryDatasetAccessA(
            self,
            f"authorize-{views.dataset_id}",
            project=self.project,
            dataset_id=self.dataset_id,
            dataset=BigqueryDatasetAccessDatasetA(
                dataset=BigqueryDatasetAccessDatasetDatasetA(
                    project_id=views.project, dataset_id=views.dataset_id
                ),
                target_types=["VIEWS"],
            ),
            depends_on=[self.resource, views.resource],
        )


def dataset_access(
    scope: Construct,
    member: str,
    role: str,
    *,
    project: str,
    dataset_id: str,
    after: Sequence[ITerraformDependable] = (),
) -> BigqueryDatasetAccessA:
    """Grant `role` on a dataset to `member`, leaving other grants alone.

    Raises:
        ValueError: `member` is neither `group:...` nor `serviceAccount:...`.
    """
    group, identity = _who(member)
    return BigqueryDatasetAccessA(
        scope,
        f"{role.removeprefix('roles/')}-{dataset_id}-{member}",
        project=project,
        dataset_id=dataset_id,
        role=role,
        group_by_email=group,
        user_by_email=identity,
        depends_on=list(after),
    )


def _who(member: str) -> tuple[str | None, str | None]:
    """Return `member` as an entry of a dataset's access list names it: a group, or else an identity."""
    kind, _, email = member.partition(":")
    if kind not in ("group", "serviceAccount"):
        raise ValueError(f"{member}: datasets are granted to group:... or serviceAccount:...")
    return (email, None) if kind == "group" else (None, email)
