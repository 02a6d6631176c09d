"""`modelyard trace`: the id alone is enough, on one machine."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.modelyard.trace.world import ID, World, past


@pytest.fixture
def made(tmp_path: Path, registry: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A model with a past, in the warehouse and the registry that the command finds."""
    monkeypatch.setenv("MODELYARD_WAREHOUSE", str(tmp_path / "warehouse"))
    return past(tmp_path)


def test_the_id_alone(modelyard: Run, made: World) -> None:
    told = modelyard("trace", ID)
    assert (told.code, told.err) == (0, "")
    for word in ("12.25 minutes", "deployer@example.com", "ann@example.com, bob@example.com", "5 of 5"):
        assert word in told.out
    assert "caller@example.com" not in told.out


def test_every_option(modelyard: Run, made: World, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    told = modelyard(
        "trace", ID, "--team", "flights", "--model", "delay", "--day", "2026-03-02", "--show-protected",
        "--no-fetch", "--json", "--html", str(page), "--warehouse", str(tmp_path / "warehouse"),
        "--registry", str(tmp_path / "registry"),
    )  # fmt: skip
    assert told.code == 0
    found = json.loads(told.out)
    assert found["prediction"]["caller"]["value"] == "caller@example.com"
    assert [check["what"] for check in found["checks"]] == ["manifest", "manifest deployed", "image"]
    assert "caller@example.com" in page.read_text()


def test_a_difference_is_exit_code_1(modelyard: Run, made: World) -> None:
    (made.registry / "flights/delay/1/model.onnx").write_bytes(b"another model")
    told = modelyard("trace", ID)
    assert told.code == 1
    assert "differs: it is sha256:" in " ".join(told.out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no prediction 'nothing'"),
        ([ID, "--model", "nowhere"], "there is no prediction log of any team/nowhere here"),
        ([ID, "--day", "2026-03-09"], "on 2026-03-09"),
    ],
)
def test_what_is_not_there(modelyard: Run, made: World, arguments: list[str], message: str) -> None:
    told = modelyard("trace", *arguments)
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("modelyard: ")
    assert message in told.err


def test_an_empty_machine(modelyard: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_WAREHOUSE", str(tmp_path / "none"))
    told = modelyard("trace", ID)
    assert told.code == 2
    assert "there is no prediction log of any team/any model here" in told.err


def test_an_environment_that_is_not_there(modelyard: Run) -> None:
    told = modelyard("trace", ID, "--environment", "nowhere")
    assert told.code == 2
    assert "nowhere" in told.err
