"""Synthesizes the stacks of a checkout as a process of its own: nothing of a checkout is imported here."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from modelyard.toolchain import tool_environment
from plan_review.blast import is_shared
from plan_review.errors import ReviewError
from plan_review.fleet import Fleet

PRODUCT = Path(__file__).resolve().parent.parent
ROOMS = ("foundation", "platform", "cluster", "catalog", "operations")
_TIMEOUT_SECONDS = 1800
# The stacks of a checkout may be anyone's code: it gets no credentials of whoever reviews it.
_CREDENTIALS = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|PRIVATE|^(AWS|AZURE|GOOGLE|CLOUDSDK|ACTIONS)_", re.I
)

Stack = Mapping[str, Any]


@dataclass(frozen=True)
class Checkout:
    """Files of one revision."""

    root: Path
    name: str
    """What people call it, for messages."""

    @cached_property
    def fleet(self) -> Fleet:
        """What it declares."""
        return Fleet(self.root)

    @property
    def code(self) -> Path:
        """Where its stacks' code is: in it, else in this installation."""
        return self.root if (self.root / "stacks").is_dir() else PRODUCT


def stack_ids(fleet: Fleet) -> list[str]:
    """Return the ids of all stacks that a checkout declares."""
    return [
        name
        for environment in fleet.environments.values()
        for name in (
            *(environment.names.stack(room) for room in ROOMS),
            *(
                stack
                for team in fleet.teams
                for stack in (environment.names.team(team).tenant_stack, environment.names.team(team).stack)
            ),
        )
    ]


def affected(base: Fleet, head: Fleet, files: Iterable[str]) -> set[str]:
    """Return the ids of the stacks that changed files can change, in either checkout."""
    everything = {*stack_ids(base), *stack_ids(head)}
    found: set[str] = set()
    for path in files:
        parts = path.split("/")
        if is_shared(path) or path == "cdktf.json":
            return everything
        if parts[0] == "environments" and len(parts) == 2:
            found |= {stack for stack in everything if stack.startswith(f"{Path(path).stem}-")}
        if parts[0] == "teams" and len(parts) > 2:
            kinds = ["team"]
            # What a team has before its models knows its name and cost centre alone.
            if _known_differently(base, head, parts[1]):
                kinds.append("tenant")
            rooms = {f"{kind}-{parts[1]}" for kind in kinds}
            found |= {stack for stack in everything if stack.partition("-")[2] in rooms}
    return found


def _known_differently(base: Fleet, head: Fleet, folder: str) -> bool:
    old, new = base.teams.get(folder), head.teams.get(folder)
    return (old is None) != (new is None) or (
        old is not None and new is not None and old.cost_center != new.cost_center
    )


def synthesize(checkout: Checkout, stacks: Iterable[str], out: Path) -> dict[str, Stack]:
    """Return the synthesized JSON of the stacks that a checkout declares among `stacks`.

    Raises:
        ReviewError: the checkout's input or stacks are wrong; the message is what synthesis said.
    """
    declared = set(stack_ids(checkout.fleet))
    wanted = sorted(declared.intersection(stacks))
    if not wanted:
        return {}
    environment = _environment(checkout)
    environment["MODELYARD_STACKS"] = ",".join(wanted)
    environment["CDKTF_OUTDIR"] = str(out)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "stacks"],
            cwd=checkout.code,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ReviewError(checkout.name, f"synthesis took longer than {_TIMEOUT_SECONDS} s.") from None
    if done.returncode:
        said = (
            done.stderr.decode("utf-8", "replace").strip() or done.stdout.decode("utf-8", "replace").strip()
        )
        lines = said.replace(f"{checkout.root}{os.sep}", "").splitlines()
        # Of a traceback the last line says what is wrong.
        text = lines[-1] if any(line.startswith("Traceback") for line in lines) else "\n".join(lines[:40])
        raise ReviewError(checkout.name, f"its stacks cannot be synthesized:\n{text}")
    return {stack: _read(out / "stacks" / stack / "cdk.tf.json", checkout) for stack in wanted}


def _environment(checkout: Checkout) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not _CREDENTIALS.search(name)}
    code = str(checkout.code)
    return {
        **tool_environment(PRODUCT, inherited),
        "MODELYARD_ROOT": str(checkout.root),
        "PYTHONPATH": code,
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _read(path: Path, checkout: Checkout) -> Stack:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        raise ReviewError(
            checkout.name, f"synthesis did not write {path.name} of {path.parent.name}."
        ) from None
    return document


def resources(stack: Stack) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return the resources of a synthesized stack: address -> (type, arguments)."""
    found = {}
    for type_, group in (stack.get("resource") or {}).items():
        for name, body in group.items():
            found[f"{type_}.{name}"] = (type_, body)
    return found


def constructs(stack: Stack) -> dict[str, str]:
    """Return address -> path of the construct that made it."""
    found = {}
    for address, (_, body) in resources(stack).items():
        path = body.get("//", {}).get("metadata", {}).get("path")
        if isinstance(path, str):
            found[address] = path.partition("/")[2]
    return found


def protected(stack: Stack) -> frozenset[str]:
    """Return the addresses that Terraform refuses to destroy."""
    return frozenset(
        address
        for address, (_, body) in resources(stack).items()
        if isinstance(body.get("lifecycle"), Mapping) and body["lifecycle"].get("prevent_destroy") is True
    )
