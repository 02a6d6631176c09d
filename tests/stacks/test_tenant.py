"""A tenant stack makes one team's protected, audited project, and its deployer waits for a reviewed job."""

from typing import Any

import pytest

from tests.stacks.shared import TEAMS, TENANTS, logs_all_data_access, of_type

Documents = dict[str, dict[str, Any]]
EACH = pytest.mark.parametrize(("environment", "team"), TENANTS)


@EACH
def test_the_project_is_protected_and_without_a_default_network(
    documents: Documents, environment: str, team: str
) -> None:
    document = documents[f"{environment}-tenant-{team}"]
    (project,) = of_type(document, "google_project").values()
    assert project["project_id"] == f"example-{environment}-{team}"
    assert project["deletion_policy"] == "PREVENT"
    assert project["lifecycle"]["prevent_destroy"] is True
    assert project["auto_create_network"] is False
    assert ("folder_id" in project) != ("org_id" in project)
    assert (project["labels"]["team"], project["labels"]["cost_center"]) == (team, dict(TEAMS)[team])


@EACH
def test_the_project_logs_data_access_into_the_environments_bucket(
    documents: Documents, environment: str, team: str
) -> None:
    document = documents[f"{environment}-tenant-{team}"]
    (configuration,) = of_type(document, "google_project_iam_audit_config").values()
    (sink,) = of_type(document, "google_logging_project_sink").values()
    (shared,) = of_type(documents[f"{environment}-foundation"], "google_logging_project_sink").values()
    logs_all_data_access(configuration)
    (project,) = document["resource"]["google_project"]
    assert configuration["project"] == sink["project"] == f"${{google_project.{project}.project_id}}"
    assert sink["destination"] == shared["destination"]


@EACH
def test_planning_needs_the_repository_and_deploying_its_own_environment(
    documents: Documents, environment: str, team: str
) -> None:
    users = of_type(documents[f"{environment}-tenant-{team}"], "google_service_account_iam_member")
    planner = users["tenant/identities/planner-users"]["member"]
    deployer = users["tenant/identities/deployer-users"]["member"]
    assert planner.endswith("/attribute.repository/example/models")
    assert deployer.endswith(f"/attribute.deploys/{environment}-team-{team}")


@EACH
def test_it_acts_with_the_platforms_project_and_on_the_shared_cluster(
    documents: Documents, environment: str, team: str
) -> None:
    providers = documents[f"{environment}-tenant-{team}"]["provider"]
    assert providers["google"] == documents[f"{environment}-foundation"]["provider"]["google"]
    assert providers["kubernetes"] == documents[f"{environment}-cluster"]["provider"]["kubernetes"]


def test_shared_stacks_know_no_team(documents: Documents) -> None:
    shared = {stack: document for stack, document in documents.items() if "-tenant-" not in stack}
    assert len(shared) == 6
    for stack, document in shared.items():
        assert not [team for team, _ in TEAMS if team in str(document)], stack
