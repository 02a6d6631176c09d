"""The prediction logs of a team: one typed table per model, sensitive columns masked for most readers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.bigquery_table_iam_member import BigqueryTableIamMember
from constructs import Construct

from modelyard.naming import LOG_WRITER, TeamNames
from modelyard.spec.base import Sensitivity
from modelyard.tables import Table
from modules.dataset import Dataset
from modules.policy_tags import PolicyTags


@dataclass(frozen=True)
class Log:
    """The log of one model.

    Args:
        table: its definition.
        labels: its labels.
        readers: IAM members who read it, confidential and pii columns as nulls.
        clear_readers: IAM members who read all of it.
    """

    table: Table
    labels: Mapping[str, str]
    readers: frozenset[str] = field(default_factory=frozenset)
    clear_readers: frozenset[str] = field(default_factory=frozenset)


class PredictionLogs(Construct):
    """A team's dataset of prediction logs, and the policy tags on their columns.

    Each model's identity adds rows to its own table alone, and readers are granted single tables. A model
    with readers in clear has tags of its own, so that they read this model's values in clear and no other's;
    the rest share a pair of tags that nobody reads through.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modelyard.tables import PREDICTION_USAGE
        from modules.prediction_log import Log, PredictionLogs

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-a")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        logs = PredictionLogs(stack, "logs", names=names.team("a"), labels={}, owner="group:a@example.com",
                              retention_days=400, logs={"m": Log(PREDICTION_USAGE, labels={"model": "m"})})
        logs.add_writer("m", "serviceAccount:m@example-a.iam.gserviceaccount.com")
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the team.
        labels: labels of the dataset.
        logs: the log of each model, by the model's name.
        owner: IAM member who deploys and so owns the dataset.
        retention_days: age at which rows are removed.
        observers: IAM members who read all logs in clear, such as the monitor job.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: TeamNames,
        labels: Mapping[str, str],
        logs: Mapping[str, Log],
        owner: str,
        retention_days: int,
        observers: Iterable[str] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        self._names = names
        self._logs = logs
        observers = sorted(observers)
        opened = {model for model, log in logs.items() if log.clear_readers}
        shared = [log for model, log in logs.items() if model not in opened]
        tags = self._tags(Construct(self, "shared"), names.taxonomy, shared, observers)
        # In scopes of their own, so that no name of a model can be another construct's id.
        self._models = {model: Construct(self, f"model-{model}") for model in logs}
        self.dataset = Dataset(
            self,
            "dataset",
            project=names.project,
            dataset_id=names.dataset,
            description=f"Prediction logs of team {names.team}.",
            location=names.environment.data_location,
            kms_key=names.environment.key("bigquery"),
            owner=owner,
            labels=labels,
            tables=[log.table for log in logs.values()],
            table_labels={log.table.name: log.labels for log in logs.values()},
            policy_tags=tags,
            table_policy_tags={
                logs[model].table.name: self._tags(
                    self._models[model], names.model(model).taxonomy, [logs[model]], observers
                )
                for model in sorted(opened)
            },
            retention_days=retention_days,
            readers=observers,
        )
        for model, log in logs.items():
            for member in sorted(log.readers | log.clear_readers):
                self._grant(model, f"reader-{member}", "roles/bigquery.dataViewer", member)

    def add_writer(self, model: str, member: str, after: Iterable[ITerraformDependable] = ()) -> None:
        """Let `member`, the identity of `model`, add rows to the model's log."""
        self._grant(model, "writer", self._names.role(LOG_WRITER), member, after)

    def _tags(
        self, scope: Construct, taxonomy: str, logs: Iterable[Log], observers: Iterable[str]
    ) -> dict[Sensitivity, str]:
        clear = {member for log in logs for member in log.clear_readers}
        return PolicyTags(
            scope,
            "policy-tags",
            project=self._names.project,
            location=self._names.environment.data_location,
            taxonomy=taxonomy,
            clear_readers={*clear, *observers},
            masked_readers={member for log in logs for member in log.readers} - clear,
        ).names

    def _grant(
        self, model: str, who: str, role: str, member: str, after: Iterable[ITerraformDependable] = ()
    ) -> None:
        table = self._logs[model].table.name
        BigqueryTableIamMember(
            self._models[model],
            who,
            project=self._names.project,
            dataset_id=self._names.dataset,
            table_id=table,
            role=role,
            member=member,
            depends_on=[self.dataset.tables[table], *after],
        )
