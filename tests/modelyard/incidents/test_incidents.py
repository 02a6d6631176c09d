"""Incidents from hand-made values: what opens, what belongs together, what is named as the root."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.incidents import (
    Deployment,
    Evaluation,
    Incident,
    Known,
    Reading,
    Root,
    SeriesKey,
    Silence,
    evaluate,
)
from modelyard.incidents.incident import Finding, began
from modelyard.incidents.judge import episodes
from modelyard.incidents.text import text, title
from modelyard.monitors.measuring.watched import Watched
from modelyard.monitors.rule import Rule, Stage
from modelyard.spec.base import Pattern, Severity
from modelyard.spec.manifest import Task
from modelyard.spec.team import Monitors

START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def watched(model: str = "delay", team: str = "flights", **settings: Any) -> Watched:
    return Watched(
        environment="dev",
        team=team,
        model=model,
        pattern=Pattern.REST,
        task=Task.REGRESSION,
        versions=(1,),
        log_table=f"example-{team}.modelyard_dev_predictions.{model}",
        monitoring="example-dev.modelyard_dev_monitoring",
        metadata="example-dev.modelyard_dev_metadata",
        monitors=Monitors.model_validate(settings),
        owner=f"{team}@example.com",
        escalation=f"pager-{team}",
    )


def windows(
    values: Sequence[float | None],
    metric: str,
    family: str,
    threshold: float = 0.2,
    feature: str | None = None,
    model: str = "delay",
    version: int | None = 1,
) -> list[Reading]:
    """Return one reading a day from `START` on."""
    return [
        Reading(
            "flights", model, version, family, metric, feature, START + i * DAY, START + (i + 1) * DAY, value,
            threshold, 900,
        )
        for i, value in enumerate(values)
    ]  # fmt: skip


def missing(values: Sequence[float | None], feature: str = "distance", **keys: Any) -> list[Reading]:
    return windows(values, "excess_invalid_share", "quality", 0.05, feature, **keys)


def drift(values: Sequence[float | None], feature: str = "distance", **keys: Any) -> list[Reading]:
    return windows(values, "psi", "drift", 0.2, feature, **keys)


def outputs(values: Sequence[float | None], **keys: Any) -> list[Reading]:
    return windows(values, "prediction_psi", "drift", **keys)


def loss(values: Sequence[float | None], **keys: Any) -> list[Reading]:
    return windows(values, "loss", "performance", **keys)


def volume(values: Sequence[float | None], **keys: Any) -> list[Reading]:
    return windows(values, "volume_ratio", "usage", 0.4, version=None, **keys)


def found(readings: list[Reading], days: int | None = None, **more: Any) -> Evaluation:
    """Evaluate after `days`, by default after the last window."""
    now = max(r.end for r in readings) if days is None else START + days * DAY
    subjects = more.pop("watched", [watched(model) for model in sorted({r.model for r in readings})])
    return evaluate(readings, subjects, now=now, **more)


def one(readings: list[Reading], days: int | None = None, **more: Any) -> Incident:
    (incident,) = found(readings, days, **more).incidents
    return incident


QUIET = [0.01] * 6


def test_a_healthy_model_has_no_incident() -> None:
    result = found(missing(QUIET) + drift(QUIET) + outputs(QUIET) + loss(QUIET) + volume([1.0] * 6))
    assert result.incidents == ()
    assert len(result.needs_no_alert) == 5


def test_one_fault_is_one_incident_with_its_root_named() -> None:
    broken = [*QUIET, 0.9, 0.9]
    readings = missing(broken) + drift([*QUIET, 4, 4]) + outputs([*QUIET, 1, 1]) + loss([*QUIET, 0.7, 0.7])
    incident = one(readings)
    assert (incident.root, incident.feature, incident.key) == (Root.FEATURE, "distance", "quality-invalid")
    assert incident.severity is Severity.CRITICAL and incident.pages
    assert [f.monitor.key for f in incident.findings] == [
        "quality-invalid",
        "drift-features",
        "drift-predictions",
        "performance-loss",
    ]
    assert incident.since == START + 6 * DAY
    assert incident.opened == START + 7 * DAY


def test_only_the_root_needs_an_alert_of_its_own() -> None:
    broken = [*QUIET, 0.9, 0.9]
    result = found(missing(broken) + drift([*QUIET, 4, 4]) + loss([*QUIET, 0.7, 0.7]))
    keys = {(k.metric, k.feature) for k in result.needs_no_alert}
    assert keys == {("psi", "distance"), ("loss", None)}


def test_drift_alone_makes_a_ticket() -> None:
    incident = one(drift([*QUIET, 0.5, 0.5]))
    assert (incident.severity, incident.pages, incident.root) == (Severity.WARNING, False, Root.FEATURE)


def test_labels_that_come_late_join_the_incident_that_explains_them() -> None:
    """The performance of the bad days is known only after the inputs were mended."""
    readings = missing([*QUIET, 0.9, 0.9, 0, 0, 0]) + loss([*QUIET, 0.7, 0.7])
    late = [replace(r, end=r.end) for r in readings]
    incident = one(late, 11)
    assert (incident.key, incident.root) == ("quality-invalid", Root.FEATURE)
    assert [f.lasts for f in incident.findings] == [False, True]


def test_performance_without_a_change_of_inputs_is_put_down_to_the_concept() -> None:
    incident = one(loss([*QUIET, 0.7, 0.7]) + drift([0.01] * 8))
    assert incident.root is Root.CONCEPT
    assert "neither the inputs nor the traffic changed" in incident.causes[0].evidence


@pytest.mark.parametrize("hours", [-23, -1, 5, 23])
def test_a_deployment_shortly_before_is_the_likeliest_cause(hours: int) -> None:
    when = START + 6 * DAY + timedelta(hours=hours)
    deployment = Deployment(when, "flights", "delay", 2, 100, "deployer@example.com", "abcdef0123456789")
    other = replace(deployment, model="other")
    incident = one(outputs([*QUIET, 0.9, 0.9]), deployments=[other, deployment])
    assert incident.root is Root.DEPLOYMENT
    assert incident.causes[0].kind == "deployment"
    assert "version 2 went into service" in incident.causes[0].evidence
    assert "abcdef012345" in incident.causes[0].evidence


@pytest.mark.parametrize("hours", [-25, 25])
def test_a_deployment_long_before_or_after_is_no_cause(hours: int) -> None:
    deployment = Deployment(START + 6 * DAY + timedelta(hours=hours), "flights", "delay", 2)
    incident = one(outputs([*QUIET, 0.9, 0.9]), deployments=[deployment])
    assert incident.root is Root.PREDICTIONS and incident.causes == ()


def test_several_features_broken_at_once_point_upstream() -> None:
    readings = [r for name in ("a", "b", "c") for r in missing([*QUIET, 0.9, 0.9], name)]
    incident = one(readings)
    assert (incident.root, incident.feature) == (Root.UPSTREAM, None)
    assert incident.causes[0].kind == "upstream data"
    assert "3 features changed together" in incident.causes[0].evidence
    assert title(incident) == "flights/delay: 3 features changed together: a, b, c"


def test_features_that_break_at_different_times_are_two_incidents() -> None:
    readings = missing([0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9], "a") + missing([0] * 5 + [0.9, 0.9], "b")
    assert sorted(i.feature or "" for i in found(readings).incidents) == ["a", "b"]


def test_a_drop_of_usage_explains_drift_and_is_told_as_traffic() -> None:
    incident = one(volume([1.0] * 6 + [0.1] * 3) + drift([*QUIET, 0.6, 0.6, 0.6]))
    assert (incident.root, incident.key, incident.feature) == (Root.USAGE, "usage-drop", None)
    assert incident.causes[-1].kind == "traffic"


# Damping


def test_one_window_a_little_beyond_the_threshold_opens_nothing() -> None:
    assert found(missing([*QUIET, 0.06, 0.01, 0.01])).incidents == ()
    assert found(missing([*QUIET, 0.06])).incidents == ()


def test_two_windows_of_three_open_an_incident() -> None:
    assert len(found(missing([*QUIET, 0.06, 0.01, 0.06])).incidents) == 1
    assert len(found(missing([*QUIET, 0.06, 0.01, 0.01, 0.06])).incidents) == 0


def test_one_window_far_beyond_opens_it_at_once() -> None:
    assert len(found(missing([*QUIET, 0.11])).incidents) == 1


def test_it_resolves_after_two_clean_windows_and_not_before() -> None:
    assert len(found(missing([*QUIET, 0.9, 0.9, 0.01])).incidents) == 1
    assert len(found(missing([*QUIET, 0.9, 0.9, 0.01, 0.01])).incidents) == 0


def hourly(values: Sequence[float | None], first: datetime = START, **keys: Any) -> list[Reading]:
    """Return one reading of latency an hour: limit 100 ms."""
    made = windows(values, "p95", "latency", 100.0, **keys)
    return [replace(r, start=first + i * HOUR, end=first + (i + 1) * HOUR) for i, r in enumerate(made)]


def opened(readings: list[Reading], **more: Any) -> list[tuple[datetime, Incident]]:
    """Evaluate after each window, and return what was told when."""
    known: list[Known] = []
    told = []
    subjects = [watched(model) for model in sorted({r.model for r in readings})]
    for now in sorted({r.end for r in readings}):
        there = [r for r in readings if r.end <= now]
        result = evaluate(there, subjects, now=now, known=known, **more)
        told += [(now, i) for i in result.opened]
        known = [known_of(i) for i in result.incidents if i.silenced_until is None]
    return told


def test_what_comes_back_within_a_day_must_stay_away_longer() -> None:
    """Two bad hours in eight, for two days: told a few times, not each time."""
    assert len(opened(hourly([900.0, 900.0, *[5.0] * 6] * 6))) == 3
    assert len(opened(hourly([900.0, 900.0, *[5.0] * 30] * 4))) == 4, "a day's peace is an end"


def test_flapping_is_one_incident() -> None:
    flapping = missing([*QUIET, *[0.9, 0.01] * 6])
    known: list[Known] = []
    ids = set()
    for days in range(1, len(flapping) + 1):
        result = found(flapping[:days], days, known=known)
        known = [known_of(i) for i in result.incidents]
        ids |= {i.incident_id for i in result.incidents}
        assert not result.closed
    assert len(ids) == 1


def test_what_could_not_be_measured_neither_opens_nor_resolves() -> None:
    assert found(missing([*QUIET, None, None])).incidents == ()
    assert len(found(missing([*QUIET, 0.9, None, None, None])).incidents) == 1


@given(st.lists(st.floats(0, 1), max_size=40))
def test_episodes_never_overlap_and_begin_with_a_breach(values: list[float]) -> None:
    rule = Rule(Stage.QUALITY)
    stretches = episodes(missing(values), rule)
    for before, after in itertools.pairwise(stretches):
        assert before.resolved is not None and before.resolved <= after.since
    for episode in stretches:
        assert episode.excess > 1 and episode.since < episode.opened <= episode.last


# What is usual


def test_a_metric_that_learns_is_compared_with_its_own_earlier_windows() -> None:
    noisy = [0.5, 0.8, 0.6, 0.9, 0.7, 0.5] * 4  # a day's weather is never like the year's
    rule = Rule(Stage.DRIFT, learns=True)
    (first,) = episodes(drift(noisy), rule)
    assert first.resolved is not None, "what stands out from the first day on is told once, then it is usual"
    assert len(episodes(drift(noisy), Rule(Stage.DRIFT))) == 1
    assert episodes(drift(noisy), Rule(Stage.DRIFT))[0].resolved is None
    assert episodes(drift([*noisy, 1.2, 1.2]), rule)[-1].resolved is None


def test_a_usual_level_learned_from_history_hides_no_far_larger_one() -> None:
    rule = Rule(Stage.DRIFT, learns=True, far=1000)
    history = drift([0.1, 0.15, 0.3, 0.12] * 10)
    assert episodes(history, rule) == []
    assert episodes(history + late(drift([3.0, 3.0]), 40), rule)


def late(readings: list[Reading], days: int) -> list[Reading]:
    return [replace(r, start=r.start + days * DAY, end=r.end + days * DAY) for r in readings]


# Silences


def test_a_silence_keeps_an_incident_from_being_told_until_it_expires() -> None:
    readings = missing([*QUIET, 0.9, 0.9, 0.9])
    silence = Silence("flights", "delay", None, START, START + 8 * DAY, "maintenance")
    during = found(readings, 7, silences=[silence])
    assert during.opened == () and during.incidents[0].silenced_until == silence.until
    assert not during.incidents[0].pages
    after = found(readings, 9, silences=[silence])
    assert len(after.opened) == 1 and after.opened[0].pages


def noon(hours: float) -> datetime:
    return START + timedelta(hours=12 + hours)


SLOW_AT_NOON = [5.0] * 12 + [900.0, 900.0]


@pytest.mark.parametrize(
    ("slow_after", "told"), [(0, []), (1, [noon(3)]), (3, [noon(3)])], ids=["over", "one more", "lasts"]
)
def test_what_was_bad_in_a_silence_alone_is_not_told_after_it(slow_after: int, told: list[datetime]) -> None:
    silence = Silence("flights", "delay", None, noon(-0.5), noon(1.75), "maintenance")
    readings = hourly([*SLOW_AT_NOON, *[900.0] * slow_after, 5.0, 5.0, 5.0])
    assert [when for when, _ in opened(readings, silences=[silence])] == told
    assert [when for when, _ in opened(readings)] == [noon(1)]


def test_a_silence_is_in_force_at_once() -> None:
    """The run of five past evaluates the full hour, in which the silence of three past had not begun."""
    silence = Silence("flights", "delay", None, noon(1.05), noon(3), "maintenance")
    readings = hourly(SLOW_AT_NOON[:13])
    assert found(readings, watched=[watched()], silences=[silence]).opened == ()


def test_what_is_silenced_fires_no_condition_when_the_silence_ends() -> None:
    silence = Silence("flights", "delay", None, noon(-0.5), noon(1.75), "maintenance")
    (key,) = {r.key for r in hourly([1.0])}
    assert key in found(hourly([*SLOW_AT_NOON, 5.0]), silences=[silence]).needs_no_alert
    assert key not in found(hourly([*SLOW_AT_NOON, 900.0]), silences=[silence]).needs_no_alert


@pytest.mark.parametrize(
    "silence",
    [
        Silence("other", None, None, START, START + 100 * DAY),
        Silence("flights", "other", None, START, START + 100 * DAY),
        Silence("flights", None, "usage-drop", START, START + 100 * DAY),
    ],
)
def test_a_silence_of_something_else_hides_nothing(silence: Silence) -> None:
    assert len(found(missing([*QUIET, 0.9, 0.9]), silences=[silence]).opened) == 1


def test_a_silence_has_an_end() -> None:
    with pytest.raises(ValueError, match="ends after it begins"):
        Silence("flights", None, None, START, START)


def test_during_a_deployment_less_traffic_is_expected_and_broken_data_are_not() -> None:
    deployment = Deployment(START + 8 * DAY - timedelta(minutes=10), "flights", "delay", 2)
    assert found(volume([1.0] * 5 + [0.1] * 3), deployments=[deployment]).opened == ()
    assert len(found(missing([*QUIET, 0.9, 0.9]), deployments=[deployment]).opened) == 1


@pytest.mark.parametrize("minute", [0.05, 0.4, 0.9])
@pytest.mark.parametrize("slow", [2, 4])
def test_slow_answers_around_a_deployment_are_told_only_if_they_last(minute: float, slow: int) -> None:
    deployment = Deployment(noon(minute), "flights", "delay", 2)
    values = [5.0] * 12 + [900.0] * slow + [5.0] * 3
    if minute < 0.5 and slow == 2:
        values[13] = 5.0  # half an hour ends within the hour that it began in
    told = opened(hourly(values), deployments=[deployment])
    assert [incident.root for _, incident in told] == [Root.DEPLOYMENT] * (slow > 2)


# Life of an incident


def known_of(incident: Incident) -> Known:
    subject = incident.watched
    return Known(
        incident.incident_id,
        subject.team,
        subject.model,
        incident.key,
        incident.feature,
        incident.severity,
        incident.opened,
    )


def test_a_second_run_opens_nothing_anew() -> None:
    readings = missing([*QUIET, 0.9, 0.9])
    first, again = found(readings), found(readings)
    assert [i.incident_id for i in first.opened] == [i.incident_id for i in again.opened]
    assert found(readings, known=[known_of(i) for i in first.opened]).opened == ()


def test_an_incident_keeps_its_id_when_its_root_turns_out_to_lie_earlier() -> None:
    early = found(drift([*QUIET, 4.0, 4.0]))
    known = [known_of(i) for i in early.opened]
    later = found(drift([*QUIET, 4, 4, 4]) + missing([*QUIET, 0.01, 0.06, 0.06]), known=known)
    assert later.opened == () and later.closed == ()
    (changed,) = later.changed
    assert (changed.incident_id, changed.key) == (known[0].incident_id, "quality-invalid")
    assert changed.severity is Severity.CRITICAL


def test_what_resolves_is_closed() -> None:
    readings = missing([*QUIET, 0.9, 0.9, 0, 0])
    known = [known_of(i) for i in found(readings, 8).opened]
    assert found(readings, known=known).closed == tuple(known)


def test_an_incident_of_a_model_that_was_not_looked_at_stays_open() -> None:
    known = [known_of(i) for i in found(missing([*QUIET, 0.9, 0.9])).opened]
    assert found(missing([0] * 9, model="other"), known=known).closed == ()


def test_a_family_that_is_switched_off_opens_nothing() -> None:
    readings = missing([*QUIET, 0.9, 0.9])
    assert found(readings, watched=[watched(quality={"enabled": False})]).incidents == ()


def test_severities_are_the_teams() -> None:
    subject = watched(drift={"severity": "error"})
    assert one(drift([*QUIET, 4, 4]), watched=[subject]).severity is Severity.ERROR


def test_a_version_does_not_explain_another() -> None:
    readings = missing([*QUIET, 0.9, 0.9]) + loss([*QUIET, 0.7, 0.7], version=2)
    assert {i.version for i in found(readings).incidents} == {1, 2}


def test_a_window_computed_anew_counts_once_with_its_later_value() -> None:
    readings = missing([*QUIET, 0.9, 0.9])
    mended = [replace(r, value=0.0) for r in readings]
    assert found(readings + mended).incidents == ()


# What it says


@pytest.fixture
def incident() -> Incident:
    deployment = Deployment(START + 6 * DAY, "flights", "delay", 2, 10)
    readings = missing([*QUIET, 0.381, 0.9]) + drift([*QUIET, 4, 4]) + loss([*QUIET, 0.7, 0.7])
    return one(readings, deployments=[deployment])


def lines(body: str) -> Iterator[str]:
    return (line for line in body.splitlines() if line)


def test_the_text_names_all_that_a_person_needs(incident: Incident) -> None:
    body = text(incident)
    for part in (
        "flights/delay: feature distance is broken",
        "Severity: critical (pages a person)",
        "Owner: flights@example.com; escalation: pager-flights",
        "Since: between 2026-03-08 00:00 and 2026-03-09 00:00 UTC; seen at",
        "90 %, above 5 %, on 900 rows up to 2026-03-10 00:00 UTC",
        "1. deployment: version 2 went into service at 2026-03-08 00:00 UTC, with 10 % of the traffic",
        "2. upstream data: distance changed, between 2026-03-08 00:00 and 2026-03-09 00:00 UTC; no other",
        "## First three things to do",
        "docs/runbooks/quality-invalid.md",
        "project=example-flights",
        "FROM `example-flights.modelyard_dev_predictions.delay`",
        "features.distance",
    ):
        assert part in body, (part, body)
    assert "{" not in body


def test_the_shortest_window_says_best_when_it_began(incident: Incident) -> None:
    root, *rest = incident.findings
    begun = root.episode.since + timedelta(hours=9)

    def hourly(since: datetime) -> Finding:
        return Finding(root.monitor, replace(root.episode, since=since), timedelta(hours=1))

    assert began((root, *rest, hourly(begun + timedelta(hours=2)), hourly(begun))) == "2026-03-08 09:00 UTC"
    later = hourly(root.episode.since + timedelta(days=2))  # what follows
    assert began((root, later)) == "between 2026-03-08 00:00 and 2026-03-09 00:00 UTC"


def test_a_protected_feature_is_counted_and_not_shown(incident: Incident) -> None:
    subject = replace(incident.watched, sensitivity={"distance": "pii"})
    body = text(replace(incident, watched=subject))
    assert "COUNTIF(features.distance IS NULL)" in body and "MIN(features.distance)" not in body


def test_the_explained_keys_are_those_of_metric_values() -> None:
    result = found(missing([*QUIET, 0.9]) + drift([*QUIET, 4]))
    assert result.needs_no_alert == {SeriesKey("flights", "delay", 1, "drift", "psi", "distance")}


# Several models


def at_models(*models: str, broken: Sequence[float] = (0.9, 0.9), **keys: Any) -> list[Reading]:
    return [r for model in models for r in missing([*QUIET, *broken], model=model, **keys)]


def test_a_fault_of_several_models_is_told_to_the_team_once() -> None:
    readings = at_models("one", "two", "four") + missing([*QUIET, 0, 0], model="three")
    result = found(readings)
    (incident,) = result.incidents
    assert result.opened == (incident,)
    assert [other.watched.model for other in incident.also] == ["one", "two"]
    assert incident.shared_with == ("flights/one", "flights/two")
    assert title(incident) == "flights/four and 2 more models: feature distance is broken"
    body = text(incident)
    assert "- Models: flights/four, flights/one, flights/two" in body
    assert "1. upstream data: the same fault began at the same time at flights/one, flights/two" in body
    assert "- flights/two: distance: invalid values" in body
    assert "- Page of flights/one: https://" in body
    roots = {r.key for r in readings} - result.needs_no_alert
    assert {key.model for key in roots} == {"four"}, "one condition fires"


def test_each_team_is_told_of_a_fault_that_strikes_several() -> None:
    other = watched("price", "pricing")
    readings = at_models("one", "two")
    readings += [replace(r, team="pricing") for r in at_models("price")]
    told = found(readings, watched=[watched("one"), watched("two"), other]).opened
    assert {(i.name, i.shared_with) for i in told} == {
        ("flights/one", ("flights/two", "pricing/price")),
        ("pricing/price", ("flights/one", "flights/two")),
    }


@pytest.mark.parametrize(
    "second",
    [
        at_models("two", feature="carrier"),
        missing([0.01] * 3 + [0.9] * 5, model="two"),
        loss([*QUIET, 0.9, 0.9], model="two"),
    ],
    ids=["another feature", "another time", "another family"],
)
def test_faults_that_differ_are_told_apart(second: list[Reading]) -> None:
    assert len(found(at_models("one") + second).opened) == 2


def test_what_models_learned_wrong_is_each_models_own() -> None:
    readings = loss([*QUIET, 0.9, 0.9], model="one") + loss([*QUIET, 0.9, 0.9], model="two")
    assert [i.root for i in found(readings).opened] == [Root.CONCEPT] * 2


def test_a_source_that_feeds_models_of_different_features_is_one_fault() -> None:
    readings = [r for name in "abc" for r in missing([*QUIET, 0.9], name, model="one")]
    readings += missing([*QUIET, 0.9], "b", model="two")
    (incident,) = found(readings).opened
    assert {incident.name, *incident.shared_with} == {"flights/one", "flights/two"}


def test_a_page_does_not_hide_behind_a_ticket() -> None:
    """The model that was told first makes a ticket only; the other's fault wakes a person."""
    calm = watched("one", quality={"severity": "warning"})
    first = found(at_models("one"), watched=[calm])
    known = [known_of(i) for i in first.opened]
    result = found(at_models("one", "two"), watched=[calm, watched("two")], known=known)
    assert [(i.name, i.pages) for i in result.opened] == [("flights/two", True)]
    together = found(at_models("one", "two"), watched=[calm, watched("two")])
    assert [(i.name, i.pages) for i in together.opened] == [("flights/two", True)]


def test_a_silenced_model_hides_no_other() -> None:
    silence = Silence("flights", "one", None, START, START + 100 * DAY)
    told = found(at_models("one", "two"), silences=[silence]).opened
    assert [(i.watched.model, i.also) for i in told] == [("two", ())]


def test_an_alert_goes_on_with_the_models_that_are_not_mended() -> None:
    both = found(at_models("one", "two"))
    known = [replace(known_of(i), also=frozenset({"two"})) for i in both.opened]
    mended = at_models("one", broken=[0.9, 0.9, 0, 0]) + at_models("two", broken=[0.9] * 4)
    result = found(mended, known=known)
    assert (result.opened, result.closed) == ((), ())
    (changed,) = result.changed
    assert (changed.incident_id, changed.name) == (known[0].incident_id, "flights/two")


def test_a_model_that_is_struck_later_joins_what_was_told() -> None:
    known = [known_of(i) for i in found(at_models("one")).opened]
    later = at_models("one") + missing([*QUIET, 0, 0.9], model="two")
    result = found(later, known=known)
    assert result.opened == ()
    assert [other.name for other in result.incidents[0].also] == ["flights/two"]
