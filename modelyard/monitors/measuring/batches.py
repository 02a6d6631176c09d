"""Runs of a batch model, and when it went into service: what its freshness is judged by."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from modelyard.monitors.measuring import sql
from modelyard.monitors.measuring.hours import Reader, Span
from modelyard.tables import DEPLOYMENTS, batch_runs


@dataclass(frozen=True)
class BatchRun:
    """A run of which all shards have ended."""

    started: datetime
    ended: datetime
    rows: int
    """Rows scored, failed ones too."""
    failed: int


@dataclass(frozen=True)
class Batches:
    """The complete runs, the earliest first, and when the model was first deployed."""

    runs: Sequence[BatchRun] = ()
    deployed: datetime | None = None

    def until(self, end: datetime) -> Sequence[BatchRun]:
        """Return the runs that ended before `end`."""
        return [run for run in self.runs if run.ended < end]


def read(reader: Reader, table: str, span: Span) -> Batches:
    """Return the runs that ended within `span`; of a shard that ended twice the last time counts."""
    statement = f"""
SELECT
  run, MIN(started) AS started, MAX(ended) AS ended,
  SUM(rows_scored) AS scored, SUM(rows_failed) AS failed
FROM (
  SELECT * FROM {sql.table(table)} WHERE ended >= @start AND ended < @end
  QUALIFY ROW_NUMBER() OVER (PARTITION BY run, shard ORDER BY ended DESC) = 1
)
GROUP BY run
HAVING COUNT(*) = MAX(shards)
ORDER BY ended"""
    known = {table: batch_runs(table.rpartition(".")[2])}
    found = reader.rows(statement, {"start": span[0], "end": span[1]}, known, span)
    runs = [BatchRun(row["started"], row["ended"], row["scored"], row["failed"]) for row in found]
    return Batches(runs, None if runs else _deployed(reader))


def _deployed(reader: Reader) -> datetime | None:
    ref = f"{reader.model.metadata}.deployments"
    statement = f"""
SELECT MIN(deployment.time) AS time FROM {sql.table(ref)} AS deployment, UNNEST(deployment.models) AS entry
WHERE deployment.succeeded AND entry.team = @team AND entry.model = @model"""
    parameters = {"team": reader.model.team, "model": reader.model.model}
    result = reader.warehouse.query(statement, parameters, {ref: DEPLOYMENTS})
    found: datetime | None = result.to_pylist()[0]["time"]
    return found
