"""Golden inventories of stacks: `python -m tests.golden` brings them up to date.

An inventory says of one stack: how many resources of each type (`counts`), what certain settings are
(`values`, by construct path), and what must not be there (`missing`: a resource type, a construct path, or
`path:setting`). Counts and the values of listed settings are refreshed; which settings are listed, and what
must be missing, people decide.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
INVENTORIES = Path(__file__).parent / "stacks" / "inventories"
REFRESH = ".venv/bin/python -m tests.golden"


def synthesize(out: Path, patterns: str, root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """Run the app on the stacks that match `patterns`; return the Terraform JSON per stack id."""
    environment = os.environ | {
        "CDKTF_OUTDIR": str(out),
        "MODELYARD_ROOT": str(root),
        "MODELYARD_STACKS": patterns,
    }
    subprocess.run([sys.executable, "-m", "stacks"], cwd=ROOT, env=environment, check=True)
    return {path.parent.name: json.loads(path.read_text()) for path in (out / "stacks").glob("*/cdk.tf.json")}


def by_path(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the resources of a stack by construct path, such as `network/nat`."""
    found = {}
    for type_, resources in document.get("resource", {}).items():
        for resource in resources.values():
            path = resource["//"]["metadata"]["path"].split("/", 1)[1]
            found[path] = {"type": type_, **resource}
    return found


def counts(document: Mapping[str, Any]) -> dict[str, int]:
    """Return how many resources of each type a stack has."""
    return dict(Counter({type_: len(made) for type_, made in sorted(document.get("resource", {}).items())}))


def setting(resource: Mapping[str, Any], path: str) -> Any:
    """Return the setting at `path`, such as `spec.max_replicas` or `rule.0.verbs`, or None."""
    value: Any = resource
    for step in path.split("."):
        if isinstance(value, list):
            value = value[int(step)] if step.isdigit() and int(step) < len(value) else None
        else:
            value = value.get(step) if isinstance(value, Mapping) else None
    return value


def differences(document: Mapping[str, Any], golden: Mapping[str, Any]) -> list[str]:
    """Return a line for each difference between a stack and its inventory."""
    resources = by_path(document)
    actual = counts(document)
    lines = [
        f"{type_}: {golden['counts'].get(type_, 0)} in the inventory, {actual.get(type_, 0)} synthesized"
        for type_ in sorted({*golden["counts"], *actual})
        if golden["counts"].get(type_, 0) != actual.get(type_, 0)
    ]
    for path, settings in golden.get("values", {}).items():
        if path not in resources:
            lines.append(f"{path}: not synthesized")
            continue
        for name, expected in settings.items():
            found = setting(resources[path], name)
            if found != expected:
                lines.append(f"{path}: {name} is {found!r}, the inventory says {expected!r}")
    for entry in golden.get("missing", []):
        path, _, name = entry.partition(":")
        present = (
            setting(resources.get(path, {}), name) is not None
            if name
            else path in resources or path in actual
        )
        if present:
            lines.append(f"{entry}: must not be there")
    return lines


def refreshed(document: Mapping[str, Any], golden: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inventory with counts and listed values as synthesized."""
    resources = by_path(document)
    values = {
        path: {name: setting(resources[path], name) for name in settings}
        for path, settings in golden.get("values", {}).items()
        if path in resources
    }
    return {"counts": counts(document), "values": values, "missing": golden.get("missing", [])}


def main() -> None:
    """Rewrite all inventories."""
    stacks = sorted(path.stem for path in INVENTORIES.glob("*.yaml"))
    documents = synthesize(ROOT / "build" / "golden", ",".join(stacks))
    for stack in stacks:
        path = INVENTORIES / f"{stack}.yaml"
        golden = yaml.safe_load(path.read_text()) or {}
        text = yaml.safe_dump(refreshed(documents[stack], golden), sort_keys=True, width=110)
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
