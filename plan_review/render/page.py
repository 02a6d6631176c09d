"""The report as one HTML page that needs nothing else: light, dark, narrow, wide, and on paper."""

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files

from plan_review.changes import Action, Change
from plan_review.diff import Difference, Kind, ResourceDiff
from plan_review.render import parts
from plan_review.render.safe import markup
from plan_review.report import COUNTED, Report
from plan_review.rules import Finding, Rule, Severity
from plan_review.words import count, listing, show

_MOST_OPEN = 30


def render(report: Report) -> str:
    """Return the report as one HTML page."""
    return "\n".join(_page(report)) + "\n"


def _page(report: Report) -> Iterator[str]:
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    # Nothing is loaded and nothing runs, whatever the plan's texts hold.
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>Plan review: {markup(report.verdict)}</title>"
    yield f"<style>{_style()}</style></head><body><main>"
    yield from _head(report)
    yield from _promotions(report)
    yield from _findings(report)
    yield from _cost(report)
    yield from _repeated(report)
    yield from _resources(report)
    yield from _others(report)
    yield f"<footer><p>Digest of the changes: <code>{markup(report.digest)}</code></p></footer>"
    yield "</main></body></html>"


@cache
def _style() -> str:
    return files("plan_review.render").joinpath("page.css").read_text("utf-8")


def _head(report: Report) -> Iterator[str]:
    tone = "ok" if report.exit_code == 0 else report.severity.value
    yield f'<p><span class="verdict {tone}">{markup(report.verdict)}</span></p>'
    touched = (("stack", report.blast.stacks), ("team", report.blast.teams), ("model", report.blast.models))
    sizes = [count(len(names), noun) for noun, names in touched if names]
    yield f"<h1>Touches {' and '.join(filter(None, (', '.join(sizes[:-1]), *sizes[-1:]))) or 'nothing'}</h1>"
    for noun, names in touched:
        if names:
            yield f"<p class=soft>{_capital(noun)}s: {markup(listing(names, 60))}</p>"
    if report.head:
        base = markup(report.base or "nothing")
        yield f"<p class=soft><code>{base}</code> → <code>{markup(report.head)}</code></p>"
    words = {
        Action.CREATE: "to add",
        Action.UPDATE: "to change",
        Action.REPLACE: "to replace",
        Action.DELETE: "to destroy",
    }
    counts = "".join(f"<li><b>{report.counts.get(a, 0):,}</b> {words[a]}</li>" for a in COUNTED)
    yield f'<ul class="counts">{counts}</ul>'
    for note in report.notes:
        yield f'<p class="note">{markup(note)}</p>'
    if len(report.stacks) > 1:
        yield "<details><summary>Stacks</summary><table><tr><th>stack<th class=n>add<th class=n>change"
        yield "<th class=n>replace<th class=n>destroy<th>plan</tr>"
        for stack in report.stacks:
            numbers = "".join(f"<td class=n>{stack.counts.get(a, 0)}" for a in COUNTED)
            made = "real" if stack.real else "stand-in"
            yield f"<tr><td><code>{markup(stack.stack)}</code>{numbers}<td>{made}</tr>"
        yield "</table></details>"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _promotions(report: Report) -> Iterator[str]:
    if report.promotions:
        yield "<h2>Model versions</h2>"
    for promotion in report.promotions:
        lines = "".join(f"<li>{markup(line)}</li>" for line in promotion.lines())
        yield f'<section class="card"><h3>{markup(promotion.title)}</h3><ul>{lines}</ul></section>'


def _findings(report: Report) -> Iterator[str]:
    if not report.findings:
        yield "<h2>Findings</h2><p>No rule found anything.</p>"
        return
    loud = [g for g in report.groups() if g[2][0].severity is not Severity.INFO or g[1]]
    quiet = [g for g in report.groups() if g not in loud]
    if loud:
        yield "<h2>Findings</h2>"
        for rule, waived, findings in loud:
            yield from _group(rule, waived, findings)
    if quiet:
        amount = sum(len(findings) for _, _, findings in quiet)
        yield f"<h2>For information</h2><details><summary>{count(amount, 'note')}</summary><ul>"
        for _, _, findings in quiet:
            yield from (f"<li>{markup(t.finding.message)}{_where(t)}</li>" for t in parts.told(findings))
        yield "</ul></details>"


def _group(rule: Rule, waived: bool, findings: list[Finding]) -> Iterator[str]:
    tone = "waived" if waived else findings[0].severity.value
    yield f'<section class="card finding {tone}"><header><span class="tag">{tone}</span>'
    yield f"<h3>{markup(rule.title)}</h3><small><code>{markup(rule.id)}</code></small></header>"
    items = [_item(entry) for entry in parts.told(findings)]
    yield f"<ul>{''.join(items[:_MOST_OPEN])}</ul>"
    if len(items) > _MOST_OPEN:
        rest = "".join(items[_MOST_OPEN:])
        yield f"<details><summary>{len(items) - _MOST_OPEN} more</summary><ul>{rest}</ul></details>"
    yield f"<p><small>{markup(rule.rationale)}<br><b>Mend:</b> {markup(rule.fix)}</small></p></section>"


