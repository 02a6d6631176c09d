"""Training gives what is pinned: the same data, signature and baselines, and about the same results."""

import filecmp
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from examples import train_all
from modelyard.spec.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]
TEAMS = ("fleet-care", "flight-ops", "pricing")
PINNED = sorted(path for team in TEAMS for path in (ROOT / "teams" / team).glob("*.json"))
# All but the flights, which take longer.
SMALL = (
    "fleet-care/fuel-economy",
    "pricing/credit-default",
    "pricing/diamond-value",
    "pricing/vehicle-price",
)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MODELYARD_ENVIRONMENT", "MODELYARD_SIGNING_KEY", "MODELYARD_WAREHOUSE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELYARD_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "registry"


def train_apart(registry: Path, *names: str, seed: str) -> None:
    """Train in a process of its own, as people do, with another order of sets."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
    environment |= {
        "MODELYARD_REGISTRY": str(registry / "registry"),
        "PYTHONHASHSEED": seed,
        "XDG_CONFIG_HOME": str(registry / "config"),
    }
    only = [argument for name in names for argument in ("--only", name)]
    command = [sys.executable, "-m", "examples.train_all", *only]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def train(*names: str) -> None:
    """Train in this process."""
    for script, version in train_all.chosen(names):
        script.train(version)


@pytest.mark.parametrize("path", PINNED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_training_reproduces_the_pinned_manifest(path: Path, registry: Path) -> None:
    pinned = Manifest.model_validate_json(path.read_bytes())
    name = f"{pinned.team}/{pinned.model}"
    train(f"{name}@{pinned.version}")
    fresh = Manifest.model_validate_json(
        (registry / name / str(pinned.version) / "manifest.json").read_bytes()
    )

    mend = f"train {name}@{pinned.version} from a clean checkout and pin it, if the change is meant"
    assert fresh.signature == pinned.signature, mend
    assert (fresh.data.digest, fresh.data.rows) == (pinned.data.digest, pinned.data.rows), mend
    assert fresh.baselines.features == pinned.baselines.features, mend
    assert (fresh.task, fresh.description) == (pinned.task, pinned.description), mend
    # Floating point differs a little between processors; results must not.
    assert fresh.metrics.rows == pinned.metrics.rows
    assert fresh.metrics.values == pytest.approx(pinned.metrics.values, rel=0.02), mend
    expected, measured = pinned.baselines.prediction, fresh.baselines.prediction
    assert expected.kind == measured.kind == "numeric"
    assert measured.mean == pytest.approx(expected.mean, rel=0.02), mend


def test_training_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        train_apart(tmp_path / seed, *SMALL, seed=seed)
    first, second = tmp_path / "1" / "registry", tmp_path / "2" / "registry"
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    artifacts = [file for file in files if file.name.startswith("model-")]
    assert len(artifacts) == 10, "each version natively and as ONNX"
    assert filecmp.cmpfiles(first, second, map(str, artifacts), shallow=False)[0] == [
        str(a) for a in artifacts
    ]
    for file in files:
        if file.name == "manifest.json":
            documents = [json.loads((folder / file).read_bytes()) for folder in (first, second)]
            for document in documents:  # another commit may have been made between the two runs
                for part in ("bom", "code", "created", "digest", "signing"):
                    del document[part]
            assert documents[0] == documents[1]


def test_published_files_answer_as_their_baselines_say(registry: Path) -> None:
    """Load every format as a server would, and score the training rows' own kind of input."""
    train("fleet-care/fuel-economy", "pricing/vehicle-price@2", "pricing/credit-default")

    import lightgbm
    import skops.io
    import xgboost

    def published(version: str) -> tuple[Manifest, Path]:
        manifest = Manifest.model_validate_json((registry / version / "manifest.json").read_bytes())
        return manifest, registry / manifest.artifact.uri

    manifest, file = published("pricing/vehicle-price/2")
    price = xgboost.Booster(model_file=file)
    make = manifest.signature.features[0]
    assert make.categories is not None
    cadillac, saturn = (
        [make.categories.index(brand), 3, 15_000, 6, 4, 1, 1, 1] for brand in ("cadillac", "saturn")
    )
    prices = price.predict(xgboost.DMatrix(np.array([cadillac, saturn], np.float32)))
    assert prices[0] > 1.5 * prices[1] > 5_000

    manifest, file = published("pricing/credit-default/1")
    risk = lightgbm.Booster(model_file=file)
    names = [feature.name for feature in manifest.signature.features]
    applicant = dict.fromkeys(names, np.nan) | {"seniority": 10, "time": 48, "amount": 1000, "price": 1500}
    clean, defaulted = (
        risk.predict([list((applicant | {"records": known, "income": 150}).values())])[0] for known in (0, 1)
    )
    assert 0 < clean < 0.5 < defaulted / clean

    _, archive = published("fleet-care/fuel-economy/1")
    assert skops.io.get_untrusted_types(file=archive) == [], "the file must load without trusting anything"
    import pandas as pd

    economy = skops.io.load(archive)
    names = ["cylinders", "displacement", "horsepower", "weight", "acceleration", "year", "built_in"]
    cars = pd.DataFrame(
        [[4, 98, 70, 2100, 15, 1982, "Japan"], [8, 350, 165, 4000, 12, 1972, "USA"]], columns=names
    )
    light, heavy = economy.predict(cars)
    assert 30 < light < 40
    assert 10 < heavy < 18


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pricing/vehicle-prize", "unknown model pricing/vehicle-prize; known are fleet-care/fuel-economy, "),
        ("pricing/vehicle-price@3", "pricing/vehicle-price has no version 3; it has 1, 2"),
        ("pricing/vehicle-price@", "pricing/vehicle-price has no version ; it has 1, 2"),
    ],
)
def test_names_that_are_unknown_are_refused_before_anything_is_trained(
    name: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODELYARD_REGISTRY", str(tmp_path))
    assert train_all.main(["--only", "fleet-care/fuel-economy", "--only", name]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_scripts_are_found_by_the_names_of_their_models() -> None:
    found = list(train_all.chosen([]))
    assert {script.NAME for script, _ in found} == set(train_all.scripts())
    assert len(found) == 10
    assert [version for _, version in train_all.chosen(["pricing/vehicle-price@2"])] == [2]
