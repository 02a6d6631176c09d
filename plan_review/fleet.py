"""What a checkout says about the organisation: its environments, teams, models and pinned manifests.

Files are read leniently and by few of their keys: whether they are right is said by `modelyard validate` and
by synthesis. The review only needs to know who is who.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from modelyard.naming import Names
from modelyard.spec.base import Sensitivity

# Larger input files are refused by validation anyway.
_MAX_BYTES = 4 << 20
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Mail providers that give anyone an address.
PUBLIC_DOMAINS = frozenset(
    ("gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "yahoo.com", "icloud.com")
)
# Google's own agents, which act in every project.
_AGENTS = re.compile(
    r"(gcp-sa-[a-z0-9-]+|[a-z0-9.-]*(-robot|system)|gs-project-accounts|bigquery-encryption)"
    r"\.(iam\.)?gserviceaccount\.com"
    r"|(cloudservices|developer|appspot)\.gserviceaccount\.com"
)


@dataclass(frozen=True)
class EnvironmentFacts:
    """An environment file, as far as the review reads it."""

    name: str
    names: Names
    organization: str
    groups: Mapping[str, str]
    raw: Mapping[str, Any] = field(repr=False, default_factory=dict)

    def owns_project(self, project: str) -> bool:
        """Return whether `project` is the environment's own or one of its teams'."""
        return project == self.names.project or project.startswith(f"{self.names.tenant_prefix}-")


@dataclass(frozen=True)
class TeamFacts:
    """A team file, as far as the review reads it."""

    team: str
    group: str
    groups: frozenset[str]
    escalation: str
    cost_center: str
    models: Mapping[str, Mapping[str, Any]] = field(repr=False)


@dataclass(frozen=True)
class Fleet:
    """Everything a checkout declares; empty where a plan file is all there is."""

    root: Path | None = None

    @cached_property
    def environments(self) -> Mapping[str, EnvironmentFacts]:
        """Environments by name."""
        found = {}
        for path in sorted(self.root.glob("environments/*.yaml")) if self.root else ():
            raw = _mapping(path)
            if facts := _environment(raw):
                found[facts.name] = facts
        return found

    @cached_property
    def teams(self) -> Mapping[str, TeamFacts]:
        """Teams by name."""
        found = {}
        for path in sorted(self.root.glob("teams/*/team.yaml")) if self.root else ():
            if facts := _team(_mapping(path)):
                found[facts.team] = facts
        return found

    @cached_property
    def projects(self) -> Mapping[str, str]:
        """Project of a team -> the team, in every environment."""
        return {
            environment.names.team(team).project: team
            for environment in self.environments.values()
            for team in self.teams
        }

    @cached_property
    def _groups(self) -> Mapping[str, str]:
        return {group: team.team for team in self.teams.values() for group in team.groups}

    @cached_property
    def _personas(self) -> Mapping[str, str]:
        return {group: persona for env in self.environments.values() for persona, group in env.groups.items()}

    def team_of_group(self, email: str) -> str | None:
        """Return the team whose owners, developers or viewers a group is; None for shared groups."""
        return None if email in self._personas else self._groups.get(email)

    def persona_of_group(self, email: str) -> str | None:
        """Return what a group of the environment is for: platform, approvers, auditors or viewers."""
        return self._personas.get(email)

    def team_of_project(self, project: str) -> str | None:
        """Return the team that a project is of."""
        return self.projects.get(project)

    def is_foreign(self, email: str) -> bool:
        """Return whether an address is surely outside the organisation."""
        domain = email.rpartition("@")[2].lower()
        if domain in PUBLIC_DOMAINS:
            return True
        if domain.endswith("gserviceaccount.com"):
            return self._is_foreign_account(domain)
        organizations = {environment.organization for environment in self.environments.values()}
        if not organizations or not domain:
            return False
        return not any(domain == own or domain.endswith("." + own) for own in organizations)

    def _is_foreign_account(self, domain: str) -> bool:
        """Google's own agents are no foreigners; service accounts of projects that nobody here has are."""
        if not self.environments or _AGENTS.fullmatch(domain):
            return False
        project = domain.removesuffix(".iam.gserviceaccount.com")
        return project != domain and not any(env.owns_project(project) for env in self.environments.values())

    def knows_organization(self) -> bool:
        """Return whether the organisation's domain is known."""
        return bool(self.environments)

    def manifest(self, team: str, model: str, canary: bool = False) -> Mapping[str, Any]:
        """Return the pinned manifest of a model; empty if there is none."""
        if self.root is None:
            return {}
        path = self.root / "teams" / team / f"{model}{'.canary' if canary else ''}.json"
        try:
            if path.stat().st_size > 16 * _MAX_BYTES:
                return {}
            document = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    def same_files(self, other: "Fleet", team: str) -> bool:
        """Return whether a team's folder is the same in another checkout."""
        return self._files(team) == other._files(team)

    def _files(self, team: str) -> dict[str, bytes]:
        if self.root is None:
            return {}
        try:
            found = sorted((self.root / "teams" / team).iterdir())
            return {path.name: path.read_bytes() for path in found if path.is_file()}
        except OSError:
            return {}

    def sensitivity(self, team: str, model: str, canary: bool = False) -> Mapping[str, Sensitivity]:
        """Return the sensitivity of each feature: the team's word, else the manifest's."""
        features = _features(self.manifest(team, model, canary))
        declared = {
            name: _level(feature.get("sensitivity", "internal")) for name, feature in features.items()
        }
        facts = self.teams.get(team)
        overrides = facts.models.get(model, {}).get("sensitivity") if facts else None
        if isinstance(overrides, dict):
            declared |= {name: _level(level) for name, level in overrides.items() if name in declared}
        return declared


