"""Plans what lies between two synthesized stacks on the stand-in: base is applied, then head is planned.

Many stacks are planned in one run of Terraform, each as a module of its own: starting Terraform costs more
than planning a stack. Credentials are not needed, and none are passed on.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from modelyard.toolchain import find_terraform
from plan_review.changes import at
from plan_review.errors import ReviewError
from plan_review.masking import scrub
from plan_review.plan import ChangeBody, Document, PlanFile, ResourceChange, decode
from plan_review.pruning import prune
from plan_review.synthesis import PRODUCT, Stack, resources

# Resources that one run of Terraform plans; more are planned in several.
_MOST_RESOURCES = 2_000
_TIMEOUT_SECONDS = 1_800
_REFERENCE = re.compile(r"\$\{([a-z0-9_]+\.[\w-]+)\.([\w.\[\]]+)\}")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Pair:
    """A stack before and after; empty where it is not there."""

    stack: str
    base: Stack
    head: Stack


@dataclass(frozen=True)
class _Part:
    """A stack as a module of a larger plan."""

    pair: Pair
    module: str
    base: Mapping[str, Any]
    head: Mapping[str, Any]
    left_out: frozenset[str]


def plan(pairs: Iterable[Pair], folder: Path, environment: Mapping[str, str]) -> list[PlanFile]:
    """Return the plans of all pairs, made on a stand-in that runs already.

    Args:
        pairs: stacks before and after.
        folder: an empty folder to work in.
        environment: what `plan_review.standin.launch.running` gave.

    Raises:
        ReviewError: base or head is refused by Terraform or the stand-in.
    """
    parts = [_part(number, pair) for number, pair in enumerate(pairs)]
    files: list[PlanFile] = []
    for number, batch in enumerate(_batches(parts)):
        files += _plan_batch(batch, folder / f"batch-{number}", environment)
    return files


def _part(number: int, pair: Pair) -> _Part:
    base, head, left_out = prune(_complete(pair.base, pair.head), _complete(pair.head, pair.base))
    return _Part(pair, f"s{number}", base, head, left_out)


def _complete(stack: Stack, other: Stack) -> Stack:
    """Return a stack; one that is not there has the other's providers and no resources."""
    return stack or {key: other[key] for key in ("provider", "terraform") if key in other}


