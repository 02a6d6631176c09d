"""Whatever the specification accepts, the stacks synthesize, keep the rules, and Terraform finds valid."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cdktf import App
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from modelyard.spec.environment import Environment
from modelyard.spec.team import DeployedTeam
from modelyard.toolchain import find_terraform
from plan_review.standin.launch import running
from stacks import rules
from stacks.team import TeamStack
from stacks.tenant import TenantStack
from tests.stacks.fleet import ROOT
from tests.strategies import environments, teams

EXAMPLES = 12


@st.composite
def deployments(draw: st.DrawFn) -> tuple[Environment, DeployedTeam]:
    """An environment, and a team as it deploys it."""
    environment = draw(environments())
    return environment, draw(teams(environment))


Terraform = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def terraform() -> Iterator[Terraform]:
    """Run Terraform on a folder, with a stand-in beside it."""
    command = find_terraform(ROOT)
    with running() as added:
        environment = os.environ | added

        def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
            words = [command, *arguments, "-no-color"]
            return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)

        yield run


# An example that fails is small enough as drawn, and each step of shrinking it would run Terraform.
@settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(deployment=deployments())
def test_every_accepted_team_synthesizes_and_plans(
    deployment: tuple[Environment, DeployedTeam],
    terraform: Terraform,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    environment, team = deployment
    out = tmp_path_factory.mktemp("property")
    app = App(outdir=str(out))
    stack = TeamStack(app, environment, team).team_names.stack
    TenantStack(app, environment, team.team, team.cost_center)
    app.synth()

    assert rules.violations(out) == []
    folder = out / "stacks" / stack
    with_local_state(folder / "cdk.tf.json")
    for arguments in (["init", "-input=false"], ["plan", "-input=false", "-lock=false"]):
        finished = terraform(folder, *arguments)
        assert finished.returncode == 0, finished.stdout + finished.stderr


def with_local_state(path: Path) -> None:
    """Let a synthesized stack keep its state beside it."""
    document = json.loads(path.read_text())
    document["terraform"]["backend"] = {"local": {"path": "terraform.tfstate"}}
    path.write_text(json.dumps(document))