def features(manifest: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the features of a manifest by name."""
    return _features(manifest)


def _features(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    signature = manifest.get("signature")
    listed = signature.get("features") if isinstance(signature, dict) else None
    return {
        feature["name"]: feature
        for feature in (listed if isinstance(listed, list) else [])
        if isinstance(feature, dict) and isinstance(feature.get("name"), str)
    }


def _level(word: object) -> Sensitivity:
    try:
        return Sensitivity(str(word))
    except ValueError:
        return Sensitivity.INTERNAL


def _mapping(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            return {}
        document = yaml.load(path.read_bytes(), Loader=_LOADER)
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _environment(raw: Mapping[str, Any]) -> EnvironmentFacts | None:
    try:
        region = str(raw["region"])
        residency = str(raw.get("data_residency", "region"))
        names = Names(
            environment=str(raw["environment"]),
            project=str(raw["project"]),
            project_number=str(raw.get("project_number", "")),
            region=region,
            data_location=region if residency == "region" else residency,
            tenant_prefix=str(raw["tenants"]["prefix"]),
        )
        groups = raw.get("groups") or {}
        return EnvironmentFacts(
            names.environment,
            names,
            str(raw["organization"]).lower(),
            {str(persona): str(group) for persona, group in groups.items()},
            raw,
        )
    except (KeyError, TypeError, AttributeError):
        return None


def _team(raw: Mapping[str, Any]) -> TeamFacts | None:
    try:
        owners = raw["owners"]
        groups = (owners.get(role) for role in ("group", "developers", "viewers"))
        models = {
            str(model["name"]): model
            for model in raw.get("models") or []
            if isinstance(model, dict) and "name" in model
        }
        return TeamFacts(
            team=str(raw["team"]),
            group=str(owners["group"]),
            groups=frozenset(str(group) for group in groups if group),
            escalation=str(owners.get("escalation", "")),
            cost_center=str(raw.get("cost_center", "")),
            models=models,
        )
    except (KeyError, TypeError, AttributeError):
        return None
