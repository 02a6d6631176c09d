"""The guide's commands, in its order, on the checkout's own environments."""

import re
import shlex
import shutil
from pathlib import Path

from tests.cli.conftest import Run, publish
from tests.strategies import manifest_document

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guides" / "onboarding-a-team.md"


def test_every_command_of_the_guide_runs(modelyard: Run, registry: Path, tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    for name in ("environments", "teams"):
        shutil.copytree(ROOT / name, root / name)
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert [command[1] for command in commands] == ["new", "new", "validate", "pin", "pin"]
    publish(registry, manifest_document("returns", "return-risk", 1))
    for program, *arguments in commands:
        if "return-risk@2" in " ".join(arguments) and "--canary" in arguments:
            publish(registry, manifest_document("returns", "return-risk", 2))
        assert program == "modelyard"
        told = modelyard("--root", str(root), *arguments)
        assert told.code == 0, told.out + told.err
        assert modelyard("--root", str(root), "validate").code == 0
