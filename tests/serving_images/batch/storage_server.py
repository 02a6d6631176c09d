"""BigQuery's Storage Read API for tests: sessions over Arrow tables, behind a real socket.

A session is of a table as it was when the session was made, cut into streams; a stream gives its rows from
any offset on, always in the same order, in small batches.
"""

import itertools
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types

BATCH_ROWS = 97


class StorageServer:
    """A server; use as a context manager."""

    def __init__(self) -> None:
        self.tables: dict[str, pa.Table] = {}
        """By reference, `project.dataset.table`."""
        self.broken: deque[int] = deque()
        """After how many batches the next reads break off."""
        self.expired = False
        """Whether sessions have come to the end of their life."""
        self.sessions = 0
        self.reads: list[tuple[str, int]] = []
        """Stream and offset of each read."""
        self._streams: dict[str, pa.Table] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def __enter__(self) -> "StorageServer":
        self._server = grpc.server(ThreadPoolExecutor(16))
        handlers = {
            "CreateReadSession": grpc.unary_unary_rpc_method_handler(
                self._create,
                request_deserializer=types.CreateReadSessionRequest.meta.pb.FromString,
                response_serializer=types.ReadSession.meta.pb.SerializeToString,
            ),
            "ReadRows": grpc.unary_stream_rpc_method_handler(
                self._read,
                request_deserializer=types.ReadRowsRequest.meta.pb.FromString,
                response_serializer=types.ReadRowsResponse.meta.pb.SerializeToString,
            ),
        }
        service = "google.cloud.bigquery.storage.v1.BigQueryRead"
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0.2).wait()

    def _create(self, request: Any, context: grpc.ServicerContext) -> Any:
        wanted = request.read_session
        _, project, _, dataset, _, name = wanted.table.split("/")
        table = self.tables.get(f"{project}.{dataset}.{name}")
        columns = list(wanted.read_options.selected_fields)
        if table is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Not found: Table {wanted.table}")
        if missing := [column for column in columns if column not in table.column_names]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no such field: {missing[0]}")
        chosen = table.select([name for name in table.column_names if name in columns])
        count = min(request.max_stream_count or 4, max(1, chosen.num_rows // 50))
        with self._lock:
            self.sessions += 1
            session = f"projects/{project}/locations/eu/sessions/s{next(self._numbers)}"
            names = []
            for index in range(count if chosen.num_rows else 0):
                # Streams of different lengths, one of them empty.
                start = chosen.num_rows * index // count
                stop = chosen.num_rows * (index + 1) // count
                names.append(f"{session}/streams/{index}")
                self._streams[names[-1]] = chosen.slice(start, stop - start)
            if names:
                names.append(f"{session}/streams/empty")
                self._streams[names[-1]] = chosen.slice(0, 0)
        return types.ReadSession.meta.pb(
            name=session,
            streams=[{"name": name} for name in names],
            estimated_row_count=chosen.num_rows,
            arrow_schema={"serialized_schema": chosen.schema.serialize().to_pybytes()},
            data_format=types.DataFormat.ARROW,
        )

    def _read(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._lock:
            self.reads.append((request.read_stream, request.offset))
            rows = self._streams.get(request.read_stream)
            limit = self.broken.popleft() if self.broken else None
        if rows is None or self.expired:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the session has expired")
        if request.offset > rows.num_rows:
            context.abort(grpc.StatusCode.OUT_OF_RANGE, "the offset is beyond the stream's end")
        schema = {"serialized_schema": rows.schema.serialize().to_pybytes()}
        batches = rows.slice(request.offset).combine_chunks().to_batches(max_chunksize=BATCH_ROWS)
        for sent, batch in enumerate(batches):
            if limit is not None and sent >= limit:
                context.abort(grpc.StatusCode.UNAVAILABLE, "a test breaks the connection")
            yield types.ReadRowsResponse.meta.pb(
                row_count=batch.num_rows,
                arrow_record_batch={
                    "serialized_record_batch": batch.serialize().to_pybytes(),
                    "row_count": batch.num_rows,
                },
                **({} if sent else {"arrow_schema": schema}),
            )
