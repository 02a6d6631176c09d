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


def test_confusion_matrix(corpus: list[Reviewed], capsys: pytest.CaptureFixture[str]) -> None:
    matrix = Counter((found.case.severity, found.report.severity.value) for found in corpus)
    levels = [severity.value for severity in Severity]
    lines = ["seeded \\ found " + "".join(f"{level:>9}" for level in levels)]
    for expected in levels:
        lines.append(f"{expected:>14} " + "".join(f"{matrix[expected, level]:>9}" for level in levels))
    with capsys.disabled():
        print("\n" + "\n".join(lines))
    wrong = [
        f"{found.case.name}: expected {found.case.severity}, found {found.report.severity}: "
        + "; ".join(
            f"{f.rule.id} {f.message}" for f in found.report.findings if f.severity is not Severity.INFO
        )
        for found in corpus
        if found.report.severity.value != found.case.severity
    ]
    assert not wrong, "\n".join(wrong)


def test_each_case_is_found_by_its_rules(corpus: list[Reviewed]) -> None:
    missed = [
        f"{found.case.name}: {rule}; found {sorted({f.rule.id for f in found.report.findings})}"
        for found in corpus
        for rule in found.case.rules
        if rule not in {finding.rule.id for finding in found.report.findings}
    ]
    assert not missed, "\n".join(missed)


def test_cases_name_rules_that_there_are() -> None:
    named = {rule for case in (*bad.CASES, *harmless.CASES) for rule in case.rules}
    assert named <= set(RULES)
