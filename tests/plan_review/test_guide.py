"""The commands of docs/guides/reviewing-a-plan.md in their order, and what it says of rules and corpus."""

import json
import os
import re
import subprocess
from pathlib import Path

import yaml

from modelyard.toolchain import find_terraform
from plan_review.rules import RULES
from plan_review.waivers import parse
from tests.plan_review import conftest, repositories
from tests.plan_review.corpus import bad, harmless
from tests.plan_review.corpus.case import replace, team

GUIDE = Path("docs/guides/reviewing-a-plan.md")


def test_every_command_of_the_guide_runs(root: Path, tmp_path: Path) -> None:
    folder = conftest.copy_inputs(root, tmp_path / "checkout")
    repositories.git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / ".gitignore").write_text("*.json\n!teams/**\n.terraform*\ntfplan\nreview.*\nmain.tf.json\n")
    repositories.commit(folder, "base")
    repositories.git(folder, "checkout", "--quiet", "-b", "change")
    replace(team(folder, "pricing"), "{threshold: 120, error_rate", "{threshold: 400, error_rate")
    repositories.commit(folder, "loosen")
    # A saved plan to show, made with no provider.
    (folder / "main.tf.json").write_text(
        json.dumps({"resource": {"terraform_data": {"one": {"input": "a"}}}})
    )
    terraform = find_terraform(root)
    for arguments in (["init"], ["plan", "-out=tfplan"]):
        subprocess.run([terraform, *arguments], cwd=folder, check=True, capture_output=True)
    path = os.pathsep.join((str(root / ".venv" / "bin"), str(Path(terraform).parent), os.environ["PATH"]))
    blocks = re.findall(r"```sh\n(.*?)```", (root / GUIDE).read_text(encoding="utf-8"), re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    codes = []
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        codes.append(done.returncode)
        if command.endswith("--head HEAD"):
            assert (
                "latency alert of pricing/vehicle-price (latency-p95) loosened from 120 ms to 400 ms"
                in done.stdout
            )
    # Loosening an alert needs an approver; `terraform_data`, which may run commands, is blocked.
    assert list(zip(commands, codes, strict=True)) == list(zip(commands, [3, 0, 4, 4, 3], strict=True))
    assert (folder / "review.html").is_file()


def test_the_guide_counts_rules_and_cases_rightly(root: Path) -> None:
    text = (root / GUIDE).read_text(encoding="utf-8")
    assert f"The [{len(RULES)} rules]" in text
    amounts = (len(bad.CASES) + len(harmless.CASES), len(bad.CASES), len(harmless.CASES))
    said = (
        "On a corpus of {} seeded changes to this repository's stacks, {} that a reviewer should see and {}"
    )
    assert said.format(*amounts) in " ".join(text.split())
    for severity in ("block", "approve", "warn"):
        amount = sum(case.severity == severity for case in bad.CASES)
        assert re.search(rf"^\| {severity} \|.*\b{amount}\b", text, re.MULTILINE)


def test_the_guides_waiver_is_one(root: Path) -> None:
    text = (root / GUIDE).read_text(encoding="utf-8")
    block = next(b for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "rule:" in b)
    assert yaml.safe_load(block)
    assert parse(block.encode(), "the guide")
