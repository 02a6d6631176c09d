"""A BigQuery table as a source: one session of the Storage Read API for the whole run.

The plan holds the session's streams, so that all shards and all attempts read one consistent snapshot. The
rows of a stream keep their order, and a stream can be read from any offset. A session lives for six hours.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from serving_images.batch.source import Stream
from serving_images.runtime.errors import Refused

# `host:port` of a server without TLS that takes the place of the Storage Read API.
ENDPOINT_VARIABLE = "MODELYARD_BIGQUERY_STORAGE"
STREAMS_PER_SHARD = 2


def read_client() -> Any:
    """Return a `BigQueryReadClient`."""
    from google.cloud.bigquery_storage_v1 import BigQueryReadClient

    endpoint = os.environ.get(ENDPOINT_VARIABLE)
    if not endpoint:
        return BigQueryReadClient()  # type: ignore[no-untyped-call]
    import grpc
    from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

    channel = grpc.insecure_channel(endpoint, options=[("grpc.max_receive_message_length", -1)])
    transport = BigQueryReadGrpcTransport(channel=channel)
    return BigQueryReadClient(transport=transport)  # type: ignore[no-untyped-call]


def open_session(client: Any, table: str, columns: Sequence[str], shards: int) -> tuple[list[str], int]:
    """Return the names of the streams of a new session on `table`, and about how many rows they have.

    Raises:
        Refused: there is no such table, column or right, or it is a view.
    """
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud.bigquery_storage_v1 import types

    project, dataset, name = table.split(".")
    session = types.ReadSession(
        table=f"projects/{project}/datasets/{dataset}/tables/{name}",
        data_format=types.DataFormat.ARROW,
        read_options=types.ReadSession.TableReadOptions(
            selected_fields=list(columns),
            arrow_serialization_options=types.ArrowSerializationOptions(
                buffer_compression=types.ArrowSerializationOptions.CompressionCodec.LZ4_FRAME
            ),
        ),
    )
    try:
        made = client.create_read_session(
            types.CreateReadSessionRequest(
                parent=f"projects/{project}",
                read_session=session,
                max_stream_count=shards * STREAMS_PER_SHARD,
                preferred_min_stream_count=shards,
            )
        )
    except GoogleAPICallError as error:
        raise Refused(
            f"{table} cannot be read: {error.message}. The source is a table, not a view, has the columns "
            f"{', '.join(columns)}, and this model's identity may read it"
        ) from None
    return [stream.name for stream in made.streams], int(made.estimated_row_count)


def refuse_view(client: Any, table: str) -> None:
    """Refuse a source whose rows BigQuery would have to compute: the Storage Read API reads what is stored.

    Args:
        client: a `google.cloud.bigquery.Client`.
        table: the source, `project.dataset.table`.

    Raises:
        Refused: it is a view.
    """
    from google.api_core.exceptions import GoogleAPICallError

    try:
        kind = client.get_table(table).table_type
    except GoogleAPICallError:
        return  # whether it can be read is said when it is
    if kind in ("VIEW", "MATERIALIZED_VIEW", "EXTERNAL"):
        raise Refused(
            f"{table} is no stored table but of the kind {kind}, and a run reads one snapshot of a table. "
            "Write its rows to a table, such as by a scheduled query, and name that as batch.source"
        )


class BigQuerySource:
    """The streams of a session, dealt out to the shards in turn.

    Args:
        client: a `BigQueryReadClient`.
        parts: names of the streams, as `open_session` gave them.
        shards: how many shards read them.
    """

    def __init__(self, client: Any, parts: Sequence[Any], shards: int) -> None:
        self._client = client
        self._names = [str(part) for part in parts]
        self._shards = shards

    def streams(self, shard: int) -> list[Stream]:
        """Return every stream whose number leaves `shard`."""
        return [
            Stream(number, name, None)
            for number, name in enumerate(self._names)
            if number % self._shards == shard
        ]

    def read(self, stream: Stream, offset: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a stream; the client resumes after a lost connection where it was."""
        from google.api_core.exceptions import FailedPrecondition, GoogleAPICallError, NotFound, OutOfRange

        try:
            for page in self._client.read_rows(stream.name, offset).rows().pages:
                yield page.to_arrow()
        except OutOfRange:
            return  # the offset is the stream's end
        except (FailedPrecondition, NotFound) as error:
            raise Refused(
                f"{stream.name} cannot be read any more: {error.message}. A session lives for six hours: "
                "give the model more shards, so that a run ends within that, and begin a new run. This one "
                "cannot go on, since another session has the rows in another order; what it wrote stays, and "
                "the table of runs says that it is not complete"
            ) from None
        except GoogleAPICallError as error:
            raise RuntimeError(f"{stream.name}: {error.message}") from error
