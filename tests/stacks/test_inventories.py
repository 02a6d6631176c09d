"""Each stack has the resources and settings of its golden inventory."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.golden import INVENTORIES, REFRESH, differences, refreshed
from tests.stacks.conftest import Documents

ONE = {"google_thing": 1}
PATHS = sorted(INVENTORIES.glob("*.yaml"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_stack_is_as_its_inventory_says(path: Path, fleet_documents: Documents) -> None:
    lines = differences(fleet_documents[path.stem], yaml.safe_load(path.read_text()))
    assert not lines, "\n".join([*lines, "", f"If this is as it should be: {REFRESH}"])


def test_every_room_has_an_inventory() -> None:
    rooms = {path.stem.removeprefix("local-") for path in PATHS if path.stem.startswith("local-")}
    teams = {"team-fleet-care", "team-flight-ops", "team-pricing", "tenant-flight-ops"}
    assert rooms == {"foundation", "platform", "cluster", "catalog", "operations"} | teams


@pytest.mark.parametrize(
    ("golden", "says"),
    [
        ({"counts": {"google_thing": 2}}, "google_thing: 2 in the inventory, 1 synthesized"),
        (
            {"counts": {"google_thing": 1}, "values": {"a/b": {"size": 4}}},
            "a/b: size is 3, the inventory says 4",
        ),
        ({"counts": {"google_thing": 1}, "values": {"a/c": {"size": 4}}}, "a/c: size is 'not synthesized'"),
        ({"counts": {"google_thing": 1}, "missing": ["google_thing"]}, "google_thing: must not be there"),
        ({"counts": {"google_thing": 1}, "missing": ["a/b"]}, "a/b: must not be there"),
        ({"counts": {"google_thing": 1}, "missing": ["a/b:size"]}, "a/b:size: must not be there"),
    ],
)
def test_an_inventory_finds_what_differs(golden: dict[str, Any], says: str) -> None:
    thing = {"size": 3, "//": {"metadata": {"path": "dev-x/a/b"}}}
    document = {"resource": {"google_thing": {"a_b": thing}}}
    assert differences(document, golden)[0].startswith(says)
    assert not differences(document, refreshed(document, {"values": {"a/b": {"size": 1}}}))
