"""A registry of its own for every test, and frames to learn from."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modelyard.artifacts.signing import signing_key


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signing_key(tmp_path_factory.mktemp("none"), {"HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture
def registry(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty registry, that `publish` finds; its table of versions is a local warehouse beside it."""
    for name in ("MODELYARD_WAREHOUSE", "MODELYARD_ENVIRONMENT", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELYARD_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("MODELYARD_SIGNING_KEY", str(key))
    yield tmp_path / "registry"


def rows(count: int = 400, seed: int = 1) -> pd.DataFrame:
    """Return rows with features of every type, missing values, and targets of every task."""
    random = np.random.default_rng(seed)
    x, z = random.normal(size=count), random.integers(0, 50, count)
    kind = random.choice(["red", "green", "blue"], count)
    noise = random.normal(size=count) * 0.1
    value = 3 * x + 0.2 * z + (kind == "red") * 2 + noise
    return pd.DataFrame(
        {
            "x": np.where(random.random(count) < 0.1, np.nan, x),
            "count": z,
            "kind": pd.Series(kind).where(random.random(count) > 0.05),
            "flag": random.random(count) < 0.5,
            "value": value,
            "high": value > 5,
            "grade": np.select([value < 3, value < 7], ["low", "middle"], "top"),
        }
    )


FEATURES = ["x", "count", "kind", "flag"]
