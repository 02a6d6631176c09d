"""What a case of the corpus is, and the tools to write one."""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.spec.manifest import digest_of

Stack = dict[str, Any]
Resource = dict[str, Any]
EditStack = Callable[[Stack], None]
EditInput = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """One seeded change.

    Attributes:
        name: what is changed, in words.
        stack: the stack that is looked at.
        rules: rules that must find something; none for a harmless change.
        severity: the worst that the review may and must say; `info` for a harmless change.
        edit_stack: changes the synthesized stack.
        edit_input: changes the input files, for what they can express.
    """

    name: str
    stack: str
    severity: str
    rules: tuple[str, ...]
    edit_stack: EditStack | None = None
    edit_input: EditInput | None = None


def on_stack(name: str, stack: str, severity: str, *rules: str) -> Callable[[EditStack], Case]:
    """Make a case of a function that changes a synthesized stack."""
    return lambda edit: Case(name, stack, severity, rules, edit_stack=edit)


def on_input(name: str, stack: str, severity: str, *rules: str) -> Callable[[EditInput], Case]:
    """Make a case of a function that changes the input files."""
    return lambda edit: Case(name, stack, severity, rules, edit_input=edit)


# Synthesized stacks


def every(stack: Stack, type_: str, containing: str = "") -> dict[str, Resource]:
    """Return the resources of a type whose logical id contains a text; there is at least one."""
    found = {name: body for name, body in stack["resource"].get(type_, {}).items() if containing in name}
    assert found, f"no {type_} with {containing!r} in {sorted(stack['resource'].get(type_, {}))}"
    return found


def one(stack: Stack, type_: str, containing: str = "") -> Resource:
    """Return the first resource of a type whose logical id contains a text."""
    return next(iter(every(stack, type_, containing).values()))


def add(stack: Stack, type_: str, body: Mapping[str, Any], name: str = "seeded") -> None:
    """Add a resource."""
    stack["resource"].setdefault(type_, {})[name] = dict(body)


def remove(stack: Stack, type_: str, containing: str = "", most: int = 1) -> None:
    """Remove resources, and what waits for them alone."""
    names = list(every(stack, type_, containing))[:most]
    addresses = {f"{type_}.{name}" for name in names}
    for name in names:
        del stack["resource"][type_][name]
    for group in (*stack["resource"].values(), *stack.get("data", {}).values()):
        for body in group.values():
            if "depends_on" in body:
                body["depends_on"] = [other for other in body["depends_on"] if other not in addresses]


def like(stack: Stack, type_: str, containing: str, **changes: Any) -> Resource:
    """Return a copy of a resource with other arguments."""
    return copy.deepcopy(one(stack, type_, containing)) | changes


def container(workload: Resource) -> dict[str, Any]:
    """Return the first container of a deployment or batch job."""
    spec = workload["spec"]
    if "job_template" in spec:
        spec = spec["job_template"]["spec"]
    first: dict[str, Any] = spec["template"]["spec"]["container"][0]
    return first


def rows(table: Resource) -> list[dict[str, Any]]:
    """Return the columns of a table."""
    columns: list[dict[str, Any]] = json.loads(table["schema"])
    return columns


# Input files


def replace(path: Path, old: str, new: str) -> None:
    """Replace a text in a file, in which it stands."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def team(root: Path, name: str) -> Path:
    """Return a team's file."""
    return root / "teams" / name / "team.yaml"


def environment(root: Path, name: str = "prod") -> Path:
    """Return an environment's file."""
    return root / "environments" / f"{name}.yaml"


def edit_manifest(path: Path, edit: Callable[[dict[str, Any]], None], target: Path | None = None) -> None:
    """Change a manifest, with its digest made right."""
    document = json.loads(path.read_text(encoding="utf-8"))
    edit(document)
    document["digest"] = digest_of(document)
    (target or path).write_text(json.dumps(document, indent=2), encoding="utf-8")
