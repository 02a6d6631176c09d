"""Series in the format that Prometheus reads, with the names that alerts and dashboards ask for."""

import re
from pathlib import Path

from serving_images.runtime.metrics import BUCKETS, Metrics


def test_series_are_there_at_zero_and_count() -> None:
    metrics = Metrics(["200", "500"])
    version = metrics.version("flights", "delay", 1)
    zero = metrics.text().decode()
    assert 'modelyard_requests_total{team="flights",model="delay",version="1",code="500"} 0' in zero
    version.answered("200", 0.003, 5)
    version.answered(422, 99.0)
    text = metrics.text().decode()
    labels = 'team="flights",model="delay",version="1"'
    for line in (
        f'modelyard_requests_total{{{labels},code="200"}} 1',
        f'modelyard_requests_total{{{labels},code="422"}} 1',
        f"modelyard_predictions_total{{{labels}}} 5",
        f'modelyard_request_seconds_bucket{{{labels},le="0.0025"}} 0',
        f'modelyard_request_seconds_bucket{{{labels},le="0.005"}} 1',
        f'modelyard_request_seconds_bucket{{{labels},le="10.0"}} 1',
        f'modelyard_request_seconds_bucket{{{labels},le="+Inf"}} 2',
        f"modelyard_request_seconds_count{{{labels}}} 2",
        f"modelyard_request_seconds_sum{{{labels}}} 99.003",
    ):
        assert line in text.splitlines()
    assert text.count("modelyard_request_seconds_bucket") == len(BUCKETS) + 1


def test_a_version_that_is_gone_is_not_exported() -> None:
    metrics = Metrics()
    metrics.version("a", "m", 1)
    metrics.version("a", "m", 2)
    metrics.keep([("a", "m", "2")])
    assert 'version="1"' not in metrics.text().decode()


def test_labels_are_escaped() -> None:
    metrics = Metrics(())
    metrics.add("x", "gauge", "X.", lambda: [("", {"a": 'q"\\\n'}, 1)])
    assert 'x{a="q\\"\\\\\\n"} 1' in metrics.text().decode()


def test_the_page_of_series_names_what_is_exported(root: Path) -> None:
    page = (root / "docs" / "reference" / "series.md").read_text(encoding="utf-8")
    metrics = Metrics()
    metrics.version("t", "m", 1)
    for name in re.findall(r"# TYPE (\S+)", metrics.text().decode()):
        assert f"`{name}`" in page
