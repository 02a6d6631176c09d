"""What the prediction log costs the process that serves: CPU per row; and how fast rows are written and sent.

python -m benchmarks.prediction_log

Requests of one row and 20 features are answered from one event loop, `--under-way` at a time, once without
the log and once with it. Rounds alternate; the medians' difference is the log's cost; the processes that
write and ship are not in it. Writes build/bench/prediction_log.json.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from serving_images.prediction_log import Entry, LogSchema, Outcome, PredictionIds, PredictionLog, encode

FEATURES = 20
KEY = "bench/model/1"
SCHEMA = LogSchema(
    table="bench.predictions.model",
    team="bench",
    model="model",
    version=1,
    pattern="rest",
    features=tuple((f"feature_{index}", "float64") for index in range(FEATURES)),
    prediction="float64",
)
VALUES = [index * 1.37 for index in range(FEATURES)]
OUTPUT = Path("build/bench/prediction_log.json")


def entry(ids: PredictionIds) -> bytes:
    """Return the entry of one request, as a server makes it."""
    return encode([Entry(time.time_ns() // 1000, 812, "bench", None, ids.take(1), VALUES, [12.5])])


async def answer(requests: int, under_way: int, log: PredictionLog | None) -> float:
    """Answer requests; return the CPU microseconds per request."""
    loop = asyncio.get_running_loop()
    ids = PredictionIds()
    finished = loop.create_future()
    started = left = 0

    def done(outcome: Outcome) -> None:
        nonlocal left
        left -= 1
        if started < requests:
            start()
        elif not left:
            finished.set_result(None)

    def start() -> None:
        nonlocal started, left
        started += 1
        left += 1
        if log is None:
            loop.call_soon(done, Outcome.DURABLE)
        else:
            log.append(KEY, entry(ids), 1, done)

    begun = time.process_time()
    for _ in range(under_way):
        start()
    await finished
    return (time.process_time() - begun) / requests * 1e6


def encoding(count: int = 20_000) -> float:
    """Return the CPU microseconds to encode an entry, its id included."""
    ids = PredictionIds()
    begun = time.process_time()
    for _ in range(count):
        entry(ids)
    return (time.process_time() - begun) / count * 1e6


async def measure(folder: Path, requests: int, under_way: int, rounds: int) -> dict[str, float]:
    """Return the medians over rounds that alternate."""
    log = PredictionLog(folder, {KEY: SCHEMA}, ship=False)
    with_log, without, groups, seconds = [], [], [], []
    for _ in range(rounds):
        without.append(await answer(requests, under_way, None))
        before, begun = log.commits, time.perf_counter()
        with_log.append(await answer(requests, under_way, log))
        seconds.append(time.perf_counter() - begun)
        groups.append(requests / (log.commits - before))
    await log.aclose()

    return {
        "cpu_us_per_row": statistics.median(with_log) - statistics.median(without),
        "encode_us": statistics.median(encoding() for _ in range(rounds)),
        "rows_per_commit": statistics.median(groups),
        "rows_per_second": requests / statistics.median(seconds),
    }


def shipping(folder: Path) -> float:
    """Return how many rows per second the shipper turns into Parquet, on the segments that are there."""
    from serving_images.prediction_log.shipper import Shipper
    from serving_images.prediction_log.sinks import open_sink
    from serving_images.prediction_log.state import read

    shipper = Shipper(folder, lambda: open_sink(folder / "warehouse"))
    begun = time.perf_counter()
    assert shipper.pass_over()
    return read(folder).sent[KEY] / (time.perf_counter() - begun)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=30_000)
    parser.add_argument("--under-way", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        found = asyncio.run(measure(folder, options.requests, options.under_way, options.rounds))
        found["shipped_rows_per_second"] = shipping(folder)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for measured, value in found.items():
        print(f"{measured:24} {value:12,.1f}")


if __name__ == "__main__":
    main()
