"""The series of `docs/reference/series.md`, in Prometheus' text format.

Counters are plain integers of one process, so that a request costs a fraction of a microsecond.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Upper bounds in seconds.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Labels = Mapping[str, str]


class VersionMetrics:
    """What one version has answered.

    Args:
        labels: team, model, version.
        codes: codes that are there from the start, at zero: an absent counter hides its first fault.
    """

    def __init__(self, labels: Labels, codes: Iterable[str]) -> None:
        self.labels = labels
        self.requests = dict.fromkeys(codes, 0)
        self.predictions = 0
        self.seconds = 0.0
        self._buckets = [0] * (len(BUCKETS) + 1)

    def answered(self, code: str | int, seconds: float, rows: int = 0) -> None:
        """Count a request that was answered with `code` after `seconds`, with predictions for `rows` rows."""
        code = str(code)
        self.requests[code] = self.requests.get(code, 0) + 1
        self.predictions += rows
        self.seconds += seconds
        self._buckets[bisect_left(BUCKETS, seconds)] += 1

    def histogram(self) -> Iterable[tuple[str, int]]:
        """Yield upper bound and how many requests took at most that."""
        total = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self._buckets, strict=True):
            total += count
            yield bound, total


Sample = tuple[str, Labels, float]
"""Suffix of the name, labels, value."""
Family = tuple[str, str, Callable[[], Iterable[Sample]]]
"""Kind, meaning, and what gives the samples."""


class Metrics:
    """All series of a process.

    Args:
        codes: codes of requests that are there from the start, at zero.
    """

    def __init__(self, codes: Iterable[str] = ("ok", "error")) -> None:
        self._codes = tuple(codes)
        self._versions: dict[tuple[str, str, str], VersionMetrics] = {}
        self._families: dict[str, Family] = {}

    def version(self, team: str, model: str, version: int) -> VersionMetrics:
        """Return the counters of a version; from then on they are exported."""
        key = (team, model, str(version))
        if key not in self._versions:
            labels = {"team": team, "model": model, "version": str(version)}
            self._versions[key] = VersionMetrics(labels, self._codes)
        return self._versions[key]

    def keep(self, versions: Iterable[tuple[str, str, str]]) -> None:
        """Export no other than these versions, (team, model, version), any more."""
        kept = set(versions)
        self._versions = {key: each for key, each in self._versions.items() if key in kept}

    def add(self, name: str, kind: str, meaning: str, samples: Callable[[], Iterable[Sample]]) -> None:
        """Export another family; `samples` is asked at each collection for suffix, labels and value."""
        self._families[name] = (kind, meaning, samples)

    def text(self) -> bytes:
        """Return all series."""
        versions = list(self._versions.values())
        families: dict[str, Family] = {
            "modelyard_requests_total": ("counter", "Requests by code.", lambda: _requests(versions)),
            "modelyard_request_seconds": (
                "histogram",
                "Time to answer, in seconds.",
                lambda: _histograms(versions),
            ),
            "modelyard_predictions_total": (
                "counter",
                "Rows scored.",
                lambda: [("", each.labels, each.predictions) for each in versions],
            ),
            **self._families,
        }
        lines = []
        for name, (kind, meaning, samples) in families.items():
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{suffix}{_labels(labels)} {value}" for suffix, labels, value in samples()]
        return ("\n".join(lines) + "\n").encode()


def _requests(versions: Iterable[VersionMetrics]) -> Iterable[Sample]:
    for each in versions:
        for code, count in each.requests.items():
            yield "", {**each.labels, "code": code}, count


def _histograms(versions: Iterable[VersionMetrics]) -> Iterable[Sample]:
    for each in versions:
        for bound, count in each.histogram():
            yield "_bucket", {**each.labels, "le": bound}, count
        yield "_sum", each.labels, each.seconds
        yield "_count", each.labels, sum(each.requests.values())


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
