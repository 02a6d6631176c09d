"""Every seeded change is found at the right severity, and no harmless one is above info."""

from collections import Counter

import pytest

from plan_review.rules import RULES, Severity
from tests.plan_review.conftest import Reviewed
from tests.plan_review.corpus import bad, harmless


def test_the_corpus_is_large_enough() -> None:
    assert len(bad.CASES) >= 40
    assert len(harmless.CASES) >= 20
    names = [case.name for case in (*bad.CASES, *harmless.CASES)]
    assert len(set(names)) == len(names)


def test_every_change_is_found_at_its_severity(
    corpus: list[Reviewed], capsys: pytest.CaptureFixture[str]
) -> None:
    """One test, since the corpus is planned for it; it prints the confusion matrix."""
    with capsys.disabled():
        print(f"\n{confusion(corpus)}")
    wrong = []
    for found in corpus:
        rules = {finding.rule.id for finding in found.report.findings}
        if found.report.severity.value != found.case.severity:
            loud = [f for f in found.report.findings if f.severity is not Severity.INFO]
            said = "; ".join(f"{finding.rule.id} {finding.message}" for finding in loud)
            wrong.append(f"{found.case.name}: {found.case.severity} seeded, {found.report.severity}: {said}")
        wrong += [
            f"{found.case.name}: {rule} finds nothing" for rule in found.case.rules if rule not in rules
        ]
    assert not wrong, "\n".join(wrong)


def confusion(corpus: list[Reviewed]) -> str:
    """Return the matrix of seeded and found severities."""
    matrix = Counter((found.case.severity, found.report.severity.value) for found in corpus)
    levels = [severity.value for severity in Severity]
    lines = ["seeded / found " + "".join(f"{level:>9}" for level in levels)]
    for expected in levels:
        name = "harmless" if expected == "info" else expected
        lines.append(f"{name:>14} " + "".join(f"{matrix[expected, level]:>9}" for level in levels))
    return "\n".join(lines)


def test_cases_name_rules_that_there_are() -> None:
    named = {rule for case in (*bad.CASES, *harmless.CASES) for rule in case.rules}
    assert named <= set(RULES)
