"""The report as SARIF 2.1.0, which code hosts show beside the lines of a pull request."""

import json
from typing import Any

from plan_review.report import Report
from plan_review.rules import RULES, Finding, Severity

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {
    Severity.BLOCK: "error",
    Severity.APPROVE: "error",
    Severity.WARN: "warning",
    Severity.INFO: "note",
}
# How urgent GitHub shows a result to be, 0 to 10.
_SCORES = {Severity.BLOCK: "9.0", Severity.APPROVE: "7.0", Severity.WARN: "4.0", Severity.INFO: "0.0"}


def render(report: Report) -> str:
    """Return the report as SARIF."""
    used = sorted({finding.rule.id for finding in report.findings})
    index = {rule: i for i, rule in enumerate(used)}
    run = {
        "tool": {
            "driver": {
                "name": "modelyard review",
                "semanticVersion": "0.1.0",
                "rules": [_rule(rule) for rule in used],
            }
        },
        "columnKind": "unicodeCodePoints",
        "automationDetails": {"id": "modelyard-review/"},
        "results": [_result(finding, index) for finding in report.findings],
        "properties": {"headline": report.headline, "digest": report.digest, "notes": list(report.notes)},
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rule(rule_id: str) -> dict[str, Any]:
    rule = RULES[rule_id]
    return {
        "id": rule.id,
        "name": "".join(part.title() for part in rule.id.replace("/", "-").split("-")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.rationale},
        "help": {"text": f"{rule.rationale}\n\nMend: {rule.fix}"},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {
            "tags": [rule.family],
            "severity": rule.severity.value,
            "security-severity": _SCORES[rule.severity],
        },
    }


def _result(finding: Finding, index: dict[str, int]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.rule.id,
        "ruleIndex": index[finding.rule.id],
        "level": _LEVELS[finding.rule.severity],
        "message": {"text": finding.message},
        "locations": [_location(finding)],
        "partialFingerprints": {"modelyard/v1": finding.fingerprint},
        "properties": {
            name: value
            for name in ("team", "model", "environment", "principal", "role", "resource", "action")
            if (value := getattr(finding, name))
        },
    }
    if finding.waived_by:
        result["suppressions"] = [
            {"kind": "external", "status": "accepted", "justification": finding.waived_by}
        ]
    return result


def _location(finding: Finding) -> dict[str, Any]:
    location: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": {"uri": source_of(finding)}, "region": {"startLine": 1}}
    }
    if finding.address:
        name = f"{finding.stack}:{finding.address}"
        location["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "resource"}]
    return location


def source_of(finding: Finding) -> str:
    """Return the file that a person would edit to mend a finding."""
    if finding.source:
        return finding.source
    _, _, room = finding.stack.partition("-")
    kind, _, team = room.partition("-")
    if kind in ("team", "tenant") and team:
        return f"teams/{team}/team.yaml"
    environment = finding.environment or finding.stack.partition("-")[0]
    return f"environments/{environment}.yaml"
