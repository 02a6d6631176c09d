"""Names: within every service's limits, different for different owners, and the same every time."""

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from modelyard import naming
from modelyard.naming import Names, fit, labels
from modelyard.naming.checks import Claim, illegal, model_claims, platform_claims, shared, team_claims
from modelyard.spec.environment import Environment
from modelyard.spec.team import Model
from tests.strategies import environment_document, names

NAMES = Names.of(Environment.model_validate(environment_document()))
LONG = "m" * 40
LABEL = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")


@given(names(), st.sampled_from([naming.PROJECT_ID, naming.WORKLOAD, naming.LABEL]))
def test_fit_keeps_within_the_limit_and_is_stable(name: str, limit: int) -> None:
    fitted = fit(f"prefix-{name}", limit)
    assert len(fitted) <= limit
    assert fitted == fit(f"prefix-{name}", limit)
    if len(f"prefix-{name}") <= limit:
        assert fitted == f"prefix-{name}"


@given(st.lists(names(), min_size=2, max_size=20, unique=True), st.sampled_from([30, 52, 63]))
@example([LONG, LONG[:-1] + "n"], 30)
def test_different_names_stay_different(found: list[str], limit: int) -> None:
    assert len({fit(f"modelyard-{name}", limit) for name in found}) == len(found)


@given(names(), names(), st.sampled_from(["rest", "batch", "streaming"]))
@example(LONG, LONG, "streaming")
def test_every_name_is_legal(team: str, model: str, pattern: str) -> None:
    spec = Model.model_validate(
        {
            "name": model,
            "pattern": pattern,
            "version": 1,
            **({"canary": {"version": 2}} if pattern == "rest" else {}),
        }
    )
    claims = [
        *platform_claims(NAMES),
        *team_claims(NAMES.team(team)),
        *model_claims(NAMES.team(team).model(model), spec),
    ]
    assert [wrong for wrong in map(illegal, claims) if wrong] == []
    for value in labels("dev", team, "4711", model).values():
        assert LABEL.fullmatch(value)


@given(names(), names())
def test_names_of_different_models_differ(first: str, second: str) -> None:
    assume(first != second)
    a, b = (NAMES.team("t-t").model(name) for name in (first, second))
    for kind in (
        "workload",
        "service_account_id",
        "log_table",
        "topic",
        "predictions_topic",
        "dead_letter_topic",
    ):
        assert getattr(a, kind).lower() != getattr(b, kind).lower()


@given(st.lists(names(), min_size=1, max_size=6, unique=True), st.lists(names(), max_size=6, unique=True))
@example(["a", "a-b"], ["b"])
def test_no_two_taxonomies_of_an_organisation_have_one_name(teams: list[str], models: list[str]) -> None:
    owned = [NAMES.team(team) for team in teams]
    found = [NAMES.taxonomy, *(team.taxonomy for team in owned)]
    found += [team.model(model).taxonomy for team in owned for model in models]
    # Claims refuse a team whose project is the platform's.
    assume(NAMES.project not in {team.project for team in owned})
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[a-z][a-z0-9_-]{0,198}", name) for name in found)


@given(names(), names(), names())
def test_paths_are_of_one_model(team: str, model: str, other: str) -> None:
    path = NAMES.team(team).model(model).hostname_path
    assert path == f"/{team}/{model}"
    assert (path == NAMES.team(other).model(model).hostname_path) == (team == other)


@pytest.mark.parametrize(
    ("claim", "told"),
    [
        (Claim("project", "abc", "team x"), "project would be named 'abc'"),
        (Claim("project", "my-google-ads", "team x"), "contain 'google'"),
        (Claim("service account", "m", "model x"), "service account would be named 'm'"),
        (Claim("topic", "goog-x-input", "model x"), "topic would be named"),
        (Claim("table", "a-b", "model x"), "table would be named"),
        (Claim("workload", "1a", "model x"), "workload would be named"),
        (Claim("namespace", "A", "team x"), "namespace would be named"),
        (Claim("team label", "platform", "team platform"), "reserved"),
        (Claim("model label", "shared", "model shared"), "reserved"),
    ],
)
def test_what_services_refuse(claim: Claim, told: str) -> None:
    assert told in str(illegal(claim))


