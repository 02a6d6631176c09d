"""The life of alerts: what events add up to, in any order and however many write."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from modelyard import warehouse as warehouses
from modelyard.incidents import Silence, history
from modelyard.incidents import run as incidents
from modelyard.incidents.history import AlertError, Cause, Event, Kind
from modelyard.monitors.measuring.watched import Watched
from modelyard.spec.base import Severity
from modelyard.tables import DEPLOYMENTS, METRIC_VALUES, arrow_schema
from modelyard.warehouse import Warehouse
from tests.modelyard.incidents.test_incidents import watched

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
REF = "example-dev.modelyard_dev_monitoring.alert_events"


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return warehouses.local(tmp_path)


def opened(alert_id: str = "abc", time: datetime = NOW, severity: Severity = Severity.CRITICAL) -> Event:
    return Event(
        alert_id, time, Kind.OPENED, "quality-invalid", "flights", severity, "flights@example.com", "delay",
        feature="distance", title="flights/delay: feature distance is broken", text="# all of it",
    )  # fmt: skip


def test_events_add_up_to_an_alert() -> None:
    first = opened()
    (alert,) = history.alerts([first]).values()
    events = [
        first,
        history.acknowledge(alert, NOW + 4 * MINUTE, "ann"),
        history.acknowledge(alert, NOW + 9 * MINUTE, "bob"),
        history.assign(alert, NOW + 5 * MINUTE, "ann", "carl"),
        replace(history.resolved(alert, NOW + 60 * MINUTE)),
    ]
    (alert,) = history.alerts(events).values()
    assert (alert.acknowledged, alert.acknowledged_by) == (NOW + 4 * MINUTE, "ann")
    assert (alert.assignee, alert.closed, alert.closed_by) == ("carl", NOW + 60 * MINUTE, None)
    with_cause = [*events, history.close(alert, NOW + 90 * MINUTE, "carl", Cause.UPSTREAM)]
    (alert,) = history.alerts(with_cause).values()
    assert (alert.closed, alert.closed_by, alert.cause) == (NOW + 60 * MINUTE, "carl", "upstream")
    assert len(alert.events) == 6


def test_what_is_closed_cannot_be_acknowledged_or_closed_again() -> None:
    (alert,) = history.alerts([opened()]).values()
    done = history.alerts([opened(), history.close(alert, NOW + MINUTE, "ann", Cause.SEASON)])["abc"]
    with pytest.raises(AlertError, match="was closed at 2026-03-10 12:01 UTC"):
        history.acknowledge(done, NOW, "bob")
    with pytest.raises(AlertError, match="closed already, with the cause season"):
        history.close(done, NOW, "bob", Cause.UPSTREAM)


def test_figures_tell_how_alerts_were_answered() -> None:
    events: list[Event] = []
    for number, (acked, closed, cause) in enumerate(
        [(2, 10, Cause.UPSTREAM), (4, 30, Cause.FALSE_ALARM), (12, 20, Cause.DEPLOYMENT), (None, None, None)]
    ):
        first = opened(f"a{number}", severity=Severity.CRITICAL if number else Severity.WARNING)
        (alert,) = history.alerts([first]).values()
        events.append(first)
        if acked and closed and cause:
            events.append(history.acknowledge(alert, NOW + acked * MINUTE, "ann"))
            events.append(history.close(alert, NOW + closed * MINUTE, "ann", cause))
    figures = history.figures(history.alerts(events).values())
    assert (figures.alerts, figures.open, figures.pages) == (4, 1, 3)
    assert (figures.minutes_to_acknowledge, figures.minutes_to_resolve) == (4, 20)
    assert figures.closed_with_cause == 3
    assert figures.actionable_share == pytest.approx(2 / 3)
    assert figures.causes == {"deployment": 1, "false-alarm": 1, "upstream": 1}


def test_figures_of_nothing() -> None:
    figures = history.figures([])
    assert (figures.alerts, figures.minutes_to_acknowledge, figures.actionable_share) == (0, None, None)


def test_events_survive_the_warehouse(warehouse: Warehouse) -> None:
    assert history.read(warehouse, REF, NOW) == []
    silence = history.silence(
        Silence("flights", "delay", None, NOW, NOW + 2 * DAY, "maintenance", "ann"), "flights@example.com"
    )
    history.write(warehouse, REF, [opened(), silence], "one")
    history.write(warehouse, REF, [opened(), silence], "one")
    assert history.read(warehouse, REF, NOW + DAY) == [opened(), silence]
    (held,) = history.silences(history.read(warehouse, REF, NOW + DAY), NOW + DAY)
    assert (held.team, held.model, held.key, held.until) == ("flights", "delay", None, NOW + 2 * DAY)
    assert history.silences([silence], NOW + 2 * DAY) == []


def test_people_who_act_at_once_lose_nothing(tmp_path: Path) -> None:
    warehouse = warehouses.local(tmp_path)
    history.write(warehouse, REF, [opened()], "first")
    (alert,) = history.alerts(history.read(warehouse, REF, NOW)).values()

    def act(number: int) -> None:
        own = warehouses.local(tmp_path)
        event = history.acknowledge(alert, NOW + number * MINUTE, f"person-{number}")
        history.write(own, REF, [event], f"ack-{number}")

    threads = [threading.Thread(target=act, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (alert,) = history.alerts(history.read(warehouse, REF, NOW)).values()
    assert len(alert.events) == 9
    assert alert.acknowledged_by == "person-1"


# With what was measured


def values(
    warehouse: Warehouse, shares: list[float], name: str, model: str = "delay", computed: datetime = NOW
) -> None:
    """Keep one day's share of invalid values of the feature `distance` per item, the last one up to `NOW`."""
    end = NOW.replace(hour=0)
    rows = [
        {
            "window_start": end - (len(shares) - i) * DAY,
            "window_end": end - (len(shares) - i - 1) * DAY,
            "team": "flights",
            "model": model,
            "version": 1,
            "family": "quality",
            "metric": "excess_invalid_share",
            "feature": "distance",
            "value": share,
            "threshold": 0.05,
            "row_count": 900,
            "run_id": name,
            "computed": computed,
            "detail": None,
        }
        for i, share in enumerate(shares)
    ]
    schema = arrow_schema(METRIC_VALUES)
    table = pa.Table.from_pylist(rows, schema=schema)
    warehouse.append("example-dev.modelyard_dev_monitoring.metric_values", METRIC_VALUES, table, name)


