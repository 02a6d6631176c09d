"""`modelyard review` and what belongs to it: the comment, the record of a deployment, the code owners."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError
from cli.root import find_root


class ReviewFormat(StrEnum):
    """Forms of a review; as `plan_review.render.FORMATS`, which is slow to import."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"
    SARIF = "sarif"
    HTML = "html"


def review(
    context: typer.Context,
    base: Annotated[
        str | None,
        typer.Option(help="Ref to compare with, such as main; needs no credentials.", show_default=False),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            help="Ref under review; default: HEAD. A dot means the files as they are.", show_default=False
        ),
    ] = None,
    plan: Annotated[
        list[str] | None,
        typer.Option(
            help="Output of `terraform show -json`, as FILE or STACK=FILE; repeatable. "
            "Preferred to what the stand-in would plan.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[ReviewFormat, typer.Option("--format", help="Form of the output.")] = ReviewFormat.TEXT,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write instead of the terminal.", show_default=False),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(help="Another form and its file, as FORMAT=FILE; repeatable.", show_default=False),
    ] = None,
    stack: Annotated[
        list[str] | None,
        typer.Option(help="Stacks to look at, such as 'prod-*'; repeatable.", show_default=False),
    ] = None,
    waivers: Annotated[
        Path | None, typer.Option(help="Waivers; default: waivers.yaml under review.", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing of the progress.")] = False,
) -> None:
    """Read what a change means before it is deployed. Exit code 0: fine, 3: needs an approver, 4: blocked."""
    from plan_review.command import run

    try:
        root = find_root(context.obj)
    except CommandError:
        if base is not None:
            raise
        root = None
    outputs: list[tuple[str, Path | None]] = [(form.value, output)]
    for entry in also or []:
        name, _, path = entry.partition("=")
        if not path:
            raise CommandError(f"--also {entry}: expected FORMAT=FILE, such as html=build/review.html")
        outputs.append((name, Path(path)))
    code = run(
        root,
        base=base,
        head=head,
        plans=plan or [],
        outputs=outputs,
        waiver_file=waivers,
        stacks=stack or ["*"],
        quiet=quiet,
    )
    raise typer.Exit(code)


def comment(
    report: Annotated[Path, typer.Argument(help="Report in Markdown, as `modelyard review` writes it.")],
) -> None:
    """Write the report as the one comment of a pull or merge request, in place of an older one.

    In GitHub Actions and GitLab CI; the token comes from GITHUB_TOKEN or MODELYARD_GITLAB_TOKEN.
    """
    from plan_review.comment import post

    print(post(report.read_text(encoding="utf-8")))


def record_deployment(
    context: typer.Context,
    environment: Annotated[str, typer.Option("--environment", "-e", help="Environment deployed to.")],
    report: Annotated[Path, typer.Option(help="Report in JSON of the plan that was applied.")],
    actor: Annotated[str, typer.Option(help="Identity that applied.")],
    repository: Annotated[str, typer.Option(help="Repository deployed from.")],
    commit: Annotated[str, typer.Option(help="Commit deployed.")],
    approved_by: Annotated[
        list[str] | None, typer.Option(help="Who approved; repeatable.", show_default=False)
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="The apply ended with an error.")] = False,
    to: Annotated[
        str | None,
        typer.Option(
            help="Where to: `bigquery` (default), `local` for the local warehouse, a .jsonl or .duckdb file.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Record who deployed what, when, and who approved it, in the table `deployments`."""
    from plan_review.deployment_record import record

    print(
        record(
            find_root(context.obj),
            environment=environment,
            report=report,
            actor=actor,
            repository=repository,
            commit=commit,
            approved_by=approved_by or [],
            succeeded=not failed,
            to=to or "bigquery",
        )
    )


def codeowners(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if it is not current.")] = False,
) -> None:
    """Write .github/CODEOWNERS from the teams' owners."""
    from plan_review.codeowners import PATH, rendered

    root = find_root(context.obj)
    path = root / PATH
    text = rendered(root)
    current = path.is_file() and path.read_text(encoding="utf-8") == text
    if check and not current:
        raise CommandError(f"Not current: {PATH}. Run: modelyard codeowners")
    if not current:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print("All are current" if current else f"Written: {PATH}")


def affected(
    context: typer.Context,
    base: Annotated[str, typer.Option(help="Ref to compare with.")],
    head: Annotated[str, typer.Option(help="Ref under review.")] = "HEAD",
    stack: Annotated[
        list[str] | None,
        typer.Option(help="Stacks to name; default: '*-team-*'; repeatable.", show_default=False),
    ] = None,
) -> None:
    """Print the stacks that a change can move, as JSON, each with the identities that plan and deploy it."""
    import json

    from plan_review.pipeline import affected as find

    print(json.dumps(find(find_root(context.obj), base, head, stack or ["*-team-*"])))


def register(app: typer.Typer) -> None:
    """Add the subcommands to the command."""
    app.command()(review)
    app.command("review-comment")(comment)
    app.command("record-deployment")(record_deployment)
    app.command()(codeowners)
    app.command()(affected)
