"""Google APIs that are switched on in a project."""

from collections.abc import Iterable, Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.project_service import ProjectService
from constructs import Construct


class Services(Construct):
    """Switches Google APIs on, and leaves them on when it is destroyed: other things may use them.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modules.services import Services

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        Services(stack, "services", project="example-dev", services=["bigquery", "pubsub"])
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        project: project to switch them on in.
        services: their names, without `.googleapis.com`.
        depends_on: what must be there before.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        project: str,
        services: Iterable[str],
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        self._enabled = {
            service: ProjectService(
                self,
                service,
                project=project,
                service=f"{service}.googleapis.com",
                disable_on_destroy=False,
                depends_on=list(depends_on),
            )
            for service in sorted(set(services))
        }

    def of(self, *services: str) -> list[ITerraformDependable]:
        """Return what to depend on for `services` to be on.

        Raises:
            KeyError: one of them is not switched on here.
        """
        return [self._enabled[service] for service in services]
