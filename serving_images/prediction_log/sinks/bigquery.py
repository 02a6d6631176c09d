"""Rows into BigQuery by the Storage Write API: default stream, Arrow batches, official client."""

import concurrent.futures
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Self, cast

import grpc
import pyarrow as pa
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud import bigquery_storage_v1 as storage
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.exceptions import StreamClosedError
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport
from google.cloud.bigquery_storage_v1.writer import AppendRowsFuture, AppendRowsStream

from serving_images.prediction_log.sinks import RowsRefusedError, StoreAwayError, waits

_LOGGER = logging.getLogger(__name__)
REQUEST_BYTES = 8 << 20  # BigQuery takes 10 MB, schema and envelope included
_IN_FLIGHT = 4  # requests that wait for their answers
_ANSWER_SECONDS = 60.0
_IDLE_SECONDS = 120.0  # BigQuery ends a stream after some five minutes
_ATTEMPTS = 4  # within one write, before the store counts as away
# A peer that is gone without a word is noticed, and one that comes back is found again soon.
_CHANNEL = [
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_reconnect_backoff_ms", 10_000),
]
_FAULTS = (
    concurrent.futures.TimeoutError,
    exceptions.GoogleAPIError,
    auth_exceptions.GoogleAuthError,
    grpc.RpcError,
    StreamClosedError,
    OSError,
)


@dataclass(frozen=True)
class _Part:
    """Rows of one request, and their places in what is written."""

    places: Sequence[int]
    batch: pa.RecordBatch


