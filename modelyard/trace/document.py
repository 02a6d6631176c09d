"""A trace as JSON."""

import dataclasses
import json
from datetime import datetime
from typing import Any

from modelyard.trace.record import FORMAT, Trace


def document(trace: Trace) -> dict[str, Any]:
    """Return a trace as plain values; the version is its manifest, as it was published."""
    found = dataclasses.asdict(dataclasses.replace(trace, version=None))
    if trace.version:
        found["version"] = {"table": trace.version.table, "manifest": dict(trace.version.document)}
    return {"format": FORMAT, "sound": trace.sound, **found}


def rendered(trace: Trace) -> str:
    """Return a trace as text of JSON."""
    return json.dumps(document(trace), indent=2, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} in a trace")
