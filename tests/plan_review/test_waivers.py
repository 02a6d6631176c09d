"""Waivers let single findings pass, until a day, and are looked at themselves."""

import datetime
from pathlib import Path

import pytest

from plan_review.errors import ReviewError
from plan_review.report import Report
from plan_review.review import Sources, review
from plan_review.waivers import Waiver, parse, read
from tests.plan_review import plans

TODAY = datetime.date(2026, 11, 23)
ENTRY = """
- rule: data-loss/stateful-destroyed
  resource: dev-team-pricing:google_bigquery_table.*
  reason: The model is retired and its log exported.
  owner: pricing@example.com
  expires: 2026-12-31
"""


def reviewed(text: str, before: str | None = None) -> Report:
    table = {"table_id": "vehicle_price", "labels": plans.LABELS}
    plan = plans.plan(plans.change("google_bigquery_table.log", table, None))
    old = parse(before.encode(), "base") if before is not None else None
    return review([plan], Sources(), parse(text.encode(), "waivers.yaml"), old, TODAY)


def rules(report: Report) -> set[str]:
    return {finding.rule.id for finding in report.findings}


def test_without_a_waiver_it_is_blocked() -> None:
    assert reviewed("").exit_code == 4


def test_a_waiver_lets_its_finding_pass_and_says_so() -> None:
    report = reviewed(ENTRY)
    assert report.exit_code == 0
    waived = [finding for finding in report.findings if finding.waived_by]
    assert [finding.rule.id for finding in waived] == ["data-loss/stateful-destroyed"]
    assert "pricing@example.com, until 2026-12-31" in waived[0].waived_by


@pytest.mark.parametrize("day", ["2026-11-22", "2020-01-01"])
def test_an_expired_waiver_counts_no_more(day: str) -> None:
    report = reviewed(ENTRY.replace("2026-12-31", day))
    assert report.exit_code == 4
    assert "review/waiver-expired" in rules(report)


def test_a_waiver_holds_on_its_last_day() -> None:
    assert reviewed(ENTRY.replace("2026-12-31", "2026-11-23")).exit_code == 0


def test_a_waiver_of_another_resource_lets_nothing_pass_and_is_reported() -> None:
    report = reviewed(ENTRY.replace("google_bigquery_table.*", "google_storage_bucket.*"))
    assert report.exit_code == 4
    assert "review/waiver-unused" in rules(report)


def test_a_waiver_of_a_stack_that_is_not_under_review_is_not_unused() -> None:
    report = reviewed(ENTRY.replace("dev-team-pricing", "prod-team-pricing"))
    assert report.exit_code == 4
    assert "review/waiver-unused" not in rules(report)


def test_a_new_waiver_needs_an_approver() -> None:
    report = reviewed(ENTRY, before="")
    assert report.exit_code == 3
    assert "review/waiver-added" in rules(report)
    assert reviewed(ENTRY, before=ENTRY).exit_code == 0


def test_a_waiver_cannot_waive_itself() -> None:
    more = ENTRY + ENTRY.replace("data-loss/stateful-destroyed", "review/waiver-added").replace(
        "dev-team-pricing:google_bigquery_table.*", "'***'"
    )
    report = reviewed(more, before="")
    assert report.exit_code == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: b", "waivers.yaml: "),
        ("- rule: x", "entry 0.resource"),
        (
            ENTRY.replace("stateful-destroyed", "stateful-destroied"),
            "Did you mean 'data-loss/stateful-destroyed'?",
        ),
        (ENTRY.replace("pricing@example.com", "nobody"), "entry 0.owner"),
        (ENTRY.replace("2026-12-31", "someday"), "entry 0.expires"),
        (ENTRY + "  more: 1\n", "entry 0.more"),
        (ENTRY.replace("The model is retired and its log exported.", "why not"), "entry 0.reason"),
        ("- [", "waivers.yaml:1:"),
        ("\t- a", "waivers.yaml:1:1"),
        ("- &a [*a, *a]", "waivers.yaml"),
    ],
)
def test_bad_files_are_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ReviewError) as error:
        parse(text.encode(), "waivers.yaml")
    assert words in str(error.value)


def test_no_file_means_no_waivers(tmp_path: Path) -> None:
    assert read(tmp_path / "waivers.yaml") == ()


def test_an_empty_file_means_no_waivers() -> None:
    assert parse(b"# none\n", "waivers.yaml") == ()


def test_what_a_waiver_covers_is_by_stack_and_address() -> None:
    waiver = Waiver(
        rule="data-loss/stateful-destroyed",
        resource="*-team-pricing:*",
        reason="a reason that is long enough",
        owner="a@example.com",
        expires=TODAY,
    )
    assert waiver.concerns(["prod-team-pricing"])
    assert not waiver.concerns(["prod-catalog"])


def test_the_repositorys_own_waivers_are_well_formed(root: Path) -> None:
    assert (root / "waivers.yaml").is_file()
    assert isinstance(read(root / "waivers.yaml"), tuple)