class BigQuerySink:
    """Default streams are at-least-once: a request whose answer was lost is sent again.

    Args:
        endpoint: `host:port` of another BigQuery, without TLS and identity; None: Google's.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint
        self._client: _Client | None = None
        self._streams: dict[tuple[str, bytes], AppendRowsStream] = {}
        self._used = time.monotonic()

    def write(self, table: str, rows: pa.Table, name: str) -> None:
        """Send the rows and wait for all acknowledgements; see `Sink`."""
        self._used = time.monotonic()
        refused: list[tuple[int, str]] = []
        pending: list[_Part] = []
        first = 0
        for batch in rows.combine_chunks().to_batches():
            pending += _cut(_Part(range(first, first + batch.num_rows), batch), refused)
            first += batch.num_rows
        error: Exception | None = None
        for wait in (0.0, *islice(waits(), _ATTEMPTS - 1)):
            if not pending:
                break
            time.sleep(wait)
            pending, error = self._send(table, rows.schema, pending, refused)
        if pending:
            raise StoreAwayError(f"{table}: {error}") from error
        if refused:
            raise RowsRefusedError(sorted(refused))

    def _send(
        self, table: str, schema: pa.Schema, parts: Sequence["_Part"], refused: list[tuple[int, str]]
    ) -> tuple[list["_Part"], Exception | None]:
        """Send each part once; return what is to be sent again, and the last error."""
        again: list[_Part] = []
        last: Exception | None = None
        for start in range(0, len(parts), _IN_FLIGHT):
            window = parts[start : start + _IN_FLIGHT]
            sent: list[tuple[_Part, AppendRowsFuture]] = []
            broken = False
            try:
                for part in window:
                    sent.append((part, self._stream(table, schema).send(_request(part.batch))))
            except _FAULTS as error:
                last, broken = self._cause(error), True
                again += window[len(sent) :]
            for part, future in sent:
                try:
                    future.result(timeout=_ANSWER_SECONDS)  # type: ignore[no-untyped-call]
                except _FAULTS as error:
                    last = error
                    # An answer that says no leaves the stream as it is.
                    broken = broken or getattr(error, "response", None) is None
                    again += _without_refused(part, error, refused)
            if broken:
                self._forget(table, schema)
        return again, last

    def _cause(self, error: Exception) -> Exception:
        """Return why a stream could not be opened, which the stream manager does not tell."""
        cause = self._client.error if self._client and isinstance(error, exceptions.Unknown) else None
        return cause or error

    def _stream(self, table: str, schema: pa.Schema) -> AppendRowsStream:
        serialized = schema.serialize().to_pybytes()
        key = (table, serialized)
        stream = self._streams.get(key)
        if stream is None:
            if self._client is None:
                self._client = _Client(self._endpoint)
            project, dataset, name = table.split(".")
            template = types.AppendRowsRequest(
                write_stream=f"projects/{project}/datasets/{dataset}/tables/{name}/streams/_default"
            )
            template.arrow_rows.writer_schema.serialized_schema = serialized
            stream = AppendRowsStream(cast(Any, self._client), template)
            self._streams[key] = stream
        return stream

    def _forget(self, table: str, schema: pa.Schema) -> None:
        """Close a stream; the next request opens another."""
        stream = self._streams.pop((table, schema.serialize().to_pybytes()), None)
        if stream is not None:
            _close(stream)

    def idle(self) -> None:
        """Close the streams after a while without rows, before BigQuery does."""
        if self._streams and time.monotonic() - self._used > _IDLE_SECONDS:
            self._close_streams()

    def _close_streams(self) -> None:
        for stream in self._streams.values():
            _close(stream)
        self._streams.clear()

    def close(self) -> None:
        """Close streams and channel."""
        self._close_streams()
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Client:
    """What the official stream manager needs of a client, without its retries and with the cause of a fault.

    The client would retry to open a stream for a day, and the manager hides why one cannot be opened.
    """

    def __init__(self, endpoint: str | None) -> None:
        make: Any = storage.BigQueryWriteClient
        channel: Any = grpc.insecure_channel(endpoint, _CHANNEL) if endpoint else _google_channel
        self._client = make(transport=BigQueryWriteGrpcTransport(channel=channel))
        self.error: Exception | None = None

    def append_rows(self, requests: Any, **options: Any) -> Any:
        """Open a stream; blocks until the first answer."""
        try:
            return self._client.append_rows(requests, retry=None, **options)
        except exceptions.GoogleAPIError as error:
            self.error = error
            raise

    def close(self) -> None:
        """Close the channel."""
        self._client.transport.close()


def _google_channel(host: str, options: Sequence[tuple[str, Any]] = (), **others: Any) -> Any:
    return BigQueryWriteGrpcTransport.create_channel(host, options=[*options, *_CHANNEL], **others)


def _request(batch: pa.RecordBatch) -> types.AppendRowsRequest:
    request = types.AppendRowsRequest()
    request.arrow_rows.rows.serialized_record_batch = batch.serialize().to_pybytes()
    return request


def _cut(part: _Part, refused: list[tuple[int, str]]) -> list[_Part]:
    """Halve the part until each piece fits into a request."""
    if part.batch.nbytes <= REQUEST_BYTES:
        return [part]
    if part.batch.num_rows == 1:
        refused.append((part.places[0], f"its {part.batch.nbytes} bytes fit into no request"))
        return []
    half = part.batch.num_rows // 2
    return [
        *_cut(_Part(part.places[:half], part.batch.slice(0, half)), refused),
        *_cut(_Part(part.places[half:], part.batch.slice(half)), refused),
    ]


def _without_refused(part: _Part, error: Exception, refused: list[tuple[int, str]]) -> list[_Part]:
    """Return what of a part is to be sent again: BigQuery takes none of its rows where it refuses one."""
    response = getattr(error, "response", None)
    bad = {row.index: row.message for row in getattr(response, "row_errors", ())}
    refused += [(part.places[index], message) for index, message in bad.items()]
    kept = [index for index in range(part.batch.num_rows) if index not in bad]
    if not kept:
        return []
    return [_Part([part.places[index] for index in kept], part.batch.take(pa.array(kept)))]


def _close(stream: AppendRowsStream) -> None:
    try:
        stream.close()
    except StreamClosedError:
        _LOGGER.debug("the stream was closed already")
