"""Performance on labels against scikit-learn: late, partial, repeated, and of every type."""

import itertools
import math
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics

from modelyard.monitors.measuring import hours, labels, performance
from modelyard.monitors.measuring.counting import LABELS
from modelyard.tables import Column, Mode, Partition, Table, Type, arrow_schema
from tests.modelyard.monitors.measuring.world import BASELINES, BEGIN, DAY, FEATURES, HOUR, World, rows, world
from tests.modelyard.sample import manifest

TRUTHS = "example-flights.operations.delays"
SETTINGS: dict[str, Any] = {"label": {"table": "operations.delays", "delay": "1d"}}
CALIBRATION: dict[str, Any] = {
    "kind": "calibration",
    "edges": [0.25, 0.5, 0.75],
    "predicted": [0.125, 0.375, 0.625, 0.875],
    "observed": [0.1, 0.4, 0.6, 0.9],
    "counts": [100] * 4,
}
SIGNATURE: dict[str, Any] = {
    "features": FEATURES,
    "prediction": {"name": "late", "type": "float64", "classes": ["on time", "late"]},
}


def truth_table(kind: Type = Type.FLOAT64) -> Table:
    """Return the table of labels."""
    columns = (
        Column("arrived", Type.TIMESTAMP, "Arrival", Mode.REQUIRED),
        Column("prediction_id", Type.STRING, "Id", Mode.REQUIRED),
        Column("label", kind, "Truth"),
    )
    return Table("delays", "operations", "What came true.", columns, Partition("arrived"))


def truths(place: World, values: dict[str, Any], at: datetime, name: str, kind: Type = Type.FLOAT64) -> None:
    """Let labels arrive."""
    table = truth_table(kind)
    made = pa.table(
        {"arrived": [at] * len(values), "prediction_id": list(values), "label": list(values.values())},
        schema=arrow_schema(table),
    )
    place.warehouse.append(TRUTHS, table, made, name)


def classifier(root: Path) -> World:
    made = manifest(
        features=FEATURES,
        task="classification",
        signature=SIGNATURE,
        metrics={"primary": "roc_auc", "higher_is_better": True, "values": {"roc_auc": 0.8}, "rows": 5000},
        baselines=BASELINES | {"error": CALIBRATION},
    )
    return world(root, made=made, **SETTINGS)


def values_of(place: World, family: str = "performance") -> dict[str, dict[str, Any]]:
    """Return the newest value of each metric of the whole model or a version, by name."""
    found = [v for v in place.table("metric_values") if v["family"] == family and v["feature"] is None]
    return {v["metric"]: v for v in sorted(found, key=lambda v: (v["computed"], v["window_end"]))}


def numbers(values: dict[str, dict[str, Any]]) -> dict[str, float]:
    return {name: row["value"] for name, row in values.items()}


