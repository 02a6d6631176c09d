"""Where to look: which prediction logs, tables of metadata and registry there are."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.naming import Names, underscored
from modelyard.spec.base import Sensitivity
from modelyard.spec.environment import Environment
from modelyard.spec.load import environment_names, load_environment, load_team, team_names
from modelyard.spec.team import DeployedTeam
from modelyard.warehouse import Warehouse
from modelyard.warehouse.folders import LocalWarehouse

_DATASET = re.compile(r"modelyard_(?P<environment>.+)_predictions")
# What tells a prediction log from the other tables of a team.
_LOG_COLUMNS = {"prediction_id", "time", "team", "model", "version", "features", "prediction"}
# Returns what the team file says about features, by environment, team and model.
Declared = Callable[[str, str, str], Mapping[str, Sensitivity]]


@dataclass(frozen=True)
class Log:
    """A prediction log."""

    ref: str
    environment: str


@dataclass(frozen=True)
class Place:
    """One warehouse, and what is known of it."""

    warehouse: Warehouse
    logs: Callable[[str | None, str | None], list[Log]]
    """Returns the logs of a team and model; None: of all."""
    metadata: Callable[[str, str], list[str]]
    """Returns the references of a table of metadata in an environment, by the environment and its name."""
    registry: str
    """Folder or bucket that artefacts' paths are relative to."""
    declared: Declared
    anywhere: bool
    """Whether a search over all days is free of charge."""


def nothing_declared(_environment: str, _team: str, _model: str) -> Mapping[str, Sensitivity]:
    """Leave what features are to the manifest."""
    return {}


def declared_in(root: Path) -> Declared:
    """Return what the team files of a checkout say about features; read when it is asked for.

    Raises:
        SpecError: when asked, an input has problems.
    """

    def declared(environment: str, team: str, model: str) -> Mapping[str, Sensitivity]:
        if environment not in environment_names(root) or team not in team_names(root):
            return {}
        models = load_team(root, team, load_environment(root, environment)).models
        return next((entry.spec.sensitivity for entry in models if entry.name == model), {})

    return declared


def local_place(
    warehouse: LocalWarehouse, registry: str | Path, declared: Declared = nothing_declared
) -> Place:
    """Return the local warehouse as a place: all logs that lie in it, of all environments."""

    def logs(_team: str | None, model: str | None) -> list[Log]:
        found = []
        for ref in warehouse.tables(
            dataset="modelyard_*_predictions", table=underscored(model) if model else "*"
        ):
            match = _DATASET.fullmatch(ref.split(".")[1])
            if match and set(_columns(warehouse, ref)) >= _LOG_COLUMNS:
                found.append(Log(ref, match["environment"]))
        return found

    def metadata(environment: str, table: str) -> list[str]:
        return warehouse.tables(dataset=f"modelyard_{environment}_metadata", table=table)

    return Place(warehouse, logs, metadata, str(registry), declared, anywhere=True)


def _columns(warehouse: LocalWarehouse, ref: str) -> list[str]:
    import pyarrow.parquet as pq

    files = warehouse.files(ref)
    names: list[str] = pq.read_schema(files[-1]).names if files else []
    return names


def cloud_place(warehouse: Warehouse, environment: Environment, teams: Iterable[DeployedTeam]) -> Place:
    """Return an environment in BigQuery as a place: the logs of the models that its teams declare."""
    names = Names.of(environment)
    known = tuple(teams)

    def logs(team: str | None, model: str | None) -> list[Log]:
        return [
            Log(f"{own.project}.{own.dataset}.{own.model(entry.name).log_table}", environment.environment)
            for declared in known
            if team in (None, declared.team)
            for own in [names.team(declared.team)]
            for entry in declared.models
            if model in (None, entry.name)
        ]

    def metadata(_environment: str, table: str) -> list[str]:
        return [f"{names.project}.{names.dataset('metadata')}.{table}"]

    def declared(_environment: str, team: str, model: str) -> Mapping[str, Sensitivity]:
        models = (entry for own in known if own.team == team for entry in own.models)
        return next((entry.spec.sensitivity for entry in models if entry.name == model), {})

    registry = f"gs://{names.artifact_bucket}"
    return Place(warehouse, logs, metadata, registry, declared, anywhere=False)
