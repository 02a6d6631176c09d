"""`modelyard serve`: the REST image's own code, from the local registry into the local warehouse."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from cli.local import choose
from modelyard.artifacts.signing import signing_key
from modelyard.capture import publish
from modelyard.spec.base import Pattern
from modelyard.spec.manifest import Manifest, digest_of
from tests.cli.conftest import Run
from tests.strategies import Team, Tree, environment_document, team_document

PATIENCE = 60.0  # seconds; a machine under load starts a server slowly


class World(NamedTuple):
    """A tree whose one model has two versions, and the folders it is served from and to."""

    tree: Path
    registry: Path
    warehouse: Path


def published(registry: Path, version: int) -> Manifest:
    random = np.random.default_rng(version)
    data = pd.DataFrame({"distance": random.uniform(100, 2000, 300), "late": random.normal(0, 5, 300)})
    data["delay"] = version * data["late"] + 0.001 * data["distance"]
    model = LinearRegression().fit(data[["distance", "late"]], data["delay"])
    return publish(
        model,
        name="flight-ops/arrival-delay",
        data=data[:200],
        test=data[200:],
        target="delay",
        version=version,
        registry_at=registry,
        entry_point=Path(__file__),
    ).manifest


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("serve")
    registry = folder / "registry"
    manifests = {version: published(registry, version) for version in (1, 2)}
    document = team_document(
        models=[
            {"name": "arrival-delay", "pattern": "rest", "version": 1, "canary": {"version": 2}},
            {"name": "fuel-use", "pattern": "batch", "version": 1},
        ]
    )
    files = {
        "arrival-delay.json": manifests[1].model_dump(mode="json", exclude_none=True),
        "arrival-delay.canary.json": manifests[2].model_dump(mode="json", exclude_none=True),
    }
    document["models"].pop()
    tree = Tree({"dev": environment_document()}, {"flight-ops": Team(document, files)}).write(folder / "tree")
    return World(tree, registry, folder / "warehouse")


def test_what_others_trained_again_is_served_as_they_signed_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pinned manifest names its publisher's signature, which no registry has but his own."""
    own = tmp_path / "registry"
    monkeypatch.setenv("MODELYARD_SIGNING_KEY", str(signing_key(tmp_path, {"HOME": str(tmp_path)})))
    for version in (1, 2):
        published(own, version)
    choice = choose(world.tree, "flight-ops", pattern=Pattern.REST, environment=None, registry=own)
    assert [chosen.manifest.version for chosen in choice.versions] == [1, 2]
    for chosen in choice.versions:
        signing = chosen.manifest.signing
        assert signing and (own / signing.bundle.uri).is_file()
        pinned = Manifest.model_validate_json(
            (
                world.registry / f"flight-ops/arrival-delay/{chosen.manifest.version}/manifest.json"
            ).read_bytes()
        )
        assert chosen.manifest.artifact == pinned.artifact
        assert pinned.signing and chosen.manifest.signing != pinned.signing


def test_another_model_under_a_pinned_number_is_told(world: World, modelyard: Run, tmp_path: Path) -> None:
    other = tmp_path / "registry"
    (other / "flight-ops/arrival-delay").mkdir(parents=True)
    # Version 2 of the one stands where version 1 of the pinned is looked for.
    document = json.loads((world.registry / "flight-ops/arrival-delay/2/manifest.json").read_bytes())
    document = document | {"version": 1}
    document["digest"] = digest_of(document)
    place = other / "flight-ops/arrival-delay/1"
    place.mkdir()
    (place / "manifest.json").write_text(json.dumps(document))
    told = modelyard(f"--root={world.tree}", "serve", "flight-ops", f"--registry={other}")
    assert told.code == 2
    assert "has a flight-ops/arrival-delay@1 that is not the pinned one" in told.err
    assert "modelyard pin flight-ops/arrival-delay@1" in told.err


