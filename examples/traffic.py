"""Real flights, asked about as a caller would: `python -m examples.traffic --rows 5000`.

Each request is one flight of October 2013 or later, with what was known as it left the gate, in the order in
which they left.
"""

import argparse
import http.client
import json
import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from examples import flights
from examples.flight_ops import train_arrival_delay

MODEL = "arrival-delay"
FIRST = "2013-10-01"


def asked(version: int, first: str = FIRST, last: str = "2014-01-01") -> pd.DataFrame:
    """Return the flights that left from `first` until `last`, in order, as `version` is asked about them.

    Beside the features there are `departed`, UTC, and `arr_delay`, the truth.
    """
    table = train_arrival_delay.features(flights.load())
    span = (table["departed"] >= first) & (table["departed"] < last)
    names = list(train_arrival_delay.about(version))
    return table.loc[span, [*names, "departed", "arr_delay"]].sort_values("departed", kind="stable")


def requests(table: pd.DataFrame, version: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of `table` as JSON takes them; what is not known is null."""
    features = table[list(train_arrival_delay.about(version))].astype(object)
    plain = features.where(features.notna(), None)
    yield from plain.to_dict("records")


class Sender:
    """Asks a server by several connections at once.

    Args:
        url: address of the server.
        connections: how many requests are under way at once.
    """

    def __init__(self, url: str, connections: int = 4) -> None:
        self.sent = self.failed = 0
        self.last_id = ""
        self._address = urlsplit(url).netloc
        self._waiting: queue.Queue[bytes | None] = queue.Queue(1000)
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(connections)]
        self._lock = threading.Lock()

    def send(self, rows: Iterator[dict[str, Any]]) -> Iterator[None]:
        """Send the rows; yield now and then, to tell how far it is."""
        for thread in self._threads:
            thread.start()
        told = time.monotonic()
        for row in rows:
            self._waiting.put(json.dumps(row).encode())
            if time.monotonic() - told > 0.5:
                told = time.monotonic()
                yield
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        yield

    def _work(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=30)
        while (body := self._waiting.get()) is not None:
            status, answer = self._ask(connection, body)
            with self._lock:
                self.sent += 1
                if status == 200:
                    self.last_id = json.loads(answer)["prediction_id"]
                else:
                    self.failed += 1

    @staticmethod
    def _ask(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
        try:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", f"/models/{MODEL}/predict", body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except OSError:
            connection.close()
            return 0, b""


def main(arguments: Sequence[str] | None = None) -> int:
    """Send what the arguments say; return 1 if a request failed."""
    parser = argparse.ArgumentParser(prog="python -m examples.traffic", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the server [%(default)s]")
    parser.add_argument("--rows", type=int, default=5000, help="flights to ask about [%(default)s]")
    parser.add_argument("--version", type=int, default=3, help="whose features are sent [%(default)s]")
    parser.add_argument("--json", action="store_true", help="tell progress as lines of JSON")
    options = parser.parse_args(arguments)
    table = asked(options.version)[: options.rows]
    sender = Sender(options.url)
    for _ in sender.send(requests(table, options.version)):
        said = {"sent": sender.sent, "failed": sender.failed, "prediction_id": sender.last_id}
        print(json.dumps(said) if options.json else f"{sender.sent} of {len(table)} sent", flush=True)
    if sender.failed:
        print(f"{sender.failed} of {sender.sent} requests failed", file=sys.stderr)
    return 1 if sender.failed else 0


if __name__ == "__main__":
    sys.exit(main())
