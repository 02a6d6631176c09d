"""Compares two revisions of a repository: which stacks differ, and what deploying the difference would do."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from plan_review import git, synthesis
from plan_review.context import Protection
from plan_review.plan import PlanFile
from plan_review.review import Sources
from plan_review.standin import launch
from plan_review.standin_plan import Pair, plan
from plan_review.synthesis import Checkout, Stack
from plan_review.words import count, listing

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """Two revisions, and the plans of what lies between them."""

    plans: tuple[PlanFile, ...]
    sources: Sources


@contextmanager
def compare(
    root: Path,
    base: str,
    head: str,
    *,
    stacks: Sequence[str] = ("*",),
    skip: Iterable[str] = (),
    progress: Progress = lambda _: None,
) -> Iterator[Comparison]:
    """Check both revisions out, synthesize what differs, and plan it on the stand-in.

    The checkouts are there until the block ends.

    Args:
        root: folder with `environments/` and `teams/`, in a git repository.
        base: ref to compare with; what counts is the commit at which `head` left it.
        head: ref under review; `.` means the files as they are.
        stacks: patterns of stack ids to look at.
        skip: stacks that are not planned, since real plans of them are at hand.
        progress: told what is being done.

    Raises:
        ReviewError: a ref is not there, the work tree is dirty, or a checkout is wrong.
        StandinError: the stand-in cannot start.
    """
    folder = root.resolve()
    repository = git.top_level(folder).resolve()
    before, after = git.resolve(repository, base), git.resolve(repository, head)
    if after.commit and after.commit == git.resolve(repository, "HEAD").commit and head in ("HEAD", "@"):
        git.refuse_dirty(repository, folder)
    before = git.common(repository, before, after)
    files = git.changed_files(repository, folder, before, after)
    with ExitStack() as cleanup:
        work = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="modelyard-review-")))
        with ThreadPoolExecutor(2) as pool:
            checked_out = pool.submit(git.check_out, repository, folder, before, work / "base")
            if after.commit:
                new = Checkout(git.check_out(repository, folder, after, work / "head"), f"head {after}")
            else:
                new = Checkout(folder, f"head: {after}")
            old = Checkout(checked_out.result(), f"base {before}")
        wanted = {
            stack
            for stack in synthesis.affected(old.fleet, new.fleet, files)
            if any(fnmatchcase(stack, pattern) for pattern in stacks)
        }
        plans: list[PlanFile] = []
        sources = Sources(new.root, old.root, str(before), str(after), files)
        if wanted:
            progress(f"Synthesizing {count(len(wanted), 'stack')} of base and head")
            plans, sources = _planned(old, new, wanted, set(skip), work, sources, progress)
        yield Comparison(tuple(plans), sources)


def _planned(
    old: Checkout,
    new: Checkout,
    wanted: set[str],
    skip: set[str],
    work: Path,
    sources: Sources,
    progress: Progress,
) -> tuple[list[PlanFile], Sources]:
    with ExitStack() as running, ThreadPoolExecutor(3) as pool:
        # Starting the stand-in takes its time while node does its own.
        standin = launch.running()
        started: Future[dict[str, str]] = pool.submit(running.enter_context, standin)
        synthesized = [
            pool.submit(synthesis.synthesize, checkout, wanted, work / f"out-{side}")
            for side, checkout in (("base", old), ("head", new))
        ]
        before, after = (future.result() for future in synthesized)
        pairs = [pair for pair in _pairs(before, after) if not _same(pair)]
        environment = started.result()
        todo = [pair for pair in pairs if pair.stack not in skip]
        if todo:
            progress(f"Planning {count(len(todo), 'stack')} on the stand-in")
        plans = plan(todo, work / "terraform", environment)
    return plans, _described(sources, pairs, before, after)


def _pairs(before: dict[str, Stack], after: dict[str, Stack]) -> Iterator[Pair]:
    for stack in sorted({**before, **after}):
        yield Pair(stack, before.get(stack, {}), after.get(stack, {}))


def _same(pair: Pair) -> bool:
    return {**pair.base, "//": None} == {**pair.head, "//": None}


def _described(
    sources: Sources, pairs: Sequence[Pair], before: dict[str, Stack], after: dict[str, Stack]
) -> Sources:
    notes = []
    gone = [pair.stack for pair in pairs if not pair.head]
    if gone:
        notes.append(
            f"{listing(gone)}: no longer declared. Nothing destroys them but `cdktf destroy`; "
            "what is planned here is what that would do."
        )
    moved = [
        pair.stack
        for pair in pairs
        if pair.base and pair.base.get("terraform") != (pair.head or pair.base).get("terraform")
    ]
    if moved:
        notes.append(f"{listing(moved)}: providers' versions or the place of the state change.")
    unchanged = len({**before, **after}) - len(pairs)
    if unchanged:
        notes.append(f"{count(unchanged, 'more stack')} could have changed and did not.")
    return Sources(
        root=sources.root,
        base_root=sources.base_root,
        base=sources.base,
        head=sources.head,
        changed_files=sources.changed_files,
        constructs={
            (stack, address): path
            for side in (before, after)
            for stack, document in side.items()
            for address, path in synthesis.constructs(document).items()
        },
        protection=Protection(
            before=frozenset((s, a) for s, document in before.items() for a in synthesis.protected(document)),
            after=frozenset((s, a) for s, document in after.items() for a in synthesis.protected(document)),
        ),
        notes=tuple(notes),
    )
