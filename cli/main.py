"""The `modelyard` command. What a subcommand needs is imported when it runs, so that `--help` is quick."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.alerts import app as alerts_app
from cli.errors import CommandError
from cli.review import register as register_review
from cli.root import find_root
from cli.trace import trace

if TYPE_CHECKING:
    from modelyard.spec.errors import Problem

BAD_INPUT = 2

app = typer.Typer(
    name="modelyard",
    help="A governed, monitored place for models on Google Cloud, from one YAML file per team.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
new_app = typer.Typer(no_args_is_help=True, help="Make a team, or a model of a team.")
app.add_typer(new_app, name="new")
app.add_typer(alerts_app, name="alerts")
register_review(app)
app.command()(trace)


class Format(StrEnum):
    """Forms of output."""

    TEXT = "text"
    JSON = "json"


class ModelPattern(StrEnum):
    """How a model is served; as `modelyard.spec.base.Pattern`, which is slow to import."""

    REST = "rest"
    BATCH = "batch"
    STREAMING = "streaming"


Registry = Annotated[
    Path | None,
    typer.Option(
        help="Folder of published versions; default: MODELYARD_REGISTRY, else .modelyard/registry.",
        show_default=False,
    ),
]


@app.callback()
def common(
    context: typer.Context,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder with environments/ and teams/; default: MODELYARD_ROOT, else the nearest above.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Keep what all subcommands share."""
    context.obj = root


@app.command()
def validate(
    context: typer.Context,
    environment: Annotated[
        str | None,
        typer.Option("--environment", "-e", help="Look at this environment only.", show_default=False),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="Form of the output.")] = Format.TEXT,
) -> None:
    """Check every environment, team file and manifest; tell all problems at once."""
    from modelyard.spec.load import check

    problems, counts = check(find_root(context.obj), environment)
    if form is Format.JSON:
        import dataclasses
        import json

        document = {
            "problems": [dataclasses.asdict(problem) for problem in problems],
            **dataclasses.asdict(counts),
        }
        print(json.dumps(document, indent=2))
    elif problems:
        show(problems)
    else:
        print(
            f"{many(counts.environments, 'environment')}, {many(counts.teams, 'team')}, "
            f"{many(counts.models, 'model')}: no problems"
        )
    if problems:
        raise typer.Exit(BAD_INPUT)


@new_app.command("team")
def new_team(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the team, such as flight-ops.")],
    group: Annotated[
        str | None, typer.Option(help="Google group that owns the models.", show_default=False)
    ] = None,
    escalation: Annotated[
        str | None,
        typer.Option(help="Channel that critical alerts page; see environments/*.yaml.", show_default=False),
    ] = None,
    cost_center: Annotated[str | None, typer.Option(help="Who pays.", show_default=False)] = None,
) -> None:
    """Make a team's folder; asks for what is not given, if there is a terminal."""
    from cli.changes import alone
    from cli.new import new_team as make

    root = find_root(context.obj)
    answers = {"group": group, "escalation": escalation, "cost-center": cost_center}
    missing = [f"--{option}" for option, value in answers.items() if value is None]
    if missing and not sys.stdin.isatty():
        raise CommandError(f"Missing {', '.join(missing)}; without a terminal nobody can be asked")
    for option, value in answers.items():
        if value is None:
            answers[option] = typer.prompt(option.replace("-", " ").capitalize())
    with alone(root):
        tell(
            make(
                root,
                name,
                group=str(answers["group"]),
                escalation=str(answers["escalation"]),
                cost_center=str(answers["cost-center"]),
            )
        )


@new_app.command("model")
def new_model(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="TEAM/NAME", help="Team and model, such as flight-ops/arrival-delay.")
    ],
    pattern: Annotated[ModelPattern, typer.Option(help="How it is served.")],
    version: Annotated[
        int | None,
        typer.Option(min=1, help="Version to pin; default: the highest published.", show_default=False),
    ] = None,
    pii_reader: Annotated[
        list[str] | None,
        typer.Option(
            help="Who may read protected features in clear: group:a@example.com, or nobody; repeatable.",
            show_default=False,
        ),
    ] = None,
    registry: Registry = None,
) -> None:
    """Add a model to a team file, pinned to a published version."""
    from cli.changes import alone
    from cli.new import new_model as make
    from cli.registry import find_store
    from modelyard.spec.base import Pattern

    root = find_root(context.obj)
    with alone(root):
        tell(
            make(
                root,
                name,
                pattern=Pattern(pattern.value),
                version=version,
                pii_readers=pii_reader or [],
                registry_folder=find_store(root, registry),
            )
        )