def run(warehouse: Warehouse, run_id: str, now: datetime = NOW, *subjects: Watched) -> incidents.Outcome:
    return incidents.run(warehouse, subjects or [watched()], now, run_id)


def alerts(warehouse: Warehouse) -> list[history.Alert]:
    return list(history.alerts(history.read(warehouse, REF, NOW + 9 * DAY)).values())


def test_a_run_opens_and_a_later_one_closes(warehouse: Warehouse) -> None:
    values(warehouse, [0.0, 0.0, 0.9, 0.9], "v1")
    outcome = run(warehouse, "r1")
    (alert,) = alerts(warehouse)
    assert (alert.key, alert.feature, alert.is_open, alert.root) == (
        "quality-invalid",
        "distance",
        True,
        "feature",
    )
    assert alert.title == "flights/delay: feature distance is broken"
    assert "## First three things to do" in alert.text
    assert list(outcome.explained.values()) == [False]

    # The windows are computed anew, since late rows came: all of it was two days earlier.
    values(warehouse, [0.0, 0.0, 0.9, 0.9, 0.0, 0.0], "v2", computed=NOW + MINUTE)
    outcome = run(warehouse, "r2", NOW + 2 * MINUTE)
    assert list(outcome.explained.values()) == [True]
    (alert,) = alerts(warehouse)
    assert (alert.is_open, alert.closed_by) == (False, None)
    assert alert.events[-1].note == "resolved by itself"


