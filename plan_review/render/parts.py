"""Sentences that several formats share."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from plan_review.changes import Action, Change
from plan_review.cost import Estimate, Item
from plan_review.diff import Difference, Kind, Repeated, ResourceDiff
from plan_review.report import Report
from plan_review.rules import Finding
from plan_review.words import count, listing, show

VERBS = {
    Action.CREATE: "add",
    Action.UPDATE: "change",
    Action.REPLACE: "replace",
    Action.DELETE: "destroy",
    Action.FORGET: "forget",
    Action.READ: "read",
    Action.NONE: "keep",
}
SYMBOLS = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.REPLACE: "±",
    Action.DELETE: "-",
    Action.FORGET: "→",
    Action.READ: "<",
    Action.NONE: " ",
}
FAMILIES = {
    "data-loss": "Data loss",
    "exposure": "Exposure",
    "privilege": "Privilege",
    "governance": "Governance",
    "monitoring": "Monitoring",
    "reliability": "Reliability",
    "cost": "Cost",
    "supply-chain": "Supply chain",
    "ci-identity": "CI identity",
    "promotion": "Promotion",
    "review": "Review",
}


def difference(found: Difference, limit: int = 120) -> str:
    """Return a difference in words, such as `labels.team: "a" -> "b"`."""
    if found.kind is Kind.ADDED:
        return f"{found.path}: added {show(found.after, limit)}"
    if found.kind is Kind.REMOVED:
        return f"{found.path}: removed {show(found.before, limit)}"
    before, after = show(found.before, limit), show(found.after, limit)
    if before == after:
        # Long texts that differ beyond what is shown, or secrets.
        before, after = _apart(found, limit)
    return f"{found.path}: {before} -> {after}"


def _apart(found: Difference, limit: int) -> tuple[str, str]:
    """Return two long values from where they differ."""
    texts = [show(value, 1 << 30) for value in (found.before, found.after)]
    if texts[0] == texts[1]:
        return texts[0][:limit], f"{texts[1][:limit]} (changed)"
    begin = next(
        (i for i, pair in enumerate(zip(*texts, strict=False)) if pair[0] != pair[1]), min(map(len, texts))
    )
    start = max(begin - 30, 0)
    lead = "…" if start else ""
    parts = [
        f"{lead}{text[start : start + limit]}{'…' if len(text) > start + limit else ''}" for text in texts
    ]
    return parts[0], parts[1]


def repeated(entry: Repeated) -> str:
    """Return a repeated difference in words, with the kinds of resources it is on."""
    kinds = Counter(change.type for change in entry.changes)
    stacks = sorted({change.stack for change in entry.changes})
    of = listing(f"{amount} {kind}" for kind, amount in kinds.most_common(4))
    where = f"in {stacks[0]}" if len(stacks) == 1 else f"in {count(len(stacks), 'stack')}"
    return f"{difference(entry.difference)} on {count(len(entry.changes), 'resource')} {where} ({of})"


def heading(change: Change, report: Report) -> str:
    """Return a resource's address, with the construct that made it where that is known."""
    construct = report.constructs.get((change.stack, change.address))
    return f"{change.stack}: {change.address}" + (f" ({construct})" if construct else "")


@dataclass(frozen=True)
class Told:
    """Findings that say the same of several resources, told once."""

    finding: Finding
    where: str
    """In how many stacks or on how many resources; empty for a single one."""
    resources: tuple[str, ...]
    """What access is granted on, of all of them."""


def told(findings: Sequence[Finding]) -> list[Told]:
    """Return findings of one rule with equal ones told once, also where only the environment differs."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        key = (
            _anywhere(finding.message, finding),
            finding.role,
            finding.team,
            finding.model,
            finding.waived_by,
        )
        groups.setdefault((*key, _anywhere(finding.principal, finding)), []).append(finding)
    return [
        Told(group[0], _where(group), tuple(dict.fromkeys(f.resource for f in group if f.resource)))
        for group in groups.values()
    ]


def _anywhere(text: str, finding: Finding) -> str:
    """Return a text with the name of the finding's environment left open."""
    name = finding.environment
    return re.sub(rf"(?<![a-zA-Z0-9]){re.escape(name)}(?![a-zA-Z0-9])", "*", text) if name else text


def _where(group: Sequence[Finding]) -> str:
    stacks = sorted({finding.stack for finding in group})
    if len(stacks) > 1:
        return f"in {count(len(stacks), 'stack')}: {listing(stacks)}"
    return f"on {count(len(group), 'resource')}" if len(group) > 1 else ""


def resource_note(diff: ResourceDiff) -> str:
    """Return what else there is to say on a resource besides its differences; empty if nothing."""
    change = diff.change
    notes = []
    if diff.elsewhere:
        notes.append(f"the same in {listing(diff.elsewhere)}")
    if change.replace_paths:
        paths = {".".join(str(s) for s in path if not isinstance(s, int)) for path in change.replace_paths}
        notes.append(f"replaced because of {', '.join(sorted(paths))}")
    if change.moved:
        notes.append(f"moved from {change.previous_address}")
    if change.imported:
        notes.append("imported")
    if diff.shared:
        notes.append(f"and {count(diff.shared, 'change')} told above")
    return "; ".join(notes)


def by_type(changes: Sequence[Change]) -> Iterator[tuple[str, list[Change]]]:
    """Yield resources by type, sorted."""
    found: dict[str, list[Change]] = {}
    for change in changes:
        found.setdefault(change.type, []).append(change)
    yield from sorted(found.items())


def money(amount: float, currency: str, sign: bool = True) -> str:
    """Return an amount a month."""
    return f"{amount:+,.0f} {currency}" if sign else f"{amount:,.0f} {currency}"


def cost_line(estimate: Estimate) -> str:
    """Return the estimate in one sentence."""
    delta = money(estimate.delta, estimate.currency)
    return (
        f"Estimate: {delta} a month, by list prices of {estimate.date} for {estimate.region}. "
        "Not an invoice; storage, queries and traffic are not in it."
    )


def cost_items(estimate: Estimate, most: int = 12) -> Iterator[Item]:
    """Yield what costs more or less, the largest difference first."""
    yield from estimate.items[:most]
