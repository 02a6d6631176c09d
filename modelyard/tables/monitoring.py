"""Tables of the monitoring dataset: what monitors measured, which alerts rose, and which runs there were."""

from modelyard.tables.table import Column, Granularity, Mode, Partition, Table, Type

METRIC_VALUES = Table(
    name="metric_values",
    dataset="monitoring",
    description="One row per metric, model version, feature and window.",
    columns=(
        Column("window_start", Type.TIMESTAMP, "Start of the window, inclusive", Mode.REQUIRED),
        Column("window_end", Type.TIMESTAMP, "End of the window, exclusive", Mode.REQUIRED),
        Column("team", Type.STRING, "Team that owns the model", Mode.REQUIRED),
        Column("model", Type.STRING, "Model", Mode.REQUIRED),
        Column("version", Type.INT64, "Version of the model; null: all versions together"),
        Column("family", Type.STRING, "latency, usage, quality, drift or performance", Mode.REQUIRED),
        Column("metric", Type.STRING, "Name of the metric within its family", Mode.REQUIRED),
        Column("feature", Type.STRING, "Feature measured; null: the model as a whole"),
        Column("value", Type.FLOAT64, "Value; null: could not be measured"),
        Column("threshold", Type.FLOAT64, "Value the alert compares with, where there is one"),
        Column("row_count", Type.INT64, "Rows that the value rests on", Mode.REQUIRED),
        Column("run_id", Type.STRING, "Run that computed the value", Mode.REQUIRED),
        Column(
            "computed",
            Type.TIMESTAMP,
            "Time of computation; the latest row of a window counts",
            Mode.REQUIRED,
        ),
        Column("detail", Type.STRING, "The value in words, for people"),
    ),
    partition=Partition("window_end"),
    clustering=("team", "model", "family", "metric"),
)

WINDOW_COUNTS = Table(
    name="window_counts",
    dataset="monitoring",
    description="Counts and sums of each hour of a prediction log; windows are merged from them.",
    columns=(
        Column("hour", Type.TIMESTAMP, "Start of the hour", Mode.REQUIRED),
        Column("team", Type.STRING, "Team that owns the model", Mode.REQUIRED),
        Column("model", Type.STRING, "Model", Mode.REQUIRED),
        Column("version", Type.INT64, "Version of the model that answered", Mode.REQUIRED),
        Column("part", Type.STRING, "What was counted: log, or labels that have arrived", Mode.REQUIRED),
        Column("item", Type.STRING, "Feature; with @ in front: rows, prediction, labels", Mode.REQUIRED),
        Column("measure", Type.STRING, "What of the item, such as rows, minimum or bin", Mode.REQUIRED),
        Column("bin", Type.INT64, "Bin of the item's histogram, from 0, where the measure has bins"),
        Column(
            "value",
            Type.FLOAT64,
            "Count or sum, which adds up over hours; of a minimum or maximum the least or greatest counts",
            Mode.REQUIRED,
        ),
        Column("run_id", Type.STRING, "Run that counted the hour", Mode.REQUIRED),
        Column(
            "computed",
            Type.TIMESTAMP,
            "Time of counting; the latest of an hour, version and part counts",
            Mode.REQUIRED,
        ),
    ),
    partition=Partition("hour"),
    clustering=("team", "model", "part"),
)

ALERT_EVENTS = Table(
    name="alert_events",
    dataset="monitoring",
    description="One row per event in the life of an alert: opened, acknowledged, assigned, closed.",
    columns=(
        Column("alert_id", Type.STRING, "Id shared by all events of one alert", Mode.REQUIRED),
        Column("time", Type.TIMESTAMP, "Time of the event", Mode.REQUIRED),
        Column(
            "event", Type.STRING, "opened, changed, acknowledged, assigned, closed or silenced", Mode.REQUIRED
        ),
        Column("key", Type.STRING, "Key of the alert, also of its runbook", Mode.REQUIRED),
        Column("team", Type.STRING, "Team that owns the alert", Mode.REQUIRED),
        Column("model", Type.STRING, "Model; null: an alert of the platform"),
        Column("version", Type.INT64, "Version of the model, where one is at fault"),
        Column("feature", Type.STRING, "Feature, where one is at fault"),
        Column("severity", Type.STRING, "critical, error or warning", Mode.REQUIRED),
        Column("owner", Type.STRING, "Group that answers for the alert", Mode.REQUIRED),
        Column("value", Type.FLOAT64, "Value that was measured"),
        Column("threshold", Type.FLOAT64, "Value it was compared with"),
        Column("actor", Type.STRING, "Who acted; null: the monitoring itself"),
        Column("cause", Type.STRING, "Cause named when the alert was closed"),
        Column("note", Type.STRING, "Free text of the actor"),
        Column("root", Type.STRING, "What the alert is put down to, such as feature or deployment"),
        Column("title", Type.STRING, "The alert in one line"),
        Column("text", Type.STRING, "The whole alert as it was told, Markdown"),
        Column("assignee", Type.STRING, "Who works on it, where it was assigned"),
        Column("until", Type.TIMESTAMP, "End of a silence"),
    ),
    partition=Partition("time"),
    clustering=("team", "model", "key"),
)

MONITOR_RUNS = Table(
    name="monitor_runs",
    dataset="monitoring",
    description="One row per run of a monitor family on a model.",
    columns=(
        Column("run_id", Type.STRING, "Id of the run", Mode.REQUIRED),
        Column("team", Type.STRING, "Team that owns the model", Mode.REQUIRED),
        Column("model", Type.STRING, "Model", Mode.REQUIRED),
        Column("family", Type.STRING, "latency, usage, quality, drift or performance", Mode.REQUIRED),
        Column("started", Type.TIMESTAMP, "Start of the run", Mode.REQUIRED),
        Column("ended", Type.TIMESTAMP, "End of the run", Mode.REQUIRED),
        Column("succeeded", Type.BOOL, "Whether the run ended without error", Mode.REQUIRED),
        Column("error", Type.STRING, "What went wrong"),
        Column("window_start", Type.TIMESTAMP, "Start of the earliest window computed"),
        Column("window_end", Type.TIMESTAMP, "End of the latest window computed"),
        Column("rows_read", Type.INT64, "Rows of the prediction log that were read"),
        Column("bytes_scanned", Type.INT64, "Bytes that the queries scanned"),
    ),
    partition=Partition("started", Granularity.DAY),
    clustering=("team", "model", "family"),
)
