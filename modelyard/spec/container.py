"""What a serving container reads at start: `model.json`, mounted from a ConfigMap.

It holds settings and no secret. The server, the scorer and the stream worker read the same form.
"""

import json
from dataclasses import dataclass
from typing import Any

from modelyard.naming import ModelNames
from modelyard.spec.base import Pattern
from modelyard.spec.manifest import Manifest
from modelyard.spec.team import DeployedModel, size_bytes

FORMAT = "modelyard.container/1"
# Columns of a batch model's own input table beside the features: which row a prediction is of, and its time.
ROW_ID, ROW_TIME = "row_id", "row_time"


@dataclass(frozen=True)
class Local:
    """Folders in place of the bucket and of BigQuery, for containers and processes on one machine."""

    registry: str
    warehouse: str


def container_config(
    model: DeployedModel,
    manifest: Manifest,
    names: ModelNames,
    *,
    image_digest: str = "",
    canary: bool = False,
    local: Local | None = None,
) -> dict[str, Any]:
    """Return the configuration of the containers that serve `manifest` of `model`.

    Args:
        model: the model, with settings merged.
        manifest: the version to serve.
        names: names of the model.
        image_digest: digest of the image that reads this; it stands in each row of the prediction log.
        canary: whether one process serves it beside the version that it joins; a canary's own pods do not.
        local: folders to read artefacts from and write rows to, in place of Google Cloud.
    """
    team = names.team
    spec = model.spec
    dataset = f"{team.project}.{team.dataset}"
    config: dict[str, Any] = {
        "format": FORMAT,
        "environment": team.environment.environment,
        "team": team.team,
        "model": model.name,
        "version": manifest.version,
        "pattern": spec.pattern.value,
        "task": manifest.task.value,
        "registry": local.registry if local else f"gs://{team.environment.artifact_bucket}",
        "artifact": manifest.artifact.model_dump(mode="json"),
        "manifest_digest": manifest.digest,
        "image_digest": image_digest,
        "signature": manifest.signature.model_dump(mode="json", exclude_defaults=True),
        "log": {"table": f"{dataset}.{names.log_table}"},
        "callers": list(spec.access.callers),
        "serving": {
            "out_of_range": spec.serving.out_of_range,
            # What a batch or streaming model reads stays where it is, so it can wait for its log.
            "log_unavailable": spec.serving.log_unavailable
            if spec.pattern is Pattern.REST
            else "stop-serving",
            "max_rows": spec.serving.max_rows,
            "max_body_bytes": size_bytes(spec.serving.max_body),
        },
    }
    if manifest.online:
        config["online"] = manifest.online.model_dump(mode="json")
    if manifest.signing:
        config["signing"] = manifest.signing.model_dump(mode="json")
    if canary:
        config["canary"] = True
    if local:
        config["warehouse"] = local.warehouse
    if spec.pattern is Pattern.BATCH:
        own = f"{dataset}.{names.input_table}"
        config["batch"] = {
            "source": with_project(spec.batch.source, team.project) if spec.batch.source else own,
            "key": spec.batch.key if spec.batch.source else ROW_ID,
            "output": f"{dataset}.{names.output_table}",
            "runs": f"{dataset}.{names.runs_table}",
            "shards": spec.batch.shards,
        }
    if spec.pattern is Pattern.STREAMING:
        topics = f"projects/{team.project}/topics"
        config["streaming"] = {
            "subscription": f"projects/{team.project}/subscriptions/{names.topic}",
            "predictions": f"{topics}/{names.predictions_topic}",
            "dead_letters": f"{topics}/{names.dead_letter_topic}",
            "max_delivery_attempts": spec.streaming.max_delivery_attempts,
        }
    return config


def with_project(table: str, project: str) -> str:
    """Return a `TableId` in full: one that names no project is in `project`."""
    return table if table.count(".") == 2 else f"{project}.{table}"


def rendered(config: dict[str, Any]) -> str:
    """Return `config` as the text of `model.json`, the same text for the same settings."""
    return json.dumps(config, indent=1, sort_keys=True)
