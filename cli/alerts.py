"""`modelyard alerts`: what is wrong, who looks at it, and what it was in the end."""

import getpass
import json
import os
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError
from cli.root import find_root

if TYPE_CHECKING:
    from modelyard.incidents.history import Alert, Event
    from modelyard.spec.environment import Environment
    from modelyard.warehouse import Warehouse

app = typer.Typer(help="List alerts, say who looks at them, and close them with a cause.")

Environment_ = Annotated[
    str | None,
    typer.Option(
        "--environment",
        "-e",
        help="Alerts of this environment, in BigQuery; default: those of the local warehouse.",
        show_default=False,
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--warehouse",
        help="Local warehouse; default: MODELYARD_WAREHOUSE, else .modelyard/warehouse.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AlertId = Annotated[str, typer.Argument(metavar="ALERT", help="Id of the alert, or enough of its beginning.")]
Actor = Annotated[
    str | None,
    typer.Option("--as", help="Who acts; default: MODELYARD_ACTOR, else your login.", show_default=False),
]
Note = Annotated[str | None, typer.Option(help="Anything worth knowing later.", show_default=False)]
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
LONGEST = timedelta(days=30)


@dataclass(frozen=True)
class Store:
    """Where the events are."""

    warehouse: "Warehouse"
    ref: str
    environment: "Environment"
    root: Path

    def events(self) -> "list[Event]":
        """Return all events that are remembered."""
        from modelyard.incidents import history

        return history.read(self.warehouse, self.ref, _now())

    def alerts(self) -> "dict[str, Alert]":
        """Return all alerts that are remembered, by id."""
        from modelyard.incidents import history

        return history.alerts(self.events())

    def alert(self, beginning: str) -> "Alert":
        """Return the alert whose id begins so."""
        found = self.alerts()
        matching = [alert for alert_id, alert in found.items() if alert_id.startswith(beginning)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            raise CommandError(f"{len(matching)} alerts begin with '{beginning}'; give more of the id")
        recent = ", ".join(alert.alert_id for alert in found.values() if alert.is_open) or "none is open"
        raise CommandError(f"No alert begins with '{beginning}'; open: {recent}")

    def add(self, event: "Event") -> None:
        """Add an event."""
        from uuid import uuid4

        from modelyard.incidents import history

        history.write(self.warehouse, self.ref, [event], f"{event.event}-{event.alert_id}-{uuid4().hex[:8]}")


def _now() -> datetime:
    return datetime.now(UTC)


def _store(context: typer.Context, environment: str | None, folder: Path | None) -> Store:
    from modelyard import warehouse as warehouses
    from modelyard.naming import Names
    from modelyard.spec.load import load_environment

    root = find_root(context.obj)
    name = environment or os.environ.get("MODELYARD_ENVIRONMENT", "local")
    settings = load_environment(root, name)
    names = Names.of(settings)
    warehouse: Any = (
        warehouses.bigquery(settings.project)
        if environment
        else warehouses.local(warehouses.find_root(folder, root))
    )
    return Store(warehouse, f"{names.project}.{names.dataset('monitoring')}.alert_events", settings, root)


def _actor(given: str | None) -> str:
    return given or os.environ.get("MODELYARD_ACTOR") or getpass.getuser()


@app.callback(invoke_without_command=True)
def alerts(
    context: typer.Context,
    team: Annotated[str | None, typer.Option(help="Of this team only.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(help="Of this model only.", show_default=False)] = None,
    severity: Annotated[
        str | None, typer.Option(help="Of this severity only: critical, error, warning.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Closed ones too, of the last 90 days.")] = False,
    environment: Environment_ = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """List the open alerts, the gravest first."""
    if context.invoked_subcommand:
        return
    store = _store(context, environment, folder)
    found = [
        alert
        for alert in store.alerts().values()
        if (every or alert.is_open)
        and team in (None, alert.team)
        and model in (None, alert.model, *alert.also)
        and severity in (None, alert.severity.value)
    ]
    order = ("critical", "error", "warning")
    found.sort(key=lambda alert: (not alert.is_open, order.index(alert.severity.value), alert.opened))
    if as_json:
        _print([_document(alert) for alert in found])
    elif not found:
        print("No alert" if every else "No open alert")
    else:
        _table(found)


@app.command()
def show(
    context: typer.Context,
    alert_id: AlertId,
    environment: Environment_ = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Show the whole alert: what happened, likely causes, what to do, and what people did."""
    alert = _store(context, environment, folder).alert(alert_id)
    if as_json:
        _print(_document(alert, whole=True))
        return
    print(alert.text.rstrip())
    print("\n## What people did\n")
    for event in alert.events:
        words = [
            f"{event.time:%Y-%m-%d %H:%M} UTC",
            event.event.value,
            f"by {event.actor or 'the monitoring'}",
        ]
        words += [f"to {event.assignee}"] if event.assignee else []
        words += [f"cause: {event.cause}"] if event.cause else []
        words += [f"({event.note})"] if event.note else []
        print("- " + " ".join(words))


@app.command()
def ack(
    context: typer.Context,
    alert_id: AlertId,
    actor: Actor = None,
    note: Note = None,
    environment: Environment_ = None,
    folder: Folder = None,
) -> None:
    """Say that you look at an alert."""
    from modelyard.incidents import history

    store = _store(context, environment, folder)
    alert = store.alert(alert_id)
    _do(store, lambda: history.acknowledge(alert, _now(), _actor(actor), note))
    print(f"{alert.alert_id} {alert.title}: acknowledged by {_actor(actor)}")


@app.command()
def assign(
    context: typer.Context,
    alert_id: AlertId,
    to: Annotated[str, typer.Argument(help="Who is to work on it.")],
    actor: Actor = None,
    environment: Environment_ = None,
    folder: Folder = None,
) -> None:
    """Ask somebody to work on an alert."""
    from modelyard.incidents import history

    store = _store(context, environment, folder)
    alert = store.alert(alert_id)
    _do(store, lambda: history.assign(alert, _now(), _actor(actor), to))
    print(f"{alert.alert_id} {alert.title}: assigned to {to}")


@app.command()
def close(
    context: typer.Context,
    alert_id: AlertId,
    cause: Annotated[
        str,
        typer.Option(
            help="What it was: deployment, upstream, traffic, infrastructure, concept, season, expected, "
            "false-alarm."
        ),
    ],
    actor: Actor = None,
    note: Note = None,
    environment: Environment_ = None,
    folder: Folder = None,
) -> None:
    """Close an alert with its cause; also one that resolved by itself."""
    from modelyard.incidents import history

    causes = [item.value for item in history.Cause]
    if cause not in causes:
        raise CommandError(f"--cause {cause}: expected one of {', '.join(causes)}")
    store = _store(context, environment, folder)
    alert = store.alert(alert_id)
    _do(store, lambda: history.close(alert, _now(), _actor(actor), history.Cause(cause), note))
    print(f"{alert.alert_id} {alert.title}: closed by {_actor(actor)}, cause: {cause}")


@app.command()
def silence(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="TEAM[/MODEL]", help="Whose alerts are not to be told.")],
    until: Annotated[
        str, typer.Option(help="End: a time such as 2026-03-01T18:00 (UTC), or from now: 90m, 4h, 2d.")
    ],
    reason: Annotated[str, typer.Option(help="Why; whoever wonders reads it.")],
    key: Annotated[
        str | None, typer.Option(help="Only this alert, such as usage-drop.", show_default=False)
    ] = None,
    actor: Actor = None,
    environment: Environment_ = None,
    folder: Folder = None,
) -> None:
    """Do not tell alerts for a while, at most 30 days: maintenance, a planned backfill."""
    from modelyard.incidents import Silence, history
    from modelyard.monitors import MONITORS

    keys = {monitor.key for monitor in MONITORS}
    if key is not None and key not in keys:
        raise CommandError(f"--key {key}: no such alert; there are {', '.join(sorted(keys))}")
    store, now = _store(context, environment, folder), _now()
    end = _end(until, now)
    team, _, model = target.partition("/")
    owner = _owner(store, team, model)
    chosen = Silence(team, model or None, key, now, end, reason, _actor(actor))
    store.add(history.silence(chosen, owner))
    what = key or "all alerts"
    print(f"{target}: {what} silenced until {end:%Y-%m-%d %H:%M} UTC by {_actor(actor)}: {reason}")


@app.command()
def silences(
    context: typer.Context,
    environment: Environment_ = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """List what is silenced now, by whom and why; what ends first comes first."""
    from modelyard.incidents import history

    store = _store(context, environment, folder)
    found = sorted(history.silences(store.events(), _now()), key=lambda silence: silence.until)
    if as_json:
        _print([asdict(silence) for silence in found])
    elif not found:
        print("Nothing is silenced")
    for silence in () if as_json else found:
        target = f"{silence.team}/{silence.model}" if silence.model else silence.team
        print(
            f"{target}: {silence.key or 'all alerts'} until {silence.until:%Y-%m-%d %H:%M} UTC by "
            f"{silence.actor}: {silence.reason}"
        )


@app.command()
def stats(
    context: typer.Context,
    team: Annotated[str | None, typer.Option(help="Of this team only.", show_default=False)] = None,
    environment: Environment_ = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Tell how alerts of the last 90 days were answered: times, causes, and the share worth acting on."""
    from modelyard.incidents import history

    found = _store(context, environment, folder).alerts().values()
    figures = history.figures(alert for alert in found if team in (None, alert.team))
    if as_json:
        _print(asdict(figures))
        return
    worth = "-" if figures.actionable_share is None else f"{figures.actionable_share:.0%}"
    print(f"Alerts              {figures.alerts}, of which {figures.pages} paged and {figures.open} are open")
    print(f"Time to acknowledge {_minutes(figures.minutes_to_acknowledge)} (median)")
    print(f"Time to resolve     {_minutes(figures.minutes_to_resolve)} (median)")
    print(f"Worth acting on     {worth} of {figures.closed_with_cause} closed with a cause")
    for cause, count in figures.causes.items():
        print(f"  {cause:17} {count}")


def _do(store: Store, make: Any) -> None:
    from modelyard.incidents.history import AlertError

    try:
        store.add(make())
    except AlertError as error:
        raise CommandError(str(error)) from error


def _end(until: str, now: datetime) -> datetime:
    if match := re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", until):
        end = now + timedelta(**{_UNITS[match[2]]: int(match[1])})
    else:
        try:
            end = datetime.fromisoformat(until)
        except ValueError:
            raise CommandError(
                f"--until {until}: expected a time such as 2026-03-01T18:00, or 90m, 4h, 2d"
            ) from None
        end = end.astimezone(UTC) if end.tzinfo else end.replace(tzinfo=UTC)
    if end <= now:
        raise CommandError(f"--until {until}: that is over; a silence lies ahead")
    if end > now + LONGEST:
        raise CommandError(
            f"--until {until}: more than 30 days; for longer, change the threshold in the team file"
        )
    return end


def _owner(store: Store, team: str, model: str) -> str:
    from modelyard.spec.load import load_team, team_names

    teams = team_names(store.root)
    if team not in teams:
        raise CommandError(f"There is no team '{team}'; there are {', '.join(teams)}")
    loaded = load_team(store.root, team, store.environment)
    models = [item.name for item in loaded.models]
    if model and model not in models:
        raise CommandError(f"Team {team} has no model '{model}'; it has {', '.join(models)}")
    return loaded.owners.group


def _document(alert: "Alert", whole: bool = False) -> dict[str, Any]:
    document = asdict(alert)
    events = document.pop("events")
    if whole:
        document["events"] = [{k: v for k, v in event.items() if k != "text"} for event in events]
    else:
        document.pop("text")
    return document


def _print(document: Any) -> None:
    print(json.dumps(document, indent=2, default=lambda value: value.isoformat()))


def _table(found: "list[Alert]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("id", "severity", "opened, UTC", "state", "what"):
        table.add_column(name, overflow="fold", no_wrap=name in ("id", "opened, UTC", "state"))
    for alert in found:
        state = "closed" if not alert.is_open else "new"
        if alert.is_open and alert.acknowledged:
            state = f"seen by {alert.acknowledged_by}"
        if alert.is_open and alert.assignee:
            state = f"with {alert.assignee}"
        if alert.cause:
            state = f"closed: {alert.cause}"
        table.add_row(
            alert.alert_id,
            alert.severity.value,
            f"{alert.opened:%m-%d %H:%M}",
            state,
            alert.title or f"{alert.subject}: {alert.key}",
        )
    Console(highlight=False, markup=False).print(table)


def _minutes(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f} minutes" if value < 120 else f"{value / 60:.1f} hours"