def test_shared_names_are_found_without_case_and_within_a_kind() -> None:
    claims = [
        Claim("table", "A", "x"),
        Claim("table", "a", "y"),
        Claim("topic", "a", "z"),
        Claim("table", "a", "x"),
    ]
    assert list(shared(claims)) == [(claims[1], claims[0])]


# A name that changes here moves what has it in every deployment, and with it what it holds: add, never edit.
DEPLOYED = {
    "artifact_bucket": "example-dev-model-artifacts",
    "ci_pool": "modelyard-ci",
    "cluster": "modelyard-dev",
    "cluster_endpoint": "https://europe-west1-connectgateway.googleapis.com/v1/projects/123456789"
    "/locations/europe-west1/gkeMemberships/modelyard-dev",
    "gateway": "models",
    "gateway_address": "modelyard-dev-models",
    "gateway_namespace": "modelyard-gateway",
    "image_repository": "serving-images",
    "key_ring": "modelyard-dev",
    "log_bucket": "modelyard-audit",
    "network": "modelyard-dev",
    "network_path": "projects/example-dev/global/networks/modelyard-dev",
    "recorder_role": "projects/example-dev/roles/modelyardRecorder",
    "registry": "europe-west1-docker.pkg.dev/example-dev/serving-images",
    "subnet": "modelyard-dev-nodes",
    "subnet_path": "projects/example-dev/regions/europe-west1/subnetworks/modelyard-dev-nodes",
    "system_namespace": "modelyard-system",
    "taxonomy": "modelyard-example-dev",
    "workload_pool": "example-dev.svc.id.goog",
}
DEPLOYED_TEAM = {
    "artifact_folder": "flight-ops/",
    "dataset": "modelyard_dev_predictions",
    "namespace": "team-flight-ops",
    "project": "example-flight-ops",
    "stack": "dev-team-flight-ops",
    "taxonomy": "modelyard-example-flight-ops",
    "tenant_stack": "dev-tenant-flight-ops",
}
DEPLOYED_MODEL = {
    "dead_letter_topic": "arrival-delay-dead-letter",
    "hostname_path": "/flight-ops/arrival-delay",
    "input_table": "arrival_delay_input",
    "log_table": "arrival_delay",
    "output_table": "arrival_delay_predictions",
    "predictions_topic": "arrival-delay-predictions",
    "runs_table": "arrival_delay_runs",
    "service_account": "model-arrival-delay@example-flight-ops.iam.gserviceaccount.com",
    "service_account_id": "model-arrival-delay",
    "taxonomy": "modelyard-example-flight-ops_arrival-delay",
    "topic": "arrival-delay-input",
    "workload": "arrival-delay",
}


def all_names(owner: object) -> dict[str, str]:
    """Return every name that `owner` computes by itself."""
    kind = type(owner)
    return {name: getattr(owner, name) for name in dir(kind) if isinstance(getattr(kind, name), property)}


def test_what_is_deployed_keeps_its_names() -> None:
    dev = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
    team = dev.team("flight-ops")
    assert all_names(dev) == DEPLOYED
    assert all_names(team) == DEPLOYED_TEAM
    assert all_names(team.model("arrival-delay")) == DEPLOYED_MODEL
    assert dev.dataset("metadata") == "modelyard_dev_metadata"
    assert dev.key("bigquery") == (
        "projects/example-dev/locations/europe/keyRings/modelyard-dev/cryptoKeys/bigquery"
    )
    assert dev.key("pubsub") == (
        "projects/example-dev/locations/europe-west1/keyRings/modelyard-dev/cryptoKeys/pubsub"
    )
    assert dev.service_account("monitor") == "modelyard-monitor@example-dev.iam.gserviceaccount.com"
    assert team.role("log-writer") == "projects/example-flight-ops/roles/modelyardLogWriter"
    assert team.identity("deployer") == "modelyard-deployer@example-flight-ops.iam.gserviceaccount.com"
    # Cut names too: the digest must not change.
    assert dev.team("a" * 40).project == "example-aaaaaaaaaaaaaaa-0facc9"
    assert team.model("m" * 40).service_account_id == "model-mmmmmmmmmmmmmmmmm-8d5314"
