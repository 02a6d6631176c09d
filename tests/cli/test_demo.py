"""The demo, as a newcomer runs it."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from cli.demo import Demo, DemoError
from modelyard.naming import Names
from modelyard.spec.load import load_environment, team_names
from modelyard.tables import DEPLOYMENTS
from modelyard.warehouse import local, reference
from tests.stacks.fleet import ROOT


def test_the_demo_shows_what_a_newcomer_is_told(tmp_path: Path) -> None:
    output = StringIO()
    Demo(ROOT, Console(file=output, width=200), tmp_path / "demo").run()

    shown = output.getvalue()
    assert "11 of 11 plans are empty" in shown
    assert "of 11 stacks, local-team-flight-ops changed" in shown
    assert "google_monitoring_alert_policy" in shown
    assert "Plan: 0 to add, 3 to change, 0 to destroy." in shown
    assert "Google was not asked" in shown
    assert "5,000 answered, 5,000 in the log, none lost" in shown
    assert "7 of 7 digests and signatures verified" in shown
    assert "values measured, no alert open" in shown
    assert "feature recent_loss is broken" in shown
    assert "flight-ops@example.com" in shown

    ref = reference(Names.of(load_environment(ROOT, "local")), DEPLOYMENTS)
    [row] = local(tmp_path / "demo" / "warehouse").query(f"SELECT * FROM `{ref}`").to_pylist()
    assert row["succeeded"] and len(row["stacks"]) == 11
    assert {model["team"] for model in row["models"]} == set(team_names(ROOT))


def test_a_second_demo_at_the_same_time_is_refused(tmp_path: Path) -> None:
    first, second = (Demo(ROOT, Console(file=StringIO()), tmp_path / "demo") for _ in range(2))
    with first._alone(), pytest.raises(DemoError, match="another demo"), second._alone():
        pass
    with second._alone():
        pass


def test_resources_that_were_not_made_fail_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = Demo(ROOT, Console(file=StringIO()), tmp_path / "demo")
    (tmp_path / "demo" / "cdktf.out" / "stacks" / "local-x").mkdir(parents=True)
    stack = '{"resource": {"google_project_service": {"a": {}, "b": {}}}}'
    (tmp_path / "demo" / "cdktf.out" / "stacks" / "local-x" / "cdk.tf.json").write_text(stack)
    monkeypatch.setattr(demo, "_lines", lambda *_: iter(["a: Creation complete", "b: Creation complete"]))
    with pytest.raises(DemoError, match="0 of 2 resources were made"):
        demo._deploy({})
