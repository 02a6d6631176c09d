"""Dashboards in Cloud Monitoring, in the form in which its API gives them back."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cdktf_cdktf_provider_google.monitoring_dashboard import MonitoringDashboard
from constructs import Construct

from modelyard.monitors import Tile, tiles_of
from modelyard.monitors.platform import fleet_tiles
from modelyard.naming import ModelNames, Names
from modelyard.spec.team import DeployedModel, DeployedTeam
from modelyard.terraform_text import literal

COLUMNS = 48
WIDTH, HEIGHT = 24, 16
NOTE_HEIGHT = 8


class Dashboard(Construct):
    """A dashboard of charts, two in a row, each with its alert's threshold line.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.monitors import Tile
        from modules.dashboard import Dashboard

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-a")
        Dashboard(stack, "dashboard", title="Orders", note="Owner: a@example.com", labels={"team": "a"},
                  tiles=[Tile("Orders", "sum(rate(orders_total[5m]))", "1/s", threshold=10)])
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        title: title of the dashboard.
        note: Markdown at its top.
        tiles: its charts.
        labels: labels of the dashboard.
        project: project of the dashboard; default: the provider's.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        title: str,
        note: str,
        tiles: Sequence[Tile],
        labels: Mapping[str, str],
        project: str | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        MonitoringDashboard(
            self, "dashboard", project=project, dashboard_json=literal(rendered(title, note, tiles, labels))
        )


class ModelDashboard(Dashboard):
    """The dashboard of one model: use, log, and a chart per monitor.

    Args:
        scope: parent.
        construct_id: id in the parent.
        team: the team that owns the model.
        model: the model.
        names: its names.
        labels: labels of the dashboard.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        team: DeployedTeam,
        model: DeployedModel,
        names: ModelNames,
        labels: Mapping[str, str],
    ) -> None:
        canary = f", canary {model.canary.version}" if model.canary else ""
        note = (
            f"{model.spec.pattern} model, version {model.manifest.version}{canary}. "
            f"Owner: {team.owners.group}; escalation: {team.owners.escalation}."
        )
        super().__init__(
            scope,
            construct_id,
            title=f"{team.team}/{model.name}",
            note=note,
            tiles=tiles_of(team, model, names),
            labels=labels,
        )


class FleetDashboard(Dashboard):
    """The dashboard of an environment: all teams together, and the platform.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.dashboard import FleetDashboard

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        FleetDashboard(stack, "fleet", names=names, owner="platform@example.com", labels={"team": "platform"})
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment.
        owner: group of the platform engineers.
        labels: labels of the dashboard.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, names: Names, owner: str, labels: Mapping[str, str]
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            title=f"Modelyard {names.environment}",
            note=f"All models of environment {names.environment}, and what they share. Owner: {owner}.",
            tiles=fleet_tiles(names),
            labels=labels,
        )


def rendered(title: str, note: str, tiles: Sequence[Tile], labels: Mapping[str, str]) -> str:
    """Return the JSON of a dashboard: keys sorted, values that the API leaves out left out."""
    placed = [_placed(0, 0, COLUMNS, NOTE_HEIGHT, {"text": {"content": note, "format": "MARKDOWN"}})]
    for number, tile in enumerate(tiles):
        row, column = divmod(number, COLUMNS // WIDTH)
        placed.append(_placed(column * WIDTH, NOTE_HEIGHT + row * HEIGHT, WIDTH, HEIGHT, _chart(tile)))
    document = {
        "displayName": title,
        "labels": dict(labels),
        "mosaicLayout": {"columns": COLUMNS, "tiles": placed},
    }
    return json.dumps(canonical(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical(value: Any) -> Any:
    """Return `value` without what the API leaves out of its answers: nothing, zero, false, and the empty.

    A dashboard that said them would differ from the answer for ever.
    """
    if isinstance(value, Mapping):
        kept = {key: canonical(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, 0, "", [], {})}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _placed(x: int, y: int, width: int, height: int, widget: dict[str, Any]) -> dict[str, Any]:
    return {"xPos": x, "yPos": y, "width": width, "height": height, "widget": widget}


def _chart(tile: Tile) -> dict[str, Any]:
    threshold = (
        None if tile.threshold is None else {"label": "alert", "targetAxis": "Y1", "value": tile.threshold}
    )
    return {
        "title": tile.title,
        "xyChart": {
            "chartOptions": {"mode": "COLOR"},
            "dataSets": [
                {
                    "plotType": "LINE",
                    "targetAxis": "Y1",
                    "timeSeriesQuery": {"prometheusQuery": tile.query, "unitOverride": tile.unit},
                }
            ],
            "thresholds": [threshold] if threshold else [],
            "yAxis": {"scale": "LINEAR"},
        },
    }
