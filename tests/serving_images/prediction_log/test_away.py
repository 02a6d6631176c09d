"""The store goes away for a while under load: nothing is lost, and memory stays as it was."""

import re
import threading
import time
from pathlib import Path

from serving_images.prediction_log.rows import arrow_schema
from tests.serving_images.prediction_log.bigquery_server import BigQuery, serving
from tests.serving_images.prediction_log.kill import Load, Server
from tests.serving_images.prediction_log.samples import SCHEMA, closed, within


def memory(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) * 1024


def test_store_away_under_load(tmp_path: Path) -> None:
    store = BigQuery({SCHEMA.table: arrow_schema(SCHEMA)})
    load, until = Load(), threading.Event()
    with serving(store) as (address, port):
        pass
    options = ["--bigquery-endpoint", address, "--roll-seconds", "0.1", "--segment-bytes", "100000"]
    with Server(tmp_path, *options) as server:
        with serving(store, port):
            threads = load.run(server, connections=1, until=until)
            with within(60) as ticks:
                for _ in ticks:
                    if len(store.ids(SCHEMA.table)) > 100:
                        break
        before = memory(server.pid)
        asked = load.outcomes.total()
        time.sleep(1.5)
        answered = load.outcomes.total() - asked
        during = memory(server.pid)
        waiting = len(closed(tmp_path))
        with serving(store, port):
            until.set()
            for thread in threads:
                thread.join()
            said = server.stop()
    assert answered > 0, "it went on serving"
    assert waiting > 0, "rows waited on disk"
    assert during - before < 30 << 20
    assert set(load.outcomes) == {"durable"}
    assert closed(tmp_path) == []
    # The default stream is at-least-once: rows are told apart by their ids.
    assert set(store.ids(SCHEMA.table)) == load.answered.keys()
    assert f"durable={len(load.answered)}" in said
    assert "lag_rows=0" in said
