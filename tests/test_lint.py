"""The linters and the type checker find nothing."""

from pathlib import Path

import pytest

from scripts import lint


@pytest.mark.parametrize("name", lint.COMMANDS)
def test_checkout_is_clean(name: str, root: Path) -> None:
    finished = lint.run(name, root)
    assert finished.returncode == 0, f"{' '.join(lint.COMMANDS[name])}\n{finished.stdout}"
