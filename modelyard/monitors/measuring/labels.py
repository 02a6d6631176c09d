"""Labels that have arrived: joined with their predictions by key, and counted by the hour of the prediction.

An hour is counted again when the number of its labels has changed, so late labels touch their own hour only.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from modelyard.monitors.measuring import counting, hours, sql
from modelyard.monitors.measuring.counting import LABELS, PREDICTION, Columns, Figure, Histogram
from modelyard.monitors.measuring.hours import HourCounts, Reader, Span
from modelyard.monitors.measuring.watched import HOUR, Manifests
from modelyard.spec.manifest import Feature, FeatureType, LossTree, Manifest, NumericBaseline, Task
from modelyard.spec.team import Label
from modelyard.tables import WINDOW_COUNTS

SCORES = 1000
"""Steps of a classifier's probability, for the measures that need its order."""
# Probabilities as near to 0 and 1 as a logarithm takes them.
NEAREST = 1e-15
# Labels and predictions beyond it are none, and a label below `SMALLEST` is no measure of relative errors.
LARGEST, SMALLEST = 1e60, 1e-9
SEGMENT = "@segment:"
# Features of more bins tell no segments apart.
SEGMENTS = 120
# Rows of the log that are joined at once: the ids of so many fit into half a gigabyte.
JOINED = 5_000_000


def truth(manifest: Manifest, column: str) -> str:
    """Return the label as a number: for a classification 1 for the second class and 0 for the first."""
    if manifest.task is Task.REGRESSION:
        return f"CAST({column} AS FLOAT64)"
    # A label may be a class's name, a boolean or a number.
    first, second = (manifest.signature.prediction.classes or ("", ""))[:2]
    ones = _texts("1", "1.0", "true", second)
    zeros = _texts("0", "0.0", "false", first)
    said = f"CAST({column} AS STRING)"
    return f"CASE WHEN {said} IN ({ones}) THEN 1.0 WHEN {said} IN ({zeros}) THEN 0.0 END"


def _texts(*values: str) -> str:
    return ", ".join(sql.text(value) for value in dict.fromkeys(values) if value)


def matched(reader: Reader, label: Label, span: Span) -> HourCounts:
    """Return how many predictions of each hour and version have a label; reads ids and keys alone."""
    found: HourCounts = {}
    for part in parts(hours.counted(reader, span), span, JOINED):
        found |= _matched(reader, label, part)
    return found


def parts(counted: hours.Counts, span: Span, most: int) -> Iterator[Span]:
    """Yield `span`, cut at full hours where `most` rows of the log would be exceeded; an hour stays whole."""
    rows: dict[datetime, int] = {}
    for (hour, _), held in sorted(counted.items()):
        rows[hour] = rows.get(hour, 0) + held.rows
    start, total = span[0], 0
    for hour, held_rows in rows.items():
        if total and total + held_rows > most:
            yield start, hour
            start, total = hour, 0
        total += held_rows
    yield start, span[1]


def _matched(reader: Reader, label: Label, span: Span) -> HourCounts:
    statement = f"""
SELECT {sql.hour("log.time")} AS hour, log.version, COUNT(*) AS n
FROM {sql.table(reader.model.log_table)} AS log
JOIN {sql.table(label.table)} AS labels ON log.prediction_id = CAST(labels.{sql.name(label.key)} AS STRING)
WHERE log.time >= @start AND log.time < @end AND labels.{sql.name(label.column)} IS NOT NULL
  AND {_within(label)}
GROUP BY hour, version"""
    parameters = {"start": span[0], "end": span[1]} | _ids(reader, span)
    found = reader.rows(statement, parameters, reader.log_tables, span)
    return {(row["hour"], row["version"]): row["n"] for row in found}


def _within(label: Label) -> str:
    """Confine the labels to the ids of the hours: where they are kept in order, the rest is not read."""
    key = f"CAST(labels.{sql.name(label.key)} AS STRING)"
    return f"{key} >= @first AND {key} <= @last"


def _ids(reader: Reader, span: Span) -> dict[str, str]:
    statement = (
        "SELECT MIN(prediction_id) AS first, MAX(prediction_id) AS last "
        f"FROM {sql.table(reader.model.log_table)} WHERE time >= @start AND time < @end"
    )
    row = reader.rows(statement, {"start": span[0], "end": span[1]}, reader.log_tables, span)[0]
    return {"first": row["first"] or "", "last": row["last"] or ""}


