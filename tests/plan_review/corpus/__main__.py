"""Synthesizes many checkouts in one process: `python -m tests.plan_review.corpus jobs.json`."""

import json
import sys
from pathlib import Path

from modules.bindings import install

install()

from cdktf import App  # noqa: E402 - the bindings must be in place before anything imports them

from modelyard.spec.errors import SpecError  # noqa: E402
from stacks.app import build, select  # noqa: E402


def main() -> None:
    """Run the jobs: each a root, patterns of stacks, and where to write them."""
    wrong = []
    for job in json.loads(Path(sys.argv[1]).read_text()):
        try:
            selections = select(Path(job["root"]), job["stacks"])
        except SpecError as error:
            wrong.append(f"{job['root']}: {error}")
            continue
        app = App(outdir=job["out"])
        for selection in selections:
            build(app, selection)
        app.synth()
    if wrong:
        sys.exit("\n".join(wrong))


main()
