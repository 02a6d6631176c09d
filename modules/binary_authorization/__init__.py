"""Which container images may run in the environment's clusters."""

from collections.abc import Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.binary_authorization_policy import (
    BinaryAuthorizationPolicy,
    BinaryAuthorizationPolicyAdmissionWhitelistPatterns,
    BinaryAuthorizationPolicyDefaultAdmissionRule,
)
from constructs import Construct

from modelyard.naming import Names


class ImagePolicy(Construct):
    """Admits images of the environment's registry and Google's own system images, and blocks all others.

    A pattern cannot ask for a digest: that is what `modules.admission` does inside the cluster.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.binary_authorization import ImagePolicy

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        ImagePolicy(stack, "image-policy", names=names)
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment.
        depends_on: what must be there before: the Binary Authorization API.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: Names,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        BinaryAuthorizationPolicy(
            self,
            "policy",
            project=names.project,
            description="Images of the environment's registry alone.",
            # Google's own images, which the cluster itself runs.
            global_policy_evaluation_mode="ENABLE",
            admission_whitelist_patterns=[
                BinaryAuthorizationPolicyAdmissionWhitelistPatterns(name_pattern=f"{names.registry}/*")
            ],
            default_admission_rule=BinaryAuthorizationPolicyDefaultAdmissionRule(
                evaluation_mode="ALWAYS_DENY", enforcement_mode="ENFORCED_BLOCK_AND_AUDIT_LOG"
            ),
            depends_on=list(depends_on),
        )
