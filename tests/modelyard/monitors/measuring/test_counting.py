"""One pass over a log against numpy, on data with everything that data can hold."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modelyard.warehouse
from modelyard.monitors.measuring import counting, hours
from modelyard.monitors.measuring.counting import PREDICTION, ROWS
from modelyard.spec.manifest import Calibration, LossTree, Manifest
from modelyard.tables import arrow_schema
from tests.modelyard.monitors.measuring.world import BEGIN, DAY, HOUR, World, rows, world
from tests.modelyard.sample import manifest

number = st.one_of(
    st.none(),
    st.floats(-200, 200),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 10.0, 50.0, 1e300, 5e-324]),
)
row = st.fixed_dictionaries(
    {
        "distance": number,
        "carrier": st.one_of(st.none(), st.sampled_from(["AA", "UA", "DL", "", "aa", "O'Hare", "é\n\\"])),
        "age": st.one_of(st.none(), st.integers(-(2**62), 2**62), st.integers(-5, 120)),
        "express": st.one_of(st.none(), st.booleans()),
        "prediction": number,
    }
)


def figures(place: World, span: hours.Span = (BEGIN, BEGIN + DAY)) -> hours.Figures:
    reader = hours.Reader(place.warehouse, place.model, "r", span[1], hours.Cost(), place.log)
    hours.count(reader, {1: place.manifest}, hours.in_log(reader, span))
    return hours.merged(reader, span)[1]


def logged(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    healthy = rows(BEGIN, len(values), length=DAY)
    for made, value in zip(healthy, values, strict=True):
        made["prediction"] = value["prediction"]
        made["features"] = {key: value[key] for key in made["features"]}
    return healthy


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(row, min_size=1, max_size=60))
def test_figures_are_those_of_numpy(
    tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, Any]]
) -> None:
    place = world(tmp_path_factory.mktemp("w"))
    place.write(logged(values), "rows")
    found = figures(place)
    assert found.rows == len(values)
    for item in ("distance", "age", PREDICTION):
        key = "prediction" if item == PREDICTION else item
        held = np.array([math.nan if v[key] is None else v[key] for v in values], float)
        present = held[~np.isnan(held)]
        assert found.number(item, "present") == len(present)
        edges = np.arange(10.0, 100.0, 10.0)
        # An edge belongs to the bin on its left.
        expected = np.bincount(np.searchsorted(edges, present, side="left"), minlength=10)
        assert found.between(item, 10) == list(expected)
        if len(present):
            assert found.number(item, "minimum") == pytest.approx(present.min())
            assert found.number(item, "maximum") == pytest.approx(present.max())
        mean, std = (49.5, 28.87) if item == "age" else (50.0, 28.87)
        away = np.clip(present - mean, -counting.WINSOR * std, counting.WINSOR * std)
        assert found.number(item, "deviation") == pytest.approx(away.sum(), rel=1e-9, abs=1e-9)
    low_high = {"distance": (0, 100), "age": (0, 99)}
    for item, (low, high) in low_high.items():
        outside = sum(
            v[item] is not None and not math.isnan(v[item]) and not low <= v[item] <= high for v in values
        )
        assert found.number(item, "invalid") == outside
        # Both ranges begin at 0: what is negative is broken, and what is above twice the highest.
        present = [v[item] for v in values if v[item] is not None and not math.isnan(v[item])]
        assert found.number(item, "broken") == sum(v < 0 or v > 2 * high for v in present)
    carriers = [v["carrier"] for v in values]
    assert found.bins("carrier", "bin", 3) == [carriers.count(c) for c in ("AA", "UA", "DL")]
    assert found.number("carrier", "invalid") == sum(c not in (None, "AA", "UA", "DL") for c in carriers)
    express = [v["express"] for v in values]
    assert found.bins("express", "bin", 2) == [express.count(False), express.count(True)]
    failed = sum(v["prediction"] is None or math.isnan(v["prediction"]) for v in values)
    assert found.number(ROWS, "failed") == failed


def test_different_inputs_are_told_apart_and_equal_ones_are_not(tmp_path: Path) -> None:
    place = world(tmp_path)
    healthy = rows(BEGIN, 2000)
    again = [{**made, "prediction_id": f"again-{i}"} for i, made in enumerate(healthy[:300])]
    place.write([*healthy, *again], "rows")
    found = figures(place)
    distinct = len({tuple(made["features"].values()) for made in healthy})
    assert found.number(ROWS, "different") == distinct
    assert found.rows == 2300


def test_rows_that_were_logged_twice_count_once(tmp_path: Path) -> None:
    place = world(tmp_path)
    healthy = rows(BEGIN, 500)
    place.write(healthy, "first")
    place.write(healthy[100:300], "again")
    found = figures(place)
    assert found.rows == 500
    assert found.number("distance", "present") == 500
    assert sum(found.between("distance", 10)) == 500
    place.measure(BEGIN + HOUR)
    values = [v["value"] for v in place.table("metric_values") if v["metric"] == "repeated_ids"]
    assert values == pytest.approx([1 - 500 / 700])


def test_names_and_values_are_quoted(tmp_path: Path) -> None:
    """Categories are data: none may end its literal, whatever it holds."""
    nasty = [
        "'; DROP TABLE x; --",
        'a"b',
        "back\\slash",
        "line\nend",
        "\ttab",
        "ünï",
        "`tick`",
        "@p",
        "{x}",
        "",
    ]
    made = manifest(
        features=[{"name": "select", "type": "string", "categories": nasty}],
        baselines={
            "features": {
                "select": {"kind": "categorical", "counts": dict.fromkeys(nasty, 5), "missing": 0.0}
            },
            "prediction": {
                "kind": "numeric",
                "edges": [1.0],
                "counts": [1, 1],
                "missing": 0,
                "mean": 1,
                "std": 1,
            },
        },
    )
    place = world(tmp_path, made=made)
    healthy = rows(BEGIN, 100)
    for index, made_row in enumerate(healthy):
        made_row["features"] = {"select": nasty[index % len(nasty)]}
    place.write(healthy, "rows")
    found = figures(place)
    assert found.bins("select", "bin", len(nasty)) == [10.0] * len(nasty)
    assert found.number("select", "invalid") == 0


def test_many_features_are_counted_in_several_statements(tmp_path: Path) -> None:
    features = [{"name": f"f{i}", "type": "float64"} for i in range(700)]
    baseline = {
        "kind": "numeric",
        "edges": [1.0, 2.0],
        "counts": [1, 1, 1],
        "missing": 0,
        "mean": 1,
        "std": 1,
    }
    made = manifest(
        features=features,
        baselines={"features": {f["name"]: baseline for f in features}, "prediction": baseline},
    )
    statements = counting.statements("p.d.t", made)
    assert len(statements) == 2
    assert all(len(found) <= counting.MAX_AGGREGATES + 100 for _, found in statements)
    assert {f.item for _, found in statements for f in found} >= {f["name"] for f in features}
    assert sum(f.item == ROWS and f.measure == "rows" for _, found in statements for f in found) == 1


def test_no_single_value_of_a_restricted_feature_is_kept() -> None:
    made = manifest()
    found = [f for _, some in counting.statements("p.d.t", made, restricted={"distance"}) for f in some]
    kept = {f.measure for f in found if f.item == "distance"}
    assert "minimum" not in kept and "maximum" not in kept and "bin_up_to" in kept
    assert {"minimum", "maximum"} <= {f.measure for f in found if f.item == "age"}


def node(absolute: float, **asks: Any) -> dict[str, Any]:
    return {"absolute_error": absolute, "squared_error": 2 * absolute, "rows": 3, **asks}


TREE = {
    "kind": "loss_tree",
    "nodes": [
        node(3, feature="distance", threshold=50, left=1, right=2),
        node(2, feature="carrier", threshold=0, left=3, right=4, missing_left=True),
        node(4, feature="@prediction", threshold=10.5, left=5, right=6),
        node(1),
        node(3, feature="express", threshold=0.5, left=7, right=8),
        node(0.25),
        node(8),
        node(2.5),
        node(3.5),
    ],
}


def expected_error(tree: LossTree, values: dict[str, Any], made: Manifest) -> float:
    """Walk the tree as the manifest's documentation says."""
    categories = {f.name: f.categories for f in made.signature.features}
    index = 0
    while (node := tree.nodes[index]).feature is not None:
        value = values["prediction" if node.feature == "@prediction" else node.feature]
        if isinstance(value, str):
            known = categories[node.feature] or ()
            value = known.index(value) if value in known else None
        missing = value is None or (isinstance(value, float) and math.isnan(value))
        assert node.left is not None and node.right is not None and node.threshold is not None
        index = node.left if (node.missing_left if missing else value <= node.threshold) else node.right
    return node.absolute_error