@contextmanager
def serving(world: World, *target: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run the command until the server is ready; give its address and the process."""
    command = [sys.executable, "-m", "cli.main", f"--root={world.tree}", "serve", *target, "--port=0"]
    command += [f"--registry={world.registry}", f"--warehouse={world.warehouse}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"serving .* on http://127\.0\.0\.1:(\d+)", line):
                break
        else:
            pytest.fail(f"the server ended: {''.join(said)}")
        yield f"http://127.0.0.1:{found[1]}", process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def stopped(process: "subprocess.Popen[str]") -> int:
    """Press Ctrl-C: the whole group of the terminal is told."""
    os.killpg(process.pid, signal.SIGINT)
    return process.wait(PATIENCE)


def test_pinned_version_and_canary_answer_and_are_logged(world: World) -> None:
    with serving(world, "flight-ops") as (url, process):
        row = {"distance": 1000.0, "late": 10.0}
        answers = {}
        for version, headers in ((1, {}), (2, {"x-modelyard-canary": "always"})):
            path = f"{url}/models/arrival-delay/predict"
            answer = httpx.post(path, json=row, headers=headers, timeout=PATIENCE)
            assert answer.status_code == 200, answer.text
            answers[version] = answer.json()
        assert stopped(process) == 0
    rows = pd.read_parquet(
        world.warehouse / "ex-dev-flight-ops" / "modelyard_dev_predictions" / "arrival_delay"
    )
    logged = dict(zip(rows["version"], rows["prediction"], strict=True))
    assert logged[1] == pytest.approx(11, abs=0.1)
    assert logged[2] == pytest.approx(21, abs=0.1)
    logged_as = dict(zip(rows["version"], rows["prediction_id"], strict=True))
    assert {version: answer["prediction_id"] for version, answer in answers.items()} == logged_as


def test_a_version_that_is_not_pinned_can_be_tried(world: World) -> None:
    with serving(world, "flight-ops/arrival-delay@2") as (url, process):
        answer = httpx.get(f"{url}/v2/models/arrival-delay", timeout=PATIENCE)
        assert answer.json()["versions"] == ["2"]
        assert stopped(process) == 0


def test_a_batch_model_scores_a_file(world: World, tmp_path: Path) -> None:
    document = team_document(models=[{"name": "arrival-delay", "pattern": "batch", "version": 1}])
    manifest = world.tree / "teams" / "flight-ops" / "arrival-delay.json"
    files = {"arrival-delay.json": json.loads(manifest.read_text(encoding="utf-8"))}
    tree = Tree({"dev": environment_document()}, {"flight-ops": Team(document, files)}).write(tmp_path)
    rows = pd.DataFrame({"distance": [1000.0, 500.0], "late": [10.0, 0.0], "flight": ["a", "b"]})
    rows.to_parquet(tmp_path / "rows.parquet")
    command = [sys.executable, "-m", "cli.main", f"--root={tree}", "score", "flight-ops/arrival-delay"]
    command += [f"--input={tmp_path / 'rows.parquet'}", "--key=flight"]
    command += [f"--registry={world.registry}", f"--warehouse={tmp_path / 'tables'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    dataset = tmp_path / "tables" / "ex-dev-flight-ops" / "modelyard_dev_predictions"
    scored = pd.read_parquet(dataset / "arrival_delay_predictions").set_index("row_id")["prediction"]
    assert scored.to_dict() == pytest.approx({"a": 11.0, "b": 0.5}, abs=0.1)
    assert len(pd.read_parquet(dataset / "arrival_delay")) == 2


@pytest.fixture
def command(world: World, modelyard: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MODELYARD_REGISTRY", str(world.registry))
    return lambda *arguments: modelyard(f"--root={world.tree}", *arguments)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("flight-op", "There is no team 'flight-op'; there are flight-ops. Did you mean 'flight-ops'?"),
        ("flight-ops/arrival", "has no model 'arrival'; it has arrival-delay. Did you mean 'arrival-delay'?"),
        ("flight-ops/arrival-delay@7", "There is no version 7 of flight-ops/arrival-delay"),
        ("flight-ops/arrival-delay@x", "is not TEAM/MODEL@VERSION"),
    ],
)
def test_what_is_not_there_is_told(command: Run, target: str, message: str) -> None:
    told = command("serve", target)
    assert told.code == 2
    assert message in told.err
    assert "Traceback" not in told.err


def test_another_pattern_is_told(command: Run) -> None:
    told = command("score", "flight-ops/arrival-delay")
    assert told.code == 2
    assert "flight-ops/arrival-delay has no batch model: arrival-delay (rest)" in told.err


def test_a_registry_without_the_files_is_told(command: Run, tmp_path: Path) -> None:
    told = command("serve", "flight-ops", f"--registry={tmp_path}")
    assert told.code == 2
    assert f"The registry {tmp_path} lacks flight-ops/arrival-delay/1/model-" in told.err
    assert "make train" in told.err


def test_a_port_that_is_taken_is_told(world: World, command: Run) -> None:
    with serving(world, "flight-ops") as (url, process):
        port = url.rpartition(":")[2]
        told = command("serve", "flight-ops", "--port", port, f"--warehouse={world.warehouse}-2")
        assert told.code == 2
        assert "Traceback" not in told.err
        assert stopped(process) == 0
