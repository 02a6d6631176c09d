"""`modelyard new`: a team's folder, and models in it."""

import re
from pathlib import Path
from typing import Any

from cli import changes, registry
from cli.errors import CommandError
from cli.pin import parse_model, team_folder
from cli.team_file import TeamFile, scalar
from modelyard.spec.base import NAME_PATTERN, NAME_WORDS, Pattern
from modelyard.spec.changes import version_changes
from modelyard.spec.load import TEAM_FILE, TEAMS
from modelyard.spec.pinned import stable_file

TEMPLATE = """\
# yaml-language-server: $schema=../../schemas/team.schema.json
# Every key is explained in docs/reference/team-file.md.
team: {team}
owners:
  group: {group}
  escalation: {escalation}
cost_center: {cost_center}

# Settings of all models: resources, replicas, batch, streaming, monitors, access; each has a default.
# defaults:
#   monitors:
#     latency: {{threshold: 100}}

# Add one with: modelyard new model {team}/NAME --pattern rest
models: []
"""


def new_team(root: Path, team: str, *, group: str, escalation: str, cost_center: str) -> list[str]:
    """Make a team's folder with a team file without models; return what was done, a line each.

    Raises:
        CommandError: there is such a team already, or the name is none.
        SpecError: the file would have problems. Nothing is written.
    """
    if not re.fullmatch(NAME_PATTERN, team):
        raise CommandError(f"'{team}' is not {NAME_WORDS}flight-ops")
    if (root / TEAMS / team).exists():
        raise CommandError(f"There is a {TEAMS}/{team} already")
    text = TEMPLATE.format(
        team=team,
        group=scalar(group),
        escalation=scalar(escalation),
        cost_center=quoted(cost_center),
    )
    changes.apply(root, team, {TEAM_FILE: text.encode()})
    return [
        f"Written: {TEAMS}/{team}/{TEAM_FILE}",
        f"Next: publish a model version, then run: modelyard new model {team}/NAME --pattern rest",
    ]


def quoted(text: str) -> str:
    """Return text in double quotes, as YAML writes it."""
    written = scalar(text)
    return written if written.startswith('"') else f'"{written}"'


def new_model(
    root: Path,
    name: str,
    *,
    pattern: Pattern,
    version: int | None,
    pii_readers: list[str],
    registry_folder: Path | str,
) -> list[str]:
    """Add a model to a team file and pin its version; return what was done, a line each.

    Args:
        root: folder that holds `environments/` and `teams/`.
        name: `TEAM/MODEL`.
        pattern: how it is served.
        version: version to pin; None: the highest published.
        pii_readers: who may read protected features in clear; `nobody` for an empty list.
        registry_folder: where versions are published.

    Raises:
        CommandError: there is no such team or version, or there is such a model already.
        SpecError: the team file would have problems. Nothing is written.
    """
    team, model = parse_model(name)
    folder = team_folder(root, team)
    file = TeamFile(folder / TEAM_FILE, f"{TEAMS}/{team}/{TEAM_FILE}")
    if any(entry.get("name") == model for entry in file.models):
        raise CommandError(f"{file.shown} has a model '{model}' already; see: modelyard pin")
    if version is None:
        known = registry.versions(registry_folder, team, model)
        if not known:
            raise CommandError(
                f"The registry {registry_folder} has no version of {team}/{model}. Publish one first, "
                "or name another registry with --registry or MODELYARD_REGISTRY"
            )
        version = known[-1]
    manifest, content = registry.published(registry_folder, team, model, version)
    entry: dict[str, Any] = {"name": model, "pattern": pattern.value, "version": version}
    if pii_readers:
        entry["access"] = {"pii_readers": [] if pii_readers == ["nobody"] else pii_readers}
    file.add_model(entry)
    changes.apply(root, team, {TEAM_FILE: file.content, stable_file(model): content})
    return [
        f"{team}/{model}: version {version}, {pattern.value}",
        *(f"  {line}" for line in version_changes(None, manifest)),
        f"Written: {TEAMS}/{team}/{TEAM_FILE}",
        f"Written: {TEAMS}/{team}/{stable_file(model)}",
    ]
