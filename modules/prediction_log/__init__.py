"""The prediction logs of a team, one typed table per model, and the tables of its batch models."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.bigquery_table_iam_member import BigqueryTableIamMember
from constructs import Construct

from modelyard.naming import INPUT_WRITER, LOG_WRITER, TeamNames
from modelyard.spec.base import Sensitivity
from modelyard.tables import Table
from modules.dataset import Dataset
from modules.policy_tags import PolicyTags

VIEWER = "roles/bigquery.dataViewer"


@dataclass(frozen=True)
class Log:
    """The log of one model, and the other tables of a batch model.

    Args:
        table: its definition.
        labels: labels of the tables.
        readers: IAM members who read it, confidential and pii columns as nulls.
        clear_readers: IAM members who read all of it.
        output: table of a batch model's predictions, for the same readers.
        runs: table of a batch model's runs, for the same readers.
        input: table that a batch model scores, where the team names no other.
        input_writers: IAM members who fill it.
        scorer: IAM member that scores it; it reads the input in clear.
    """

    table: Table
    labels: Mapping[str, str]
    readers: frozenset[str] = field(default_factory=frozenset)
    clear_readers: frozenset[str] = field(default_factory=frozenset)
    output: Table | None = None
    runs: Table | None = None
    input: Table | None = None
    input_writers: frozenset[str] = field(default_factory=frozenset)
    scorer: str | None = None

    @property
    def tables(self) -> list[Table]:
        """All tables of the model."""
        return [table for table in (self.table, self.input, self.output, self.runs) if table]

    @property
    def results(self) -> list[tuple[str, Table]]:
        """The tables beside the log that a batch model adds rows to."""
        return [(what, table) for what, table in (("output", self.output), ("runs", self.runs)) if table]

    @property
    def sees(self) -> frozenset[str]:
        """Who reads tagged columns in clear: the named readers, and who scores an input that has some."""
        scores = self.scorer and self.input and self.input.policy_tags
        return self.clear_readers | ({self.scorer} if self.scorer and scores else frozenset())


class PredictionLogs(Construct):
    """A team's dataset of prediction logs, and the policy tags on their columns.

    Each model's identity adds rows to its own tables alone, and readers are granted single tables. A model
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
        depends_on: what must be there before: the identities that are granted something.
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
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        self._names = names
        self._logs = logs
        self._after = depends_on
        observers = sorted(observers)
        opened = {model for model, log in logs.items() if log.sees}
        shared = [log for model, log in logs.items() if model not in opened]
        tags = self._tags(Construct(self, "shared"), names.taxonomy, shared, observers)
        # In scopes of their own, so that no name of a model can be another construct's id.
        self._models = {model: Construct(self, f"model-{model}") for model in logs}
        own_tags = {}
        for model in sorted(opened):
            own = self._tags(self._models[model], names.model(model).taxonomy, [logs[model]], observers)
            own_tags.update({table.name: own for table in logs[model].tables})
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
            tables=[table for log in logs.values() for table in log.tables],
            table_labels={table.name: log.labels for log in logs.values() for table in log.tables},
            policy_tags=tags,
            table_policy_tags=own_tags,
            retention_days=retention_days,
            readers=observers,
        )
        for model, log in logs.items():
            self._grants(model, log)

    def _grants(self, model: str, log: Log) -> None:
        for member in sorted(log.readers | log.clear_readers):
            self._grant(model, log.table, f"reader-{member}", VIEWER, member)
            for what, table in log.results:
                self._grant(model, table, f"{what}-reader-{member}", VIEWER, member)
        if log.input:
            for member in sorted(log.input_writers):
                self._grant(model, log.input, f"fills-{member}", self._names.role(INPUT_WRITER), member)
        # A run that was cut short finds out what it has already written.
        for purpose, read in (("scores", log.input), ("resumes", log.output)):
            if read and log.scorer:
                self._grant(model, read, purpose, VIEWER, log.scorer, self._after)

    def add_writer(self, model: str, member: str, after: Iterable[ITerraformDependable] = ()) -> None:
        """Let `member`, the identity of `model`, add rows to the model's log, predictions and runs."""
        log = self._logs[model]
        self._grant(model, log.table, "writer", self._names.role(LOG_WRITER), member, after)
        for what, table in log.results:
            self._grant(model, table, f"{what}-writer", self._names.role(LOG_WRITER), member, after)

    def _tags(
        self, scope: Construct, taxonomy: str, logs: Iterable[Log], observers: Iterable[str]
    ) -> dict[Sensitivity, str]:
        clear = {member for log in logs for member in log.sees}
        return PolicyTags(
            scope,
            "policy-tags",
            project=self._names.project,
            location=self._names.environment.data_location,
            taxonomy=taxonomy,
            clear_readers={*clear, *observers},
            masked_readers={member for log in logs for member in log.readers} - clear,
            depends_on=self._after,
        ).names

    def _grant(
        self,
        model: str,
        table: Table,
        who: str,
        role: str,
        member: str,
        after: Iterable[ITerraformDependable] = (),
    ) -> None:
        BigqueryTableIamMember(
            self._models[model],
            who,
            project=self._names.project,
            dataset_id=self._names.dataset,
            table_id=table.name,
            role=role,
            member=member,
            depends_on=[self.dataset.tables[table.name], *after],
        )
