"""What the rules may ask: whom a resource belongs to, what it is in words, and what stands around it."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from modelyard.spec.base import Sensitivity
from plan_review import iam
from plan_review.changes import Change, StackPlan, at
from plan_review.fleet import EnvironmentFacts, Fleet
from plan_review.promotion import Promotion, from_checkouts, from_settings
from plan_review.subject import Subject

_STACK = re.compile(
    r"(?P<environment>[a-z][a-z0-9]*)-(?:(?:team|tenant)-(?P<team>[a-z0-9-]+)|foundation|platform|cluster|catalog|operations)"
)
_SHARED = frozenset(("shared", ""))


@dataclass(frozen=True)
class Protection:
    """Resources that Terraform itself refuses to destroy, by stack and address."""

    before: frozenset[tuple[str, str]] = frozenset()
    after: frozenset[tuple[str, str]] = frozenset()


class Context:
    """Everything about one review that rules look at.

    Args:
        plans: the plans under review.
        fleet: what the checkout under review declares.
        base: what the checkout before it declares; the same where there is none.
        protection: lifecycle protection, where synthesized stacks are at hand.
    """

    def __init__(
        self,
        plans: Sequence[StackPlan],
        fleet: Fleet | None = None,
        base: Fleet | None = None,
        protection: Protection | None = None,
    ) -> None:
        self.plans = plans
        self.fleet = fleet or Fleet()
        self.base = base or self.fleet
        self.compares_checkouts = base is not None
        self.protection = protection or Protection()
        self._subjects: dict[int, Subject] = {}
        self._gained: dict[int, list[iam.Grant]] = {}
        self._lost: dict[int, list[iam.Grant]] = {}

    @cached_property
    def changed_teams(self) -> Sequence[str]:
        """Teams whose folder differs between the two checkouts."""
        if not self.compares_checkouts:
            return ()
        return [team for team in self.fleet.teams if not self.fleet.same_files(self.base, team)]

    @cached_property
    def promotions(self) -> tuple[Promotion, ...]:
        """Models of which another version is served."""
        if self.compares_checkouts:
            return tuple(from_checkouts(self.base, self.fleet, self.changed_teams))
        return tuple(from_settings((change, self.subject(change)) for change in self.changes()))

    def changes(self) -> Iterator[Change]:
        """Yield every change under review."""
        for plan in self.plans:
            yield from plan.changes

    @cached_property
    def _by_type(self) -> Mapping[str, Sequence[Change]]:
        found: dict[str, list[Change]] = {}
        for plan in self.plans:
            for change in plan.all():
                found.setdefault(change.type, []).append(change)
        return found

    def of_type(self, *types: str, stack: str | None = None) -> Iterator[Change]:
        """Yield all resources of these types, changed or not."""
        for type_ in types:
            for change in self._by_type.get(type_, ()):
                if stack is None or change.stack == stack:
                    yield change

    def environment(self, change: Change) -> EnvironmentFacts | None:
        """Return the environment that a resource is in, where it is known."""
        return self.fleet.environments.get(self.subject(change).environment)

    def gained(self, change: Change) -> list[iam.Grant]:
        """Return the grants that a change adds, the same principal's on the same thing elsewhere apart."""
        if id(change) not in self._gained:
            found = iam.gained(change) if iam.makes_grants(change.type) else []
            # What another resource of the plan granted before is not gained by writing it down anew.
            self._gained[id(change)] = [grant for grant in found if grant not in self._granted_before]
        return self._gained[id(change)]

    def lost(self, change: Change) -> list[iam.Grant]:
        """Return the grants that a change takes away."""
        if id(change) not in self._lost:
            found = iam.lost(change) if iam.makes_grants(change.type) else []
            self._lost[id(change)] = [grant for grant in found if grant not in self._granted_after]
        return self._lost[id(change)]

    @cached_property
    def _granted_before(self) -> frozenset[iam.Grant]:
        """Grants of the changed resources, before."""
        return frozenset(g for change in self.changes() for g in iam.grants(change.type, change.before))

    @cached_property
    def _granted_after(self) -> frozenset[iam.Grant]:
        return frozenset(g for change in self.changes() for g in iam.grants(change.type, change.after))

    # Whom things belong to
    def subject(self, change: Change) -> Subject:
        """Return whom a resource belongs to: by its labels, else by its stack, its path and its names."""
        if id(change) not in self._subjects:
            self._subjects[id(change)] = self._find_subject(change)
        return self._subjects[id(change)]

    def _find_subject(self, change: Change) -> Subject:
        labels = change.labels
        match = _STACK.fullmatch(change.stack)
        environment = labels.get("environment") or (match["environment"] if match else "")
        team = labels.get("team") or (match["team"] or "" if match else "")
        model = labels.get("model", "")
        if not labels.get("team"):
            project = change.values.get("project")
            team = self.fleet.team_of_project(project) or team if isinstance(project, str) else team
        if not labels.get("model") and team:
            model = self._model_of(change, team)
        return Subject(environment, "" if team == "platform" else team, "" if model in _SHARED else model)

    @cached_property
    def _models(self) -> Mapping[str, frozenset[str]]:
        """Team -> names of its models, from labels in the plans and from the checkouts."""
        found: dict[str, set[str]] = {}
        for plan in self.plans:
            for change in plan.all():
                labels = change.labels
                if labels.get("team") and labels.get("model", "shared") not in _SHARED:
                    found.setdefault(labels["team"], set()).add(labels["model"])
        for fleet in (self.fleet, self.base):
            for team in fleet.teams.values():
                found.setdefault(team.team, set()).update(team.models)
        return {team: frozenset(models) for team, models in found.items()}

    def _model_of(self, change: Change, team: str) -> str:
        """Return the model that an unlabelled resource names in its construct path, address or attributes."""
        models = sorted(self._models.get(team, ()), key=len, reverse=True)
        segments = set((change.construct or "").split("/"))
        texts = [value for value in change.values.values() if isinstance(value, str)]
        for model in models:
            if model in segments or f"models_{model}_" in f"{change.name}_":
                return model
            forms = (model, model.replace("-", "_"), f"model-{model}")
            for text in texts:
                # The last part of a path, or an account's name before the @.
                last = text.rpartition("/")[2].rpartition(":")[2].partition("@")[0]
                if last in forms or last.startswith(
                    (f"{model}-input", f"{model}-predictions", f"{model}-dead")
                ):
                    return model
        return ""

    # Principals
    def team_of(self, grant: iam.Grant) -> str | None:
        """Return the team that a principal belongs to: by its group, or its service account's project."""
        if grant.account_project:
            return self.fleet.team_of_project(grant.account_project)
        return self.fleet.team_of_group(grant.email) if grant.email else None

    def principal(self, grant: iam.Grant) -> str:
        """Return a principal in words, its full name always included."""
        team = self.team_of(grant)
        if team:
            return f"team {team} ({grant.principal})"
        persona = self.fleet.persona_of_group(grant.email)
        if persona:
            return f"the {persona} group ({grant.principal})"
        return {"allUsers": "anyone on the internet (allUsers)"}.get(
            grant.principal,
            "anyone with a Google account (allAuthenticatedUsers)"
            if grant.principal.endswith("allAuthenticatedUsers")
            else grant.principal,
        )

    # Things
    def thing(self, change: Change) -> str:
        """Return a resource in words, such as `the log of flight-ops/arrival-delay`."""
        subject = self.subject(change)
        name = self.name(change)
        kind = _KINDS.get(change.type)
        if change.type == "google_bigquery_table" and subject.model:
            return f"the log of {subject}"
        if change.type == "kubernetes_manifest":
            kind = str(at(change.values, "manifest.kind", "manifest"))
        if kind:
            of = f" of {subject}" if subject.model or subject.team else ""
            return f"{kind} {name}{of}"
        return change.address

    @staticmethod
    def name(change: Change) -> str:
        """Return the name that the cloud or the cluster knows a resource by."""
        places = (
            "table_id",
            "dataset_id",
            "display_name",
            "name",
            "account_id",
            "metadata.name",
            "manifest.metadata.name",
        )
        for place in (*places, "project_id", "bucket_id", "role_id", "entitlement_id", "data_policy_id"):
            value = at(change.values, place)
            if isinstance(value, str) and value:
                return value
        return change.name

    def granted_on(self, change: Change, grant: iam.Grant) -> str:
        """Return what a grant is on in words, its full name always included."""
        subject = self.subject(change)
        if grant.kind == "bigquery_table" and subject.model:
            return f"the log of {subject}{self.holds(change, grant)} ({grant.on})"
        if grant.kind == "storage_managed_folder":
            return f"the artefacts of {subject} ({grant.on})"
        if grant.kind in ("bigquery_datapolicy_data_policy", "data_catalog_policy_tag"):
            how = "masked columns" if "datapolicy" in grant.kind else "protected columns"
            return f"the {how} of {subject} ({grant.on})"
        team = self.fleet.team_of_project(grant.on.removeprefix("project "))
        if grant.kind == "project" and team:
            return f"the project of team {team} ({grant.on.removeprefix('project ')})"
        if grant.kind == "bigquery_dataset" and subject.team:
            return f"the data of {subject}{self.holds(change, grant)} ({grant.on})"
        if grant.kind == "service_account" and subject.model:
            return f"the identity of {subject} ({grant.on})"
        return grant.on

    def holds(self, change: Change, grant: iam.Grant) -> str:
        """Return `, which holds pii` for data that does; empty where nothing is known of it."""
        levels = self.levels(change, grant)
        for level in (Sensitivity.PII, Sensitivity.CONFIDENTIAL):
            columns = sorted(name for name, found in levels.items() if found is level)
            if columns:
                shown = ", ".join(columns[:4]) + (", ..." if len(columns) > 4 else "")
                word = "pii" if level is Sensitivity.PII else "confidential data"
                return f", which holds {word} ({shown})"
        return ""

    def levels(self, change: Change, grant: iam.Grant) -> Mapping[str, Sensitivity]:
        """Return the protected columns of the data that a grant is on."""
        subject = self.subject(change)
        found: dict[str, Sensitivity] = {}
        models = [subject.model] if subject.model else sorted(self._models.get(subject.team, ()))
        if grant.kind in ("bigquery_table", "bigquery_dataset") and subject.team:
            for model in models:
                for canary in (False, True):
                    declared = self.fleet.sensitivity(subject.team, model, canary)
                    found |= {name: level for name, level in declared.items() if level.restricted}
        if not found and grant.kind == "bigquery_table":
            for table in self.of_type("google_bigquery_table", stack=change.stack):
                if iam.target("bigquery_table", table.values) == grant.on:
                    found |= self.tagged_columns(table.values)
        return found

    def tagged_columns(self, values: Mapping[str, Any]) -> dict[str, Sensitivity]:
        """Return the columns of a table that carry a policy tag, with the tag's level."""
        return {
            column: self.tag_levels.get(tag, Sensitivity.PII)
            for column, tag in policy_tags(values.get("schema")).items()
        }

    @cached_property
    def tag_levels(self) -> Mapping[str, Sensitivity]:
        """Name of a policy tag -> its level, from the tags in the plans."""
        found = {}
        for tag in self.of_type("google_data_catalog_policy_tag"):
            name, level = tag.values.get("name"), tag.values.get("display_name")
            if isinstance(name, str) and level in set(Sensitivity):
                found[name] = Sensitivity(level)
        return found


