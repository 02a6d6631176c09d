"""Finds names that Google Cloud or Kubernetes would refuse, and names that two owners would share."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from modelyard.naming import ModelNames, Names, TeamNames
from modelyard.spec.base import Pattern
from modelyard.spec.environment import restricted_word
from modelyard.spec.team import Model


class Claim(NamedTuple):
    """A name that an owner will take among the names of its kind."""

    kind: str
    name: str
    owner: str


# What each service accepts, from its API reference.
_LEGAL = {
    "project": r"[a-z][a-z0-9-]{4,28}[a-z0-9]",
    "namespace": r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
    "workload": r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
    "service account": r"[a-z]([a-z0-9-]{4,28}[a-z0-9])",
    "table": r"[A-Za-z_][A-Za-z0-9_]{0,299}",
    "topic": r"(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}",
    "team label": r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?",
    "model label": r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?",
}
# Labels that mark what teams share, and what models share.
_RESERVED = {"team label": "platform", "model label": "shared"}


def platform_claims(names: Names) -> Iterator[Claim]:
    """Yield what the environment itself takes among the names that teams take."""
    yield Claim("project", names.project, "the platform")
    yield Claim("namespace", names.gateway_namespace, "the platform")
    yield Claim("namespace", names.system_namespace, "the platform")


def team_claims(names: TeamNames) -> Iterator[Claim]:
    """Yield what a team takes in an environment."""
    owner = f"team {names.team}"
    yield Claim("project", names.project, owner)
    yield Claim("namespace", names.namespace, owner)
    yield Claim("team label", names.team, owner)


def model_claims(names: ModelNames, model: Model) -> Iterator[Claim]:
    """Yield what a model takes in its team's project and namespace."""
    owner = f"model {model.name}"
    yield Claim("model label", model.name, owner)
    yield Claim("service account", names.service_account_id, owner)
    yield Claim("workload", names.workload, owner)
    yield Claim("table", names.log_table, owner)
    if model.canary:
        yield Claim("workload", f"{names.workload}-canary", owner)
    if model.pattern is Pattern.BATCH:
        yield Claim("table", names.output_table, owner)
        yield Claim("table", names.runs_table, owner)
        if model.batch.source is None:
            yield Claim("table", names.input_table, owner)
    if model.pattern is Pattern.STREAMING:
        yield from (
            Claim("topic", topic, owner)
            for topic in (names.topic, names.predictions_topic, names.dead_letter_topic)
        )


def illegal(claim: Claim) -> str | None:
    """Return what is wrong with a name, or None."""
    if claim.name == _RESERVED.get(claim.kind):
        return "the name is reserved for what is shared"
    if not re.fullmatch(_LEGAL[claim.kind], claim.name):
        return f"its {claim.kind} would be named '{claim.name}', which Google Cloud refuses"
    word = restricted_word(claim.name) if claim.kind == "project" else None
    if word:
        return f"its project would be named '{claim.name}', and Google refuses names that contain '{word}'"
    return None


def shared(claims: Iterable[Claim]) -> Iterator[tuple[Claim, Claim]]:
    """Yield each claim whose name somebody else claimed before, and that first claim; case does not count."""
    first: dict[tuple[str, str], Claim] = {}
    for claim in claims:
        earlier = first.setdefault((claim.kind, claim.name.lower()), claim)
        if earlier.owner != claim.owner:
            yield claim, earlier
