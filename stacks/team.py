"""One team: its namespace, its people's access, and everything each of its models needs."""

import importlib.util
import traceback
from pathlib import Path

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.bigquery_table_iam_member import BigqueryTableIamMember
from cdktf_cdktf_provider_google.data_google_project import DataGoogleProject
from constructs import Construct

from modelyard.monitors import monitors_of
from modelyard.naming import MONITORING_CONFIG, ModelNames, Names, labels, underscored
from modelyard.spec import monitoring
from modelyard.spec.base import Pattern, Severity
from modelyard.spec.container import container_config, rendered, with_project
from modelyard.spec.environment import Environment
from modelyard.spec.errors import Problem, SpecError
from modelyard.spec.manifest import Manifest
from modelyard.spec.team import DeployedModel, DeployedTeam
from modelyard.tables import batch_input, batch_output, batch_runs, prediction_log
from modules.alerts import AlertPolicies
from modules.batch_job import BatchJob
from modules.budget import ProjectBudget
from modules.dashboard import ModelDashboard
from modules.kubernetes import provider as kubernetes_provider
from modules.model_identity import ModelIdentity
from modules.namespace import TeamNamespace
from modules.notification import TeamChannels
from modules.personas import Personas
from modules.prediction_log import Log, PredictionLogs
from modules.project_access import ProjectAccess
from modules.rest_service import RestDeployment, RestRoute, canary_of
from modules.streaming_worker import StreamTopics, StreamWorker
from modules.workload import PodShape, config_map
from modules.workload.quantities import Quota
from stacks.base import BaseStack

# What each image's entry point is told to do.
ARGS = {Pattern.REST: ["serve"], Pattern.BATCH: ["score"], Pattern.STREAMING: ["work"]}


