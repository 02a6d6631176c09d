"""Every BigQuery table, defined once and rendered for Terraform, Arrow and DuckDB."""

from modelyard.tables.batch import batch_input, batch_output, batch_runs
from modelyard.tables.metadata import DEPLOYMENTS, MODEL_VERSIONS
from modelyard.tables.monitoring import ALERT_EVENTS, METRIC_VALUES, MONITOR_RUNS, WINDOW_COUNTS
from modelyard.tables.predictions import PREDICTION_USAGE, prediction_log
from modelyard.tables.rendering import arrow_schema, bigquery_schema, duckdb_ddl
from modelyard.tables.table import Column, Granularity, Mode, Partition, Table, TableError, Type

SHARED_TABLES = (
    MODEL_VERSIONS,
    DEPLOYMENTS,
    METRIC_VALUES,
    WINDOW_COUNTS,
    ALERT_EVENTS,
    MONITOR_RUNS,
    PREDICTION_USAGE,
)

__all__ = [
    "ALERT_EVENTS",
    "DEPLOYMENTS",
    "METRIC_VALUES",
    "MODEL_VERSIONS",
    "MONITOR_RUNS",
    "PREDICTION_USAGE",
    "SHARED_TABLES",
    "WINDOW_COUNTS",
    "Column",
    "Granularity",
    "Mode",
    "Partition",
    "Table",
    "TableError",
    "Type",
    "arrow_schema",
    "batch_input",
    "batch_output",
    "batch_runs",
    "bigquery_schema",
    "duckdb_ddl",
    "prediction_log",
]
