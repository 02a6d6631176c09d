"""Deploys a synthesized stack in a folder of its own."""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Terraform = Callable[..., subprocess.CompletedProcess[str]]
"""Runs Terraform in a folder with arguments."""


def write(document: Mapping[str, Any], folder: Path) -> Path:
    """Write a stack's Terraform JSON to `folder`, its state beside it; return the folder."""
    local = {**document["terraform"], "backend": {"local": {"path": "terraform.tfstate"}}}
    (folder / "cdk.tf.json").write_text(json.dumps({**document, "terraform": local}))
    return folder


def succeeds(terraform: Terraform, folder: Path, *arguments: str) -> str:
    """Run Terraform, which must not fail; return what it printed."""
    finished = terraform(folder, *arguments)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def deploy(terraform: Terraform, folder: Path) -> None:
    """Deploy the stack in `folder`."""
    succeeds(terraform, folder, "init", "-input=false")
    succeeds(terraform, folder, "apply", "-input=false", "-auto-approve")


def plans_nothing_more(terraform: Terraform, folder: Path) -> None:
    """Check that a second plan of the deployed stack in `folder` is empty."""
    succeeds(terraform, folder, "plan", "-input=false", "-detailed-exitcode")


def refuses_to_destroy(terraform: Terraform, folder: Path) -> None:
    """Check that Terraform refuses to destroy the deployed stack in `folder`, and leaves it as it is."""
    before = (folder / "terraform.tfstate").read_text()
    destroyed = terraform(folder, "destroy", "-input=false", "-auto-approve")
    assert destroyed.returncode != 0
    assert "prevent_destroy" in destroyed.stdout + destroyed.stderr
    assert (folder / "terraform.tfstate").read_text() == before
