"""Stacks are synthesized once for all tests that look at them; Terraform runs with a stand-in beside it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.toolchain import find_terraform
from plan_review.standin.launch import running
from tests.stacks import fleet, shared
from tests.stacks.deployment import Terraform

Documents = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def shared_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shared stacks are synthesized to."""
    out = tmp_path_factory.mktemp("shared") / "cdktf.out"
    shared.synthesize(out)
    return out


@pytest.fixture(scope="session")
def documents(shared_out: Path) -> Documents:
    """The Terraform JSON of the shared stacks, by stack id."""
    return shared.read(shared_out)


@pytest.fixture(scope="session")
def fleet_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all stacks of the repository's environments and teams are synthesized to."""
    out = tmp_path_factory.mktemp("fleet") / "cdktf.out"
    fleet.synthesized(out, "*")
    return out


@pytest.fixture(scope="session")
def fleet_documents(fleet_out: Path) -> Documents:
    """The Terraform JSON of all stacks of the repository, by stack id."""
    return shared.read(fleet_out)


@pytest.fixture(scope="session")
def terraform(root: Path) -> Iterator[Terraform]:
    """Run Terraform on a folder. The stand-in is not Google, and Google is not asked."""
    command = find_terraform(root)
    with running() as added:
        environment = os.environ | added

        def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
            words = [command, *arguments, "-no-color"]
            return subprocess.run(
                words, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )

        yield run
