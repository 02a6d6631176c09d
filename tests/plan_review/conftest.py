"""The corpus is synthesized and planned once for all tests that look at it."""

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from plan_review.context import Protection
from plan_review.plan import PlanFile
from plan_review.report import Report
from plan_review.review import Sources, review
from plan_review.standin import launch
from plan_review.standin_plan import Pair, plan
from plan_review.synthesis import constructs, protected
from tests.plan_review.corpus import bad, harmless
from tests.plan_review.corpus.case import Case

Stacks = Mapping[str, dict[str, Any]]
ENVIRONMENT = "prod"


@dataclass(frozen=True)
class Reviewed:
    """A case and what a review says of it."""

    case: Case
    report: Report
    plan: PlanFile


def copy_inputs(root: Path, target: Path) -> Path:
    """Copy the environments and teams of the repository."""
    for name in ("environments", "teams"):
        shutil.copytree(root / name, target / name)
    return target


def synthesize(root: Path, jobs: list[dict[str, Any]], folder: Path) -> None:
    """Synthesize many checkouts in one process."""
    listed = folder / "jobs.json"
    listed.write_text(json.dumps(jobs))
    subprocess.run([sys.executable, "-m", "tests.plan_review.corpus", str(listed)], cwd=root, check=True)


def read(out: Path) -> dict[str, dict[str, Any]]:
    """Return the synthesized stacks in a folder."""
    return {path.parent.name: json.loads(path.read_text()) for path in out.glob("stacks/*/cdk.tf.json")}


@pytest.fixture(scope="session")
def inputs(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's input files, apart from the repository."""
    return copy_inputs(root, tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def corpus(root: Path, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Reviewed]:
    """Every case of the corpus, reviewed. All are planned in a few runs of Terraform."""
    folder = tmp_path_factory.mktemp("corpus")
    cases = [*bad.CASES, *harmless.CASES]
    roots = {"base": inputs}
    jobs = [{"root": str(inputs), "stacks": [f"{ENVIRONMENT}-*"], "out": str(folder / "base")}]
    for number, case in enumerate(cases):
        if case.edit_input:
            roots[case.name] = copy_inputs(root, folder / f"root-{number}")
            case.edit_input(roots[case.name])
            out = folder / f"out-{number}"
            jobs.append({"root": str(roots[case.name]), "stacks": [case.stack], "out": str(out)})
    synthesize(root, jobs, folder)
    base = read(folder / "base")
    pairs = []
    for number, case in enumerate(cases):
        before = base.get(case.stack, {})
        if case.edit_stack:
            after = copy.deepcopy(before)
            case.edit_stack(after)
        else:
            after = read(folder / f"out-{number}")[case.stack]
        pairs.append(Pair(case.stack, before, after))
    with launch.running() as environment:
        plans = plan(pairs, folder / "terraform", environment)
    assert len(plans) == len(cases)
    return [
        Reviewed(case, _review(file, pair, roots.get(case.name), inputs), file)
        for case, pair, file in zip(cases, pairs, plans, strict=True)
    ]


def _review(file: PlanFile, pair: Pair, changed: Path | None, inputs: Path) -> Report:
    def protection(stack: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
        return frozenset((pair.stack, address) for address in protected(stack))

    sources = Sources(
        root=changed or inputs,
        base_root=inputs,
        base="base",
        head="head",
        constructs={
            (pair.stack, a): path for side in (pair.base, pair.head) for a, path in constructs(side).items()
        },
        protection=Protection(protection(pair.base), protection(pair.head)),
    )
    return review([replace(file, real=False)], sources)
