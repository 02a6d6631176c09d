"""A team file joined with an environment: settings merged, and what only both together show to be wrong."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelyard.naming import Names
from modelyard.naming.checks import Claim, illegal, model_claims, shared
from modelyard.spec.base import Pattern, Sensitivity, Severity
from modelyard.spec.container import ROW_ID, ROW_TIME
from modelyard.spec.environment import Environment
from modelyard.spec.errors import Path, Problem, nearest
from modelyard.spec.explain import validated
from modelyard.spec.machines import resource_findings
from modelyard.spec.manifest import Feature, Manifest
from modelyard.spec.source import Document
from modelyard.spec.team import Model


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which each layer overrides the keys it sets of those before; lists are replaced."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, Mapping):
                below = result.get(key)
                result[key] = merged(below if isinstance(below, Mapping) else {}, value)
            else:
                result[key] = value
    return result


def resolved(
    document: Document, index: int, environment: Environment
) -> tuple[Model | None, dict[str, Any], list[Problem]]:
    """Return a model with all settings, the settings as they were merged, and what is wrong with them."""
    assert document.data is not None
    own = document.data["models"][index]
    below = environment.defaults.model_dump(mode="json", exclude_unset=True)
    below = merged(below, document.data.get("defaults") or {})
    # Defaults of groups that the pattern does not use concern other models.
    unused = {path[0] for path, users in _ONLY_FOR.items() if len(path) == 1 and own["pattern"] not in users}
    data = merged({key: value for key, value in below.items() if key not in unused}, own)
    model, problems = validated(Model, data, document, functools.partial(_written_at, document, index))
    return model, data, problems


def model_problems(
    document: Document,
    index: int,
    model: Model,
    settings: Mapping[str, Any],
    manifests: Sequence[Manifest],
    retired: Sequence[Feature],
    environment: Environment,
) -> Iterator[Problem]:
    """Yield what is wrong with a model in an environment; its log also holds the `retired` features."""
    written = functools.partial(_written_at, document, index)
    for finding in resource_findings(model.resources, environment.cluster, environment.environment):
        yield document.problem(written(("resources", *finding.path)), finding.message)
    for kind in ("callers", "log_readers", "pii_readers"):
        for position, principal in enumerate(getattr(model.access, kind)):
            if principal.startswith("group:") and not environment.is_member(principal):
                message = f"'{principal}' is not in the organisation's domain {environment.organization}"
                yield document.problem(written(("access", kind, position)), message)
    if model.pattern is Pattern.REST:
        for position, principal in enumerate(model.access.callers):
            if principal.startswith("group:"):
                message = f"'{principal}' cannot call a REST model: a request names no groups"
                mend = "name the service account of the application that calls"
                yield document.problem(written(("access", "callers", position)), f"{message}; {mend}")
    if model.pattern is Pattern.BATCH and model.batch.source is None:
        for name in (feature.name for manifest in manifests for feature in manifest.signature.features):
            if name.lower() in (ROW_ID, ROW_TIME):
                message = f"Feature '{name}' is also a column of the model's own input table"
                yield document.problem(("models", index), f"{message}; name a source, with batch: {{source}}")
    if manifests:
        yield from _sensitivity_problems(document, index, model, settings, manifests, retired)


def name_problems(
    document: Document, models: Mapping[int, Model], names: Names, team: str
) -> Iterator[Problem]:
    """Yield models whose names a service refuses, or that share a name once it is cut to its limit."""
    claims: list[Claim] = []
    places: dict[str, Path] = {}
    for index, model in models.items():
        mine = list(model_claims(names.team(team).model(model.name), model))
        places[f"model {model.name}"] = ("models", index, "name")
        if wrong := next(filter(None, map(illegal, mine)), None):
            yield document.problem(("models", index, "name"), f"'{model.name}' cannot be used: {wrong}")
        claims += mine
    for claim, first in shared(claims):
        message = f"{claim.owner.capitalize()} and {first.owner} would share the {claim.kind} '{claim.name}'"
        yield document.problem(places[claim.owner], f"{message}; choose another name")


def owner_problems(
    document: Document, team: str, owners: Mapping[str, Any], environment: Environment
) -> Iterator[Problem]:
    """Yield what is wrong with a team's owners in an environment."""
    for role in ("group", "developers", "viewers"):
        if owners.get(role) and not environment.is_member(owners[role]):
            message = f"'{owners[role]}' is not in the organisation's domain {environment.organization}"
            yield document.problem(("owners", role), message)
    channels = {channel.name: channel for channel in environment.channels}
    name = owners["escalation"]
    if name not in channels:
        known = ", ".join(channels)
        message = f"'{name}' is no channel of environment {environment.environment}, which has {known}."
        yield document.problem(
            ("owners", "escalation"), f"{message}{nearest(name, channels)}".removesuffix(".")
        )
    elif Severity.CRITICAL not in channels[name].severities:
        message = f"Channel '{name}' of environment {environment.environment} gets no critical alerts"
        yield document.problem(("owners", "escalation"), f"{message}; choose one that does")
    elif channels[name].by_hand:
        # Alert policies stand in the team's project, and tell channels of their own project alone.
        project = Names.of(environment).team(team).project
        if not channels[name].address.startswith(f"projects/{project}/"):
            message = (
                f"Channel '{name}' of environment {environment.environment} is not in this team's project"
            )
            mend = f"make it in {project} and put its id into environments/{environment.environment}.yaml"
            yield document.problem(("owners", "escalation"), f"{message}; {mend}")


