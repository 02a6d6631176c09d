"""Reads plan files: the output of `terraform show -json`, format 1.x, of one stack each.

Only what the review needs is decoded; prior state and planned values are skipped without building objects, so
a file of 200 MB costs little more than its own size in memory.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from plan_review.errors import ReviewError

MAX_BYTES = 1 << 30
SHOW = "Make it with `terraform show -json tfplan > plan.json`."
_NULL = msgspec.Raw(b"null")
_FALSE = msgspec.Raw(b"false")
_STACK_ID = re.compile(
    r"[a-z][a-z0-9]*-(foundation|platform|cluster|catalog|operations|(team|tenant)-[a-z0-9-]+)"
)


class ChangeBody(msgspec.Struct, frozen=True):
    """The `change` of a resource or output, its values not yet decoded."""

    actions: tuple[str, ...]
    before: msgspec.Raw = _NULL
    after: msgspec.Raw = _NULL
    after_unknown: msgspec.Raw = _FALSE
    before_sensitive: msgspec.Raw = _FALSE
    after_sensitive: msgspec.Raw = _FALSE
    replace_paths: tuple[tuple[str | int, ...], ...] = ()
    importing: dict[str, Any] | None = None


class ResourceChange(msgspec.Struct, frozen=True):
    """One entry of `resource_changes` or `resource_drift`."""

    address: str
    change: ChangeBody
    type: str
    name: str
    mode: str = "managed"
    previous_address: str | None = None
    module_address: str | None = None
    index: int | str | None = None
    provider_name: str = ""
    deposed: str | None = None
    action_reason: str | None = None


class _Provider(msgspec.Struct, frozen=True):
    expressions: dict[str, Any] = {}


class _Configuration(msgspec.Struct, frozen=True):
    provider_config: dict[str, _Provider] = {}


class Document(msgspec.Struct, frozen=True):
    """A plan file, as far as it is read."""

    format_version: str | None = None
    terraform_version: str = ""
    resource_changes: tuple[ResourceChange, ...] = ()
    resource_drift: tuple[ResourceChange, ...] = ()
    output_changes: dict[str, ChangeBody] = {}
    errored: bool = False
    complete: bool = True
    planned_values: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    prior_state: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    values: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    lineage: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    configuration: _Configuration = _Configuration()

    @property
    def project(self) -> str:
        """Project that the Google provider acts on; empty if it is not written as a constant."""
        google = self.configuration.provider_config.get("google", _Provider())
        project = google.expressions.get("project", {})
        value = project.get("constant_value", "") if isinstance(project, dict) else ""
        return value if isinstance(value, str) else ""


@dataclass(frozen=True)
class PlanFile:
    """A plan of one stack, and whether the real providers made it."""

    stack: str
    document: Document
    source: str
    """Where it came from, for messages."""
    real: bool = True
    """False: made on the stand-in, so Google was not asked."""
    project: str = ""
    """Project that its provider acts on, where the plan itself does not say."""

    @property
    def has_prior_state(self) -> bool:
        """Whether the plan knows what is deployed."""
        return self.document.prior_state is not msgspec.UNSET


_decoder = msgspec.json.Decoder(Document)


def decode(text: bytes, where: str) -> Document:
    """Return the plan in `text`.

    Args:
        text: output of `terraform show -json`.
        where: its file name, for messages.

    Raises:
        ReviewError: it is no plan of format 1.x.
    """
    _refuse_look_alikes(text, where)
    try:
        document = _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise ReviewError(where, f"this is JSON, but no Terraform plan: {error}.", SHOW) from None
    except msgspec.DecodeError as error:
        hint = "it was cut off before its end" if "truncated" in str(error) else str(error)
        raise ReviewError(where, f"this is not valid JSON: {hint}.", SHOW) from None
    except (UnicodeDecodeError, RecursionError):
        raise ReviewError(where, "this is not valid JSON: broken text, or nested too deeply.", SHOW) from None
    _refuse_other_formats(document, where)
    return document


def _refuse_look_alikes(text: bytes, where: str) -> None:
    if not text.strip():
        raise ReviewError(where, "the file is empty.", SHOW)
    if text.startswith(b"PK\x03\x04"):
        raise ReviewError(where, "this is a binary plan.", SHOW)
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ReviewError(
            where, "the file is UTF-16, as PowerShell's `>` writes it.", "Write it as UTF-8 without a mark."
        )
    if text.startswith(b"\xef\xbb\xbf"):
        raise ReviewError(where, "the file begins with a byte order mark.", "Write it as UTF-8 without one.")
    if text.startswith(b"\x1f\x8b"):
        raise ReviewError(where, "the file is compressed.", "Unpack it with gunzip first.")
    if text.lstrip()[:10].startswith(b'{"@level"'):
        raise ReviewError(where, "this is the log of `terraform plan -json`, not the plan.", SHOW)


def _refuse_other_formats(document: Document, where: str) -> None:
    if document.lineage is not msgspec.UNSET:
        raise ReviewError(where, "this is a state file, not a plan.", SHOW)
    if document.format_version is None:
        raise ReviewError(where, "this is JSON, but no Terraform plan: it has no format_version.", SHOW)
    if document.format_version.split(".")[0] != "1":
        version = document.format_version[:20]
        raise ReviewError(
            where,
            f"plan format {version!r} is not supported; expected 1.x.",
            "Make it with Terraform 1.1 or later.",
        )
    if document.planned_values is msgspec.UNSET and document.values is not msgspec.UNSET:
        raise ReviewError(where, "this is a state, not a plan.", SHOW)


def read(path: Path) -> Document:
    """Return the plan in the file at `path`.

    Raises:
        ReviewError: it cannot be read, or is no plan of format 1.x.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ReviewError(str(path), f"the file is larger than {MAX_BYTES >> 20} MiB.", "Is it a plan?")
        text = path.read_bytes()
    except FileNotFoundError:
        raise ReviewError(str(path), "no such file.") from None
    except IsADirectoryError:
        raise ReviewError(str(path), "this is a directory.", "Name the plan files in it.") from None
    except OSError as error:
        raise ReviewError(str(path), f"cannot be read: {error.strerror}.") from None
    return decode(text, str(path))


