"""Stacks are synthesized once for all tests that look at them."""

from pathlib import Path
from typing import Any

import pytest

from tests.stacks import fleet, shared

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
