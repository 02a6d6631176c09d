"""The report as a comment on a pull request: at most 65,536 characters, what is left out counted and named.

The comment carries a marker, by which the next run finds it and writes it anew.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from plan_review.render import parts
from plan_review.render.safe import code, markdown
from plan_review.report import Report
from plan_review.rules import Finding, Severity
from plan_review.words import count

MARKER = "<!-- modelyard-review -->"
MAX_CHARACTERS = 65_536
# Room for the list of what was left out. Bytes are counted, which are never fewer than characters.
_RESERVED = 2_000
_ICONS = {Severity.BLOCK: "⛔", Severity.APPROVE: "✋", Severity.WARN: "⚠️", Severity.INFO: "ℹ️"}  # noqa: RUF001
_MOST_PER_RULE = 25


@dataclass
class _Page:
    """Text that stops growing at its limit, and knows what did not fit."""

    limit: int
    lines: list[str] = field(default_factory=list)
    used: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def add(self, *lines: str) -> bool:
        """Add lines together, or none of them if they do not fit."""
        size = sum(len(line.encode("utf-8", "replace")) + 1 for line in lines)
        if self.used + size > self.limit:
            return False
        self.lines += lines
        self.used += size
        return True

    def add_all(self, what: str, items: Iterable[tuple[str, ...]], closing: str = "") -> None:
        """Add items until one does not fit; count the others."""
        self.limit -= len(closing) + 2 if closing else 0
        full = False
        for item in items:
            full = full or not self.add(*item)
            if full:
                self.left_out[what] = self.left_out.get(what, 0) + 1
        self.limit += len(closing) + 2 if closing else 0
        if closing:
            self.add(closing, "")


def render(report: Report) -> str:
    """Return the report as Markdown."""
    page = _Page(MAX_CHARACTERS - _RESERVED)
    icon = _ICONS[report.severity]
    page.add(MARKER, f"## {icon} {markdown(report.headline)}"[:8000], "")
    if report.head:
        page.add(f"{code(report.base or 'nothing')} → {code(report.head)}", "")
    page.add_all("notes", (("> " + markdown(note)[:2000], "") for note in report.notes))
    _promotions(report, page)
    _findings(report, page)
    _cost(report, page)
    _differences(report, page)
    page.add(f"Digest of the changes: {code(report.digest)}")
    if page.left_out:
        page.limit += _RESERVED
        names = ", ".join(f"{amount} {what}" for what, amount in page.left_out.items())
        page.add(
            "", f"**Left out for length: {markdown(names)}.** The HTML and JSON reports have everything."
        )
    return "\n".join(page.lines) + "\n"


def _promotions(report: Report, page: _Page) -> None:
    for promotion in report.promotions:
        lines = [f"- {markdown(line)}" for line in promotion.lines()]
        if not page.add(f"### {markdown(promotion.title)}", "", *lines, ""):
            page.left_out["promotions"] = page.left_out.get("promotions", 0) + 1


def _findings(report: Report, page: _Page) -> None:
    shown = [group for group in report.groups() if group[2][0].severity is not Severity.INFO or group[1]]
    quiet = [group for group in report.groups() if group not in shown]
    if shown:
        page.add("### Findings", "")
    for rule, waived, findings in shown:
        label = "waived" if waived else findings[0].severity.value
        title = f"#### {_ICONS[rule.severity]} {markdown(rule.title)} ({label}, {code(rule.id)})"
        if page.add(title, ""):
            page.add_all("findings", ((line,) for line in _finding_lines(findings)))
            page.add("", f"<sub>{markdown(rule.rationale)} **Mend:** {markdown(rule.fix)}</sub>", "")
        else:
            page.left_out["findings"] = page.left_out.get("findings", 0) + len(findings)
    if quiet:
        amount = sum(len(findings) for _, _, findings in quiet)
        page.add(f"<details><summary>{count(amount, 'note')} for information</summary>", "")
        items = (
            (f"- {markdown(t.finding.message)}{_where(t)}",)
            for _, _, found in quiet
            for t in parts.told(found)
        )
        page.add_all("notes for information", items, "</details>")


def _finding_lines(findings: list[Finding]) -> Iterator[str]:
    entries = parts.told(findings)
    for entry in entries[:_MOST_PER_RULE]:
        yield f"- {markdown(entry.finding.message)}{_where(entry)}{_access(entry)}"
        if entry.finding.waived_by:
            yield f"  - waived: {markdown(entry.finding.waived_by)}"
    if len(entries) > _MOST_PER_RULE:
        rest = entries[_MOST_PER_RULE:]
        stacks = sorted({entry.finding.stack for entry in rest if entry.finding.stack})
        where = f" in {', '.join(code(stack) for stack in stacks[:10])}" if stacks else ""
        yield f"- and {len(rest)} more like these{where}"


def _where(entry: parts.Told) -> str:
    return f" ({markdown(entry.where)})" if entry.where else ""


def _access(entry: parts.Told) -> str:
    finding = entry.finding
    if not finding.principal:
        return ""
    on = ", ".join(code(resource) for resource in entry.resources)
    return f" — principal {code(finding.principal)}, role {code(finding.role)}, resource {on}"


def _cost(report: Report, page: _Page) -> None:
    if not report.cost.items:
        return
    page.add("### Cost", "", markdown(parts.cost_line(report.cost)), "")
    page.add("| a month | what | whose |", "| ---: | --- | --- |")
    currency = report.cost.currency
    rows = (
        (f"| {parts.money(item.delta, currency)} | {markdown(item.what)} | {markdown(str(item.subject))} |",)
        for item in parts.cost_items(report.cost)
    )
    page.add_all("cost items", rows)
    page.add("", "<details><summary>Assumptions</summary>", "")
    page.add_all("assumptions", ((f"- {markdown(line)}",) for line in report.cost.assumptions), "</details>")


def _differences(report: Report, page: _Page) -> None:
    if report.repeated:
        page.add("### The same change on many resources", "")
        items = ((f"- {markdown(parts.repeated(entry))}",) for entry in report.repeated)
        page.add_all("repeated changes", items)
        page.add("")
    amount = len(report.diffs) + len(report.created) + len(report.destroyed)
    if amount:
        page.add(f"<details><summary>{count(amount, 'changed resource')}</summary>", "")
        page.add_all("changed resources", _resources(report), "</details>")
    others = list(_others(report))
    if others:
        page.add(f"<details><summary>{count(len(others), 'other change')}</summary>", "")
        page.add_all("other changes", ((line,) for line in others), "</details>")


def _resources(report: Report) -> Iterator[tuple[str, ...]]:
    for diff in report.diffs:
        note = parts.resource_note(diff)
        head = f"- {parts.VERBS[diff.change.action]} {code(parts.heading(diff.change, report))}"
        lines = [head + (f" ({markdown(note)})" if note else "")]
        lines += [f"  - {code(parts.difference(found))}" for found in diff.differences[:40]]
        if len(diff.differences) > 40:
            lines.append(f"  - and {len(diff.differences) - 40} more differences")
        yield tuple(lines)
    for changes, verb in ((report.destroyed, "destroy"), (report.created, "add")):
        for change in changes:
            yield (f"- {verb} {code(parts.heading(change, report))}",)


def _others(report: Report) -> Iterator[str]:
    for change in report.moved:
        yield f"- {code(change.previous_address or '')} moved to {code(change.address)}"
    for change in report.imported:
        yield f"- {code(change.address)} imported"
    for change in report.forgotten:
        yield f"- {code(change.address)} is no longer managed; it stays"
    for output in report.outputs:
        yield f"- output {code(output.name)}: {parts.VERBS[output.action]}"
    for diff in report.drift:
        yield f"- {code(diff.change.address)} was changed outside Terraform"
        yield from (f"  - {code(parts.difference(found))}" for found in diff.differences[:10])