def read_all(arguments: Sequence[str]) -> list[PlanFile]:
    """Return the plans that `arguments` name, each `path` or `stack=path`.

    Raises:
        ReviewError: one cannot be read, or two are of the same stack.
    """
    plans: list[PlanFile] = []
    for argument in arguments:
        stack, found, path = argument.partition("=")
        if not found or not _STACK_ID.fullmatch(stack):
            stack, path = "", argument
        document = read(Path(path))
        plans.append(PlanFile(stack or stack_of(Path(path), document), document, path))
    _refuse_duplicates(plans)
    return plans


def _refuse_duplicates(plans: Iterable[PlanFile]) -> None:
    sources: dict[str, str] = {}
    for plan in plans:
        if plan.stack in sources:
            raise ReviewError(
                plan.source,
                f"a second plan of stack {plan.stack}; the first is {sources[plan.stack]}.",
                "Name the stack with --plan STACK=FILE, or leave one out.",
            )
        sources[plan.stack] = plan.source


def stack_of(path: Path, document: Document) -> str:
    """Return the stack a plan is of: its file's or folder's name, else what the labels in it say."""
    candidates = [path.name.split(".")[0], *(part.name for part in path.absolute().parents)]
    for candidate in candidates:
        if _STACK_ID.fullmatch(candidate):
            return candidate
    return _stack_by_labels(document) or path.name.removesuffix(".json") or "plan"


def _stack_by_labels(document: Document) -> str | None:
    """Return the stack of the team whose labels most resources of the plan carry."""
    votes: dict[str, int] = {}
    kind = "tenant" if any(r.type == "google_project" for r in document.resource_changes) else "team"
    for resource in document.resource_changes[:200]:
        for raw in (resource.change.after, resource.change.before):
            labels = _labels(raw)
            if labels and labels.get("team") not in (None, "platform") and labels.get("environment"):
                stack = f"{labels['environment']}-{kind}-{labels['team']}"
                votes[stack] = votes.get(stack, 0) + 1
                break
    return max(votes, key=lambda stack: votes[stack]) if votes else None


class _Labelled(msgspec.Struct, frozen=True):
    labels: dict[str, str] | None = None
    user_labels: dict[str, str] | None = None


_labelled = msgspec.json.Decoder(_Labelled | None)


def _labels(raw: msgspec.Raw) -> dict[str, str] | None:
    try:
        values = _labelled.decode(raw)
    except msgspec.DecodeError:
        return None
    return (values.labels or values.user_labels) if values else None


def prefer(real: Sequence[PlanFile], stand_in: Iterable[PlanFile]) -> list[PlanFile]:
    """Return the real plans, and those made on the stand-in of stacks that have no real one."""
    known = {plan.stack for plan in real}
    merged = [*real, *(replace(plan, real=False) for plan in stand_in if plan.stack not in known)]
    return sorted(merged, key=lambda plan: plan.stack)
