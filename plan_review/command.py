"""`modelyard review`, without its command line: reads, judges, writes, and returns the exit code."""

import datetime
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from plan_review import plan, waivers
from plan_review.errors import ReviewError
from plan_review.render import FORMATS, text
from plan_review.report import Report
from plan_review.review import Sources, review
from plan_review.standin.sources import StandinError

BAD_INPUT = 2
WAIVERS = "waivers.yaml"


def run(
    root: Path | None,
    *,
    base: str | None = None,
    head: str | None = None,
    plans: Sequence[str] = (),
    outputs: Sequence[tuple[str, Path | None]] = (("text", None),),
    waiver_file: Path | None = None,
    stacks: Sequence[str] = ("*",),
    today: datetime.date | None = None,
    quiet: bool = False,
) -> int:
    """Review a change and return the exit code: 0 nothing to stop, 2 bad input, 3 needs approval, 4 blocked.

    Args:
        root: folder with `environments/` and `teams/`; absent: plans alone are looked at.
        base: ref that the change is compared with; absent: plans alone.
        head: ref under review, `HEAD` if absent; `.` means the files as they are.
        plans: plan files, `path` or `stack=path`; preferred to what the stand-in would plan.
        outputs: formats and the files they go to; without a file, to the terminal.
        waiver_file: waivers; default: `waivers.yaml` in the checkout under review.
        stacks: patterns of stack ids to look at.
        today: day on which waivers must be in force; default: today, UTC.
        quiet: whether to say nothing of the progress.
    """
    try:
        report = make(root, base, head, plans, waiver_file, stacks, today, quiet)
        for form, path in outputs:
            _write(report, form, path)
    except (ReviewError, StandinError) as error:
        print(f"modelyard review: {error}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"modelyard review: {where}{error.strerror or error}", file=sys.stderr)
        return BAD_INPUT
    return report.exit_code


def make(
    root: Path | None,
    base: str | None,
    head: str | None,
    plans: Sequence[str],
    waiver_file: Path | None,
    stacks: Sequence[str],
    today: datetime.date | None,
    quiet: bool,
) -> Report:
    """Return the report that `run` writes.

    Raises:
        ReviewError: the input cannot be reviewed.
        StandinError: the stand-in cannot start.
    """
    real = plan.read_all(plans)
    if base is None:
        if head is not None:
            raise ReviewError("--head", "a head needs a base to compare it with.", "Add --base main.")
        if not real:
            raise ReviewError("review", "there is nothing to review.", "Name --base REF, or --plan FILE.")
        found = waivers.read(waiver_file or (root or Path()) / WAIVERS)
        return review(real, Sources(root), found, None, today)
    if root is None:
        raise ReviewError("--base", "there is no checkout to compare.", "Run it in the repository.")

    def progress(what: str) -> None:
        if not quiet and sys.stderr.isatty():
            print(f"{what} ...", file=sys.stderr, flush=True)

    # The stand-in is not needed to read plan files, and takes its time to import.
    from plan_review.comparison import compare

    skip = [file.stack for file in real]
    with compare(root, base, head or "HEAD", stacks=stacks, skip=skip, progress=progress) as comparison:
        sources = comparison.sources
        assert sources.root is not None
        assert sources.base_root is not None
        now = waivers.read(waiver_file or sources.root / WAIVERS)
        before = None if waiver_file else _waivers_before(sources.base_root)
        return review(plan.prefer(real, comparison.plans), sources, now, before, today)


def _waivers_before(root: Path) -> tuple[waivers.Waiver, ...]:
    """Return the waivers of base; a file that was wrong there is mended by head, so all of head's are new."""
    try:
        return waivers.read(root / WAIVERS)
    except ReviewError:
        return ()


def _write(report: Report, form: str, path: Path | None) -> None:
    if form not in FORMATS:
        raise ReviewError("--format", f"'{form}' is not one of {', '.join(FORMATS)}.")
    if path is None and form == "text":
        width = None if sys.stdout.isatty() else text.WIDTH
        text.show(report, Console(width=width, highlight=False, markup=False, emoji=False))
    elif path is None:
        sys.stdout.write(FORMATS[form](report))
        sys.stdout.flush()
    else:
        _replace(path, FORMATS[form](report))


def _replace(path: Path, content: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
