"""One fault on several models: a team is told once, and every team which others it strikes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from modelyard.incidents.incident import GRAVITY, Cause, Incident, Known, Root, together

# What models have in common: a source, a gateway, a caller, a pipeline of labels. A version, a concept and
# predictions are each model's own.
COMMON = frozenset(
    {Root.SERVICE, Root.SILENCE, Root.DUPLICATES, Root.USAGE, Root.FEATURE, Root.UPSTREAM, Root.LABELS}
)


def joined(incidents: Sequence[Incident], known: Sequence[Known]) -> list[Incident]:
    """Return the incidents with one per fault and team: the gravest stands for the others.

    Two that were told apart stay apart. A graver one never hides behind one that wakes nobody, and one that
    is silenced neither hides nor stands for others.
    """
    told = {k.incident_id: k.model for k in known}
    groups: list[list[Incident]] = []
    for incident in sorted(incidents, key=lambda i: _order(i, told.get(i.incident_id))):
        for group in groups:
            if _belongs(incident, group[0], incident.incident_id in told):
                group.append(incident)
                break
        else:
            groups.append([incident])
    return [replace(first, also=tuple(others)) for first, *others in groups]


def _order(incident: Incident, model: str | None) -> tuple[object, ...]:
    gravity = -GRAVITY.index(incident.severity)
    return model is None, gravity, model != incident.watched.model, incident.opened, incident.name


def _belongs(incident: Incident, first: Incident, told: bool) -> bool:
    if incident.incident_id == first.incident_id:
        return incident.watched is not first.watched
    return (
        not told
        and incident.watched.team == first.watched.team
        and GRAVITY.index(incident.severity) <= GRAVITY.index(first.severity)
        and incident.silenced_until is None
        and first.silenced_until is None
        and _same_fault(incident, first)
    )


def _same_fault(one: Incident, other: Incident) -> bool:
    """Return whether two models have one fault in common."""
    if one.watched is other.watched or one.root not in COMMON:
        return False
    if not together(one.findings[0], other.findings[0]):
        return False
    if one.features and other.features:
        return one.findings[0].stage is other.findings[0].stage and not one.features.isdisjoint(
            other.features
        )
    return (one.root, one.key) == (other.root, other.key)


def shared(incidents: Sequence[Incident]) -> Iterator[Incident]:
    """Name to each incident the other models with the same fault at the same time, as its likeliest cause."""
    for incident in incidents:
        others = [*incident.also]
        for other in incidents:
            if other is not incident and _same_fault(other, incident):
                others += [other, *other.also]
        if not others:
            yield incident
            continue
        names = tuple(sorted({other.name for other in others} - {incident.name}))
        what = (
            f"feature {', '.join(sorted(incident.features))}"
            if incident.features
            else incident.findings[0].monitor.title.lower()
        )
        cause = Cause(
            "upstream data" if incident.features else "shared cause",
            f"the same fault began at the same time at {', '.join(names)}: {what}",
        )
        yield replace(incident, shared_with=names, causes=(cause, *incident.causes))