def _batches(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    batch: list[_Part] = []
    size = 0
    for part in parts:
        amount = max(len(resources(part.base)), len(resources(part.head)))
        # Import blocks are allowed in a root module alone.
        alone = "import" in part.head
        if batch and (alone or size + amount > _MOST_RESOURCES):
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += amount
        if alone:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _plan_batch(batch: Sequence[_Part], folder: Path, environment: Mapping[str, str]) -> list[PlanFile]:
    as_root = len(batch) == 1 and "import" in batch[0].head
    terraform = _Terraform(folder, environment, {part.module: part.pair.stack for part in batch})
    _write(folder, batch, "base", as_root)
    terraform.run("base", "init", "-input=false", "-backend=false")
    if any(resources(part.base) for part in batch):
        options = ("-auto-approve", "-input=false", "-refresh=false", "-parallelism=32", "-compact-warnings")
        terraform.run("base", "apply", *options)
    _write(folder, batch, "head", as_root)
    terraform.run("head", "init", "-input=false", "-backend=false")
    terraform.run("head", "plan", "-out=tfplan", "-input=false", "-refresh=false", "-compact-warnings")
    shown = terraform.run("head", "show", "-json", "tfplan")
    document = decode(shown, "stand-in")
    return [_of_part(document, part, as_root) for part in batch]


class _Terraform:
    """Terraform in one folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str], stacks: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        self.stacks = stacks
        self.folder = folder
        self.command = find_terraform(PRODUCT)
        kept = ("PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LANG")
        self.environment = {
            **{name: os.environ[name] for name in kept if name in os.environ},
            **environment,
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
        }

    def run(self, what: str, *arguments: str) -> bytes:
        """Run a command; return what it printed."""
        try:
            done = subprocess.run(
                [self.command, *arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ReviewError(
                what, f"`terraform {arguments[0]}` took longer than {_TIMEOUT_SECONDS} s."
            ) from None
        if done.returncode:
            said = _ANSI.sub("", (done.stderr or done.stdout).decode("utf-8", "replace"))
            lines = [line.strip("│╷╵ ") for line in said.splitlines()]
            text = scrub("\n".join(line for line in lines if line)[:3000])
            for module, stack in self.stacks.items():
                text = text.replace(f"{module}/main.tf.json", stack).replace(
                    f"module.{module}.", f"{stack}: "
                )
            raise ReviewError(what, f"`terraform {arguments[0]}` refuses it on the stand-in:\n{text}")
        return done.stdout


def _write(folder: Path, batch: Sequence[_Part], side: str, as_root: bool) -> None:
    if as_root:
        stack = batch[0].base if side == "base" else batch[0].head
        (folder / "main.tf.json").write_text(_text(_prepared(stack)))
        return
    modules = {}
    shared: dict[str, dict[str, Any]] = {}
    for part in batch:
        home = folder / part.module
        home.mkdir(exist_ok=True)
        stack = part.base if side == "base" else part.head
        prepared = _prepared(stack)
        used = {}
        for name, blocks in prepared.pop("provider", {}).items():
            for block in blocks if isinstance(blocks, list) else [blocks]:
                local = f"{name}.{block['alias']}" if "alias" in block else name
                used[local] = _provider(shared, name, block)
        _declare_aliases(prepared, used)
        (home / "main.tf.json").write_text(_text(prepared))
        modules[part.module] = {"source": f"./{part.module}", "providers": used}
    root: dict[str, Any] = {"module": modules, "provider": {}}
    for address, block in shared.items():
        root["provider"].setdefault(address.partition(".")[0], []).append(block)
    (folder / "main.tf.json").write_text(_text({key: value for key, value in root.items() if value}))


def _provider(shared: dict[str, dict[str, Any]], name: str, block: Mapping[str, Any]) -> str:
    """Return the address of a provider in the root module: stacks with equal settings share one."""
    plain = {key: value for key, value in block.items() if key != "alias"}
    for address, known in shared.items():
        if address.startswith(f"{name}.") and {k: v for k, v in known.items() if k != "alias"} == plain:
            return address
    alias = f"p{len(shared)}"
    shared[f"{name}.{alias}"] = {**plain, "alias": alias}
    return f"{name}.{alias}"


def _declare_aliases(stack: dict[str, Any], used: Iterable[str]) -> None:
    """Say in a module which further configurations of its providers it is given."""
    for local in used:
        name, _, alias = local.partition(".")
        needed = stack.get("terraform", {}).get("required_providers", {}).get(name)
        if alias and isinstance(needed, dict):
            needed.setdefault("configuration_aliases", []).append(local)


def _text(document: Mapping[str, Any]) -> str:
    """Return JSON of many short lines: Terraform quotes the line that it refuses."""
    return json.dumps(document, indent=1)


def _prepared(stack: Stack) -> dict[str, Any]:
    """Return a stack without its state's place, and without what would end the plan before it is complete.

    Which resources are protected is known to the review from the stack itself.
    """
    prepared = {key: value for key, value in stack.items() if key not in ("//", "output")}
    terraform = stack.get("terraform") or {}
    prepared["terraform"] = {
        key: value for key, value in terraform.items() if key not in ("backend", "cloud")
    }
    prepared["resource"] = {
        type_: {name: _unprotected(body) for name, body in group.items()}
        for type_, group in (stack.get("resource") or {}).items()
    }
    return {key: value for key, value in prepared.items() if value}


def _unprotected(body: Mapping[str, Any]) -> dict[str, Any]:
    lifecycle = body.get("lifecycle")
    if not isinstance(lifecycle, Mapping) or "prevent_destroy" not in lifecycle:
        return dict(body)
    rest = {key: value for key, value in lifecycle.items() if key != "prevent_destroy"}
    plain = {key: value for key, value in body.items() if key != "lifecycle"}
    return {**plain, "lifecycle": rest} if rest else plain


def _of_part(document: Document, part: _Part, as_root: bool) -> PlanFile:
    prefix = "" if as_root else f"module.{part.module}."
    changes = [
        msgspec.structs.replace(
            change,
            address=change.address.removeprefix(prefix),
            previous_address=change.previous_address.removeprefix(prefix)
            if change.previous_address
            else None,
        )
        for change in document.resource_changes
        if change.address.startswith(prefix)
    ]
    changes += _unchanged(part)
    own = Document(
        format_version=document.format_version,
        terraform_version=document.terraform_version,
        resource_changes=tuple(changes),
        errored=document.errored,
        complete=document.complete,
        prior_state=document.prior_state,
    )
    return PlanFile(part.pair.stack, own, "stand-in", real=False, project=_project(part.pair))


def _project(pair: Pair) -> str:
    providers = (pair.head or pair.base).get("provider", {}).get("google") or [{}]
    project = providers[0].get("project", "") if isinstance(providers, list) else ""
    return project if isinstance(project, str) else ""


def _unchanged(part: _Part) -> Iterator[ResourceChange]:
    """Yield the resources that were left out, as their configuration has them: rules look around a change."""
    every = resources(part.pair.head)
    for address, (type_, body) in every.items():
        if address in part.left_out:
            plain = {key: value for key, value in body.items() if key not in ("//", "lifecycle")}
            raw = msgspec.Raw(msgspec.json.encode(_resolved(plain, every)))
            change = ChangeBody(actions=("no-op",), before=raw, after=raw)
            yield ResourceChange(address, change, type_, address.partition(".")[2])


def _resolved(value: Any, every: Mapping[str, tuple[str, Mapping[str, Any]]]) -> Any:
    """Return a configuration with references to what others say put in place."""
    if isinstance(value, dict):
        return {key: _resolved(inner, every) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, every) for inner in value]
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if match and match[1] in every:
        found = at(every[match[1]][1], match[2].replace("[", ".").replace("]", ""))
        return found if isinstance(found, str) and "${" not in found else value
    return value
