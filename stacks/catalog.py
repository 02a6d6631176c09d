"""What is known about all models: metadata, usage, monitoring, and the views that people read."""

from cdktf_cdktf_provider_google.project_iam_custom_role import ProjectIamCustomRole
from constructs import Construct

from modelyard.iam import APPEND_ROWS
from modelyard.naming import Names, labels
from modelyard.spec.base import Sensitivity
from modelyard.spec.environment import Environment
from modelyard.spec.errors import Problem, SpecError
from modelyard.tables import SHARED_TABLES, history
from modules.dataset import Dataset
from modules.fleet_views import FleetViews
from modules.policy_tags import Masking, PolicyTags
from modules.project_access import ProjectAccess
from stacks.base import BaseStack

SOURCES = {
    "metadata": "Model versions and deployments.",
    "predictions": "Usage of all models; each team keeps its prediction logs in its own project.",
    "monitoring": "What monitors measured, alerts, and the monitors' runs.",
}


class CatalogStack(BaseStack):
    """Datasets, shared tables, fleet views, and the taxonomy that protects their columns.

    Teams' prediction logs stand in the teams' projects. The platform's own identities are granted access
    where they are made, in the operations stack.

    Args:
        scope: the app.
        environment: the environment deployed to.

    Raises:
        SpecError: a column of a shared table was removed or retyped.
    """

    def __init__(self, scope: Construct, environment: Environment) -> None:
        refuse_losses()
        names = Names.of(environment)
        super().__init__(scope, names.stack("catalog"), environment)
        self._labels = labels(environment.environment, "platform", environment.cost_center)
        groups = environment.groups
        self._auditors, self._platform = f"group:{groups.auditors}", f"group:{groups.platform}"
        self._people = sorted({f"group:{groups.viewers}", self._platform, self._auditors})
        tags = PolicyTags(
            self,
            "policy-tags",
            project=names.project,
            location=names.data_location,
            taxonomy=names.taxonomy,
            clear_readers=[self._auditors],
            masked_readers=[member for member in self._people if member != self._auditors],
            # A hash of the caller can still be counted.
            masking={Sensitivity.PII: Masking.HASH},
        )
        ProjectIamCustomRole(
            self,
            "recorder",
            project=names.project,
            role_id=names.recorder_role.rpartition("/")[2],
            title="Modelyard recorder",
            description="Adds rows to a table, and neither reads nor changes those that are there.",
            permissions=list(APPEND_ROWS),
            stage="GA",
        )
        days = {
            "predictions": environment.retention.predictions,
            "monitoring": environment.retention.monitoring,
        }
        sources = [
            self._dataset(purpose, description, tags, days.get(purpose))
            for purpose, description in SOURCES.items()
        ]
        fleet = self._dataset("fleet", "Views over all models, for people.", tags, None)
        for member in self._people:
            if member != self._auditors:
                fleet.grant(member, "roles/bigquery.dataViewer")
            ProjectAccess(
                self,
                f"queries-{member}",
                project=names.project,
                member=member,
                roles=["roles/bigquery.jobUser"],
            )
        FleetViews(self, "views", fleet=fleet, sources=sources, labels=self._labels)

    def _dataset(self, purpose: str, description: str, tags: PolicyTags, days: int | None) -> Dataset:
        return Dataset(
            self,
            purpose,
            project=self.names.project,
            dataset_id=self.names.dataset(purpose),
            description=description,
            location=self.names.data_location,
            kms_key=self.names.key("bigquery"),
            owner=self._platform,
            labels=self._labels,
            tables=[table for table in SHARED_TABLES if table.dataset == purpose],
            policy_tags=tags.names,
            retention_days=days,
            readers=[self._auditors],
        )


def refuse_losses() -> None:
    """Refuse tables that would lose what their released form holds.

    Raises:
        SpecError: with each column that was removed or retyped.
    """
    released = str(history.LOCK.relative_to(history.LOCK.parents[2]))
    found = history.breaks(history.read(), history.described(SHARED_TABLES))
    if found:
        raise SpecError(Problem(released, 1, 1, "", f"{loss}; schemas only grow") for loss in found)
