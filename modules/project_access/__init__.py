"""Roles of one member on one project, each an addition that leaves other members alone."""

from collections.abc import Iterable, Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.project_iam_member import ProjectIamMember
from constructs import Construct

from modelyard.iam import BASIC_ROLES


class ProjectAccess(Construct):
    """Grants a member roles on a project.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modules.project_access import ProjectAccess

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        ProjectAccess(stack, "viewers", project="example-dev", member="group:viewers@example.com",
                      roles=["roles/monitoring.viewer", "roles/logging.viewer"])
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        project: project the roles are on.
        member: IAM member, such as `group:viewers@example.com`.
        roles: predefined roles; basic roles are refused.
        depends_on: what must be there before, such as the member.

    Raises:
        ValueError: one of the roles is basic.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        project: str,
        member: str,
        roles: Iterable[str],
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        for role in sorted(set(roles)):
            if role in BASIC_ROLES:
                raise ValueError(f"{role} is a basic role: name roles for the task")
            ProjectIamMember(
                self,
                role.removeprefix("roles/"),
                project=project,
                role=role,
                member=member,
                depends_on=list(depends_on),
            )
