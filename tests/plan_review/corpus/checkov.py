"""Measures checkov beside the review, on the same changes: `python -m tests.plan_review.corpus.checkov`.

A change counts as found by checkov if a check fails on the changed stack that passed, or was not there, on
the stack before. checkov looks at one state of the configuration: what a change takes away it cannot see.
"""

import copy
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from modelyard.toolchain import checkov_command
from plan_review.pruning import prune
from tests.plan_review import conftest
from tests.plan_review.corpus import bad, harmless

ROOT = Path(__file__).resolve().parents[3]
Failed = set[tuple[str, str]]


def stacks(folder: Path) -> list[tuple[Any, dict[str, Any], dict[str, Any]]]:
    """Return every case with its stack before and after, less what does not bear on the change."""
    cases = [*bad.CASES, *harmless.CASES]
    inputs = conftest.copy_inputs(ROOT, folder / "inputs")
    jobs = [{"root": str(inputs), "stacks": ["prod-*"], "out": str(folder / "base")}]
    for number, case in enumerate(cases):
        if case.edit_input:
            changed = conftest.copy_inputs(ROOT, folder / f"root-{number}")
            case.edit_input(changed)
            jobs.append({"root": str(changed), "stacks": [case.stack], "out": str(folder / f"out-{number}")})
    conftest.synthesize(ROOT, jobs, folder)
    base = conftest.read(folder / "base")
    found = []
    for number, case in enumerate(cases):
        before = base.get(case.stack, {})
        if case.edit_stack:
            after = copy.deepcopy(before)
            case.edit_stack(after)
        else:
            after = conftest.read(folder / f"out-{number}")[case.stack]
        old, new, _ = prune(before or {"provider": after["provider"]}, after)
        found.append((case, old, new))
    return found


def failed(folder: Path) -> dict[str, Failed]:
    """Run checkov once over all folders; return folder -> failed checks with their resources."""
    command = [*checkov_command(ROOT), "--directory", str(folder), "--framework", "terraform_json"]
    command += ["--output", "json", "--compact", "--quiet", "--skip-download"]
    environment = os.environ | {"BC_SKIP_MAPPING": "TRUE", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    results: dict[str, Failed] = {}
    reports = json.loads(done.stdout)
    for report in reports if isinstance(reports, list) else [reports]:
        for check in report.get("results", {}).get("failed_checks", []):
            name = check["file_path"].strip("/").split("/")[0]
            results.setdefault(name, set()).add((check["check_id"], check["resource"]))
    return results


def main() -> None:
    """Print, per family of rules, how many seeded changes each of the two finds."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        cases = stacks(work)
        for number, (_, old, new) in enumerate(cases):
            for side, stack in (("before", old), ("after", new)):
                target = work / "checkov" / f"{side}-{number}"
                target.mkdir(parents=True)
                (target / "cdk.tf.json").write_text(json.dumps(stack, indent=1))
        found = failed(work / "checkov")
    seeded: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for number, (case, _, _) in enumerate(cases):
        family = case.rules[0].partition("/")[0] if case.severity != "info" else "harmless"
        fails = found.get(f"after-{number}", set()) - found.get(f"before-{number}", set())
        seeded[family] += 1
        seen[family] += bool(fails)
        if fails:
            print(f"  {case.name}: {sorted({check for check, _ in fails})}", file=sys.stderr)
    for family in seeded:
        print(f"| {family} | {seeded[family]} | {seen[family]} |")
    harmful = sum(amount for family, amount in seeded.items() if family != "harmless")
    print(f"| all harmful | {harmful} | {sum(seen[f] for f in seeded if f != 'harmless')} |")


if __name__ == "__main__":
    main()
