"""Monitors of one file each: a module put here is measured, alerted on, charted and described.

A module has:

- `VALUES`: what it measures, of one family;
- `MONITORS`: when that alerts, with runbook and tile;
- `figures(manifest, prepared)`, if it counts something of the log that is not counted yet;
- `measure(window)`, which yields its values;
- `ON_LABELS = True`, if windows shall wait for labels.

`infinite.py` shows how.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from modelyard.monitors.alert import Family
from modelyard.monitors.monitor import Monitor
from modelyard.monitors.values import Value
from modelyard.spec.manifest import Manifest

if TYPE_CHECKING:
    from modelyard.monitors.measuring.counting import Columns, Figure
    from modelyard.monitors.measuring.measured import Measured, Window

MODULES: tuple[ModuleType, ...] = tuple(
    importlib.import_module(f"{__name__}.{name}")
    for name in sorted(m.name for m in pkgutil.iter_modules(__path__))
)
MONITORS: tuple[Monitor, ...] = tuple(monitor for module in MODULES for monitor in module.MONITORS)
VALUES: tuple[Value, ...] = tuple(value for module in MODULES for value in module.VALUES)


def figures(manifest: Manifest, prepared: "Columns") -> "Iterator[Figure]":
    """Yield what the modules count of the log."""
    for module in MODULES:
        if hasattr(module, "figures"):
            yield from module.figures(manifest, prepared)


def measures(family: Family, on_labels: bool) -> "Sequence[Callable[[Window], Iterator[Measured]]]":
    """Return what measures a window of `family`."""
    return [
        module.measure
        for module in MODULES
        if module.VALUES[0].family is family and getattr(module, "ON_LABELS", False) is on_labels
    ]
