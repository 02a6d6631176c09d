"""Whatever the specification accepts, the stacks synthesize, keep the rules, and Terraform finds valid."""

import json

import pytest
from cdktf import App
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from modelyard.spec.environment import Environment
from modelyard.spec.team import DeployedTeam
from stacks import rules
from stacks.team import TeamStack
from stacks.tenant import TenantStack
from tests.stacks.deployment import Terraform, succeeds, write
from tests.strategies import environments, teams

EXAMPLES = 12


@st.composite
def deployments(draw: st.DrawFn) -> tuple[Environment, DeployedTeam]:
    """An environment, and a team as it deploys it."""
    environment = draw(environments())
    return environment, draw(teams(environment))


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
    write(json.loads((folder / "cdk.tf.json").read_text()), folder)
    for arguments in (["init", "-input=false"], ["plan", "-input=false", "-lock=false"]):
        succeeds(terraform, folder, *arguments)
