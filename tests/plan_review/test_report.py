"""What a report says besides its findings: how far a change reaches, and what it rests on."""

from plan_review.blast import is_shared
from plan_review.changes import stack_plan
from plan_review.context import Context
from plan_review.plan import prefer
from plan_review.render import FORMATS
from plan_review.report import build
from plan_review.review import Sources, review
from tests.plan_review import plans


def labelled(team: str, model: str = "shared") -> dict[str, object]:
    labels = {**plans.LABELS, "team": team, "model": model}
    return {"name": model, "labels": labels}


def test_a_change_in_modules_lists_every_team_it_moves() -> None:
    files = [
        plans.plan(
            plans.change("google_pubsub_topic.t", labelled(team, "m"), {**labelled(team, "m"), "x": 1}),
            stack=f"dev-team-{team}",
        )
        for team in ("alpha", "beta", "gamma")
    ]
    report = review(files, Sources(changed_files=("modules/alerts/__init__.py", "docs/x.md")))
    assert report.blast.teams == ("alpha", "beta", "gamma")
    assert report.blast.models == ("alpha/m", "beta/m", "gamma/m")
    assert report.blast.shared == ("modules/alerts/__init__.py",)
    note = next(note for note in report.notes if "Shared code changed" in note)
    assert "modules/alerts/__init__.py" in note
    assert "3 teams: alpha, beta, gamma" in note
    for form in ("text", "markdown", "html"):
        shown = FORMATS[form](report)
        assert all(team in shown for team in ("alpha", "beta", "gamma"))


def test_shared_files() -> None:
    assert is_shared("modules/alerts/__init__.py")
    assert is_shared("modelyard/naming/__init__.py")
    assert not is_shared("teams/pricing/team.yaml")
    assert not is_shared("modules.md")


def test_the_platform_is_no_team() -> None:
    report = review(
        [
            plans.plan(
                plans.change("google_kms_crypto_key.k", labelled("platform"), None), stack="dev-foundation"
            )
        ],
        Sources(),
    )
    assert report.blast.teams == ()
    assert report.blast.stacks == ("dev-foundation",)


def test_counts_and_headline() -> None:
    report = review(
        [
            plans.plan(
                plans.change("google_thing.a", None, {"x": 1}),
                plans.change("google_thing.b", {"x": 1}, {"x": 2}),
                plans.change("google_thing.c", {"x": 1}, {"x": 2}, ["delete", "create"]),
                plans.change("google_thing.d", {"x": 1}, None),
                plans.change("google_thing.e", {"x": 1}, {"x": 1}),
            )
        ],
        Sources(),
    )
    assert "1 to add, 1 to change, 1 to replace, 1 to destroy" in report.headline
    assert "touches 1 stack (dev-team-pricing)" in report.headline


def test_unknown_types_are_named_and_shown() -> None:
    report = review(
        [plans.plan(plans.change("aws_s3_bucket.b", {"acl": "private"}, {"acl": "public-read"}))], Sources()
    )
    assert any("aws_s3_bucket (1)" in note for note in report.notes)
    assert 'acl: "private" -> "public-read"' in FORMATS["text"](report)


def test_what_a_plan_rests_on_is_said() -> None:
    empty = plans.document(plans.change("google_thing.a", None, {"x": 1}))
    del empty["prior_state"]
    plan = plans.plan(plans.change("google_thing.a", None, {"x": 1}), complete=False)
    stand_in = prefer([], [plan])
    notes = review(stand_in, Sources()).notes
    assert any("Google was not asked" in note for note in notes)
    assert any("is partial" in note for note in notes)
    assert not any("Google was not asked" in note for note in review([plan], Sources()).notes)


def test_real_plans_are_preferred() -> None:
    real = plans.plan(stack="dev-catalog")
    other = [plans.plan(stack="dev-catalog"), plans.plan(stack="dev-platform")]
    assert [(plan.stack, plan.real) for plan in prefer([real], other)] == [
        ("dev-catalog", True),
        ("dev-platform", False),
    ]


def test_drift_is_told_apart() -> None:
    drift = plans.change("google_thing.a", {"x": 1}, {"x": 2})
    report = review([plans.plan(resource_drift=[drift])], Sources())
    assert [diff.change.address for diff in report.drift] == ["google_thing.a"]
    assert any("changed outside Terraform" in note for note in report.notes)
    assert report.exit_code == 0


def test_moved_and_imported_are_shown_as_such() -> None:
    plan = plans.plan(
        plans.change("google_thing.new", {"x": 1}, {"x": 1}, previous_address="google_thing.old"),
        plans.change("google_thing.found", {"x": 1}, {"x": 1}, importing={"id": "i"}),
    )
    for form in ("text", "markdown", "html", "json"):
        shown = FORMATS[form](review([plan], Sources())).replace("\\", "")
        assert "google_thing.old" in shown
        assert "google_thing.found" in shown


def test_constructs_are_named_where_they_are_known() -> None:
    change = plans.change("google_thing.a", {"x": 1}, {"x": 2})
    report = review(
        [plans.plan(change)], Sources(constructs={("dev-team-pricing", "google_thing.a"): "models/m/thing"})
    )
    assert "models/m/thing" in FORMATS["text"](report)


def test_a_report_without_findings_can_be_built() -> None:
    report = build(Context([stack_plan(plans.plan())]), [])
    for render in FORMATS.values():
        assert render(report)
