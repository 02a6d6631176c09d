"""Incidents: what measured values show is wrong with a model, with its root, its causes and what to do."""

from modelyard.incidents.group import evaluate
from modelyard.incidents.incident import Cause, Evaluation, Finding, Incident, Known, Root
from modelyard.incidents.readings import Deployment, Reading, SeriesKey, Silence

__all__ = [
    "Cause",
    "Deployment",
    "Evaluation",
    "Finding",
    "Incident",
    "Known",
    "Reading",
    "Root",
    "SeriesKey",
    "Silence",
    "evaluate",
]
