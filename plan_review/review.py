"""A review from plans to report: read, judge, waive, put together."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from plan_review import waivers as waiving
from plan_review.changes import stack_plan
from plan_review.context import Context, Protection
from plan_review.fleet import Fleet
from plan_review.plan import PlanFile
from plan_review.report import Report, build
from plan_review.rules import evaluate


@dataclass(frozen=True)
class Sources:
    """What a review rests on besides the plans.

    Attributes:
        root: the checkout under review; absent: plans alone.
        base_root: the checkout before it; absent: there is none to compare with.
        base: name of what was before, for people.
        head: name of what is under review, for people.
        changed_files: files that differ between the two.
        constructs: (stack, address) -> path of the construct that made it.
        protection: lifecycle protection before and after.
        notes: what else the reader must know.
    """

    root: Path | None = None
    base_root: Path | None = None
    base: str = ""
    head: str = ""
    changed_files: tuple[str, ...] = ()
    constructs: Mapping[tuple[str, str], str] = field(default_factory=dict)
    protection: Protection = field(default_factory=Protection)
    notes: tuple[str, ...] = ()


def review(
    plans: Sequence[PlanFile],
    sources: Sources,
    waivers: Sequence[waiving.Waiver] = (),
    waivers_before: Iterable[waiving.Waiver] | None = None,
    today: datetime.date | None = None,
) -> Report:
    """Return the report on `plans`.

    Raises:
        ReviewError: a value in a plan is not what its format promises.
    """
    stacks = [stack_plan(plan, _of_stack(sources.constructs, plan.stack)) for plan in plans]
    base = Fleet(sources.base_root) if sources.base_root else None
    context = Context(stacks, Fleet(sources.root), base, sources.protection)
    findings = waiving.apply(
        evaluate(context),
        waivers,
        today or datetime.datetime.now(datetime.UTC).date(),
        waivers_before,
        [plan.stack for plan in plans],
    )
    return build(
        context,
        findings,
        base=sources.base,
        head=sources.head,
        changed_files=sources.changed_files,
        notes=sources.notes,
    )


def _of_stack(constructs: Mapping[tuple[str, str], str], stack: str) -> dict[str, str]:
    return {address: path for (of, address), path in constructs.items() if of == stack}
