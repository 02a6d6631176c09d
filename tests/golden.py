"""Golden inventories of stacks: `python -m tests.golden` brings them up to date.

An inventory says of one stack: how many resources of each type (`counts`), what certain settings are
(`values`, by construct path), and what must not be there (`missing`: a resource type, a construct path, or
`path:setting`). Counts and the values of listed settings are refreshed; which settings are listed, and what
must be missing, people decide.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.stacks.fleet import ROOT, synthesized

INVENTORIES = Path(__file__).parent / "stacks" / "inventories"
REFRESH = ".venv/bin/python -m tests.golden"


def by_path(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the resources of a stack by construct path, such as `network/nat`."""
    return {
        resource["//"]["metadata"]["path"].split("/", 1)[1]: resource
        for resources in document.get("resource", {}).values()
        for resource in resources.values()
    }


def counts(document: Mapping[str, Any]) -> dict[str, int]:
    """Return how many resources of each type a stack has."""
    return {type_: len(made) for type_, made in document.get("resource", {}).items()}


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
    resources, made, listed = by_path(document), counts(document), golden.get("counts", {})
    lines = [
        f"{type_}: {listed.get(type_, 0)} in the inventory, {made.get(type_, 0)} synthesized"
        for type_ in sorted({*listed, *made})
        if listed.get(type_, 0) != made.get(type_, 0)
    ]
    for path, settings in golden.get("values", {}).items():
        for name, expected in settings.items():
            found = setting(resources[path], name) if path in resources else "not synthesized"
            if found != expected:
                lines.append(f"{path}: {name} is {found!r}, the inventory says {expected!r}")
    for entry in golden.get("missing", []):
        path, _, name = entry.partition(":")
        present = setting(resources.get(path, {}), name) is not None if name else entry in {*resources, *made}
        if present:
            lines.append(f"{entry}: must not be there")
    return lines


def refreshed(document: Mapping[str, Any], golden: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inventory with counts and listed values as synthesized; settings that went are dropped."""
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
    with tempfile.TemporaryDirectory() as folder:
        documents = synthesized(Path(folder), ",".join(stacks))
    for stack in stacks:
        path = INVENTORIES / f"{stack}.yaml"
        golden = yaml.safe_load(path.read_text()) or {}
        path.write_text(yaml.safe_dump(refreshed(documents[stack], golden), width=100))
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
