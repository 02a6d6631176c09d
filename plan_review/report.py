"""The review as one value, which all formats render."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from plan_review.blast import Blast, blast
from plan_review.changes import Action, Change, OutputChange, StackPlan
from plan_review.context import Context
from plan_review.cost import Estimate, estimate
from plan_review.diff import Repeated, ResourceDiff, aggregate
from plan_review.masking import Masked, Unknown
from plan_review.promotion import Promotion, advisories
from plan_review.rules import Finding, Rule, Severity
from plan_review.words import count, listing

VERDICTS = {
    Severity.BLOCK: "Blocked",
    Severity.APPROVE: "Needs a named approver",
    Severity.WARN: "Nothing to stop",
    Severity.INFO: "Nothing to stop",
}
# Actions that the first line counts, in its order.
COUNTED = (Action.CREATE, Action.UPDATE, Action.REPLACE, Action.DELETE)
_COUNT_WORDS = {
    Action.CREATE: "to add",
    Action.UPDATE: "to change",
    Action.REPLACE: "to replace",
    Action.DELETE: "to destroy",
    Action.FORGET: "to forget",
}
_KNOWN_PREFIXES = ("google_", "kubernetes_", "terraform_data", "null_resource")


@dataclass(frozen=True)
class StackSummary:
    """One stack of a review."""

    stack: str
    counts: Mapping[Action, int]
    real: bool
    source: str


@dataclass(frozen=True)
class Report:
    """Everything that a review says."""

    base: str
    head: str
    stacks: tuple[StackSummary, ...]
    counts: Mapping[Action, int]
    blast: Blast
    findings: tuple[Finding, ...]
    promotions: tuple[Promotion, ...]
    repeated: tuple[Repeated, ...]
    diffs: tuple[ResourceDiff, ...]
    created: tuple[Change, ...]
    destroyed: tuple[Change, ...]
    forgotten: tuple[Change, ...]
    moved: tuple[Change, ...]
    imported: tuple[Change, ...]
    drift: tuple[ResourceDiff, ...]
    outputs: tuple[OutputChange, ...]
    cost: Estimate
    notes: tuple[str, ...]
    digest: str
    """Digest of the changes: equal for plans that do the same."""
    constructs: Mapping[tuple[str, str], str]

    @property
    def severity(self) -> Severity:
        """The worst that any finding asks for."""
        return min((f.severity for f in self.findings), key=lambda s: s.rank, default=Severity.INFO)

    @property
    def exit_code(self) -> int:
        """0: nothing to stop, 3: needs a named approver, 4: blocked."""
        return self.severity.exit_code

    @property
    def verdict(self) -> str:
        """The severity in words."""
        return VERDICTS[self.severity]

    @property
    def headline(self) -> str:
        """The review in one line: verdict, stacks, counts and how far it reaches."""
        counts = [f"{self.counts.get(action, 0)} {_COUNT_WORDS[action]}" for action in COUNTED]
        if self.counts.get(Action.FORGET):
            counts.append(f"{self.counts[Action.FORGET]} {_COUNT_WORDS[Action.FORGET]}")
        return f"{self.verdict}: {', '.join(counts)}; {self.reach}"

    @property
    def reach(self) -> str:
        """How far the changes reach, in words."""
        touched = self.blast
        parts = []
        for names, noun in ((touched.stacks, "stack"), (touched.teams, "team"), (touched.models, "model")):
            if names:
                parts.append(f"{count(len(names), noun)} ({listing(names)})")
        return "touches " + (", ".join(parts) if parts else "nothing")

    def groups(self) -> list[tuple[Rule, bool, list[Finding]]]:
        """Return the findings by rule, the worst first: rule, whether waived, findings."""
        grouped: dict[tuple[str, bool], list[Finding]] = {}
        for finding in self.findings:
            grouped.setdefault((finding.rule.id, bool(finding.waived_by)), []).append(finding)
        return [(found[0].rule, bool(found[0].waived_by), found) for found in grouped.values()]


def build(
    context: Context,
    findings: Sequence[Finding],
    *,
    base: str = "",
    head: str = "",
    changed_files: Iterable[str] = (),
    notes: Iterable[str] = (),
) -> Report:
    """Return the report of a review.

    Args:
        context: what was reviewed.
        findings: what the rules found, waivers applied.
        base: what was there before, as the person named it.
        head: what is under review, as the person named it.
        changed_files: files that differ between the two.
        notes: what else the reader must know.
    """
    changes = list(context.changes())
    touched = blast(context, changed_files)
    repeated, diffs = aggregate(c for c in changes if c.action in (Action.UPDATE, Action.REPLACE))
    drift = aggregate((c for plan in context.plans for c in plan.drift), least=1 << 30)[1]
    counts = Counter(change.action for change in changes)
    return Report(
        base=base,
        head=head,
        stacks=tuple(_summary(plan) for plan in context.plans),
        counts=counts,
        blast=touched,
        findings=tuple(findings),
        promotions=context.promotions,
        repeated=tuple(repeated),
        diffs=tuple(diff for diff in diffs if diff.differences or diff.change.action is Action.REPLACE),
        created=tuple(c for c in changes if c.action is Action.CREATE),
        destroyed=tuple(c for c in changes if c.action is Action.DELETE),
        forgotten=tuple(c for c in changes if c.action is Action.FORGET),
        moved=tuple(c for c in changes if c.moved),
        imported=tuple(c for c in changes if c.imported),
        drift=tuple(diff for diff in drift if diff.differences),
        outputs=tuple(output for plan in context.plans for output in plan.outputs),
        cost=estimate(context),
        notes=(*_notes(context, touched), *notes),
        digest=digest(context.plans),
        constructs={(c.stack, c.address): c.construct for c in changes if c.construct},
    )


def _summary(plan: StackPlan) -> StackSummary:
    return StackSummary(plan.stack, Counter(c.action for c in plan.changes), plan.real, plan.source)


def _notes(context: Context, touched: Blast) -> Iterable[str]:
    on_stand_in = [plan.stack for plan in context.plans if not plan.real]
    if on_stand_in:
        yield (
            f"Planned on the stand-in provider: {listing(on_stand_in)}. Arguments, types and references were "
            "checked; Google was not asked, and what is really deployed was not looked at."
        )
    for plan in context.plans:
        if not plan.complete:
            yield f"The plan of {plan.stack} is partial: another apply will follow it."
        if plan.real and not plan.has_prior_state and plan.changes:
            yield f"The plan of {plan.stack} has no prior state: nothing is deployed yet."
        if plan.unknown_actions:
            names = listing(plan.unknown_actions)
            yield f"The plan of {plan.stack} has actions unknown here, shown as changes: {names}."
        if plan.drift:
            outside = count(len(plan.drift), "resource")
            yield f"{plan.stack}: {outside} changed outside Terraform since the last apply."
    if touched.shared:
        teams = listing(touched.teams, 40) if touched.teams else "no team"
        files = listing(touched.shared, 12)
        yield f"Shared code changed ({files}); it moves {count(len(touched.teams), 'team')}: {teams}."
    strange = Counter(c.type for c in context.changes() if not c.type.startswith(_KNOWN_PREFIXES))
    if strange:
        kinds = listing(f"{kind} ({amount})" for kind, amount in sorted(strange.items()))
        yield f"No rule knows these types, so only their differences are shown: {kinds}."
    if any(promotion.packages for promotion in context.promotions):
        file = advisories()
        yield f"Known weaknesses of dependencies: as of {file['date']}. {file['coverage']}"


def digest(plans: Sequence[StackPlan]) -> str:
    """Return `sha256:<hex>` of what the plans would do, secrets left out."""
    content = [
        [c.stack, c.address, c.action, c.previous_address, c.before, c.after]
        for plan in plans
        for c in plan.changes
    ]
    encoded = msgspec.json.encode(content, enc_hook=_public, order="deterministic")
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def _public(value: Any) -> str:
    if isinstance(value, Masked | Unknown):
        return repr(value)
    raise NotImplementedError(type(value))