def test_regression_is_scikit_learns(tmp_path: Path) -> None:
    place = world(tmp_path, **SETTINGS)
    made = rows(BEGIN, 400, length=DAY)
    place.write(made, "rows")
    draw = random.Random(1)
    truth = {r["prediction_id"]: r["prediction"] + draw.gauss(3, 12) for r in made[:350]}
    truths(place, truth | {"unknown": 5.0}, BEGIN + DAY, "labels")
    place.measure(BEGIN + 2 * DAY)
    found = values_of(place)
    y, p = list(truth.values()), [r["prediction"] for r in made[:350]]
    expected = {
        "mae": metrics.mean_absolute_error(y, p),
        "mse": metrics.mean_squared_error(y, p),
        "rmse": metrics.root_mean_squared_error(y, p),
        "mape": metrics.mean_absolute_percentage_error(y, p),
        "r2": metrics.r2_score(y, p),
        "bias": np.mean(np.array(p) - y),
    }
    got = numbers(found)
    assert {name: got[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert got["label_coverage"] == 350 / 400
    assert got["loss"] == pytest.approx(expected["mae"] - 1)
    assert found["mae"]["row_count"] == 350
    assert found["loss"]["threshold"] == pytest.approx(
        max(0.2, 3.09 * math.hypot(*([np.std(np.abs(np.array(p) - y)) / math.sqrt(n) for n in (350, 10)])))
    )


@pytest.mark.parametrize(
    ("kind", "zero", "one"),
    [
        (Type.BOOL, False, True),
        (Type.INT64, 0, 1),
        (Type.FLOAT64, 0.0, 1.0),
        (Type.STRING, "on time", "late"),
    ],
)
def test_classification_is_scikit_learns(tmp_path: Path, kind: Type, zero: Any, one: Any) -> None:
    place = classifier(tmp_path)
    draw = random.Random(2)
    # Scores in steps of 0.001, as they are counted: then the order is known exactly.
    made = rows(BEGIN, 500, length=DAY, prediction=lambda _: draw.randrange(1, 1000) / 1000)
    place.write(made, "rows")
    truth = {r["prediction_id"]: draw.random() < r["prediction"] ** 2 for r in made}
    truths(place, {key: one if y else zero for key, y in truth.items()}, BEGIN + DAY, "labels", kind)
    place.measure(BEGIN + 2 * DAY)
    y, p = np.array(list(truth.values()), float), np.array([r["prediction"] for r in made])
    decided = p >= 0.5
    bins = np.minimum((p * 10).astype(int), 9)
    gaps = [abs(y[bins == b].sum() - p[bins == b].sum()) for b in range(10)]
    expected = {
        "accuracy": metrics.accuracy_score(y, decided),
        "precision": metrics.precision_score(y, decided),
        "recall": metrics.recall_score(y, decided),
        "f1": metrics.f1_score(y, decided),
        "f2": metrics.fbeta_score(y, decided, beta=2),
        "roc_auc": metrics.roc_auc_score(y, p),
        "average_precision": metrics.average_precision_score(y, p),
        "log_loss": metrics.log_loss(y, p),
        "brier": metrics.brier_score_loss(y, p),
        "calibration_error": sum(gaps) / len(y),
    }
    got = numbers(values_of(place))
    assert {name: got[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert got["loss"] == pytest.approx((0.8 - expected["roc_auc"]) / 0.8)


def test_areas_on_any_scores_are_as_near_as_the_steps_are_fine() -> None:
    draw = np.random.default_rng(3)
    p = draw.beta(0.5, 4, 20_000)
    y = draw.random(20_000) < p
    step = np.floor(p * labels.SCORES).astype(int)
    positive = np.bincount(step[y], minlength=labels.SCORES + 1)
    negative = np.bincount(step[~y], minlength=labels.SCORES + 1)
    found = performance.ordered(list(positive), list(negative))
    # Pairs within one step count half, so no more than half of them is wrong.
    tied = (positive * negative).sum() / (positive.sum() * negative.sum())
    assert abs(found["roc_auc"] - metrics.roc_auc_score(y, p)) <= tied / 2
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(y, p), abs=2e-4)
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(y, p), abs=5e-3)


def test_late_and_repeated_labels_recompute_their_window_alone(tmp_path: Path) -> None:
    place = world(tmp_path, **SETTINGS)
    days = [rows(BEGIN + day * DAY, 200, length=DAY) for day in range(3)]
    for day, made in enumerate(days):
        place.write(made, f"day{day}")
    draw = random.Random(4)
    truth = [{r["prediction_id"]: r["prediction"] + draw.gauss(0, 1) for r in made} for made in days]
    truths(place, truth[0], BEGIN + DAY, "first")
    truths(place, dict(list(truth[1].items())[:80]), BEGIN + 2 * DAY, "second")
    place.measure(BEGIN + 3 * DAY)
    assert numbers(values_of(place))["label_coverage"] == 80 / 200
    before = len(place.table("metric_values"))
    # The rest of the second day, and once more what is known already.
    truths(place, truth[1], BEGIN + 3 * DAY, "late")
    later = place.measure(BEGIN + 3 * DAY + timedelta(hours=1))
    mine = [v for v in later.values if v.measured.metric.metric == "label_coverage"]
    assert [(v.span[1], v.measured.value) for v in mine] == [(BEGIN + 2 * DAY, 1.0)]
    assert len(place.table("metric_values")) > before
    y, p = list(truth[1].values()), [r["prediction"] for r in days[1]]
    assert numbers(values_of(place))["mae"] == pytest.approx(metrics.mean_absolute_error(y, p))
    again = place.measure(BEGIN + 3 * DAY + timedelta(hours=1), "again")
    assert [v for v in again.values if v.measured.metric.family == "performance"] == []


def test_labels_and_predictions_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    place = world(tmp_path, **SETTINGS)
    made = rows(BEGIN, 40, length=DAY)
    odd = [math.nan, math.inf, -math.inf, None]
    for row, value in zip(made, odd, strict=False):
        row["prediction"] = value
    place.write(made, "rows")
    truth: dict[str, Any] = {r["prediction_id"]: 1.0 for r in made}
    for row, value in zip(made[4:], odd, strict=False):
        truth[row["prediction_id"]] = value
    truths(place, truth, BEGIN + DAY, "labels")
    place.measure(BEGIN + 2 * DAY)
    found = values_of(place)
    assert found["mae"]["row_count"] == 32
    assert found["mae"]["value"] == pytest.approx(np.mean([abs(r["prediction"] - 1) for r in made[8:]]))


def test_the_worst_segment_is_named(tmp_path: Path) -> None:
    place = world(tmp_path, **SETTINGS)
    made = rows(BEGIN, 3000, length=DAY)
    place.write(made, "rows")
    draw = random.Random(5)
    truth = {
        r["prediction_id"]: r["prediction"] + draw.gauss(0, 9 if r["features"]["carrier"] == "DL" else 1)
        for r in made
    }
    truths(place, truth, BEGIN + DAY, "labels")
    place.measure(BEGIN + 2 * DAY)
    assert "worst segment: carrier = DL" in values_of(place)["loss"]["detail"]
    segments = [v for v in place.table("metric_values") if v["metric"] == "segment_loss"]
    assert [v["feature"] for v in segments] == ["carrier"], "no other feature has a segment that is worse"


def test_segments_add_up(tmp_path: Path) -> None:
    place = world(tmp_path, **SETTINGS)
    made = rows(BEGIN, 500, length=DAY)
    place.write(made, "rows")
    truths(place, {r["prediction_id"]: 0.0 for r in made}, BEGIN + DAY, "labels")
    place.measure(BEGIN + 2 * DAY)
    reader = hours.Reader(place.warehouse, place.model, "r", BEGIN, hours.Cost(), place.log)
    found = hours.merged(reader, (BEGIN, BEGIN + DAY))[1]
    for feature, bins in labels.segmented(place.manifest):
        counts, excess = performance.segment_sums(found, labels.SEGMENT + feature.name, feature, bins)
        held = [r for r in made if r["features"][feature.name] is not None]
        assert sum(counts) == len(held)
        assert sum(excess) == pytest.approx(sum(abs(r["prediction"]) for r in held))
    carrier, bins = next(pair for pair in labels.segmented(place.manifest) if pair[0].name == "carrier")
    carriers, sums = performance.segment_sums(found, f"{labels.SEGMENT}carrier", carrier, bins)
    united = [abs(r["prediction"]) for r in made if r["features"]["carrier"] == "UA"]
    assert carriers[1] == len(united)
    assert sums[1] == pytest.approx(sum(united))


def test_an_estimate_needs_no_label_and_is_near_the_truth(tmp_path: Path) -> None:
    place = classifier(tmp_path)
    draw = random.Random(6)
    made = rows(BEGIN, 5000, length=DAY, prediction=lambda _: draw.random())
    place.write(made, "rows")
    place.measure(BEGIN + DAY)
    got = numbers(values_of(place))
    assert "roc_auc" not in got, "no label has arrived"

    def truth(p: float) -> float:
        return float(np.interp(p, CALIBRATION["predicted"], CALIBRATION["observed"]))

    p = np.array([r["prediction"] for r in made])
    y = np.array([draw.random() < truth(score) for score in p])
    near = {"accuracy": (p >= 0.5) == y, "brier": (p - y) ** 2}
    for name, each in near.items():
        assert got[f"estimated_{name}"] == pytest.approx(each.mean(), abs=4 * each.std() / math.sqrt(5000))
    assert got["estimated_roc_auc"] == pytest.approx(metrics.roc_auc_score(y, p), abs=0.03)
    assert got["estimated_log_loss"] == pytest.approx(metrics.log_loss(y, p), abs=0.03)
    assert got["estimated_loss"] == pytest.approx((0.8 - got["estimated_roc_auc"]) / 0.8)


def test_a_missing_table_of_labels_fails_performance_alone(tmp_path: Path) -> None:
    place = world(tmp_path, **SETTINGS)
    place.write(rows(BEGIN, 100, length=DAY), "rows")
    found = place.measure(BEGIN + 2 * DAY)
    wrong = {run.family.value: run.error for run in found.runs if run.error}
    assert list(wrong) == ["performance"]
    assert "operations.delays" in wrong["performance"]
    assert {v.measured.metric.family for v in found.values} >= {"usage", "quality", "drift"}
    runs = {r["family"]: r["succeeded"] for r in place.table("monitor_runs")}
    assert runs == {"latency": True, "usage": True, "quality": True, "drift": True, "performance": False}


def test_late_labels_are_news_only_against_the_usual(tmp_path: Path) -> None:
    place = world(tmp_path, **SETTINGS)
    for day in range(6):
        made = rows(BEGIN + day * DAY, 100, length=DAY)
        place.write(made, f"day{day}")
        share = 90 if day < 4 else 10
        truths(place, {r["prediction_id"]: 1.0 for r in made[:share]}, BEGIN + day * DAY, f"l{day}")
    bounds = {}
    for day in range(1, 7):
        place.measure(BEGIN + day * DAY + timedelta(hours=1))
    for value in place.table("metric_values"):
        if value["metric"] == "label_coverage":
            bounds[value["window_end"]] = (value["value"], value["threshold"])
    assert bounds[BEGIN + 2 * DAY] == (0.9, None)
    assert bounds[BEGIN + 5 * DAY] == (0.1, pytest.approx(0.45))


def test_labels_counted_in_the_log_have_their_own_part(tmp_path: Path) -> None:
    place = world(tmp_path, **SETTINGS)
    made = rows(BEGIN, 100)
    place.write(made, "rows")
    truths(place, {r["prediction_id"]: 1.0 for r in made}, BEGIN + DAY, "labels")
    place.measure(BEGIN + 2 * DAY)
    parts = {row["part"] for row in place.table("window_counts") if row["item"] == LABELS}
    assert parts == {"labels"}


def test_joins_are_cut_at_full_hours_and_leave_nothing_out() -> None:
    counted = {
        (BEGIN + hour * HOUR, version): hours.Counted(rows, BEGIN)
        for hour, version, rows in [(0, 1, 30), (1, 1, 30), (1, 2, 30), (3, 1, 200), (4, 1, 50), (5, 2, 50)]
    }
    span = (BEGIN - HOUR, BEGIN + 9 * HOUR)
    edges = [span[0], BEGIN + 3 * HOUR, BEGIN + 4 * HOUR, span[1]]
    assert list(labels.parts(counted, span, 100)) == list(itertools.pairwise(edges))
    assert list(labels.parts(counted, span, 1000)) == [span]
    assert list(labels.parts({}, span, 100)) == [span]


def test_labels_joined_in_parts_are_those_joined_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for most in (labels.JOINED, 40):
        monkeypatch.setattr(labels, "JOINED", most)
        place = world(tmp_path / str(most), **SETTINGS)
        made = rows(BEGIN, 400, length=DAY)
        place.write(made, "rows")
        truths(place, {r["prediction_id"]: r["prediction"] + 1 for r in made[::2]}, BEGIN + DAY, "labels")
        place.measure(BEGIN + 2 * DAY)
        found.append(numbers(values_of(place)))
    assert found[0] == pytest.approx(found[1], rel=1e-12)  # sums of parts round elsewhere
    assert found[0]["label_coverage"] == 0.5
