"""The platform's stacks of two environments that differ in all that changes them, and how tests look at them.

`dev` is Autopilot with data in a multi-region and its state in a bucket. `std` is Standard with a GPU pool,
data in the region and local state. `python -m tests.stacks.shared <folder>` synthesizes them.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.spec.environment import Environment, Images

ROOT = Path(__file__).parents[2]
TEAMS = (("flight-ops", "4711"), ("pricing", "4712"))
STACKS = ("foundation", "platform", "cluster", *(f"tenant-{team}" for team, _ in TEAMS))
TENANTS = [(environment, team) for environment in ("dev", "std") for team, _ in TEAMS]
HASH = "sha256:" + 64 * "0"


def environment(**changes: Any) -> Environment:
    """Return an environment; `changes` replace parts of it."""
    document: dict[str, Any] = {
        "environment": "dev",
        "project": "example-dev",
        "project_number": "123456789012",
        "organization": "example.com",
        "region": "europe-west4",
        "data_residency": "EU",
        "state": {"bucket": "example-dev-state"},
        "tenants": {
            "parent": "folders/123456789012",
            "billing_account": "012345-6789AB-CDEF01",
            "prefix": "example-dev",
        },
        "groups": {
            "platform": "ml-platform@example.com",
            "approvers": "ml-approvers@example.com",
            "auditors": "ml-auditors@example.com",
            "viewers": "ml-viewers@example.com",
        },
        "channels": [{"name": "platform", "type": "email", "address": "ml-platform@example.com"}],
        "ci": {"repository": "example/models"},
        "images": dict.fromkeys(Images.model_fields, HASH),
    }
    return Environment.model_validate(document | changes)


def standard() -> Environment:
    """Return the environment `std`."""
    pools = [
        {"name": "general", "machine_type": "n2-standard-8", "min_nodes": 1, "max_nodes": 4},
        {
            "name": "gpu",
            "machine_type": "g2-standard-8",
            "min_nodes": 0,
            "max_nodes": 2,
            "spot": True,
            "gpu": {"type": "nvidia-l4", "count": 1},
            "zones": ["europe-west4-a", "europe-west4-b"],
        },
    ]
    return environment(
        environment="std",
        project="example-std",
        data_residency="region",
        stand_in=True,
        state={},
        cluster={"mode": "standard", "node_pools": pools, "maintenance_start": "01:30"},
        tenants={
            "parent": "organizations/9876543210",
            "billing_account": "012345-6789AB-CDEF01",
            "prefix": "example-std",
        },
    )


def synthesize(out: Path) -> None:
    """Synthesize all of them into `out`, in a process of its own."""
    subprocess.run([sys.executable, "-m", "tests.stacks.shared", str(out)], cwd=ROOT, check=True)


def read(out: Path) -> dict[str, dict[str, Any]]:
    """Return the Terraform JSON of each stack under `out`, by stack id."""
    return {path.parent.name: json.loads(path.read_text()) for path in (out / "stacks").glob("*/cdk.tf.json")}


def of_type(document: Mapping[str, Any], type_: str) -> dict[str, dict[str, Any]]:
    """Return the resources of one type, by construct path without the stack's id."""
    return {
        resource["//"]["metadata"]["path"].split("/", 1)[1]: resource
        for resource in document["resource"].get(type_, {}).values()
    }


def logs_all_data_access(configuration: Mapping[str, Any]) -> None:
    """Check that a project's audit configuration covers all services and exempts nobody."""
    assert configuration["service"] == "allServices"
    kinds = {log["log_type"] for log in configuration["audit_log_config"]}
    assert kinds == {"ADMIN_READ", "DATA_READ", "DATA_WRITE"}
    assert not any("exempted_members" in log for log in configuration["audit_log_config"])


def main(out: str) -> None:
    """Synthesize into `out`."""
    from modules.bindings import install

    install()
    from cdktf import App

    from stacks.cluster import ClusterStack
    from stacks.foundation import FoundationStack
    from stacks.platform import PlatformStack
    from stacks.tenant import TenantStack

    app = App(outdir=out)
    for each in (environment(), standard()):
        FoundationStack(app, each)
        PlatformStack(app, each)
        ClusterStack(app, each)
        for team, cost_center in TEAMS:
            TenantStack(app, each, team, cost_center)
    app.synth()


if __name__ == "__main__":
    main(sys.argv[1])
