"""The guide to the first model, followed to the letter in a copy of the checkout."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from modelyard.spec import load

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/guides/first-model.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the guide needs of the checkout, with one commit."""
    copy = tmp_path_factory.mktemp("guide")
    for folder in ("cli", "environments", "examples", "modelyard", "teams"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / ".gitignore").write_text("__pycache__/\n")
    for command in ("git init -q", "git add .", "git commit -q -m Begin"):
        run(copy, command)
    return copy


def run(checkout: Path, line: str, status: int = 0) -> str:
    """Run a line of the guide in `checkout` and return what it said."""
    line = re.sub(r"^modelyard ", "python -m cli.main ", line)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
    environment |= {
        "XDG_CONFIG_HOME": str(checkout.parent / f"{checkout.name}-config"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(checkout),
        **{
            f"GIT_{who}_{what}": "a@example.com"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    done = subprocess.run(
        line, shell=True, cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def lines() -> Iterator[str]:
    for block in blocks("sh"):
        yield from block.splitlines()


def test_guide_leads_to_a_valid_team_file(checkout: Path) -> None:
    (script,) = blocks("python")
    named = re.search(r"Save this as `([^`]+)`", GUIDE)
    assert named
    path = checkout / named[1]
    path.parent.mkdir()
    path.write_text(script)

    said = "".join(run(checkout, line) for line in lines())
    assert "no problems" in said
    assert "uncommitted" not in said

    told = re.search(r"^(housing/sale-price@1 published): mae (\d+) (on .*)$", GUIDE, re.MULTILINE)
    published = re.search(r"^(housing/sale-price@1 published): mae (\d+) (on .*)$", said, re.MULTILINE)
    assert told and published
    assert (told[1], told[3]) == (published[1], published[3])
    assert float(told[2]) == pytest.approx(float(published[2]), rel=0.02)
    written = {path.name for path in (checkout / ".modelyard/registry/housing/sale-price/1").iterdir()}
    told_files = set(re.findall(r"`((?:model|bom|signature)-\*[^`]*|manifest\.json)`", GUIDE))
    assert len(written) == len(told_files) == 5
    assert all(any(fnmatchcase(file, pattern) for pattern in told_files) for file in written)

    team = load.load_team(checkout, "housing", load.load_environment(checkout, "prod"))
    assert [(model.name, model.manifest.version) for model in team.models] == [("sale-price", 1)]

    train = next(line for line in lines() if line.startswith("python -m"))
    assert "unchanged" in run(checkout, train)
    path.write_text(script.replace("random_state=1)", "random_state=2)"))
    assert "housing/sale-price@2 published" in run(checkout, train)

    file = checkout / "teams/housing/team.yaml"
    file.write_text(
        file.read_text()
        .replace("pattern: rest  ", "pattern: rst  ")
        .replace("pattern: rest\n", "pattern: rst\n")
    )
    (problem,) = re.findall(r"^teams/housing/team\.yaml:.*$", GUIDE, re.MULTILINE)
    assert problem in run(checkout, "modelyard validate", status=2)
