"""The changes of a plan as frozen, typed values with secrets masked: all that the review sees."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec

from plan_review.errors import ReviewError
from plan_review.masking import clean
from plan_review.plan import PlanFile, ResourceChange

Values = Mapping[str, Any]
# Where resource types carry labels.
_LABEL_FIELDS = ("labels", "user_labels", "resource_labels")


class Action(StrEnum):
    """What Terraform would do."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "destroy"
    FORGET = "forget"
    READ = "read"
    NONE = "no-op"


_ACTIONS = {
    ("create",): Action.CREATE,
    ("update",): Action.UPDATE,
    ("delete",): Action.DELETE,
    ("forget",): Action.FORGET,
    ("read",): Action.READ,
    ("no-op",): Action.NONE,
    ("delete", "create"): Action.REPLACE,
    ("create", "delete"): Action.REPLACE,
    ("create", "forget"): Action.REPLACE,
}


@dataclass(frozen=True)
class Change:
    """What happens to one resource.

    `before` and `after` are empty where there is nothing; secrets in them are `Masked`, values known only
    after apply `UNKNOWN`, and JSON texts parsed.
    """

    stack: str
    address: str
    type: str
    name: str
    action: Action
    before: Values
    after: Values
    provider: str = ""
    previous_address: str | None = None
    imported: bool = False
    reason: str | None = None
    replace_paths: tuple[tuple[str | int, ...], ...] = ()
    construct: str | None = None
    """Path of the construct that made it, where the synthesized stack is at hand."""
    project: str = ""
    """Project that the stack's provider acts on."""

    @cached_property
    def values(self) -> Values:
        """Values after the change, or before it if nothing is left."""
        return self.after or self.before

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """Labels of the resource."""
        return labels_of(self.values)

    @property
    def moved(self) -> bool:
        """Whether only its address changes."""
        return self.previous_address is not None and self.previous_address != self.address

    @property
    def made(self) -> bool:
        """Whether something new comes into being."""
        return self.action in (Action.CREATE, Action.REPLACE)

    @property
    def gone(self) -> bool:
        """Whether what was there is there no more."""
        return self.action in (Action.DELETE, Action.REPLACE)

    @property
    def kept(self) -> bool:
        """Whether the resource is there before and after."""
        return bool(self.before) and bool(self.after)

    def was(self, path: str, default: Any = None) -> Any:
        """Return the value at dotted `path` before the change."""
        return at(self.before, path, default)

    def now(self, path: str, default: Any = None) -> Any:
        """Return the value at dotted `path` after the change."""
        return at(self.after, path, default)

    def changed(self, path: str) -> bool:
        """Return whether the value at dotted `path` differs."""
        return bool(self.was(path) != self.now(path))


def at(values: Any, path: str, default: Any = None) -> Any:
    """Return the value at dotted `path`; a block that Terraform writes as a list of one is looked into."""
    for step in path.split("."):
        if isinstance(values, list):
            if step.isdigit():
                values = values[int(step)] if int(step) < len(values) else None
                continue
            values = values[0] if values else None
        if not isinstance(values, Mapping):
            return default
        # Configuration may write a block that stands once without a list.
        if step == "0" and step not in values:
            continue
        values = values.get(step)
    return default if values is None else values


def block(values: Any, path: str) -> Mapping[str, Any]:
    """Return the block at dotted `path`, or the first of a list of them; empty if there is none."""
    found = at(values, path)
    if isinstance(found, list):
        found = found[0] if found else None
    return found if isinstance(found, Mapping) else {}


def labels_of(values: Values) -> Mapping[str, str]:
    """Return the labels in a resource's values, wherever its type keeps them."""
    places = [values.get(name) for name in _LABEL_FIELDS]
    places += [at(values, "manifest.metadata.labels"), at(values, "metadata.labels")]
    for place in places:
        if isinstance(place, Mapping) and place:
            return {key: value for key, value in place.items() if isinstance(value, str)}
    return {}


@dataclass(frozen=True)
class OutputChange:
    """What happens to one output of a stack."""

    name: str
    action: Action
    before: Any
    after: Any


@dataclass(frozen=True)
class StackPlan:
    """The plan of one stack."""

    stack: str
    changes: tuple[Change, ...]
    unchanged: tuple[Change, ...]
    """Resources that stay as they are: what the changed ones refer to is found here."""
    drift: tuple[Change, ...]
    """What was changed outside Terraform since the last apply."""
    outputs: tuple[OutputChange, ...]
    source: str
    real: bool
    errored: bool
    complete: bool
    has_prior_state: bool
    project: str = ""
    unknown_actions: tuple[str, ...] = field(default=())

    def all(self) -> Iterator[Change]:
        """Yield every resource, changed or not."""
        yield from self.changes
        yield from self.unchanged


