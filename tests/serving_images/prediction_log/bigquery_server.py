"""A BigQuery that takes rows: the Storage Write API's AppendRows over real gRPC, with faults on demand."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types

INVALID_ARGUMENT = 3
RESOURCE_EXHAUSTED = 8
REQUEST_BYTES = 10_000_000

Fault = Callable[[pa.RecordBatch], "types.AppendRowsResponse | None"]


class DisconnectError(Exception):
    """End the stream with this status."""

    def __init__(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        super().__init__(code)
        self.code = code


class BigQuery:
    """Tables by `project.dataset.table`, each with a schema that rows must have."""

    def __init__(self, tables: dict[str, pa.Schema]) -> None:
        self.tables = tables
        self.rows: dict[str, list[pa.RecordBatch]] = {name: [] for name in tables}
        self.connections = 0
        self.requests = 0
        self.largest = 0
        self.before: list[Fault] = []
        """One for each request, before its rows are taken; an answer or an error stands for taking them."""
        self.after: list[Fault] = []
        """The same, when the rows are taken: the answer is lost."""
        self._lock = threading.Lock()

    def ids(self, table: str) -> list[str]:
        """Return the ids of all rows, in the order in which they came."""
        with self._lock:
            found = [batch.column("prediction_id").to_pylist() for batch in self.rows[table]]
        return [one for each in found for one in each]

    def append_rows(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Serve one connection."""
        self.connections += 1
        stream, schema = "", None
        routed = [value for key, value in context.invocation_metadata() if key == "x-goog-request-params"]
        for request in requests:
            self.requests += 1
            size = types.AppendRowsRequest.pb(request).ByteSize()
            self.largest = max(self.largest, size)
            stream = stream or request.write_stream
            serialized = request.arrow_rows.writer_schema.serialized_schema
            if serialized:
                schema = pa.ipc.read_schema(pa.py_buffer(serialized))
            table = ".".join(stream.split("/")[1:6:2])
            if f"write_stream={stream}" not in routed or not stream.endswith("/streams/_default"):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no way to {stream!r} by {routed!r}")
            if table not in self.tables:
                context.abort(grpc.StatusCode.NOT_FOUND, f"Requested entity was not found: {table}")
            if schema is None or schema != self.tables[table]:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the writer's schema is not the table's")
            if size > REQUEST_BYTES:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"AppendRows request too large: {size}")
            data = request.arrow_rows.rows.serialized_record_batch
            batch = pa.ipc.read_record_batch(pa.py_buffer(data), schema)
            batch.validate(full=True)
            try:
                answer = self.before.pop(0)(batch) if self.before else None
                if answer is None:
                    with self._lock:
                        self.rows[table].append(batch)
                    answer = self.after.pop(0)(batch) if self.after else None
            except DisconnectError as ended:
                context.abort(ended.code, "the connection ended")
            yield answer or types.AppendRowsResponse(append_result={}, write_stream=stream)


def passes(batch: pa.RecordBatch) -> None:
    """Fault of a request that has none."""


def disconnects(code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> Fault:
    """Fault that ends the connection."""

    def fault(batch: pa.RecordBatch) -> None:
        raise DisconnectError(code)

    return fault


def answers(code: int, message: str) -> Fault:
    """Fault that is an answer: the rows are not taken."""

    def fault(batch: pa.RecordBatch) -> types.AppendRowsResponse:
        return types.AppendRowsResponse(error={"code": code, "message": message})

    return fault


def refuses(ids: set[str], message: str) -> Fault:
    """Fault of requests with any of these rows, which are then named."""

    def fault(batch: pa.RecordBatch) -> types.AppendRowsResponse | None:
        bad = [index for index, one in enumerate(batch.column("prediction_id").to_pylist()) if one in ids]
        if not bad:
            return None
        return types.AppendRowsResponse(
            error={"code": INVALID_ARGUMENT, "message": "Errors found while processing rows"},
            row_errors=[{"index": index, "code": 1, "message": message} for index in bad],
        )

    return fault


@contextmanager
def serving(bigquery: BigQuery, port: int = 0) -> Iterator[tuple[str, int]]:
    """Serve on a port of this machine; give `host:port` and the port."""
    server = grpc.server(
        ThreadPoolExecutor(8),
        options=[("grpc.max_receive_message_length", 64 << 20), ("grpc.so_reuseport", 0)],
    )
    handler = grpc.method_handlers_generic_handler(
        "google.cloud.bigquery.storage.v1.BigQueryWrite",
        {
            "AppendRows": grpc.stream_stream_rpc_method_handler(
                bigquery.append_rows,
                request_deserializer=types.AppendRowsRequest.deserialize,
                response_serializer=types.AppendRowsResponse.serialize,
            )
        },
    )
    server.add_generic_rpc_handlers((handler,))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{bound}", bound
    finally:
        server.stop(0).wait()