def count(reader: Reader, manifests: Manifests, label: Label, span: Span) -> dict[datetime, datetime]:
    """Count the hours of `span` whose labels changed since; return when each hour was counted last."""
    known = hours.counted(reader, span, hours.LABELS)
    fresh = hours.changed(matched(reader, label, span), known)
    for (version, _), keys in hours.by_day(fresh).items():
        if version not in manifests:
            continue
        day = (min(keys)[0], max(keys)[0] + HOUR)
        seen = {hour: fresh[hour, version] for hour, _ in keys}
        figures = _figures(reader, manifests[version], label, version, day)
        _keep(reader, version, seen, figures)
    return hours.times(reader, known, {key: rows for key, rows in fresh.items() if key[1] in manifests})


def _figures(reader: Reader, manifest: Manifest, label: Label, version: int, span: Span) -> hours.HourFigures:
    ids = _ids(reader, span)
    found = _run(reader, manifest, label, version, span, ids, once=False)
    if any(_twice(figures) for figures in found.values()):
        return _run(reader, manifest, label, version, span, ids, once=True)
    return found


def _twice(figures: Sequence[tuple[Figure, float]]) -> bool:
    held = {figure.measure: value for figure, value in figures if figure.item == LABELS}
    return held.get("labelled") != held.get("ids")


def _run(
    reader: Reader,
    manifest: Manifest,
    label: Label,
    version: int,
    span: Span,
    ids: Mapping[str, str],
    *,
    once: bool,
) -> hours.HourFigures:
    parameters: dict[str, Any] = {"start": span[0], "end": span[1], "version": version, **ids}
    found: hours.HourFigures = {}
    statement, figures = totals(reader.model.log_table, label, manifest, once=once)
    for row in reader.rows(statement, parameters, reader.log_tables, span):
        values = found.setdefault(row["hour"], [])
        for index, figure in enumerate(figures):
            value = row[f"a{index}"]
            if value:
                values.append((figure, float(value)))
    if manifest.task is Task.CLASSIFICATION:
        statement = scores(reader.model.log_table, label, manifest, once=once)
        for row in reader.rows(statement, parameters, reader.log_tables, span):
            for measure in ("score", "positive", "probability"):
                figure = Figure(LABELS, measure, "", row["bin"])
                if row[measure]:
                    found.setdefault(row["hour"], []).append((figure, float(row[measure])))
    return found


def totals(log: str, label: Label, manifest: Manifest, *, once: bool = False) -> tuple[str, list[Figure]]:
    """Return the statement that sums the errors per hour, of all rows and by segment, and its columns."""
    prepared = counting.columns(manifest, manifest.signature.features)
    figures = [*_sums(manifest), *_segments(manifest, prepared)]
    listed = ",\n  ".join(f"{figure.sql} AS a{index}" for index, figure in enumerate(figures))
    errors = _errors(log, label, manifest, prepared, once=once)
    return f"SELECT\n  hour,\n  {listed}\nFROM ({errors})\nGROUP BY hour", figures


def scores(log: str, label: Label, manifest: Manifest, *, once: bool = False) -> str:
    """Return the statement that counts labels per hour and step of the probability."""
    prepared = Columns(
        (f"{counting.cleaned('prediction', FeatureType.FLOAT64)} AS p",), {PREDICTION: "p"}, {}
    )
    joined = _joined(log, label, manifest, prepared, once=once)
    return (
        f"SELECT hour, CAST(FLOOR(p * {SCORES}) AS INT64) AS bin, COUNT(*) AS score, SUM(y) AS positive, "
        f"SUM(p) AS probability\nFROM ({joined})\nGROUP BY hour, bin"
    )


def _joined(log: str, label: Label, manifest: Manifest, prepared: Columns, *, once: bool) -> str:
    """Return the rows that have a label: `y` is the label, `p` the prediction, and the prepared columns."""
    columns = ", ".join((f"{sql.hour('time')} AS hour", *prepared.select))
    key, value = sql.name(label.key), sql.name(label.column)
    distinct = " QUALIFY ROW_NUMBER() OVER (PARTITION BY id ORDER BY y) = 1" if once else ""
    # BigQuery takes an overflow for an error, and errors are raised to the fourth power.
    usual = f"NOT IS_NAN(y) AND ABS(y) <= {LARGEST}"
    usual += " AND p BETWEEN 0 AND 1" if manifest.task is Task.CLASSIFICATION else f" AND ABS(p) <= {LARGEST}"
    return f"""
  SELECT * FROM (
    SELECT prediction_id AS id, {columns} FROM {sql.table(log)}
    WHERE time >= @start AND time < @end AND version = @version
  ) AS logged
  JOIN (
    SELECT CAST({key} AS STRING) AS label_key, {truth(manifest, value)} AS y
    FROM {sql.table(label.table)} AS labels
    WHERE {_within(label)}
  ) AS known ON id = label_key
  WHERE y IS NOT NULL AND p IS NOT NULL AND {usual}{distinct}
"""