@pytest.mark.parametrize("run_id", ["r1", "r2"])
def test_a_second_run_writes_nothing_anew(warehouse: Warehouse, run_id: str) -> None:
    values(warehouse, [0.0, 0.0, 0.9, 0.9], "v1")
    run(warehouse, "r1")
    run(warehouse, run_id)
    assert len(history.read(warehouse, REF, NOW)) == 1


def test_what_a_person_closed_is_not_opened_again_while_it_lasts(warehouse: Warehouse) -> None:
    values(warehouse, [0.0, 0.0, 0.9, 0.9], "v1")
    run(warehouse, "r1")
    (alert,) = alerts(warehouse)
    history.write(warehouse, REF, [history.close(alert, NOW, "ann", Cause.EXPECTED)], "c")
    run(warehouse, "r2", NOW + MINUTE)
    (alert,) = alerts(warehouse)
    assert not alert.is_open and len(alert.events) == 2


def test_a_silence_is_pushed_and_nothing_is_opened(warehouse: Warehouse) -> None:
    values(warehouse, [0.0, 0.0, 0.9, 0.9], "v1")
    silence = Silence("flights", None, None, NOW - MINUTE, NOW + DAY, "maintenance", "ann")
    history.write(warehouse, REF, [history.silence(silence, "flights@example.com")], "s")
    outcome = run(warehouse, "r1")
    assert outcome.silenced == {("flights", "delay", "all"): NOW + DAY}
    assert alerts(warehouse) == []
    run(warehouse, "r2", NOW + 2 * DAY)
    assert len(alerts(warehouse)) == 1


def test_a_silence_that_began_after_the_full_hour_is_in_force(warehouse: Warehouse) -> None:
    """The run of five past evaluates the full hour."""
    values(warehouse, [0.0, 0.0, 0.9, 0.9], "v1")
    silence = Silence("flights", None, None, NOW + 3 * MINUTE, NOW + DAY, "maintenance", "ann")
    history.write(warehouse, REF, [history.silence(silence, "flights@example.com")], "s")
    outcome = run(warehouse, "r1")
    assert outcome.silenced == {("flights", "delay", "all"): NOW + DAY}
    assert alerts(warehouse) == []


def test_silences_can_be_asked_for_between_the_hours(warehouse: Warehouse) -> None:
    silence = Silence("flights", "delay", "usage-drop", NOW, NOW + DAY, "maintenance", "ann")
    history.write(warehouse, REF, [history.silence(silence, "flights@example.com")], "s")
    deployed(warehouse, NOW - MINUTE, 1, "d1")
    found = incidents.silenced(warehouse, [watched(), watched("other")], NOW)
    assert found["flights", "delay", "usage-drop"] == NOW + DAY
    assert found["flights", "delay", "latency-p95"] == NOW + 29 * MINUTE
    assert {model for _, model, _ in found} == {"delay"}
    assert incidents.silenced(warehouse, [watched()], NOW + DAY) == {}
    assert incidents.silenced(warehouse, [], NOW) == {}


def test_models_with_one_fault_are_one_alert_that_names_them(warehouse: Warehouse) -> None:
    both = watched(), watched("other")
    values(warehouse, [0.0, 0.0, 0.9, 0.9], "v1")
    run(warehouse, "r1", NOW, *both)
    (alert,) = alerts(warehouse)
    assert (alert.model, alert.also) == ("delay", ())

    values(warehouse, [0.0, 0.0, 0.0, 0.9], "v2", "other")
    for name in ("r2", "r3"):
        outcome = run(warehouse, name, NOW + MINUTE, *both)
    (alert,) = alerts(warehouse)
    assert (alert.model, alert.also) == ("delay", ("other",))
    assert alert.title == "flights/delay and 1 more model: feature distance is broken"
    assert [event.event for event in alert.events] == [Kind.OPENED, Kind.JOINED]
    assert {key.model for key, explained in outcome.explained.items() if not explained} == {"delay"}

    # The first is mended: the alert stays open, for the other.
    values(warehouse, [0.0, 0.0, 0.9, 0.0, 0.0], "v3", computed=NOW + 2 * MINUTE)
    outcome = run(warehouse, "r4", NOW + 3 * MINUTE, *both)
    (alert,) = alerts(warehouse)
    assert (alert.is_open, alert.model, alert.also) == (True, "other", ("delay",))
    assert {key.model for key, explained in outcome.explained.items() if not explained} == {"other"}

    values(warehouse, [0.0, 0.0, 0.9, 0.0, 0.0], "v4", "other", computed=NOW + 4 * MINUTE)
    run(warehouse, "r5", NOW + 5 * MINUTE, *both)
    (alert,) = alerts(warehouse)
    assert not alert.is_open and alert.closed_by is None


