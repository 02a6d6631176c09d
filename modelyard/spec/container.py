"""What a serving container reads at start: `model.json`, mounted from a ConfigMap.

It holds settings and no secret. The server, the scorer, the stream worker and the monitor job read the same
form.
"""

import json
from typing import Any

from modelyard.naming import ModelNames
from modelyard.spec.base import Pattern
from modelyard.spec.manifest import Manifest
from modelyard.spec.team import DeployedModel

FORMAT = "modelyard.container/1"


def container_config(model: DeployedModel, manifest: Manifest, names: ModelNames) -> dict[str, Any]:
    """Return the configuration of the containers that serve `manifest` of `model`."""
    team = names.team
    spec = model.spec
    config: dict[str, Any] = {
        "format": FORMAT,
        "environment": team.environment.environment,
        "team": team.team,
        "model": model.name,
        "version": manifest.version,
        "pattern": spec.pattern.value,
        "registry": f"gs://{team.environment.artifact_bucket}",
        "artifact": manifest.artifact.model_dump(mode="json"),
        "signature": manifest.signature.model_dump(mode="json", exclude_defaults=True),
        "log": {"table": f"{team.project}.{team.dataset}.{names.log_table}"},
        "callers": list(spec.access.callers),
    }
    if spec.pattern is Pattern.BATCH:
        config["batch"] = {
            "source": spec.batch.source or f"{team.project}.{team.dataset}.{names.log_table}_input"
        }
    if spec.pattern is Pattern.STREAMING:
        config["streaming"] = {
            "subscription": f"projects/{team.project}/subscriptions/{names.topic}",
            "predictions": f"projects/{team.project}/topics/{names.predictions_topic}",
        }
    return config


def rendered(config: dict[str, Any]) -> str:
    """Return `config` as the text of `model.json`, the same text for the same settings."""
    return json.dumps(config, indent=1, sort_keys=True)