def columns(schema: Any, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the columns of a BigQuery schema with their dotted names, nested ones too."""
    for field in schema if isinstance(schema, list) else ():
        if isinstance(field, Mapping) and isinstance(field.get("name"), str):
            name = prefix + field["name"]
            yield name, field
            yield from columns(field.get("fields"), f"{name}.")


def policy_tags(schema: Any) -> dict[str, str]:
    """Return column -> policy tag of a BigQuery schema."""
    found = {}
    for name, field in columns(schema):
        names = at(field, "policyTags.names", [])
        if isinstance(names, list) and names:
            found[name] = str(names[0])
    return found


_KINDS = {
    "google_artifact_registry_repository": "the image registry",
    "google_bigquery_dataset": "dataset",
    "google_bigquery_table": "table",
    "google_billing_budget": "budget",
    "google_compute_firewall": "firewall rule",
    "google_compute_network": "network",
    "google_compute_subnetwork": "subnet",
    "google_container_cluster": "cluster",
    "google_container_node_pool": "node pool",
    "google_data_catalog_policy_tag": "policy tag",
    "google_data_catalog_taxonomy": "taxonomy",
    "google_kms_crypto_key": "key",
    "google_kms_key_ring": "key ring",
    "google_logging_project_bucket_config": "log bucket",
    "google_logging_project_sink": "log sink",
    "google_monitoring_alert_policy": "alert",
    "google_monitoring_dashboard": "dashboard",
    "google_monitoring_notification_channel": "notification channel",
    "google_project": "project",
    "google_pubsub_subscription": "subscription",
    "google_pubsub_topic": "topic",
    "google_service_account": "identity",
    "google_storage_bucket": "bucket",
    "google_storage_managed_folder": "folder",
    "kubernetes_config_map_v1": "settings",
    "kubernetes_cron_job_v1": "batch job",
    "kubernetes_deployment_v1": "deployment",
    "kubernetes_horizontal_pod_autoscaler_v2": "autoscaler",
    "kubernetes_namespace_v1": "namespace",
    "kubernetes_network_policy_v1": "network policy",
    "kubernetes_pod_disruption_budget_v1": "disruption budget",
    "kubernetes_resource_quota_v1": "quota",
    "kubernetes_service_v1": "service",
}


def as_list(value: Any) -> list[Any]:
    """Return a list of a plan; empty where it is unknown or absent."""
    return value if isinstance(value, list) else []


def named(blocks: Iterable[Any], name: str) -> dict[str, Mapping[str, Any]]:
    """Return blocks by their attribute `name`."""
    return {str(block.get(name)): block for block in blocks if isinstance(block, Mapping)}
