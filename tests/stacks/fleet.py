"""The real app, run on this repository's environments and teams or on a copy of them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
Documents = dict[str, dict[str, Any]]


def run_app(out: Path, patterns: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run `python -m stacks` on the stacks that match `patterns` of the tree at `root`."""
    environment = os.environ | {
        "CDKTF_OUTDIR": str(out),
        "MODELYARD_ROOT": str(root),
        "MODELYARD_STACKS": patterns,
    }
    command = [sys.executable, "-m", "stacks"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def synthesized(out: Path, patterns: str, root: Path = ROOT) -> Documents:
    """Return the Terraform JSON of the stacks that match `patterns`, by stack id."""
    finished = run_app(out, patterns, root)
    assert finished.returncode == 0, finished.stderr
    return {path.parent.name: json.loads(path.read_text()) for path in (out / "stacks").glob("*/cdk.tf.json")}


def copy_tree(target: Path) -> Path:
    """Copy the repository's environments and teams to `target`."""
    for name in ("environments", "teams"):
        shutil.copytree(ROOT / name, target / name)
    return target
