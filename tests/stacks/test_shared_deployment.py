"""Terraform deploys the platform's stacks in both modes to the stand-in, and then finds nothing to do.

The stand-in is not Google: it proves arguments, types, references and states, not what Google accepts.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelyard.toolchain import find_terraform
from plan_review.standin.launch import running
from tests.stacks.shared import ROOT, STACKS

IDS = [f"{environment}-{room}" for environment in ("dev", "std") for room in STACKS]
Terraform = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def terraform() -> Iterator[Terraform]:
    """Run Terraform with a stand-in beside it."""
    command = find_terraform(ROOT)
    with running() as added:

        def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [command, *arguments, "-no-color"],
                cwd=folder,
                env={**os.environ, **added},
                capture_output=True,
                text=True,
            )

        yield run


@pytest.fixture
def folder(request: pytest.FixtureRequest, shared_out: Path, tmp_path: Path) -> Path:
    """A copy of a synthesized stack that keeps its state beside it."""
    source = shared_out / "stacks" / request.param / "cdk.tf.json"
    document = json.loads(source.read_text())
    document["terraform"]["backend"] = {"local": {"path": "terraform.tfstate"}}
    (tmp_path / source.name).write_text(json.dumps(document))
    return tmp_path


@pytest.mark.parametrize("folder", IDS, indirect=True)
def test_deploys_and_plans_nothing_more(folder: Path, terraform: Terraform) -> None:
    for arguments in (["init", "-input=false"], ["apply", "-input=false", "-auto-approve"]):
        finished = terraform(folder, *arguments)
        assert finished.returncode == 0, finished.stdout + finished.stderr

    again = terraform(folder, "plan", "-input=false", "-detailed-exitcode")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "No changes" in again.stdout


@pytest.mark.parametrize("folder", ["dev-foundation", "std-platform", "dev-tenant-pricing"], indirect=True)
def test_refuses_to_destroy_what_holds_data(folder: Path, terraform: Terraform) -> None:
    for arguments in (["init", "-input=false"], ["apply", "-input=false", "-auto-approve"]):
        assert terraform(folder, *arguments).returncode == 0
    shutil.copy(folder / "terraform.tfstate", folder / "before")

    destroyed = terraform(folder, "destroy", "-input=false", "-auto-approve")

    assert destroyed.returncode != 0
    assert "prevent_destroy" in destroyed.stdout + destroyed.stderr
    assert (folder / "terraform.tfstate").read_text() == (folder / "before").read_text()
