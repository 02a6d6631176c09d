"""The module that the guide adds: its code, its example and its test run, and its README has its table."""

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.docs.documents import ROOT, Document
from tests.modules.synthesis import by_type, synthesized

GUIDE = Document("", (ROOT / "docs/guides/adding-a-module.md").read_text("utf-8"))
NAME = "modules.log_metric"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The guide's module, importable under the name that its example imports."""
    source, _ = GUIDE.blocks("python")
    made = ModuleType(NAME)
    exec(source, made.__dict__)
    monkeypatch.setitem(sys.modules, NAME, made)
    yield made


def test_the_example_in_its_docstring_makes_the_metric(module: ModuleType) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", module.LogMetric.__doc__ or "", re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(textwrap.dedent(example), namespace)
    namespace["stack"].prepare_stack()
    (metric,) = by_type(namespace["stack"].to_terraform())["google_logging_metric"].values()
    assert metric["name"] == "refused"
    assert metric["metric_descriptor"] == {"metric_kind": "DELTA", "value_type": "INT64"}


def test_the_guides_test_runs(module: ModuleType) -> None:
    _, source = GUIDE.blocks("python")
    namespace: dict[str, Any] = {"LogMetric": module.LogMetric}
    exec(source, namespace)
    (test,) = [value for name, value in namespace.items() if name.startswith("test_")]
    test()


def test_an_empty_filter_is_refused(module: ModuleType) -> None:
    with pytest.raises(ValueError, match="filter of log metric m is empty"):
        synthesized(
            lambda stack: module.LogMetric(stack, "m", project="p", name="m", description="d", log_filter=" ")
        )


def test_its_readme_has_the_table_that_a_test_looks_for() -> None:
    (readme,) = GUIDE.blocks("markdown")
    assert re.search(r"^\|.*protects.*\|.*alarms.*\|$", readme, re.MULTILINE)


def test_the_places_that_it_names_hold_what_it_says() -> None:
    for path, word in {
        "stacks/rules.py": "LABEL_FIELDS",
        "stacks/app.py": "NEEDS",
        "stacks/foundation.py": "SERVICES",
        "modules/cluster_access/__init__.py": "TEAM_KINDS",
        "modules/tenant/__init__.py": "DEPLOYER_PERMISSIONS",
    }.items():
        assert re.search(rf"^{word}\b", (ROOT / Path(path)).read_text("utf-8"), re.MULTILINE), path