def _errors(log: str, label: Label, manifest: Manifest, prepared: Columns, *, once: bool) -> str:
    """Return the joined rows with the error `e` of each, and `x`, by how much it is more than expected."""
    joined = _joined(log, label, manifest, prepared, once=once)
    if manifest.task is Task.CLASSIFICATION:
        bounded = f"LEAST(GREATEST(p, {NEAREST}), {1 - NEAREST})"
        error = f"-IF(y = 1, LN({bounded}), LN(1 - {bounded}))"
        return f"SELECT *, {error} AS e, (p - y) * (p - y) AS x FROM ({joined})"
    tree = manifest.baselines.error
    expected = "0.0"
    if isinstance(tree, LossTree) and counting.asked(tree) <= prepared.names.keys():
        expected = counting.loss(manifest, tree, prepared.names, "absolute")
    return f"SELECT *, p - y AS e, ABS(p - y) - {expected} AS x FROM ({joined})"


def centre(manifest: Manifest) -> float:
    """Return about what labels vary, so that squares do not lose digits."""
    baseline = manifest.baselines.target or manifest.baselines.prediction
    return baseline.mean if isinstance(baseline, NumericBaseline) else 0.0


def _sums(manifest: Manifest) -> Iterator[Figure]:
    yield Figure(LABELS, "labelled", "COUNT(*)")
    yield Figure(LABELS, "ids", "COUNT(DISTINCT id)")
    if manifest.task is Task.CLASSIFICATION:
        yield Figure(LABELS, "positives", "SUM(y)")
        yield Figure(LABELS, "log_loss", "SUM(e)")
        yield Figure(LABELS, "log_loss_squares", "SUM(e * e)")
        yield Figure(LABELS, "brier", "SUM(x)")
        yield Figure(LABELS, "brier_squares", "SUM(x * x)")
        return
    about = sql.number(centre(manifest))
    yield Figure(LABELS, "error", "SUM(e)")
    yield Figure(LABELS, "absolute", "SUM(ABS(e))")
    yield Figure(LABELS, "squared", "SUM(e * e)")
    yield Figure(LABELS, "fourth", "SUM(e * e * e * e)")
    yield Figure(LABELS, "label", f"SUM(y - {about})")
    yield Figure(LABELS, "label_squares", f"SUM((y - {about}) * (y - {about}))")
    ratio = f"(e / IF(ABS(y) < {SMALLEST}, NULL, y))"
    yield Figure(LABELS, "ratio", f"SUM(ABS{ratio})")
    yield Figure(LABELS, "ratio_squares", f"SUM({ratio} * {ratio})")
    yield Figure(LABELS, "ratio_rows", f"COUNT({ratio})")


def segmented(manifest: Manifest) -> Iterator[tuple[Feature, Histogram]]:
    """Yield the features whose bins are segments."""
    for feature in manifest.signature.features:
        baseline = manifest.baselines.features.get(feature.name)
        if baseline:
            bins = counting.histogram(baseline)
            if 1 < len(bins.bins) <= SEGMENTS:
                yield feature, bins


def _segments(manifest: Manifest, prepared: Columns) -> Iterator[Figure]:
    """Yield rows and excess error per bin of each feature, and their squares over all."""
    yield Figure(LABELS, "excess", "SUM(x)")
    yield Figure(LABELS, "excess_squares", "SUM(x * x)")
    for feature, _ in segmented(manifest):
        baseline = manifest.baselines.features[feature.name]
        for figure in counting.of_bins(
            feature.name,
            prepared.names[feature.name],
            feature.type,
            baseline,
            prepared.places.get(feature.name),
        ):
            test = figure.sql.removeprefix("COUNTIF(").removesuffix(")")
            item = SEGMENT + feature.name
            yield Figure(item, figure.measure, figure.sql, figure.bin)
            yield Figure(item, f"excess_{figure.measure}", f"SUM(IF({test}, x, 0.0))", figure.bin)
        present = f"{prepared.names[feature.name]} IS NOT NULL"
        yield Figure(SEGMENT + feature.name, "present", f"COUNTIF({present})")
        yield Figure(SEGMENT + feature.name, "excess", f"SUM(IF({present}, x, 0.0))")


def _keep(reader: Reader, version: int, seen: Mapping[datetime, int], figures: hours.HourFigures) -> None:
    rows = []
    for hour, held in seen.items():
        values = [*figures.get(hour, []), (Figure(LABELS, "seen", ""), float(held))]
        rows += [hours.row(reader, hours.LABELS, hour, version, figure, value) for figure, value in values]
    ref = reader.model.table("window_counts")
    reader.append(WINDOW_COUNTS, ref, rows, hours.addition(reader, hours.LABELS, version, seen))
