"""What an alert says: all that a person needs who was woken by it and knows the model little."""

from modelyard.incidents.incident import Incident, Root, began, says, when
from modelyard.monitors.alert import page_of
from modelyard.monitors.measuring.watched import Watched
from modelyard.naming import LABEL, NAMESPACE, WORKLOAD, fit
from modelyard.spec.base import Severity

_TELLS = {
    Severity.CRITICAL: "pages a person",
    Severity.ERROR: "makes a ticket for today",
    Severity.WARNING: "makes a ticket",
}


def title(incident: Incident) -> str:
    """Return one line: whose, and what is wrong at the root of it."""
    others = len(incident.also)
    more = f" and {others} more {'model' if others == 1 else 'models'}" if others else ""
    return f"{incident.name}{more}: {what(incident)}"


def what(incident: Incident) -> str:
    """Return in a few words what is wrong at the root of it."""
    first = incident.findings[0]
    moved = sorted(incident.features)
    match incident.root:
        case Root.FEATURE:
            verb = "is broken" if first.monitor.family.value == "quality" else "has drifted"
            return f"feature {incident.feature} {verb}"
        case Root.UPSTREAM:
            return f"{len(moved)} features changed together: {', '.join(moved)}"
        case Root.DEPLOYMENT:
            return f"{_lower(first.monitor.title)} changed with a deployment"
        case Root.SILENCE:
            return "no predictions are asked for"
        case Root.DUPLICATES:
            return "requests arrive more than once"
        case Root.USAGE:
            return (
                "it is asked for less than usual"
                if not first.monitor.above
                else "it is asked for more than usual"
            )
        case Root.PREDICTIONS:
            return "its predictions have moved, its inputs have not"
        case Root.CONCEPT:
            return "its predictions are worse, its inputs have not changed"
        case Root.LABELS:
            return "labels do not arrive"
        case Root.SERVICE:
            return f"{_lower(first.monitor.title)} is beyond its limit"


def text(incident: Incident) -> str:
    """Return the whole alert, as Markdown."""
    subject, first = incident.watched, incident.findings[0]
    lines = [f"# {title(incident)}", ""]
    models = [incident, *incident.also]
    lines += [
        f"- {'Models' if incident.also else 'Model'}: {', '.join(one.name for one in models)}",
        f"- Severity: {incident.severity} ({_TELLS[incident.severity]})",
        f"- Owner: {subject.owner}; escalation: {subject.escalation}",
        f"- Since: {began(incident.findings)}; seen at {when(incident.opened)}",
    ]
    if incident.version is not None:
        lines.append(f"- Version: {incident.version}")
    if incident.silenced_until:
        lines.append(f"- Silenced until {incident.silenced_until:%Y-%m-%d %H:%M} UTC")
    lines += ["", "## What happened", "", f"{_sentence(says(first))}"]
    if incident.also:
        lines += ["", "The same at:", ""]
        lines += [f"- {other.name}: {says(other.findings[0])}" for other in incident.also]
    if following := incident.findings[1:]:
        lines += ["", "What goes with it:", ""]
        lines += [f"- {says(finding)}{'' if finding.lasts else ' (over)'}" for finding in following]
    lines += ["", "## Likely causes, the likeliest first", ""]
    named = [f"{cause.kind}: {cause.evidence}" for cause in incident.causes]
    lines += _numbered([*named, *(_lower(cause) for cause in first.monitor.runbook.causes)])
    lines += ["", "## First three things to do", ""]
    lines += _numbered(first.monitor.runbook.filled(**runbook_names(subject)).steps)
    lines += ["", "## Where to look", ""]
    lines += [f"- Page of {one.name}: {_page(one.watched)}" for one in models]
    lines += [f"- Runbook: docs/runbooks/{first.monitor.key}.md", "- Query:", ""]
    lines += [f"      {line}" for line in query(incident).splitlines()]
    return "\n".join(lines) + "\n"


def query(incident: Incident) -> str:
    """Return the SQL, in BigQuery's dialect, that shows the rows behind the incident."""
    subject, first = incident.watched, incident.findings[0]
    since, until = incident.since, first.episode.latest.end
    begin, end = (f"TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S+00}'" for moment in (since, until))
    where = f"time >= {begin} AND time < {end}"
    table = f"`{subject.log_table}`"
    if first.feature:
        column = f"features.{first.feature}"
        if (subject.sensitivity or {}).get(first.feature):
            shown = f"COUNTIF({column} IS NULL) AS missing"
        else:
            shown = (
                f"COUNTIF({column} IS NULL) AS missing, MIN({column}) AS lowest, MAX({column}) AS highest, "
                f"COUNT(DISTINCT {column}) AS different"
            )
        return (
            f"SELECT TIMESTAMP_TRUNC(time, HOUR) AS hour, version, COUNT(*) AS predictions, {shown}\n"
            f"FROM {table}\nWHERE {where}\nGROUP BY hour, version ORDER BY hour, version"
        )
    return (
        "SELECT TIMESTAMP_TRUNC(time, HOUR) AS hour, version, COUNT(*) AS predictions,\n"
        "  COUNT(DISTINCT prediction_id) AS different, AVG(latency_ms) AS mean_latency_ms\n"
        f"FROM {table}\nWHERE {where}\nGROUP BY hour, version ORDER BY hour, version"
    )


def runbook_names(subject: Watched) -> dict[str, str]:
    """Return the names that stand in a runbook's steps."""
    return {
        "team": subject.team,
        "model": fit(subject.model, LABEL),
        "project": subject.log_table.partition(".")[0],
        "namespace": fit(f"team-{subject.team}", NAMESPACE),
        "workload": fit(subject.model, WORKLOAD),
        "dead_letters": f"{subject.model}-dead-letter",
    }


def _page(subject: Watched) -> str:
    return page_of(subject.log_table.partition(".")[0], subject.team, subject.model)


def _numbered(items: "list[str] | tuple[str, ...]") -> list[str]:
    return [f"{place}. {item}" for place, item in enumerate(items, 1)]


def _lower(words: str) -> str:
    return words[0].lower() + words[1:]


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."
