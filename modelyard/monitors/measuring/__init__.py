"""Measuring: from a prediction log to values of five families, by the hour, incrementally.

`measure` counts the hours of a model's log that have changed, merges hours into windows, and writes
`metric_values`.
"""

from modelyard.monitors.measuring.measured import Measured
from modelyard.monitors.measuring.run import FamilyRun, Measurement, WindowValue, measure
from modelyard.monitors.measuring.watched import DocumentError, Watched, watched

__all__ = [
    "DocumentError",
    "FamilyRun",
    "Measured",
    "Measurement",
    "Watched",
    "WindowValue",
    "measure",
    "watched",
]
