"""What the monitor job reads of each team: which models there are, and how each is watched.

In the cluster it is a ConfigMap in the team's namespace; locally it is rendered from `teams/`. It holds
settings and no secret; baselines stand in the manifests, in the table of model versions.
"""

import json
from typing import Any, Literal

from modelyard.naming import TeamNames
from modelyard.spec.base import Pattern
from modelyard.spec.container import with_project
from modelyard.spec.team import DeployedModel, DeployedTeam

FORMAT: Literal["modelyard.monitoring/1"] = "modelyard.monitoring/1"
# Key of the ConfigMap.
FILE = "monitoring.json"


def monitoring_config(team: DeployedTeam, names: TeamNames) -> dict[str, Any]:
    """Return what the monitor job needs to know of `team`; tables are `project.dataset.table`."""
    environment = names.environment
    return {
        "format": FORMAT,
        "environment": environment.environment,
        "team": team.team,
        "project": names.project,
        "dataset": names.dataset,
        "owner": team.owners.group,
        "escalation": team.owners.escalation,
        "metadata": f"{environment.project}.{environment.dataset('metadata')}",
        "monitoring": f"{environment.project}.{environment.dataset('monitoring')}",
        "models": [_model(model, names) for model in team.models],
    }


def _model(model: DeployedModel, names: TeamNames) -> dict[str, Any]:
    spec = model.spec
    dataset = f"{names.project}.{names.dataset}"
    own = names.model(model.name)
    manifests = [manifest for manifest in (model.manifest, model.canary) if manifest]
    document: dict[str, Any] = {
        "model": model.name,
        "pattern": spec.pattern.value,
        "task": model.manifest.task.value,
        # The pinned version first, then the canary.
        "versions": [manifest.version for manifest in manifests],
        "manifests": {str(manifest.version): manifest.digest for manifest in manifests},
        "log_table": f"{dataset}.{own.log_table}",
        "monitors": spec.monitors.model_dump(mode="json"),
        "sensitivity": {
            feature.name: level.value
            for feature in model.manifest.signature.features
            if (level := model.sensitivity(feature.name)).restricted
        },
        "label": None,
    }
    if spec.label:
        table = with_project(spec.label.table, names.project)
        document["label"] = {**spec.label.model_dump(mode="json"), "table": table}
    if spec.pattern is Pattern.BATCH:
        document |= {
            "schedule": spec.batch.schedule,
            "deadline": spec.batch.deadline,
            "runs_table": f"{dataset}.{own.runs_table}",
        }
    return document


def rendered(config: dict[str, Any]) -> str:
    """Return `config` as the text of `monitoring.json`, the same text for the same settings."""
    return json.dumps(config, indent=1, sort_keys=True)