@app.command()
def pin(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(metavar="TEAM/MODEL@VERSION", help="What to pin, such as flight-ops/arrival-delay@4."),
    ],
    canary: Annotated[bool, typer.Option("--canary", help="Give it a share of the traffic only.")] = False,
    registry: Registry = None,
) -> None:
    """Make a published version the one that is deployed, and say what that changes."""
    from cli.changes import alone
    from cli.pin import pin as run
    from cli.registry import find_store

    root = find_root(context.obj)
    with alone(root):
        tell(run(root, target, as_canary=canary, registry_folder=find_store(root, registry)))


Environment = Annotated[
    str | None,
    typer.Option(
        "--environment",
        "-e",
        help="Environment whose settings hold; default: the stand-in's.",
        show_default=False,
    ),
]
Warehouse = Annotated[
    Path | None,
    typer.Option(
        help="Folder of tables; default: MODELYARD_WAREHOUSE, else .modelyard/warehouse.", show_default=False
    ),
]


@app.command()
def serve(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TEAM[/MODEL[@VERSION]]", help="What to serve; default: the versions that are pinned."
        ),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")] = 8080,
    environment: Environment = None,
    registry: Registry = None,
    warehouse: Warehouse = None,
) -> None:
    """Serve REST models on this machine, by the REST image's own code."""
    from cli.registry import find_registry
    from cli.serve import serve as run

    root = find_root(context.obj)
    found = find_registry(root, registry)
    code = run(root, target, port=port, environment=environment, registry=found, warehouse=warehouse)
    raise typer.Exit(code)


@app.command()
def score(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(metavar="TEAM/MODEL[@VERSION]", help="Batch model, such as pricing/diamond-value."),
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="Parquet file or folder; default: the model's table.",
            exists=True,
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Column of the input that stands beside each prediction.", show_default=False),
    ] = None,
    environment: Environment = None,
    registry: Registry = None,
    warehouse: Warehouse = None,
) -> None:
    """Score a table on this machine, by the batch image's own code."""
    from cli.registry import find_registry
    from cli.serve import score as run

    root = find_root(context.obj)
    code = run(
        root,
        target,
        source=source,
        key=key,
        environment=environment,
        registry=find_registry(root, registry),
        warehouse=warehouse,
    )
    raise typer.Exit(code)


@app.command()
def schemas(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a file is not current.")
    ] = False,
) -> None:
    """Write the JSON Schemas and the reference pages of the input files."""
    from modelyard.spec.schemas import rendered

    root = find_root(context.obj)
    stale = [
        (path, text)
        for path, text in rendered(root).items()
        if not path.is_file() or path.read_bytes() != text.encode()
    ]
    if check and stale:
        names = ", ".join(path.relative_to(root).as_posix() for path, _ in stale)
        raise CommandError(f"Not current: {names}. Run: modelyard schemas")
    for path, text in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    tell([f"Written: {path.relative_to(root).as_posix()}" for path, _ in stale] or ["All are current"])


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def standin(
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND...", help="What to run, such as cdktf deploy.")
    ],
) -> None:
    """Run a command with the stand-in for Google Cloud and Kubernetes beside it."""
    from plan_review.standin import launch

    raise typer.Exit(launch.run_command(command))


@app.command()
def demo(context: typer.Context) -> None:
    """Deploy the whole blueprint on this machine, with no cloud account."""
    from cli.demo import run

    raise typer.Exit(run(find_root(context.obj)))


def tell(lines: list[str]) -> None:
    """Print lines as they are."""
    print("\n".join(lines))


def show(problems: "list[Problem]") -> None:
    """Print problems as they are, one a line, and how many there are."""
    files = {problem.file for problem in problems}
    print("\n".join(map(str, problems)))
    print(f"{many(len(problems), 'problem')} in {many(len(files), 'file')}", file=sys.stderr)


def many(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def main() -> None:
    """Run the command; bad input ends with a message and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure:  # a terminal that lacks a character must not end the program
            reconfigure(errors="backslashreplace")
    try:
        app()
    except Exception as error:
        if message := _expected(error):
            print(message, file=sys.stderr)
            sys.exit(BAD_INPUT)
        raise


def _expected(error: Exception) -> str | None:
    """Return what to tell people of an error that is not a fault of the program."""
    from modelyard.spec.errors import SpecError
    from modelyard.toolchain import ToolError

    if isinstance(error, SpecError):
        return str(error)
    if isinstance(error, CommandError | ToolError):
        return f"modelyard: {error}"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"modelyard: {where}{error.strerror or error}"
    if "plan_review.errors" in sys.modules:
        from plan_review.errors import ReviewError

        if isinstance(error, ReviewError):
            return f"modelyard: {error}"
    if "plan_review.standin.sources" in sys.modules:
        from plan_review.standin.sources import StandinError

        if isinstance(error, StandinError):
            return f"modelyard: {error}"
    return None


if __name__ == "__main__":
    main()
