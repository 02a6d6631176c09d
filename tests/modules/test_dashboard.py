import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.monitors import Tile, tiles_of
from modelyard.spec.base import Pattern
from tests.modelyard.sample import NAMES, deployed
from tests.modules.synthesis import synthesized

from modules.dashboard import FleetDashboard, ModelDashboard, canonical, rendered  # isort: skip - as above


def read(document: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document)
    return found


def charts(document: dict[str, Any]) -> list[dict[str, Any]]:
    tiles = document["mosaicLayout"]["tiles"]
    return [tile["widget"] for tile in tiles if "xyChart" in tile["widget"]]


@pytest.mark.parametrize("pattern", Pattern)
def test_a_models_dashboard_draws_each_threshold(pattern: Pattern) -> None:
    team, model, names = deployed(pattern)
    made = synthesized(
        lambda stack: ModelDashboard(
            stack, "d", team=team, model=model, names=names, labels={"team": "flights"}
        )
    )
    document = read(made["google_monitoring_dashboard"]["d/dashboard"]["dashboard_json"])
    assert document["displayName"] == "flights/delay"
    drawn = {
        chart["title"]: chart["xyChart"].get("thresholds", [{}])[0].get("value") for chart in charts(document)
    }
    declared = {tile.title: tile.threshold or None for tile in tiles_of(team, model, names)}
    assert drawn == declared
    queries = [
        chart["xyChart"]["dataSets"][0]["timeSeriesQuery"]["prometheusQuery"] for chart in charts(document)
    ]
    assert queries == [tile.query for tile in tiles_of(team, model, names)]


def test_the_fleets_dashboard_is_made() -> None:
    made = synthesized(lambda s: FleetDashboard(s, "d", names=NAMES, owner="p@example.com", labels={}))
    document = read(made["google_monitoring_dashboard"]["d/dashboard"]["dashboard_json"])
    assert "p@example.com" in document["mosaicLayout"]["tiles"][0]["widget"]["text"]["content"]
    assert len(charts(document)) > 10


def test_tiles_do_not_overlap_and_stay_within_the_columns() -> None:
    tiles = [Tile(f"t{number}", "up", "1") for number in range(7)]
    layout = read(rendered("d", "n", tiles, {}))["mosaicLayout"]
    cells = [
        (x, y)
        for tile in layout["tiles"]
        for x in range(tile.get("xPos", 0), tile.get("xPos", 0) + tile["width"])
        for y in range(tile.get("yPos", 0), tile.get("yPos", 0) + tile["height"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < layout["columns"] == 48


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(JSON)
def test_canonical_leaves_out_what_the_api_leaves_out(value: Any) -> None:
    def check(found: Any) -> None:
        if isinstance(found, dict):
            assert all(item not in (None, 0, "", [], {}) for item in found.values())
            for item in found.values():
                check(item)
        elif isinstance(found, list):
            for item in found:
                check(item)
        else:
            assert not (isinstance(found, float) and found.is_integer())

    once = canonical(value)
    check(once)
    assert canonical(once) == once


def test_the_text_is_the_same_each_time_and_sorted() -> None:
    tiles = [Tile("t", "up", "1", 0.5)]
    text = rendered("d", "n", tiles, {"b": "1", "a": "2"})
    assert text == rendered("d", "n", tiles, {"a": "2", "b": "1"})
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
