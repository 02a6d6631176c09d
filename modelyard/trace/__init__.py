"""One record of a prediction: from its answer back to data, code, dependencies, and who approved it.

    place = local_place(modelyard.warehouse.local(), registry=".modelyard/registry")
    trace("019abcde-f012-7345-8678-9abcdef01234", place)

Whatever link is missing is said in `Trace.gaps`; whatever digest could be computed again, in `Trace.checks`.
"""

from modelyard.trace.errors import TraceError
from modelyard.trace.follow import trace
from modelyard.trace.places import Log, Place, cloud_place, declared_in, local_place
from modelyard.trace.record import Check, Deployment, Prediction, Status, Trace, Value, Version

__all__ = [
    "Check",
    "Deployment",
    "Log",
    "Place",
    "Prediction",
    "Status",
    "Trace",
    "TraceError",
    "Value",
    "Version",
    "cloud_place",
    "declared_in",
    "local_place",
    "trace",
]
