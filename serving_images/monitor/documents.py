"""What there is to watch: one monitoring document per team, from the cluster or from a checkout."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.monitors.measuring import DocumentError, Watched, watched
from modelyard.naming import MONITORING_CONFIG, Names
from modelyard.spec.manifest import Manifest
from modelyard.tables import Table

log = logging.getLogger(__name__)
FILE = "monitoring.json"
# Of the namespaces that the platform made.
SELECTOR = "managed_by=modelyard"


@dataclass(frozen=True)
class Source:
    """The models to watch, and what is known of them beside the warehouse."""

    models: tuple[Watched, ...]
    errors: tuple[str, ...] = ()
    """What is wrong with documents that were left out."""
    pinned: Mapping[tuple[str, str], Sequence[Manifest]] = field(default_factory=dict)
    """Manifests at hand, by team and model."""
    logs: Mapping[tuple[str, str], Table] = field(default_factory=dict)
    """Definitions of prediction logs, by team and model."""


def from_cluster(names: Names, api: Any = None) -> Source:
    """Return what the namespaces of the cluster say is to be watched.

    A document that cannot be read, or that speaks of what is not its team's, is left out and told.

    Args:
        names: of the environment.
        api: a `kubernetes.client.CoreV1Api`; default: that of the cluster this runs in.
    """
    if api is None:
        from kubernetes import client, config

        config.load_incluster_config()  # type: ignore[no-untyped-call]
        api = client.CoreV1Api()
    models: list[Watched] = []
    errors: list[str] = []
    for namespace in api.list_namespace(label_selector=SELECTOR).items:
        where = namespace.metadata.name
        try:
            document = _document(api, where)
            if document is not None:
                check(document, where, names)
                models += watched(document)
        except (DocumentError, ValueError) as error:
            errors.append(f"namespace {where}: {error}")
    return Source(tuple(models), tuple(errors))


def _document(api: Any, namespace: str) -> Mapping[str, Any] | None:
    from kubernetes.client.exceptions import ApiException

    try:
        held = api.read_namespaced_config_map(MONITORING_CONFIG, namespace).data or {}
    except ApiException as error:
        if error.status == 404:
            return None
        raise
    document = json.loads(held.get(FILE, "null"))
    if not isinstance(document, dict):
        raise DocumentError(f"ConfigMap {MONITORING_CONFIG} has no {FILE}")
    return document


def check(document: Mapping[str, Any], namespace: str, names: Names) -> None:
    """Refuse a document that would have the job read or write for others than its own team.

    Whoever may edit a team's namespace may edit its document, and the job may read every team's log.

    Raises:
        DocumentError: it names another team, environment, or another team's tables.
    """
    team = names.team(str(document.get("team")))
    said = {key: document.get(key) for key in ("environment", "project", "dataset", "metadata", "monitoring")}
    own = {
        "environment": names.environment,
        "project": team.project,
        "dataset": team.dataset,
        "metadata": f"{names.project}.{names.dataset('metadata')}",
        "monitoring": f"{names.project}.{names.dataset('monitoring')}",
    }
    wrong = [key for key in own if said[key] != own[key]]
    if team.namespace != namespace:
        wrong.append("team")
    for model in document.get("models", ()):
        names_of_model, dataset = team.model(str(model.get("model"))), f"{team.project}.{team.dataset}"
        if model.get("log_table") != f"{dataset}.{names_of_model.log_table}":
            wrong.append(f"log_table of {model.get('model')}")
        runs = f"{dataset}.{names_of_model.runs_table}"
        if model.get("runs_table", runs) != runs:
            wrong.append(f"runs_table of {model.get('model')}")
        project = ((model.get("label") or {}).get("table") or team.project).split(".")[0]
        if project != team.project and project.startswith(f"{names.tenant_prefix}-"):
            wrong.append(f"label table of {model.get('model')}")
    if wrong:
        raise DocumentError(f"its {', '.join(wrong)} is not that of the namespace's team")


def from_checkout(root: Path, environment: str) -> Source:
    """Return what the team files of a checkout say is to be watched.

    Raises:
        SpecError: an input file is wrong.
    """
    from modelyard.spec.load import load_environment, load_team, team_names
    from modelyard.spec.monitoring import monitoring_config
    from modelyard.tables import prediction_log

    settings = load_environment(root, environment)
    names = Names.of(settings)
    models: list[Watched] = []
    pinned: dict[tuple[str, str], Sequence[Manifest]] = {}
    logs: dict[tuple[str, str], Table] = {}
    for team in team_names(root):
        loaded, own = load_team(root, team, settings), names.team(team)
        models += watched(monitoring_config(loaded, own))
        for model in loaded.models:
            key = (team, model.name)
            pinned[key] = tuple(manifest for manifest in (model.manifest, model.canary) if manifest)
            logs[key] = prediction_log(model, own.model(model.name))
    return Source(tuple(models), (), pinned, logs)


def chosen(models: Sequence[Watched], team: str | None) -> Iterator[Watched]:
    """Yield the models of `team`, or all."""
    return (model for model in models if team in (None, model.team))