def _where(entry: parts.Told) -> str:
    return f" <small>({markup(entry.where)})</small>" if entry.where else ""


def _item(entry: parts.Told) -> str:
    finding = entry.finding
    text = markup(finding.message) + _where(entry)
    if finding.principal:
        named = [("principal", finding.principal), ("role", finding.role)]
        named += [("on", resource) for resource in entry.resources]
        access = " ".join(f"{name} <code>{markup(value)}</code>" for name, value in named)
        text += f'<small class="access">{access}</small>'
    if finding.waived_by:
        text += f"<br><small>waived: {markup(finding.waived_by)}</small>"
    return f"<li>{text}</li>"


def _cost(report: Report) -> Iterator[str]:
    if not report.cost.items:
        return
    estimate = report.cost
    yield f"<h2>Cost</h2><p>{markup(parts.cost_line(estimate))}</p>"
    yield "<table><tr><th class=n>a month<th>what<th>whose</tr>"
    for item in parts.cost_items(estimate):
        delta = parts.money(item.delta, estimate.currency)
        yield f"<tr><td class=n>{delta}<td>{markup(item.what)}<td>{markup(str(item.subject))}</tr>"
    yield "</table><details><summary>Assumptions</summary><ul>"
    yield from (f"<li>{markup(line)}</li>" for line in estimate.assumptions)
    yield f"<li>Source: {markup(estimate.source)}</li></ul></details>"


def _repeated(report: Report) -> Iterator[str]:
    if not report.repeated:
        return
    yield "<h2>The same change on many resources</h2>"
    for entry in report.repeated:
        where = "".join(
            f"<li><code>{markup(parts.heading(c, report))}</code></li>" for c in entry.changes[:500]
        )
        more = f"<li>and {len(entry.changes) - 500} more</li>" if len(entry.changes) > 500 else ""
        yield f"<details><summary>{markup(parts.repeated(entry))}</summary><ul>{where}{more}</ul></details>"


def _resources(report: Report) -> Iterator[str]:
    if not (report.diffs or report.created or report.destroyed):
        return
    yield "<h2>Changed resources</h2>"
    for diff in report.diffs:
        yield _resource(diff, report)
    for changes, verb in ((report.destroyed, "destroyed"), (report.created, "added")):
        for kind, group in parts.by_type(changes):
            title = f"{count(len(group), kind, kind)} {verb}"
            yield f"<details><summary>{title}</summary><ul>{_list(group, report)}</ul></details>"


def _list(changes: Iterable[Change], report: Report) -> str:
    return "".join(f"<li><code>{markup(parts.heading(change, report))}</code></li>" for change in changes)


def _resource(diff: ResourceDiff, report: Report) -> str:
    note = parts.resource_note(diff)
    head = f"{parts.VERBS[diff.change.action]} <code>{markup(parts.heading(diff.change, report))}</code>"
    more = f" <small>{markup(note)}</small>" if note else ""
    lines = "".join(_difference(found) for found in diff.differences)
    return f'<details><summary>{head}{more}</summary><ul class="diff">{lines}</ul></details>'


def _difference(found: Difference) -> str:
    path = f"<code>{markup(found.path)}</code> "
    old = f'<del class="old">{markup(show(found.before, 600))}</del>'
    new = f'<ins class="new">{markup(show(found.after, 600))}</ins>'
    if found.kind is Kind.ADDED:
        return f"<li>{path}added {new}</li>"
    if found.kind is Kind.REMOVED:
        return f"<li>{path}removed {old}</li>"
    return f"<li>{path}{old} → {new}</li>"


def _others(report: Report) -> Iterator[str]:
    moved = ((markup(c.previous_address or ""), markup(c.address)) for c in report.moved)
    lines = [f"<code>{old}</code> moved to <code>{new}</code>" for old, new in moved]
    lines += [f"<code>{markup(c.address)}</code> imported" for c in report.imported]
    lines += [f"<code>{markup(c.address)}</code> is no longer managed; it stays" for c in report.forgotten]
    lines += [f"output <code>{markup(o.name)}</code>: {parts.VERBS[o.action]}" for o in report.outputs]
    if lines:
        yield f"<h2>Moved, imported and outputs</h2><ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"
    if report.drift:
        yield "<h2>Changed outside Terraform</h2>"
        yield from (_resource(diff, report) for diff in report.drift)
