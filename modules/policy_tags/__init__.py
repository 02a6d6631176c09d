"""Policy tags for confidential and pii columns: who reads them in clear, who sees them masked."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.bigquery_datapolicy_data_policy import (
    BigqueryDatapolicyDataPolicy,
    BigqueryDatapolicyDataPolicyDataMaskingPolicy,
)
from cdktf_cdktf_provider_google.bigquery_datapolicy_data_policy_iam_member import (
    BigqueryDatapolicyDataPolicyIamMember,
)
from cdktf_cdktf_provider_google.data_catalog_policy_tag import DataCatalogPolicyTag
from cdktf_cdktf_provider_google.data_catalog_policy_tag_iam_member import DataCatalogPolicyTagIamMember
from cdktf_cdktf_provider_google.data_catalog_taxonomy import DataCatalogTaxonomy
from constructs import Construct

from modelyard.naming import fit, underscored
from modelyard.spec.base import Sensitivity

POLICY_ID = 63  # characters
LEVELS = {
    Sensitivity.CONFIDENTIAL: "Confidential: readers need an explicit grant to see the value.",
    Sensitivity.PII: "Personal data: readers need an explicit grant to see the value.",
}


class Masking(StrEnum):
    """What a reader without a grant sees in place of the value."""

    NULL = "ALWAYS_NULL"
    HASH = "SHA256"
    """The same value has the same hash, so it can be counted and joined; text columns alone."""


class PolicyTags(Construct):
    """A taxonomy of two levels, confidential and pii, each with a masking policy.

    `names` has the resource name of the tag per level, as `bigquery_schema` takes them. Removing a tag would
    open the columns that carry it, so nothing here can be destroyed.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modules.policy_tags import PolicyTags

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-a")
        PolicyTags(stack, "policy-tags", project="example-a", location="EU", taxonomy="modelyard-dev-a",
                   clear_readers=["group:a-pii@example.com"], masked_readers=["group:a@example.com"])
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        project: project of the taxonomy.
        location: location of the datasets whose columns carry the tags: `EU`, `US` or a region.
        taxonomy: display name of the taxonomy, unique in the organisation.
        clear_readers: IAM members who read the columns in clear.
        masked_readers: IAM members who read them masked; who is in neither is refused the columns.
        masking: what masked readers see per level; where nothing is said, null, which fits all types.
        depends_on: what must be there before: the APIs, and the members.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        project: str,
        location: str,
        taxonomy: str,
        clear_readers: Iterable[str],
        masked_readers: Iterable[str],
        masking: Mapping[Sensitivity, Masking] | None = None,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        region = location.lower()
        protected = {"prevent_destroy": True}
        made = DataCatalogTaxonomy(
            self,
            "taxonomy",
            project=project,
            region=region,
            display_name=taxonomy,
            description="Levels of sensitivity that protect columns.",
            activated_policy_types=["FINE_GRAINED_ACCESS_CONTROL"],
            lifecycle=protected,
            depends_on=list(depends_on),
        )
        self.names: dict[Sensitivity, str] = {}
        clear, masked = sorted(set(clear_readers)), sorted(set(masked_readers))
        for level, description in LEVELS.items():
            part = Construct(self, level.value)
            tag = DataCatalogPolicyTag(
                part,
                "tag",
                taxonomy=made.name,
                display_name=level.value,
                description=description,
                lifecycle=protected,
            )
            name = tag.name
            self.names[level] = name
            policy = BigqueryDatapolicyDataPolicy(
                part,
                "masking",
                project=project,
                location=region,
                data_policy_id=policy_id(taxonomy, level),
                policy_tag=name,
                data_policy_type="DATA_MASKING_POLICY",
                data_masking_policy=BigqueryDatapolicyDataPolicyDataMaskingPolicy(
                    predefined_expression=(masking or {}).get(level, Masking.NULL).value
                ),
                lifecycle=protected,
            )
            for member in clear:
                DataCatalogPolicyTagIamMember(
                    part,
                    f"clear-{member}",
                    policy_tag=name,
                    role="roles/datacatalog.categoryFineGrainedReader",
                    member=member,
                )
            for member in masked:
                masked_reader(
                    part,
                    member,
                    project=project,
                    location=location,
                    taxonomy=taxonomy,
                    level=level,
                    after=[policy],
                )


def policy_id(taxonomy: str, level: Sensitivity) -> str:
    """Return the id of the masking policy of `level`, unique in its project."""
    return underscored(fit(f"{taxonomy}-{level}", POLICY_ID))


def masked_reader(
    scope: Construct,
    member: str,
    *,
    project: str,
    location: str,
    taxonomy: str,
    level: Sensitivity,
    after: Sequence[ITerraformDependable] = (),
) -> None:
    """Let `member` read the columns of `level` masked. All is named, so another stack may say it."""
    BigqueryDatapolicyDataPolicyIamMember(
        scope,
        f"masked-{level}-{member}",
        project=project,
        location=location.lower(),
        data_policy_id=policy_id(taxonomy, level),
        role="roles/bigquerydatapolicy.maskedReader",
        member=member,
        depends_on=list(after),
    )
