"""What a rule is, and how rules are found and run."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from plan_review.changes import Change
from plan_review.context import Context
from plan_review.masking import scrub


class Severity(StrEnum):
    """What a finding asks for."""

    BLOCK = "block"
    """It must not be applied without a waiver."""
    APPROVE = "approve"
    """A named person must approve it."""
    WARN = "warn"
    """Somebody should look."""
    INFO = "info"
    """Good to know."""

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)

    @property
    def exit_code(self) -> int:
        """Exit code of a review whose worst finding this is."""
        return {Severity.BLOCK: 4, Severity.APPROVE: 3}.get(self, 0)


class Hit(NamedTuple):
    """Something a rule found. Findings on access name principal, role and resource."""

    message: str
    principal: str = ""
    role: str = ""
    resource: str = ""


class PlanHit(NamedTuple):
    """Something found on the whole of a review: where it belongs is said too."""

    message: str
    stack: str = ""
    address: str = ""
    team: str = ""
    model: str = ""
    source: str = ""
    """File in the repository that it comes from."""


Check = Callable[[Change, Context], Iterator[Hit]]
PlanCheck = Callable[[Context], Iterator[PlanHit]]


@dataclass(frozen=True)
class Rule:
    """One thing that the review looks for."""

    id: str
    severity: Severity
    title: str
    rationale: str
    fix: str
    types: tuple[str, ...] = ()
    check: Check | None = None
    plan_check: PlanCheck | None = None

    @property
    def family(self) -> str:
        """First part of the id, such as `exposure`."""
        return self.id.partition("/")[0]

    def covers(self, type_: str) -> bool:
        """Return whether the rule looks at resources of a type."""
        return any(fnmatchcase(type_, pattern) for pattern in self.types)


@dataclass(frozen=True)
class Finding:
    """What a rule found on one resource."""

    rule: Rule
    message: str
    stack: str
    address: str
    environment: str = ""
    team: str = ""
    model: str = ""
    principal: str = ""
    role: str = ""
    resource: str = ""
    action: str = ""
    source: str = ""
    waived_by: str = ""
    """Reason and owner of the waiver that lets it pass."""

    @property
    def severity(self) -> Severity:
        """What it asks for; a waived finding asks for nothing."""
        return Severity.INFO if self.waived_by else self.rule.severity

    @property
    def fingerprint(self) -> str:
        """Digest that stays the same while the finding does."""
        text = "\n".join((self.rule.id, self.stack, self.address, self.message))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def waived(self, by: str) -> "Finding":
        """Return the finding as a waiver lets it pass."""
        return replace(self, waived_by=by)


RULES: dict[str, Rule] = {}


def _add(rule: Rule) -> None:
    if rule.id in RULES:
        raise ValueError(f"two rules are named {rule.id}")
    RULES[rule.id] = rule
    _covering.cache_clear()


def rule(
    id_: str, severity: Severity, *types: str, title: str, rationale: str, fix: str
) -> Callable[[Check], Check]:
    """Register a rule on single changes of resources whose type matches one of `types`."""

    def register(check: Check) -> Check:
        _add(Rule(id_, severity, title, rationale, fix, types, check=check))
        return check

    return register


def plan_rule(
    id_: str, severity: Severity, *, title: str, rationale: str, fix: str
) -> Callable[[PlanCheck], PlanCheck]:
    """Register a rule on the whole of a review."""

    def register(check: PlanCheck) -> PlanCheck:
        _add(Rule(id_, severity, title, rationale, fix, plan_check=check))
        return check

    return register


@lru_cache(maxsize=4096)
def _covering(type_: str) -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES.values() if rule.check and rule.covers(type_))


def evaluate(context: Context) -> list[Finding]:
    """Return what all rules find, the worst first."""
    found = [finding for change in context.changes() for finding in _on_change(change, context)]
    for rule in RULES.values():
        if rule.plan_check:
            found += [_of_plan(rule, hit) for hit in rule.plan_check(context)]
    # A grant that a rule objects to is not told once more for information.
    told = {_grant(f) for f in found if f.principal and f.rule.severity is not Severity.INFO}
    found = [f for f in found if f.rule.severity is not Severity.INFO or _grant(f) not in told]
    unique = {
        (finding.rule.id, finding.stack, finding.address, finding.message): finding for finding in found
    }
    return sorted(unique.values(), key=lambda f: (f.severity.rank, f.rule.id, f.stack, f.address, f.message))


def _grant(finding: Finding) -> tuple[str, ...]:
    return (finding.stack, finding.address, finding.principal, finding.role, finding.resource)


def _on_change(change: Change, context: Context) -> Iterator[Finding]:
    for rule in _covering(change.type):
        assert rule.check is not None
        for hit in rule.check(change, context):
            subject = context.subject(change)
            yield Finding(
                rule=rule,
                message=scrub(hit.message),
                stack=change.stack,
                address=change.address,
                environment=subject.environment,
                team=subject.team,
                model=subject.model,
                principal=hit.principal,
                role=hit.role,
                resource=hit.resource,
                action=change.action.value,
            )


def _of_plan(rule: Rule, hit: PlanHit) -> Finding:
    return Finding(
        rule, scrub(hit.message), hit.stack, hit.address, team=hit.team, model=hit.model, source=hit.source
    )
