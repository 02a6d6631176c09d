"""Checkov finds no fault in any stack; what it finds and is none is listed with the reason."""

import json
import shutil
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.toolchain import checkov_command

LIST = Path(__file__).parents[1] / "policy" / "checkov.yaml"
Findings = list[tuple[str, str, str]]
SKIPS: list[dict[str, str]] = yaml.safe_load(LIST.read_text())


def findings(root: Path, folder: Path) -> Findings:
    """Return check, `<stack>/<logical id>` and title of all that checkov finds under `folder`."""
    options = ["--framework", "terraform_json", "--output", "json", "--quiet", "--compact", "--skip-download"]
    finished = subprocess.run(
        [*checkov_command(root), "--directory", str(folder), *options],
        capture_output=True,
        text=True,
    )
    reports: Any = json.loads(finished.stdout)
    found = []
    for report in reports if isinstance(reports, list) else [reports]:
        assert report["summary"]["parsing_errors"] == 0
        assert report["summary"]["passed"] > 100, "checkov read too little to say anything"
        for finding in report["results"]["failed_checks"]:
            stack = Path(finding["file_path"]).parent.name
            found.append(
                (finding["check_id"], f"{stack}/{finding['resource'].split('.')[-1]}", finding["check_name"])
            )
    return found


def covers(skip: dict[str, str], check: str, resource: str) -> bool:
    return skip["check"] == check and fnmatchcase(resource, skip["resource"])


@pytest.fixture(scope="module")
def found(
    root: Path, shared_out: Path, fleet_out: Path, tmp_path_factory: pytest.TempPathFactory
) -> Findings:
    folder = tmp_path_factory.mktemp("policy")
    for out in (shared_out, fleet_out):
        for source in (out / "stacks").glob("*/cdk.tf.json"):
            target = folder / out.parent.name / source.parent.name
            target.mkdir(parents=True)
            shutil.copy(source, target)
    return findings(root, folder)


def test_checkov_finds_nothing_that_is_not_explained(found: Findings) -> None:
    unexplained = [
        f"{check} {resource}: {title}"
        for check, resource, title in found
        if not any(covers(skip, check, resource) for skip in SKIPS)
    ]
    assert not unexplained, "\n".join(unexplained)


def test_every_explanation_is_needed_and_says_why(found: Findings) -> None:
    for skip in SKIPS:
        assert set(skip) == {"check", "resource", "reason"} and len(skip["reason"]) > 40
        assert any(covers(skip, check, resource) for check, resource, _ in found), (
            f"{skip['check']} covers nothing"
        )
