"""The prediction log: durable on disk before the answer leaves, shipped to the store by a process of its own.

In a server (one event loop):

    log = PredictionLog(
        folder,                                       # one folder per process; locked
        {"flight-ops/arrival-delay/3": LogSchema(table="project.dataset.table", team=..., ...)},
        policy=Policy.KEEP_SERVING,                   # or STOP_SERVING; or a mapping of one per key
        max_bytes=1 << 30,                            # of all segments not yet sent
        warehouse=Path(".modelyard/warehouse"),       # Parquet there; None: BigQuery
    )
    ids = PredictionIds()                             # one per process
    ...
    if log.refuses(key): answer 503                   # STOP_SERVING and no room: before any work is done
    entry = Entry(time_us, latency_us, caller, trace_id, ids.take(n), values_row_by_row, predictions)
    log.append(key, encode([entry, ...]), n, done)    # never blocks; then, in the loop, done(outcome)
    ...
    await log.aclose(timeout=20)                      # flush, close the segment, let the shipper finish

`done` gets Outcome.DURABLE (answer), Outcome.DROPPED (KEEP_SERVING: answer; the row is lost, counted and
alarmed) or Outcome.REFUSED (STOP_SERVING: answer 503 and no prediction). It always runs later, never within
`append`. `await log.write(key, entries, n)` is the same as a coroutine that returns the outcome.
`log.add(key, schema)` brings a version loaded later. `log.counts()` are the totals, `log.counts_by_key()`
those of each key; both are cheap enough for every scrape.

In a worker with threads, `ThreadedLog` is the same for any thread: `log.write(key, entries, n)` returns the
outcome, once durable; `log.append(key, entries, n, done)` does not wait: `done` runs in the log's own thread.

In a batch job, whose chunks can be sent again, no write-ahead log is needed:

    from serving_images.prediction_log.rows import log_table
    from serving_images.prediction_log.sinks import open_sink
    with open_sink(warehouse) as sink:                # a folder: Parquet; None: BigQuery
        table = log_table(schema, ids=ids, time_us=now, features=record_batch, predictions=array)
        sink.write(schema.table, table, name=f"{run}-{shard:05}-{chunk:05}")   # same name: written once

There the ids must be the same when a chunk is scored again, since BigQuery's default stream may write twice
and rows are told apart by `prediction_id`; Parquet files of the same name replace each other.

This module and what a server needs of it import neither pyarrow nor a client of a cloud; `rows`, `sinks` and
the shipper do.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelyard.prediction_id import PredictionIds
    from serving_images.prediction_log.entry import Entry, LogSchema, decode, encode
    from serving_images.prediction_log.log import LogCounts, LogInUseError, Outcome, Policy, PredictionLog
    from serving_images.prediction_log.threaded import ThreadedLog

__all__ = [
    "Entry",
    "LogCounts",
    "LogInUseError",
    "LogSchema",
    "Outcome",
    "Policy",
    "PredictionIds",
    "PredictionLog",
    "ThreadedLog",
    "decode",
    "encode",
]

_MODULES = {
    "PredictionIds": "modelyard.prediction_id",
    "ThreadedLog": f"{__name__}.threaded",
    **dict.fromkeys(("Entry", "LogSchema", "decode", "encode"), f"{__name__}.entry"),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: the shipper, which has this package too, does without the server's part."""
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(_MODULES.get(name, f"{__name__}.log")), name)
