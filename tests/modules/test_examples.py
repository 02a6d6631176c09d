"""Each module's docstring example runs, is short, and its README says what protects and alarms."""

import re
import textwrap
from pathlib import Path
from typing import Any

import cdktf
import pytest

from modelyard.monitors import Family

MODULES = Path(__file__).parents[2] / "modules"
RUNBOOKS = MODULES.parent / "docs" / "runbooks"
EXAMPLES = [
    pytest.param(textwrap.dedent(code), id=f"{path.parent.name}-{number}")
    for path in sorted(MODULES.glob("*/__init__.py"))
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.S))
]
# Shared parts without a construct of their own.
WITHOUT_EXAMPLE = {"workload"}


@pytest.mark.parametrize("code", EXAMPLES)
def test_example_synthesizes_a_resource_in_ten_lines(code: str) -> None:
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith(("from", "import"))]
    assert len(lines) <= 10

    namespace: dict[str, Any] = {}
    exec(code, namespace)

    assert '"resource"' in cdktf.Testing.synth(namespace["stack"], True) or "provider(stack" in lines[-1]


def test_every_module_has_an_example_and_a_table() -> None:
    modules = {path.parent.name for path in MODULES.glob("*/__init__.py")}
    with_example = {str(parameter.id).rsplit("-", 1)[0] for parameter in EXAMPLES}
    assert with_example == modules - WITHOUT_EXAMPLE
    for module in modules:
        readme = (MODULES / module / "README.md").read_text()
        assert re.search(r"^\|.*protects.*\|.*alarms.*\|$", readme, re.M), (
            f"{module}/README.md has no such table"
        )
        families = "|".join(Family)
        for alert in re.findall(rf"`((?:{families})-[a-z0-9-]+)`", readme):
            assert (RUNBOOKS / f"{alert}.md").is_file(), (
                f"{module}/README.md names {alert}, which is no alert"
            )
