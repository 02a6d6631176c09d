"""Waivers: findings that somebody answers for, until a day that is named.

The file `waivers.yaml` is a list; each entry names a rule, a resource, a reason, an owner and an expiry:

```yaml
- rule: data-loss/stateful-destroyed
  resource: dev-team-pricing:google_bigquery_table.*diamond*
  reason: The model is retired; its log was exported to gs://archive/diamond-value.
  owner: pricing@example.com
  expires: 2026-12-31
```

`resource` is a pattern, as a shell matches file names, on `stack:address`.
"""

import datetime
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from plan_review.errors import ReviewError
from plan_review.rules.registry import RULES, Finding, Rule, Severity

_MAX_BYTES = 1 << 20
_EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"


class Waiver(BaseModel):
    """One finding, or several like it, that somebody answers for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    resource: str = Field(min_length=3, max_length=500)
    reason: str = Field(min_length=10, max_length=1000)
    owner: str = Field(pattern=_EMAIL, max_length=254)
    expires: datetime.date

    def covers(self, finding: Finding) -> bool:
        """Return whether the waiver is meant for a finding."""
        where = f"{finding.stack}:{finding.address}" if finding.address else finding.stack or finding.source
        return self.rule == finding.rule.id and fnmatchcase(where, self.resource)

    def concerns(self, stacks: Iterable[str]) -> bool:
        """Return whether the waiver is meant for one of these stacks, or for no single one."""
        stack, colon, _ = self.resource.partition(":")
        return not colon or any(fnmatchcase(name, stack) for name in stacks)

    def __str__(self) -> str:
        return f"{self.rule} on {self.resource}"


_WAIVERS = TypeAdapter(tuple[Waiver, ...])

EXPIRED = Rule(
    "review/waiver-expired",
    Severity.WARN,
    "A waiver has expired",
    "What it let pass counts again from that day on.",
    "Mend what it was for, or let its owner renew it.",
)
UNUSED = Rule(
    "review/waiver-unused",
    Severity.WARN,
    "A waiver is not needed",
    "It would let something else pass unseen some day.",
    "Remove the entry.",
)
ADDED = Rule(
    "review/waiver-added",
    Severity.APPROVE,
    "A waiver is added or changed",
    "Whoever writes the change could otherwise let it pass alone.",
    "Let someone other than the author approve.",
)
RULES.update({rule.id: rule for rule in (EXPIRED, UNUSED, ADDED)})


def read(path: Path) -> tuple[Waiver, ...]:
    """Return the waivers in a file; none if there is no such file.

    Raises:
        ReviewError: the file is not a list of waivers, or an entry names no rule there is.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ReviewError(str(path), "the file is larger than 1 MiB.", "Remove expired waivers.")
        return parse(path.read_bytes(), str(path))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ReviewError(str(path), f"cannot be read: {error.strerror}.") from None


def parse(text: bytes, where: str) -> tuple[Waiver, ...]:
    """Return the waivers in `text`.

    Raises:
        ReviewError: it is not a list of waivers, or an entry names no rule there is.
    """
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = str(getattr(error, "problem", None) or "it cannot be read as YAML")
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ReviewError(f"{where}{line}", f"this is not valid YAML: {problem}.") from None
    try:
        waivers = _WAIVERS.validate_python(document or ())
    except ValidationError as error:
        lines = [f"entry {'.'.join(str(p) for p in e['loc']) or '-'}: {e['msg']}" for e in error.errors()]
        raise ReviewError(
            where, "; ".join(lines) + ".", "Each entry has rule, resource, reason, owner, expires."
        ) from None
    for number, waiver in enumerate(waivers):
        if waiver.rule not in RULES:
            import difflib

            near = difflib.get_close_matches(waiver.rule, RULES, 1)
            hint = f"Did you mean '{near[0]}'?" if near else "docs/reference/review-rules.md lists the rules."
            raise ReviewError(where, f"entry {number}: '{waiver.rule}' is no rule.", hint)
    return waivers


def apply(
    findings: Sequence[Finding],
    waivers: Sequence[Waiver],
    today: datetime.date,
    before: Iterable[Waiver] | None = None,
    stacks: Iterable[str] = (),
) -> list[Finding]:
    """Return the findings with those waived that a waiver covers, and a finding on each waiver that is amiss.

    Args:
        findings: what the rules found.
        waivers: the waivers of the checkout under review.
        today: the day on which they must be in force.
        before: the waivers of the checkout before it, where there is one; others are new.
        stacks: the stacks under review; a waiver for another one is not unused.
    """
    live = [waiver for waiver in waivers if waiver.expires >= today]
    used: set[Waiver] = set()
    result: list[Finding] = []
    for finding in findings:
        by = next((waiver for waiver in live if waiver.covers(finding)), None)
        if by and finding.severity is not Severity.INFO:
            used.add(by)
            result.append(finding.waived(f"{by.reason} ({by.owner}, until {by.expires})"))
        else:
            result.append(finding)
    known = set(before) if before is not None else None
    result += _amiss(waivers, used, today, known, tuple(stacks))
    return sorted(result, key=lambda f: (f.severity.rank, f.rule.id, f.stack, f.address, f.message))


def _amiss(
    waivers: Sequence[Waiver],
    used: set[Waiver],
    today: datetime.date,
    known: set[Waiver] | None,
    stacks: tuple[str, ...],
) -> Iterator[Finding]:
    source = "waivers.yaml"
    for waiver in waivers:
        if waiver.expires < today:
            text = f"waiver of {waiver} expired on {waiver.expires} (owner {waiver.owner})"
            yield Finding(EXPIRED, text, "", "", source=source)
        elif waiver not in used and waiver.concerns(stacks):
            yield Finding(UNUSED, f"waiver of {waiver} lets nothing pass here", "", "", source=source)
        if known is not None and waiver not in known:
            text = f"waiver of {waiver} is new: {waiver.reason} ({waiver.owner}, until {waiver.expires})"
            yield Finding(ADDED, text, "", "", source=source)
