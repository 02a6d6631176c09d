"""The pushed series as a file in Prometheus' text format: what Cloud Monitoring would hold."""

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from serving_images.monitor.push import Point, Pushed

# As PromQL in Cloud Monitoring names custom metrics.
PREFIX = "custom_googleapis_com:modelyard_"


class TextFile:
    """Keeps the newest point of each series in one file, for a Prometheus that reads text files."""

    def __init__(self, path: Path) -> None:
        """Keep the series in `path`."""
        self._path = path

    def push(self, points: Iterable[Point], at: datetime) -> Pushed:
        """Put `points` in the place of earlier points of their series."""
        held = self._read()
        result = Pushed()
        for point in points:
            held[line_of(point)] = point.value
            result.written += 1
        names = sorted({series.partition("{")[0] for series in held})
        lines = []
        for name in names:
            lines.append(f"# TYPE {name} gauge")
            lines += [f"{key} {value!r}" for key, value in sorted(held.items()) if _name(key) == name]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        temporary.write_text("\n".join([*lines, ""]), encoding="utf-8")
        temporary.replace(self._path)
        return result

    def _read(self) -> dict[str, float]:
        if not self._path.exists():
            return {}
        lines = self._path.read_text(encoding="utf-8").splitlines()
        parts = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {key: float(value) for key, _, value in parts}


def line_of(point: Point) -> str:
    """Return the series of `point` as Prometheus writes it."""
    labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in point.labels)
    return f"{PREFIX}{point.name}{{{labels}}}" if labels else f"{PREFIX}{point.name}"


def _name(series: str) -> str:
    return series.partition("{")[0]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
