"""A server that does nothing but log: each line `<name> <rows>` is answered with the ids, once durable."""

import argparse
import asyncio
import logging
import signal
import time
from pathlib import Path

from serving_images.prediction_log import Entry, Outcome, Policy, PredictionIds, PredictionLog, encode
from tests.serving_images.prediction_log.samples import KEY, SCHEMA


class Connection(asyncio.Protocol):
    """Takes many requests at once and answers each as its row becomes durable."""

    def __init__(self, log: PredictionLog, ids: PredictionIds) -> None:
        self._log = log
        self._ids = ids
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        name, rows = line.split()
        count = int(rows)
        ids = self._ids.take(count)
        entry = Entry(
            time_us=time.time_ns() // 1000,
            latency_us=1,
            caller=None,
            trace_id=name.decode(),
            ids=ids,
            features=[500.5, "UA", 1, True] * count,
            predictions=[12.5] * count,
        )

        def done(outcome: Outcome) -> None:
            if self._transport is not None and not self._transport.is_closing():
                self._transport.write(f"{name.decode()} {outcome} {' '.join(ids)}\n".encode())

        self._log.append(KEY, encode([entry]), count, done)


async def serve(options: argparse.Namespace) -> None:
    log = PredictionLog(
        options.folder,
        {KEY: SCHEMA},
        policy=Policy(options.policy),
        warehouse=options.warehouse,
        bigquery_endpoint=options.bigquery_endpoint,
        segment_bytes=options.segment_bytes,
        roll_seconds=options.roll_seconds,
        max_bytes=options.max_bytes,
        patience=5.0,
    )
    ids = PredictionIds()
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    server = await loop.create_server(lambda: Connection(log, ids), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stopping.wait()
    server.close()
    await log.aclose(timeout=options.patience)
    print(log.counts(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--warehouse", type=Path)
    parser.add_argument("--bigquery-endpoint")
    parser.add_argument("--policy", default="keep-serving")
    parser.add_argument("--segment-bytes", type=int, default=8 << 20)
    parser.add_argument("--roll-seconds", type=float, default=2.0)
    parser.add_argument("--max-bytes", type=int, default=1 << 30)
    parser.add_argument("--patience", type=float, default=60.0)
    logging.basicConfig(format="server %(message)s")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
