"""The warehouse in BigQuery, through Google's client: Parquet load jobs in, Arrow tables out."""

import hashlib
import io
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelyard.tables import Table
from modelyard.warehouse import Days, Result, Statistics
from modelyard.warehouse.errors import WarehouseError
from modelyard.warehouse.names import checked_name, conform, parse
from modelyard.warehouse.parameters import Parameter, typed

if TYPE_CHECKING:
    import pyarrow as pa

# A statement that would scan more fails at once, free of charge: a forgotten filter is no bill.
MAXIMUM_BYTES_BILLED = 2**40
# Ids that the repetitions of one addition may use up.
_ATTEMPTS = 100


class BigQueryWarehouse:
    """A `Warehouse` in BigQuery. Tables are made by Terraform, so one that is not there is an error."""

    def __init__(
        self,
        project: str,
        client: Any = None,
        *,
        location: str | None = None,
        maximum_bytes_billed: int = MAXIMUM_BYTES_BILLED,
    ) -> None:
        self.project = project
        self._client = client
        self._location = location
        self._maximum_bytes_billed = maximum_bytes_billed

    @property
    def client(self) -> Any:
        """The `google.cloud.bigquery.Client`; made on first use, with the identity at hand.

        Raises:
            WarehouseError: there is no identity.
        """
        if self._client is None:
            from google.auth.exceptions import DefaultCredentialsError
            from google.cloud import bigquery

            try:
                self._client = bigquery.Client(project=self.project, location=self._location)
            except DefaultCredentialsError:
                raise WarehouseError(
                    "there is no identity for BigQuery; run `gcloud auth application-default login`"
                ) from None
        return self._client

    def append(self, ref: str, table: Table, rows: "pa.Table", name: str) -> None:
        """Add rows by a load job of Parquet, whole or not at all; see `Warehouse.append`.

        The job's id is computed from `ref` and `name`, and BigQuery runs an id once. A job that failed has
        used its id up: then the next attempt has another.
        """
        from google.api_core.exceptions import Conflict, GoogleAPICallError, RetryError
        from google.cloud import bigquery

        parse(ref)
        conformed = conform(ref, table, rows)
        if not conformed.num_rows:
            return
        data = _parquet(conformed)
        options: Any = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
        options.enable_list_inference = True
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            parquet_options=options,
        )
        for job_id in _job_ids(ref, name):
            try:
                try:
                    job = self.client.load_table_from_file(
                        io.BytesIO(data), ref, size=len(data), job_id=job_id, location=self._location,
                        job_config=config,
                    )  # fmt: skip
                except Conflict:
                    job = self.client.get_job(job_id, location=self._location)
                    if job.state == "DONE" and job.error_result:
                        continue
                job.result()
                return
            except (GoogleAPICallError, RetryError) as error:
                raise WarehouseError(f"{ref}: BigQuery does not take the rows: {_reason(error)}") from error
        raise WarehouseError(f"{ref}: BigQuery has failed to take the rows of {name} {_ATTEMPTS} times")

    def has(self, ref: str, name: str) -> bool:
        """Return whether the rows that were added under `name` are in the table; BigQuery knows for 180 days.

        Raises:
            WarehouseError: BigQuery does not answer.
        """
        from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError

        for job_id in _job_ids(ref, name):
            try:
                job = self.client.get_job(job_id, location=self._location)
            except NotFound:
                return False
            except (GoogleAPICallError, RetryError) as error:
                raise WarehouseError(f"{ref}: BigQuery does not answer: {_reason(error)}") from error
            if job.state == "DONE" and not job.error_result:
                return True
        return False

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] = {},
        tables: Mapping[str, Table] = {},
        days: Days | Mapping[str, Days] | None = None,
    ) -> "pa.Table":
        """Return the rows that `sql` selects; see `Warehouse.run`."""
        return self.run(sql, parameters, tables, days).rows

    def run(
        self,
        sql: str,
        parameters: Mapping[str, Any] = {},
        tables: Mapping[str, Table] = {},
        days: Days | Mapping[str, Days] | None = None,
    ) -> Result:
        """Run a query; see `Warehouse.run`."""
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.cloud import bigquery

        from modelyard.warehouse.dialect import for_bigquery
        from modelyard.warehouse.folders import in_bigquery_types

        values = typed(parameters)
        statement = for_bigquery(sql, tables, days)
        if missing := sorted(statement.parameters - values.keys()):
            raise WarehouseError(f"no value for parameter @{', @'.join(missing)}")
        config = bigquery.QueryJobConfig(
            query_parameters=[_parameter(name, values[name]) for name in sorted(statement.parameters)],
            maximum_bytes_billed=self._maximum_bytes_billed,
            use_legacy_sql=False,
        )
        started = time.monotonic()
        try:
            job = self.client.query(statement.sql, job_config=config, location=self._location)
            # Through the REST API: the storage API asks for a right of its own, for no gain at these sizes.
            rows = job.to_arrow(create_bqstorage_client=False)
        except (GoogleAPICallError, RetryError) as error:
            raise WarehouseError(f"BigQuery: {_reason(error)}") from error
        seconds = time.monotonic() - started
        return Result(in_bigquery_types(rows), Statistics(int(job.total_bytes_processed or 0), None, seconds))


def _job_ids(ref: str, name: str) -> list[str]:
    """Return the ids of the jobs that add rows under `name`: the next one where one has failed."""
    key = hashlib.sha256(f"{parse(ref)}\n{checked_name(name)}".encode()).hexdigest()[:32]
    return [f"modelyard-{key}-{attempt}" for attempt in range(_ATTEMPTS)]


def _parquet(rows: "pa.Table") -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    return buffer.getvalue()


def _parameter(name: str, parameter: Parameter) -> Any:
    from google.cloud import bigquery

    kind = bigquery.ArrayQueryParameter if parameter.repeated else bigquery.ScalarQueryParameter
    return kind(name, parameter.type, parameter.value)


def _reason(error: Exception | None) -> str:
    """Return what Google's client says, without the list of its attempts."""
    return str(getattr(error, "message", None) or error).split("\n")[0]
