from pathlib import Path

import pytest

from modelyard.monitors import MONITORS, platform
from modelyard.monitors.runbooks import COMMAND, RUNBOOKS, SERIES, pages, stale, write
from modelyard.monitors.values import VALUES

KEYS = [monitor.key for monitor in (*MONITORS, *platform.MONITORS)]


def test_the_runbooks_are_current() -> None:
    assert stale() == [], f"run: {COMMAND}"


def test_every_alert_has_a_runbook_and_the_index_names_it() -> None:
    found = pages()
    assert found.keys() == {SERIES, RUNBOOKS / "README.md", *(RUNBOOKS / f"{key}.md" for key in KEYS)}
    assert all(f"[{key}]({key}.md)" in found[RUNBOOKS / "README.md"] for key in KEYS)


def test_the_series_page_names_what_the_monitor_job_must_push() -> None:
    for value in VALUES:
        assert f"| {value.family} | `{value.metric}` |" in pages()[SERIES]


@pytest.mark.parametrize("key", KEYS)
def test_a_runbook_says_what_it_means_what_to_do_and_how_to_silence_it(key: str) -> None:
    text = pages()[RUNBOOKS / f"{key}.md"]
    for part in ("| Owner |", "| Severity |", "## What it means", "## Likely causes", "## How to silence it"):
        assert part in text
    assert "\n1. " in text and "\n2. " in text and "\n3. " in text
    assert "## Query to look at" in text or "## Log entries to look at" in text
    assert "{" not in text.split("## Query")[0].split("## Log entries")[0], "a name was left unfilled"


def test_write_removes_pages_of_monitors_that_are_gone(tmp_path: Path) -> None:
    folder = tmp_path / RUNBOOKS
    folder.mkdir(parents=True)
    (folder / "gone.md").write_text("x")
    assert set(stale(tmp_path)) == {str(path) for path in (RUNBOOKS / "gone.md", *pages())}
    assert write(tmp_path) == len(pages())
    assert stale(tmp_path) == []
    (folder / "usage-drop.md").write_text("edited by hand")
    assert stale(tmp_path) == [str(RUNBOOKS / "usage-drop.md")]