def pattern_problems(document: Document, index: int, model: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield settings that a model itself has and that its pattern does not use."""
    pattern = model["pattern"]
    useless: list[tuple[str, ...]] = []
    for path, patterns in _ONLY_FOR.items():
        inside = any(path[: len(outer)] == outer for outer in useless)
        if pattern not in patterns and document.has(("models", index, *path)) and not inside:
            useless.append(path)
            only = " and ".join(patterns)
            message = f"'{'.'.join(path)}' is for {only} models; this one is {pattern}, so remove it"
            yield document.problem(("models", index, *path), message, key=True)


_ONLY_FOR: dict[tuple[str, ...], tuple[Pattern, ...]] = {
    ("batch",): (Pattern.BATCH,),
    ("streaming",): (Pattern.STREAMING,),
    ("canary",): (Pattern.REST,),
    ("replicas",): (Pattern.REST, Pattern.STREAMING),
    ("replicas", "target_cpu"): (Pattern.REST,),
    ("serving", "log_unavailable"): (Pattern.REST,),
    ("serving", "max_rows"): (Pattern.REST,),
    ("serving", "max_body"): (Pattern.REST,),
    ("access", "callers"): (Pattern.REST, Pattern.STREAMING),
    ("monitors", "latency", "threshold"): (Pattern.REST,),
}


def _sensitivity_problems(
    document: Document,
    index: int,
    model: Model,
    settings: Mapping[str, Any],
    manifests: Sequence[Manifest],
    retired: Sequence[Feature],
) -> Iterator[Problem]:
    features = [*retired, *(feature for manifest in manifests for feature in manifest.signature.features)]
    names = {feature.name for feature in features}
    for name in model.sensitivity:
        if name not in names:
            message = (
                f"'{name}' is no feature of version {manifests[0].version}.{nearest(name, sorted(names))}"
            )
            yield document.problem(
                ("models", index, "sensitivity", name), message.removesuffix("."), key=True
            )
    restricted: dict[str, Sensitivity] = {}
    for feature in features:
        level = model.sensitivity.get(feature.name, feature.sensitivity)
        if level.restricted:
            restricted[feature.name] = level
    # A default would decide silently who sees personal data; somebody must have written it down.
    if restricted and "pii_readers" not in settings.get("access", {}):
        named = ", ".join(f"'{name}' ({level})" for name, level in list(restricted.items())[:5])
        more = f" and {len(restricted) - 5} more" if len(restricted) > 5 else ""
        message = (
            f"Say who may read {named}{more} in clear: "
            "access: {pii_readers: ['group:...']}, or [] for nobody"
        )
        yield document.problem(("models", index, "access", "pii_readers"), message)


def _written_at(document: Document, index: int, path: Path) -> Path:
    """Return where a setting of a model is written in the team file: at the model, else in the defaults."""
    for place in (("models", index, *path), ("defaults", *path)):
        if document.has(place):
            return place
    return ("models", index, *path)
