"""The report for programs, form `modelyard.review/1`."""

from typing import Any

import msgspec

from plan_review.changes import Change
from plan_review.diff import Difference, ResourceDiff
from plan_review.masking import Masked, Unknown
from plan_review.promotion import Promotion
from plan_review.report import Report
from plan_review.rules import Finding

FORMAT = "modelyard.review/1"


def render(report: Report) -> str:
    """Return the report as JSON."""
    encoded = msgspec.json.format(msgspec.json.encode(document(report), enc_hook=_hook), indent=1)
    return encoded.decode() + "\n"


def _hook(value: Any) -> str:
    if isinstance(value, Masked | Unknown):
        return repr(value)
    raise NotImplementedError(type(value))


def document(report: Report) -> dict[str, Any]:
    """Return the report as plain values."""
    return {
        "format": FORMAT,
        "base": report.base,
        "head": report.head,
        "verdict": report.severity,
        "exit_code": report.exit_code,
        "headline": report.headline,
        "digest": report.digest,
        "counts": {action.value: amount for action, amount in sorted(report.counts.items())},
        "stacks": [
            {
                "stack": summary.stack,
                "plan": "real" if summary.real else "stand-in",
                "counts": {action.value: amount for action, amount in sorted(summary.counts.items())},
            }
            for summary in report.stacks
        ],
        "blast_radius": {
            "stacks": report.blast.stacks,
            "teams": report.blast.teams,
            "models": report.blast.models,
            "environments": report.blast.environments,
            "shared_files": report.blast.shared,
        },
        "notes": report.notes,
        "findings": [_finding(finding) for finding in report.findings],
        "promotions": [_promotion(promotion) for promotion in report.promotions],
        "repeated": [
            {**_difference(entry.difference), "resources": [_where(change) for change in entry.changes]}
            for entry in report.repeated
        ],
        "differences": [_diff(diff) for diff in report.diffs],
        "created": [_where(change) for change in report.created],
        "destroyed": [_where(change) for change in report.destroyed],
        "forgotten": [_where(change) for change in report.forgotten],
        "moved": [{**_where(change), "from": change.previous_address} for change in report.moved],
        "imported": [_where(change) for change in report.imported],
        "drift": [_diff(diff) for diff in report.drift],
        "outputs": [
            {"name": o.name, "action": o.action, "before": o.before, "after": o.after} for o in report.outputs
        ],
        "cost": {
            "estimate": True,
            "monthly_delta": round(report.cost.delta, 2),
            "currency": report.cost.currency,
            "prices_of": report.cost.date,
            "region": report.cost.region,
            "source": report.cost.source,
            "assumptions": report.cost.assumptions,
            "items": [
                {
                    "stack": item.stack,
                    "address": item.address,
                    "before": round(item.before, 2),
                    "after": round(item.after, 2),
                }
                for item in report.cost.items
            ],
        },
    }


def _where(change: Change) -> dict[str, Any]:
    return {
        "stack": change.stack,
        "address": change.address,
        "type": change.type,
        "construct": change.construct,
    }


def _difference(found: Difference) -> dict[str, Any]:
    return {"path": found.path, "kind": found.kind, "before": found.before, "after": found.after}


def _diff(diff: ResourceDiff) -> dict[str, Any]:
    return {
        **_where(diff.change),
        "action": diff.change.action,
        "replace_paths": diff.change.replace_paths,
        "differences": [_difference(found) for found in diff.differences],
        "repeated_differences": diff.shared,
        "same_in": diff.elsewhere,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule.id,
        "severity": finding.severity,
        "title": finding.rule.title,
        "message": finding.message,
        "rationale": finding.rule.rationale,
        "fix": finding.rule.fix,
        "stack": finding.stack,
        "address": finding.address,
        "environment": finding.environment,
        "team": finding.team,
        "model": finding.model,
        "principal": finding.principal,
        "role": finding.role,
        "resource": finding.resource,
        "action": finding.action,
        "file": finding.source,
        "waived_by": finding.waived_by,
        "fingerprint": finding.fingerprint,
    }


def _promotion(promotion: Promotion) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(promotion)
    return {**plain, "title": promotion.title, "lines": list(promotion.lines())}
