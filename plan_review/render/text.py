"""The report for a terminal."""

import io
from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from plan_review.render import parts
from plan_review.render.safe import plain
from plan_review.report import Report
from plan_review.rules import Severity
from plan_review.words import count

_STYLES = {
    Severity.BLOCK: "bold red",
    Severity.APPROVE: "bold yellow",
    Severity.WARN: "yellow",
    Severity.INFO: "cyan",
}
WIDTH = 110
_MOST_PER_RULE = 12
_MOST_DIFFS = 60


def render(report: Report) -> str:
    """Return the report without colours, `WIDTH` columns wide."""
    buffer = io.StringIO()
    show(report, Console(file=buffer, width=WIDTH, force_terminal=False, highlight=False, markup=False))
    return buffer.getvalue()


def show(report: Report, console: Console) -> None:
    """Write the report to a console."""
    console.print(Text(plain(report.headline), style=_STYLES[report.severity]))
    for note in report.notes:
        console.print(Padding(Text(plain(note), style="dim"), (0, 0, 0, 2)))
    for promotion in report.promotions:
        console.print()
        console.print(Text(plain(promotion.title), style="bold"))
        for line in promotion.lines():
            _line(console, line)
    _findings(report, console)
    _differences(report, console)
    if report.cost.items:
        _title(console, "Cost")
        console.print(Text(plain(parts.cost_line(report.cost))))
        for item in parts.cost_items(report.cost):
            _line(
                console, f"{parts.money(item.delta, report.cost.currency):>12}  {item.what} ({item.subject})"
            )
        for assumption in report.cost.assumptions:
            _line(console, assumption, "dim")
    console.print()
    console.print(Text(f"Digest of the changes: {report.digest}", style="dim"))


def _title(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, style="bold underline"))


def _line(console: Console, text: str, style: str = "", indent: int = 2) -> None:
    console.print(Padding(Text(plain(text), style=style), (0, 0, 0, indent)))


def _findings(report: Report, console: Console) -> None:
    if not report.findings:
        return
    _title(console, "Findings")
    for rule, waived, findings in report.groups():
        severity = findings[0].severity
        label = "waived" if waived else severity.value
        console.print(
            Text.assemble((f"{label:8}", _STYLES[severity]), (f"{rule.title} ", "bold"), (rule.id, "dim"))
        )
        entries = parts.told(findings)
        for entry in entries[:_MOST_PER_RULE]:
            where = f" ({entry.where})" if entry.where else ""
            _line(console, f"{entry.finding.message}{where}", indent=8)
            for resource in entry.resources[1:]:
                _line(console, f"also on {resource}", "dim", 10)
            if entry.finding.waived_by:
                _line(console, f"waived: {entry.finding.waived_by}", "dim", 10)
        if len(entries) > _MOST_PER_RULE:
            _line(console, f"and {len(entries) - _MOST_PER_RULE} more like these", "dim", 8)
        if severity in (Severity.BLOCK, Severity.APPROVE):
            _line(console, f"Why: {rule.rationale}", "dim", 8)
            _line(console, f"Mend: {rule.fix}", "dim", 8)


def _differences(report: Report, console: Console) -> None:
    lines = list(_difference_lines(report))
    if not lines:
        return
    _title(console, "Changes")
    for indent, text in lines[: 6 * _MOST_DIFFS]:
        _line(console, text, indent=indent)
    if len(lines) > 6 * _MOST_DIFFS:
        _line(
            console,
            f"and {len(lines) - 6 * _MOST_DIFFS} lines more; --format html or json has them all",
            "dim",
        )


def _difference_lines(report: Report) -> Iterator[tuple[int, str]]:
    for entry in report.repeated:
        yield 2, parts.repeated(entry)
    for diff in report.diffs:
        note = parts.resource_note(diff)
        symbol = parts.SYMBOLS[diff.change.action]
        yield 2, f"{symbol} {parts.heading(diff.change, report)}" + (f" [{note}]" if note else "")
        for difference in diff.differences:
            yield 6, parts.difference(difference)
    for changes, verb, symbol in ((report.created, "added", "+"), (report.destroyed, "destroyed", "-")):
        for kind, group in parts.by_type(changes):
            if len(group) > 5:
                yield 2, f"{symbol} {count(len(group), kind, kind)} {verb}"
            else:
                for change in group:
                    yield 2, f"{symbol} {parts.heading(change, report)}"
    for change in report.moved:
        yield 2, f"{change.stack}: {change.previous_address} moved to {change.address}"
    for change in report.imported:
        yield 2, f"{change.stack}: {change.address} imported"
    for change in report.forgotten:
        yield 2, f"→ {change.stack}: {change.address} is no longer managed; it stays"
    for output in report.outputs:
        yield 2, f"output {output.name}: {parts.VERBS[output.action]}"
