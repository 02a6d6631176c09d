"""The benchmark runs, and measures what it says."""

import asyncio
from pathlib import Path

from benchmarks.prediction_log import measure, shipping


def test_benchmark_measures(tmp_path: Path) -> None:
    found = asyncio.run(measure(tmp_path, requests=400, under_way=16, rounds=2))
    assert found["cpu_us_per_row"] > 0
    assert found["encode_us"] > 0
    assert 1 <= found["rows_per_commit"] <= 17
    assert shipping(tmp_path) > 0
