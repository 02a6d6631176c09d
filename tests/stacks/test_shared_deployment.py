"""Terraform deploys the platform's stacks in both modes to the stand-in, and then finds nothing to do.

The stand-in is not Google: it proves arguments, types, references and states, not what Google accepts.
"""

from pathlib import Path

import pytest

from tests.stacks.conftest import Documents
from tests.stacks.deployment import Terraform, deploy, plans_nothing_more, refuses_to_destroy, write
from tests.stacks.shared import STACKS


@pytest.mark.parametrize("stack", [f"{name}-{room}" for name in ("dev", "std") for room in STACKS])
def test_deploys_plans_nothing_more_and_keeps_what_holds_data(
    stack: str, documents: Documents, terraform: Terraform, tmp_path: Path
) -> None:
    folder = write(documents[stack], tmp_path)
    deploy(terraform, folder)
    plans_nothing_more(terraform, folder)
    if not stack.endswith("-cluster"):
        refuses_to_destroy(terraform, folder)