def stack_plan(plan: PlanFile, constructs: Mapping[str, str] | None = None) -> StackPlan:
    """Return the changes of `plan`.

    Args:
        plan: a plan file.
        constructs: address -> path of the construct that made it.

    Raises:
        ReviewError: a value in it is not what its format promises.
    """
    constructs = constructs or {}
    document = plan.document
    project = document.project or plan.project
    changes: list[Change] = []
    unchanged: list[Change] = []
    strange: set[str] = set()
    for resource in document.resource_changes:
        if resource.mode != "managed" or resource.deposed:
            continue
        change = _checked(plan, project, resource, constructs)
        if resource.change.actions not in _ACTIONS:
            strange.add("/".join(resource.change.actions))
        idle = change.action is Action.NONE and not change.moved and not change.imported
        (unchanged if idle else changes).append(change)
    drift = tuple(_checked(plan, project, resource, constructs) for resource in document.resource_drift)
    return StackPlan(
        stack=plan.stack,
        changes=tuple(sorted(changes, key=lambda change: change.address)),
        unchanged=tuple(unchanged),
        drift=drift,
        outputs=tuple(_outputs(plan)),
        source=plan.source,
        real=plan.real,
        errored=document.errored,
        complete=document.complete,
        has_prior_state=plan.has_prior_state,
        project=project,
        unknown_actions=tuple(sorted(strange)),
    )


def _checked(plan: PlanFile, project: str, resource: ResourceChange, constructs: Mapping[str, str]) -> Change:
    try:
        return _change(plan.stack, project, resource, constructs.get(resource.address))
    except (msgspec.DecodeError, RecursionError) as error:
        what = "its values are nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ReviewError(plan.source, f"{resource.address}: {what}.") from None


def _change(stack: str, project: str, resource: ResourceChange, construct: str | None) -> Change:
    body = resource.change
    before, after = _values(body.before), _values(body.after)
    unknown = msgspec.json.decode(body.after_unknown)
    sensitive_before = msgspec.json.decode(body.before_sensitive)
    sensitive_after = msgspec.json.decode(body.after_sensitive)
    cleaned_before = _cleaned(before, False, sensitive_before)
    if before and sensitive_before == sensitive_after and not unknown:
        # Most of a large plan does not change: what is equal is cleaned once.
        cleaned_after = {
            key: cleaned_before[key]
            if key in before and before[key] == value
            else clean(value, False, _part(sensitive_after, key), key)
            for key, value in after.items()
        }
    else:
        cleaned_after = _cleaned(after, unknown, sensitive_after)
    return Change(
        stack=stack,
        address=resource.address,
        type=resource.type,
        name=resource.name,
        # An action that this version does not know is shown as an update, and named in the report.
        action=_ACTIONS.get(body.actions, Action.UPDATE),
        before=cleaned_before,
        after=cleaned_after,
        provider=resource.provider_name,
        previous_address=resource.previous_address,
        imported=body.importing is not None,
        reason=resource.action_reason,
        replace_paths=body.replace_paths,
        construct=construct,
        project=project,
    )


def _values(raw: msgspec.Raw) -> dict[str, Any]:
    return msgspec.json.decode(raw, type=dict[str, Any] | None) or {}


def _part(marks: Any, key: str) -> Any:
    return marks.get(key, False) if isinstance(marks, dict) else marks


def _cleaned(values: dict[str, Any], unknown: Any, sensitive: Any) -> dict[str, Any]:
    """Clean each attribute, so that a resource marked as a whole keeps the names of its attributes."""
    names = [*values, *(key for key in unknown if key not in values)] if isinstance(unknown, dict) else values
    return {key: clean(values.get(key), _part(unknown, key), _part(sensitive, key), key) for key in names}


def _outputs(plan: PlanFile) -> Iterator[OutputChange]:
    for name, body in sorted(plan.document.output_changes.items()):
        action = _ACTIONS.get(body.actions, Action.UPDATE)
        if action is Action.NONE:
            continue
        decode = msgspec.json.decode
        yield OutputChange(
            name,
            action,
            clean(decode(body.before), False, decode(body.before_sensitive), name),
            clean(decode(body.after), decode(body.after_unknown), decode(body.after_sensitive), name),
        )
