"""Stores that take rows of the log: local Parquet, or BigQuery by its Storage Write API."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import pyarrow as pa


class StoreAwayError(Exception):
    """The store does not take rows now; to try again later is right."""


class RowsRefusedError(Exception):
    """The store took all rows but some, which it will never take.

    `refused` are their places in the table, with the reason.
    """

    def __init__(self, refused: Sequence[tuple[int, str]]) -> None:
        super().__init__(f"{len(refused)} rows refused, the first: {refused[0][1]}")
        self.refused = tuple(refused)


class Sink(Protocol):
    """Takes rows; returns when they are durable."""

    def write(self, table: str, rows: "pa.Table", name: str) -> None:
        """Add rows to a table.

        Args:
            table: `project.dataset.table`.
            rows: of the prediction-log schema.
            name: of these rows, unique in the table; letters, digits, `.`, `_` and `-`. Parquet: the same
                name is written once. BigQuery: a repetition may write rows twice, told apart by
                `prediction_id`.

        Raises:
            StoreAwayError: nothing, or a part, was written; repeat the same rows under the same name.
            RowsRefusedError: all but some rows were written.
        """

    def idle(self) -> None:
        """Tell that there is nothing to write for now: connections may be closed."""

    def close(self) -> None:
        """End."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_sink(warehouse: Path | None, bigquery_endpoint: str | None = None) -> Sink:
    """Return the sink of a local warehouse, or of BigQuery.

    Args:
        warehouse: folder of the local warehouse; None: BigQuery, with the identity at hand.
        bigquery_endpoint: `host:port` of another BigQuery, without TLS, for tests.
    """
    if warehouse is not None:
        from serving_images.prediction_log.sinks.parquet import ParquetSink

        return ParquetSink(warehouse)
    from serving_images.prediction_log.sinks.bigquery import BigQuerySink

    return BigQuerySink(bigquery_endpoint)


def waits(first: float = 0.2, longest: float = 60.0) -> Iterator[float]:
    """Yield how long to wait before each further attempt, in seconds: doubling up to `longest`, for ever."""
    while True:
        yield first
        first = min(2 * first, longest)
