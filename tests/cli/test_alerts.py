"""`modelyard alerts` on a warehouse of its own."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelyard import warehouse as warehouses
from modelyard.incidents import history
from modelyard.incidents.history import Event, Kind
from modelyard.naming import Names
from modelyard.spec.base import Severity
from modelyard.spec.load import load_environment
from tests.cli.conftest import Run, Told

HOUR = timedelta(hours=1)


@pytest.fixture
def store(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[warehouses.Warehouse, str]:
    """A local warehouse, the one that the command finds, and its table of events."""
    monkeypatch.setenv("MODELYARD_WAREHOUSE", str(tmp_path / "warehouse"))
    monkeypatch.setenv("MODELYARD_ACTOR", "ann")
    (environment,) = sorted(path.stem for path in (tree / "environments").glob("*.yaml"))[:1]
    monkeypatch.setenv("MODELYARD_ENVIRONMENT", environment)
    names = Names.of(load_environment(tree, environment))
    ref = f"{names.project}.{names.dataset('monitoring')}.alert_events"
    return warehouses.local(tmp_path / "warehouse"), ref


def opened(alert_id: str, hours_ago: int = 1, **changes: Any) -> Event:
    event = Event(
        alert_id,
        datetime.now(UTC) - hours_ago * HOUR,
        Kind.OPENED,
        "quality-invalid",
        "flight-ops",
        Severity.CRITICAL,
        "flight-ops@example.com",
        "arrival-delay",
        feature="distance",
        root="feature",
        title="flight-ops/arrival-delay: feature distance is broken",
        text="# flight-ops/arrival-delay: feature distance is broken\n\n## First three things to do\n",
    )
    return replace(event, **changes)


@pytest.fixture
def three(store: tuple[warehouses.Warehouse, str]) -> None:
    warehouse, ref = store
    drift = {
        "key": "drift-features",
        "severity": Severity.WARNING,
        "title": "flight-ops/arrival-delay: drift",
    }
    events = [
        opened("abc123"),
        opened("abd456", 30, **drift),
        opened("fff999", 2, team="pricing", model="diamond-value", title="pricing/diamond-value: silence"),
    ]
    history.write(warehouse, ref, events, "three")


def ok(told: Told) -> str:
    assert told.code == 0, told.err
    return told.out


def test_without_alerts_it_says_so(modelyard: Run, store: object) -> None:
    assert ok(modelyard("alerts")) == "No open alert\n"
    assert json.loads(ok(modelyard("alerts", "--json"))) == []
    assert "Alerts              0" in ok(modelyard("alerts", "stats"))


@pytest.mark.usefixtures("three")
def test_open_alerts_are_listed_the_gravest_first(modelyard: Run) -> None:
    listed = json.loads(ok(modelyard("alerts", "--json")))
    assert [alert["alert_id"] for alert in listed] == ["fff999", "abc123", "abd456"]
    table = ok(modelyard("alerts"))
    assert "fff999" in table and "critical" in table and "new" in table


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--team", "pricing"], ["fff999"]),
        (["--model", "arrival-delay"], ["abc123", "abd456"]),
        (["--severity", "warning"], ["abd456"]),
        (["--team", "pricing", "--severity", "warning"], []),
    ],
)
def test_lists_can_be_narrowed(modelyard: Run, options: list[str], ids: list[str]) -> None:
    listed = json.loads(ok(modelyard("alerts", *options, "--json")))
    assert [alert["alert_id"] for alert in listed] == ids


@pytest.mark.usefixtures("three")
def test_the_life_of_an_alert(modelyard: Run) -> None:
    assert "acknowledged by ann" in ok(modelyard("alerts", "ack", "abc", "--note", "on it"))
    assert "assigned to bob" in ok(modelyard("alerts", "assign", "abc123", "bob"))
    assert "with bob" in ok(modelyard("alerts"))
    closing = modelyard("alerts", "close", "abc123", "--cause", "upstream", "--as", "bob")
    assert "closed by bob, cause: upstream" in ok(closing)
    assert "abc123" not in ok(modelyard("alerts"))
    assert "closed: upstream" in ok(modelyard("alerts", "--all"))
    shown = ok(modelyard("alerts", "show", "abc123"))
    for part in (
        "## First three things to do",
        "opened by the monitoring",
        "acknowledged by ann (on it)",
        "assigned by ann to bob",
        "closed by bob cause: upstream",
    ):
        assert part in shown
    figures = json.loads(ok(modelyard("alerts", "stats", "--json")))
    assert figures["alerts"] == 3 and figures["open"] == 2
    assert figures["actionable_share"] == 1.0 and figures["causes"] == {"upstream": 1}
    assert 59 <= figures["minutes_to_acknowledge"] <= 62
    document = json.loads(ok(modelyard("alerts", "show", "abc123", "--json")))
    assert [event["event"] for event in document["events"]] == [
        "opened",
        "acknowledged",
        "assigned",
        "closed",
    ]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "zzz"], "No alert begins with 'zzz'; open: "),
        (["ack", "ab"], "2 alerts begin with 'ab'; give more of the id"),
        (["close", "abc123", "--cause", "dunno"], "--cause dunno: expected one of deployment, upstream"),
        (["silence", "flight-ops", "--until", "soon", "--reason", "x"], "--until soon: expected a time"),
        (["silence", "flight-ops", "--until", "2020-01-01", "--reason", "x"], "that is over"),
        (["silence", "flight-ops", "--until", "40d", "--reason", "x"], "more than 30 days"),
        (["silence", "nobody", "--until", "2h", "--reason", "x"], "There is no team 'nobody'"),
        (["silence", "flight-ops/none", "--until", "2h", "--reason", "x"], "has no model 'none'"),
        (["silence", "flight-ops", "--until", "2h", "--reason", "x", "--key", "k"], "--key k: no such alert"),
    ],
)
def test_what_cannot_be_done_is_said(
    modelyard: Run, store: tuple[warehouses.Warehouse, str], arguments: list[str], says: str
) -> None:
    told = modelyard("alerts", *arguments)
    assert told.code == 2 and says in told.err and "Traceback" not in told.err
    warehouse, ref = store
    assert len(history.read(warehouse, ref, datetime.now(UTC))) == 3, "nothing was written"


@pytest.mark.usefixtures("three")
def test_what_was_closed_cannot_be_closed_again(modelyard: Run) -> None:
    ok(modelyard("alerts", "close", "abc123", "--cause", "season"))
    assert (
        "closed already, with the cause season"
        in modelyard("alerts", "close", "abc123", "--cause", "season").err
    )
    assert "was closed at" in modelyard("alerts", "ack", "abc123").err


def test_a_silence_is_kept_until_it_ends(modelyard: Run, store: tuple[warehouses.Warehouse, str]) -> None:
    said = ok(
        modelyard("alerts", "silence", "flight-ops/arrival-delay", "--until", "2h", "--reason", "new feed")
    )
    assert "all alerts silenced until" in said and "new feed" in said
    warehouse, ref = store
    now = datetime.now(UTC)
    events = history.read(warehouse, ref, now)
    (silence,) = history.silences(events, now)
    assert (silence.team, silence.model, silence.key) == ("flight-ops", "arrival-delay", None)
    assert silence.until - now <= 2 * HOUR
    assert history.silences(events, now + 2 * HOUR) == []


def test_what_is_silenced_is_listed(modelyard: Run, store: tuple[warehouses.Warehouse, str]) -> None:
    assert ok(modelyard("alerts", "silences")) == "Nothing is silenced\n"
    ok(modelyard("alerts", "silence", "flight-ops", "--until", "2d", "--reason", "moving house"))
    only = ["--key", "usage-drop", "--as", "bob"]
    ok(modelyard("alerts", "silence", "flight-ops/arrival-delay", "--until", "2h", "--reason", "x", *only))
    first, second = ok(modelyard("alerts", "silences")).splitlines()
    assert first.startswith("flight-ops/arrival-delay: usage-drop until ") and first.endswith("by bob: x")
    assert second.startswith("flight-ops: all alerts until ") and second.endswith("by ann: moving house")
    listed = json.loads(ok(modelyard("alerts", "silences", "--json")))
    assert [silence["key"] for silence in listed] == ["usage-drop", None]


def test_an_alert_is_found_by_any_of_its_models(
    modelyard: Run, store: tuple[warehouses.Warehouse, str]
) -> None:
    warehouse, ref = store
    first = opened("abc123")
    history.write(warehouse, ref, [first, replace(first, event=Kind.JOINED, model="taxi-time")], "two")
    for model in ("arrival-delay", "taxi-time"):
        (alert,) = json.loads(ok(modelyard("alerts", "--model", model, "--json")))
        assert (alert["model"], alert["also"]) == ("arrival-delay", ["taxi-time"])
    assert json.loads(ok(modelyard("alerts", "--model", "late-departure", "--json"))) == []