class TeamStack(BaseStack):
    """Everything of one team; it acts on the team's own project and namespace alone.

    Args:
        scope: the app.
        environment: the environment deployed to.
        team: the team, with settings merged and manifests read.

    Raises:
        SpecError: the team's `stack.py` has no function `extend`.
    """

    def __init__(self, scope: Construct, environment: Environment, team: DeployedTeam) -> None:
        names = Names.of(environment).team(team.team)
        super().__init__(scope, names.stack, environment, project=names.project)
        self.team = team
        self.team_names = names
        kubernetes_provider(self, self.names, self.cluster_endpoint)
        self.project = DataGoogleProject(self, "project", project_id=names.project)
        self.namespace = TeamNamespace(
            self,
            "namespace",
            name=names.namespace,
            labels=self.labels(),
            quota=self._quota().hard(),
            callers=[environment.network.proxies],
            viewers=sorted(set(self._groups().values())),
        )
        Personas(
            self,
            "personas",
            project=names.project,
            groups=self._groups(),
            approvers=environment.groups.approvers,
        )
        self.channels = TeamChannels(
            self,
            "channels",
            project=names.project,
            owners=team.owners,
            channels=environment.channels,
            labels=self.labels(),
        )
        ProjectBudget(
            self,
            "budget",
            name=f"modelyard {environment.environment} {team.team}",
            billing_account=environment.tenants.billing_account,
            project_number=self.project.number,
            amount=team.monthly_budget,
            currency=environment.budget.currency,
            channel=self.channels.by_severity[Severity.WARNING][0],
        )
        models = Construct(self, "models")
        self._parts = {model.name: Construct(models, model.name) for model in team.models}
        self._identities = {
            model.name: ModelIdentity(
                self._parts[model.name],
                "identity",
                names=names.model(model.name),
                namespace=self.namespace.name,
                labels=self.labels(model.name),
            )
            for model in team.models
        }
        self.logs = self._add_logs()
        self._add_monitoring()
        if any(model.spec.pattern is Pattern.STREAMING for model in team.models):
            # By this the autoscaler sees the backlog of the team's streaming models.
            ProjectAccess(
                self,
                "metrics-adapter",
                project=names.project,
                member=f"serviceAccount:{self.names.service_account('metrics-adapter')}",
                roles=["roles/monitoring.viewer"],
            )
        for model in team.models:
            self._add_model(self._parts[model.name], model, names.model(model.name))
        if team.stack_py:
            extend(self, Path(team.stack_py))

    def labels(self, model: str = "shared") -> dict[str, str]:
        """Return the labels of a resource of the team, or of one of its models."""
        return labels(self.environment.environment, self.team.team, self.team.cost_center, model)

    def _groups(self) -> dict[str, str]:
        owners = self.team.owners
        return {
            "owner": owners.group,
            "developer": owners.developers or owners.group,
            "viewer": owners.viewers or self.environment.groups.viewers,
            "auditor": self.environment.groups.auditors,
        }

    def _quota(self) -> Quota:
        quota = Quota()
        for model in self.team.models:
            spec = model.spec
            pods = spec.batch.shards if spec.pattern is Pattern.BATCH else spec.replicas.max
            quota.add(spec.resources, pods * (2 if model.canary else 1))
        return quota

    def _add_logs(self) -> PredictionLogs:
        """Add the logs of all models, readable by developers, the named readers and the monitor."""
        names = self.team_names
        return PredictionLogs(
            self,
            "logs",
            names=names,
            labels=self.labels(),
            logs={model.name: self._log(model, names.model(model.name)) for model in self.team.models},
            owner=f"serviceAccount:{names.identity('deployer')}",
            retention_days=self.environment.retention.predictions,
            # The monitor compares values with their baselines; it publishes shares and
            # distances, never values.
            observers=[self._monitor],
            depends_on=[identity.resource for identity in self._identities.values()],
        )

    def _log(self, model: DeployedModel, names: ModelNames) -> Log:
        groups, spec = self._groups(), model.spec
        batch = spec.pattern is Pattern.BATCH
        return Log(
            table=prediction_log(model, names),
            labels=self.labels(model.name),
            readers=frozenset({f"group:{groups['developer']}", *spec.access.log_readers}),
            clear_readers=frozenset(spec.access.pii_readers),
            output=batch_output(names.output_table, model.manifest.signature.prediction) if batch else None,
            runs=batch_runs(names.runs_table) if batch else None,
            input=batch_input(model, names) if batch and spec.batch.source is None else None,
            input_writers=frozenset(f"group:{groups[who]}" for who in ("developer", "owner")),
            scorer=self._identities[model.name].member if batch else None,
        )

    def _add_monitoring(self) -> None:
        """Tell the monitor job how the models are watched; it reads this ConfigMap in each namespace."""
        config_map(
            self,
            "monitoring",
            name=MONITORING_CONFIG,
            namespace=self.namespace.name,
            labels=self.labels(),
            file=monitoring.FILE,
            text=monitoring.rendered(monitoring.monitoring_config(self.team, self.team_names)),
        )

    @property
    def _monitor(self) -> str:
        return f"serviceAccount:{self.names.service_account('monitor')}"

    def _add_model(self, scope: Construct, model: DeployedModel, names: ModelNames) -> None:
        identity = self._identities[model.name]
        self.logs.add_writer(model.name, identity.member, after=[identity.resource])
        if model.spec.label:
            self._may_read(scope, "labels", model.spec.label.table, self._monitor)
        AlertPolicies(
            scope,
            "alerts",
            alerts=monitors_of(self.team, model, names),
            labels=self.labels(model.name),
            channels=self.channels.by_severity,
            repository_url=f"https://github.com/{self.environment.ci.repository}/blob/HEAD",
        )
        ModelDashboard(
            scope, "dashboard", team=self.team, model=model, names=names, labels=self.labels(model.name)
        )
        serve = {
            Pattern.REST: self._serve_rest,
            Pattern.BATCH: self._run_batch,
            Pattern.STREAMING: self._work_stream,
        }
        serve[model.spec.pattern](scope, model, names, identity)

    def _serve_rest(
        self, scope: Construct, model: DeployedModel, names: ModelNames, identity: ModelIdentity
    ) -> None:
        versions = [(names.workload, model.manifest)]
        if model.canary:
            versions.append((canary_of(names.workload), model.canary))
        for name, manifest in versions:
            part = Construct(scope, "stable" if manifest is model.manifest else "canary")
            RestDeployment(
                part,
                "rest",
                name=name,
                namespace=self.namespace.name,
                labels=self.labels(model.name),
                version=manifest.version,
                shape=self._shape(part, name, model, manifest, names, identity),
                replicas=model.spec.replicas,
            )
        RestRoute(
            scope,
            "route",
            name=names.workload,
            namespace=self.namespace.name,
            labels=self.labels(model.name),
            path=names.hostname_path,
            gateway=(self.names.gateway_namespace, self.names.gateway),
            canary_percent=model.spec.canary.percent if model.spec.canary else 0,
        )

    def _run_batch(
        self, scope: Construct, model: DeployedModel, names: ModelNames, identity: ModelIdentity
    ) -> None:
        # Jobs and read sessions belong to the team's project; which tables, is granted one by one.
        ProjectAccess(
            scope,
            "queries",
            project=self.team_names.project,
            member=identity.member,
            roles=["roles/bigquery.jobUser", "roles/bigquery.readSessionUser"],
            depends_on=[identity.resource],
        )
        if model.spec.batch.source:
            self._may_read(scope, "source", model.spec.batch.source, identity.member, identity.resource)
        BatchJob(
            scope,
            "batch",
            name=names.workload,
            namespace=self.namespace.name,
            labels=self.labels(model.name),
            version=model.manifest.version,
            shape=self._shape(scope, names.workload, model, model.manifest, names, identity),
            batch=model.spec.batch,
        )

    def _work_stream(
        self, scope: Construct, model: DeployedModel, names: ModelNames, identity: ModelIdentity
    ) -> None:
        StreamTopics(
            scope,
            "topics",
            names=names,
            labels=self.labels(model.name),
            streaming=model.spec.streaming,
            worker=identity.member,
            project_number=self.project.number,
            publishers=model.spec.access.callers,
        )
        StreamWorker(
            scope,
            "worker",
            names=names,
            namespace=self.namespace.name,
            labels=self.labels(model.name),
            version=model.manifest.version,
            shape=self._shape(scope, names.workload, model, model.manifest, names, identity),
            replicas=model.spec.replicas,
            streaming=model.spec.streaming,
        )

    def _may_read(
        self, scope: Construct, construct_id: str, table: str, member: str, *after: ITerraformDependable
    ) -> None:
        """Let `member` read a table of the team's project; one elsewhere, its owners open."""
        project, dataset, name = with_project(table, self.team_names.project).split(".")
        if project == self.team_names.project:
            BigqueryTableIamMember(
                scope,
                construct_id,
                project=project,
                dataset_id=dataset,
                table_id=name,
                role="roles/bigquery.dataViewer",
                member=member,
                depends_on=list(after),
            )

    def _shape(
        self,
        scope: Construct,
        name: str,
        model: DeployedModel,
        manifest: Manifest,
        names: ModelNames,
        identity: ModelIdentity,
    ) -> PodShape:
        """Add the ConfigMap of one version; return the pods that read it."""
        pattern = model.spec.pattern
        image = getattr(self.environment.images, pattern.value)
        config, digest = config_map(
            scope,
            "config",
            name=name,
            namespace=self.namespace.name,
            labels=self.labels(model.name),
            text=rendered(container_config(model, manifest, names, image_digest=image)),
        )
        return PodShape(
            image=self.names.image(pattern.value, image),
            resources=model.spec.resources,
            config_map=config,
            config_digest=digest,
            service_account=identity.account,
            args=ARGS[pattern],
            env={
                "MODELYARD_CONFIG": "/etc/modelyard/model.json",
                "GOOGLE_CLOUD_PROJECT": self.team_names.project,
            },
        )


def extend(stack: TeamStack, path: Path) -> None:
    """Let a team's own `stack.py` add to its stack: it is called as `extend(stack)`.

    Raises:
        SpecError: the file cannot be loaded, has no function `extend`, or that fails.
    """
    loader = importlib.util.spec_from_file_location(f"team_stack_{underscored(stack.team.team)}", path)
    assert loader is not None and loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    try:
        loader.loader.exec_module(module)
        if not callable(getattr(module, "extend", None)):
            raise SpecError([_in_stack_py(path, 1, 1, "a team's stack.py defines extend(stack)")])
        module.extend(stack)
    except SyntaxError as error:
        raise SpecError([_in_stack_py(path, error.lineno or 1, error.offset or 1, error.msg)]) from error
    except SpecError:
        raise
    except Exception as error:
        # The line of the team's file that failed is more use than a traceback through the bindings.
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
        ]
        raise SpecError([_in_stack_py(path, lines[-1] or 1 if lines else 1, 1, str(error))]) from error


def _in_stack_py(path: Path, line: int, column: int, message: str) -> Problem:
    return Problem("/".join(path.parts[-3:]), line, column, "extend", message)
