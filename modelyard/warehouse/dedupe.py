"""Statements that see each thing once, for logs that may hold a row twice."""

from collections.abc import Sequence

from modelyard.warehouse.names import parse


def predictions(ref: str, columns: Sequence[str] = ("*",), where: str = "TRUE") -> str:
    """Return a SELECT, in parentheses, of a prediction log with each `prediction_id` once.

    The shipper of the log may send a row again when an acknowledgement was lost; both rows are then the same.

        f"SELECT COUNT(*) AS n FROM {predictions(ref, ['time'], 'time >= @start')}"

    Args:
        ref: the log, `project.dataset.table`.
        columns: what to select; name what is needed, since BigQuery bills by column.
        where: condition on rows. It should bound `time`, which is the partition.
    """
    parse(ref)
    return (
        f"(SELECT {', '.join(columns)} FROM `{ref}` WHERE {where}"
        " QUALIFY ROW_NUMBER() OVER (PARTITION BY prediction_id ORDER BY time) = 1)"
    )