def test_an_alert_of_several_models_is_written_with_them_at_once(warehouse: Warehouse) -> None:
    for model in ("delay", "other"):
        values(warehouse, [0.0, 0.0, 0.9, 0.9], f"v-{model}", model)
    run(warehouse, "r1", NOW, watched(), watched("other"))
    (alert,) = alerts(warehouse)
    assert (alert.model, alert.also) == ("delay", ("other",))
    history.write(warehouse, REF, [history.close(alert, NOW, "ann", Cause.EXPECTED)], "c")
    run(warehouse, "r2", NOW + MINUTE, watched(), watched("other"))
    (alert,) = alerts(warehouse)
    assert not alert.is_open, "what a person closed stays closed for both"


def deployed(warehouse: Warehouse, time: datetime, version: int, name: str) -> None:
    row = {
        "deployment_id": name,
        "time": time,
        "environment": "dev",
        "actor": "deployer@example.com",
        "approved_by": ["ann"],
        "repository": "example/models",
        "commit": "0123456789abcdef",
        "stacks": [],
        "models": [
            {
                "team": "flights",
                "model": "delay",
                "version": version,
                "manifest_digest": "sha256:1",
                "image_digest": "sha256:2",
                "percent": 100,
            }
        ],
        "plan_digest": "sha256:3",
        "succeeded": True,
    }
    table = pa.Table.from_pylist([row], schema=arrow_schema(DEPLOYMENTS))
    warehouse.append("example-dev.modelyard_dev_metadata.deployments", DEPLOYMENTS, table, name)


def test_a_deployment_is_named_as_cause_and_one_that_changed_nothing_is_not(warehouse: Warehouse) -> None:
    values(warehouse, [0.0, 0.0, 0.9, 0.9], "v1")
    fault = NOW.replace(hour=0) - 2 * DAY
    deployed(warehouse, fault - 9 * DAY, 1, "d1")
    deployed(warehouse, fault + MINUTE, 1, "d2")
    run(warehouse, "r1")
    (alert,) = alerts(warehouse)
    assert "1. upstream data" in alert.text

    deployed(warehouse, fault + 2 * MINUTE, 2, "d3")
    other = warehouses.local(Path(str(getattr(warehouse, "root"))))  # noqa: B009
    result = run(other, "r2")
    (incident,) = result.evaluation.incidents
    assert incident.causes[0].kind == "deployment"
    assert "version 2 went into service" in incident.causes[0].evidence


def test_while_a_version_starts_the_alerts_of_its_service_are_silenced(warehouse: Warehouse) -> None:
    deployed(warehouse, NOW - MINUTE, 1, "d1")
    values(warehouse, [0.0], "v1")
    outcome = run(warehouse, "r1")
    assert ("flights", "delay", "latency-p95") in outcome.silenced
    assert ("flights", "delay", "quality-invalid") not in outcome.silenced
    assert set(outcome.silenced.values()) == {NOW + 29 * MINUTE}


def test_values_of_versions_out_of_service_open_nothing(warehouse: Warehouse) -> None:
    values(warehouse, [0.0, 0.0, 0.9, 0.9], "v1")
    run(warehouse, "r1", NOW, replace(watched(), versions=(2,)))
    assert alerts(warehouse) == []


def test_without_models_nothing_is_read(warehouse: Warehouse) -> None:
    assert incidents.run(warehouse, [], NOW, "r").explained == {}
