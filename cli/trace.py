"""`modelyard trace`: from a prediction back to data, code, dependencies and approvals."""

import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError
from cli.root import find_root

if TYPE_CHECKING:
    from modelyard.trace import Place

DIFFERS = 1
_WIDTH = 160


def trace(
    context: typer.Context,
    prediction_id: Annotated[str, typer.Argument(help="Id that the caller got with the answer.")],
    team: Annotated[str | None, typer.Option(help="Look at this team only.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(help="Look at this model only.", show_default=False)] = None,
    day: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="Day of the answer, UTC; default: the id tells it.", show_default=False
        ),
    ] = None,
    environment: Annotated[
        str | None,
        typer.Option(
            "--environment",
            "-e",
            help="Look in BigQuery, at this environment; default: the local warehouse.",
            show_default=False,
        ),
    ] = None,
    warehouse: Annotated[
        Path | None,
        typer.Option(
            help="Local warehouse; default: MODELYARD_WAREHOUSE, else .modelyard/warehouse.",
            show_default=False,
        ),
    ] = None,
    registry: Annotated[
        Path | None,
        typer.Option(
            help="Folder of published versions; default: MODELYARD_REGISTRY, else .modelyard/registry.",
            show_default=False,
        ),
    ] = None,
    show_protected: Annotated[
        bool,
        typer.Option("--show-protected", help="Read and show the caller, confidential and pii features."),
    ] = False,
    fetch: Annotated[
        bool, typer.Option(help="Fetch the model's files, to compute their digests again.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    page: Annotated[
        Path | None, typer.Option("--html", help="Write one HTML page to this file.", show_default=False)
    ] = None,
) -> None:
    """Tell what stands behind a prediction: version, artefact, data, code, packages, image, who approved."""
    from modelyard.trace import TraceError
    from modelyard.trace import trace as follow
    from modelyard.trace.document import rendered
    from modelyard.trace.page import page as html
    from modelyard.trace.page import terminal
    from modelyard.warehouse import WarehouseError

    root = find_root(context.obj)
    try:
        place = _cloud(root, environment) if environment else _local(root, warehouse, registry)
        on: date | None = day.date() if day else None
        found = follow(
            prediction_id, place, team=team, model=model, day=on, show_protected=show_protected, fetch=fetch
        )
    except (TraceError, WarehouseError) as error:
        raise CommandError(str(error)) from error
    if page:
        page.write_text(html(found), encoding="utf-8")
    if as_json:
        print(rendered(found))
    elif page:
        print(f"Written: {page}")
    else:
        from rich.console import Console

        # Into a file or a pipe, digests stay on one line.
        Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH).print(terminal(found))
    if not found.sound:
        raise typer.Exit(DIFFERS)


def _local(root: Path, warehouse: Path | None, registry: Path | None) -> "Place":
    from cli.registry import find_registry
    from modelyard import warehouse as warehouses
    from modelyard.trace import declared_in, local_place

    folder = warehouses.find_root(warehouse, root)
    return local_place(warehouses.local(folder), find_registry(root, registry), declared_in(root))


def _cloud(root: Path, name: str) -> "Place":
    from modelyard import warehouse as warehouses
    from modelyard.spec.load import load_environment, load_team, team_names
    from modelyard.trace import cloud_place

    environment = load_environment(root, name)
    teams = [load_team(root, team, environment) for team in team_names(root)]
    return cloud_place(warehouses.bigquery(environment.project), environment, teams)