@settings(max_examples=25, deadline=None)
@given(values=st.lists(row, min_size=1, max_size=40))
def test_a_loss_tree_is_walked_as_it_says(
    tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, Any]]
) -> None:
    place = world(tmp_path_factory.mktemp("w"), error=TREE)
    place.write(logged(values), "rows")
    found = figures(place)
    tree = place.manifest.baselines.error
    assert isinstance(tree, LossTree)
    answered = [v for v in values if v["prediction"] is not None and not math.isnan(v["prediction"])]
    expected = sum(expected_error(tree, v, place.manifest) for v in answered)
    assert found.number(counting.ESTIMATE, "absolute") == pytest.approx(expected)
    assert found.number(counting.ESTIMATE, "present") == len(answered)


def test_calibration_is_a_line_through_the_bins() -> None:
    made = Calibration(
        edges=(0.2, 0.5), predicted=(0.1, 0.3, 0.8), observed=(0.2, 0.4, 0.6), counts=(5, 5, 5)
    )
    assert [counting.calibrated(made, score) for score in (0, 0.1, 0.2, 0.3, 0.55, 0.8, 1)] == pytest.approx(
        [0.2, 0.2, 0.3, 0.4, 0.5, 0.6, 0.6]
    )


def test_an_hour_without_rows_costs_nothing(tmp_path: Path) -> None:
    place = world(tmp_path)
    assert place.measure(BEGIN + DAY).values == []
    place.write(rows(BEGIN, 10), "rows")
    assert figures(place, (BEGIN, BEGIN + HOUR)).rows == 10
    assert place.table("window_counts")
    assert arrow_schema(place.log).names  # the log's definition is that of the warehouse
    assert modelyard.warehouse.local(tmp_path).query(
        f"SELECT SUM(predictions) AS n FROM `{place.model.usage_table}`"
    ).to_pylist() == [{"n": 10}]
