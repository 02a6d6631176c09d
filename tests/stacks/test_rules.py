"""The rules on synthesized stacks find each breach, and leave the rest alone."""

from collections.abc import Iterator
from typing import Any

import pytest

from stacks import rules
from tests.stacks.conftest import Documents

LABELS = {"environment": "dev", "team": "a", "model": "m", "cost_center": "1"}


def document(type_: str, resource: dict[str, Any]) -> dict[str, Any]:
    return {"provider": {"google": [{"project": "own"}]}, "resource": {type_: {"it": resource}}}


@pytest.mark.parametrize(
    ("type_", "resource", "says"),
    [
        ("google_service_account_key", {}, "is not allowed: a key file can be copied"),
        ("kubernetes_secret_v1", {"metadata": {"labels": LABELS}}, "is not allowed: a secret would stand"),
        ("google_monitoring_alert_policy", {"user_labels": {"team": "a"}}, "lacks the labels cost_center"),
        ("kubernetes_service_v1", {"metadata": [{"labels": None}]}, "lacks the labels"),
        ("google_pubsub_topic", {"labels": LABELS}, "must have lifecycle prevent_destroy"),
        ("google_project_iam_member", {"role": "roles/editor", "member": "group:a@b.c"}, "basic role"),
        (
            "google_storage_bucket_iam_member",
            {"role": "roles/storage.objectViewer", "member": "allUsers"},
            "grants roles/storage.objectViewer to allUsers",
        ),
        (
            "google_project_iam_binding",
            {"role": "roles/logging.viewer", "members": ["group:a@b.c", "allAuthenticatedUsers"]},
            "to allAuthenticatedUsers",
        ),
        (
            "google_bigquery_dataset_access",
            {"role": "READER", "special_group": "allAuthenticatedUsers"},
            "grants READER to allAuthenticatedUsers",
        ),
        ("google_storage_object_acl", {"role_entity": [], "entity": "allUsers"}, "grants access to allUsers"),
        ("google_service_account", {"account_id": "x", "project": "other"}, "acts on project other"),
    ],
)
def test_a_breach_is_found(type_: str, resource: dict[str, Any], says: str) -> None:
    (line,) = rules.check("dev-team-a", document(type_, resource))
    assert line.startswith(f"dev-team-a: {type_}.it: ")
    assert says in line


def test_a_view_holds_no_data() -> None:
    view = {"labels": LABELS, "view": {"query": "SELECT 1", "use_legacy_sql": False}}
    assert rules.check("dev-catalog", document("google_bigquery_table", view)) == []
    (line,) = rules.check("dev-catalog", document("google_bigquery_table", {"labels": LABELS}))
    assert "prevent_destroy" in line


def test_shared_stacks_may_act_on_other_projects() -> None:
    account = document("google_service_account", {"account_id": "x", "project": "other"})
    assert rules.check("dev-foundation", account) == []
    assert rules.check("dev-tenant-a", account) == []


def test_an_environment_or_team_may_be_named_anything() -> None:
    account = document("google_service_account", {"account_id": "x", "project": "other"})
    assert len(rules.check("dev-team-team-a", account)) == 1
    assert rules.check("dev-tenant-team-a", account) == []


def test_a_team_reaches_no_other_project_through_a_provider_of_its_own() -> None:
    two = {"provider": {"google": [{"project": "own"}, {"alias": "b", "project": "other"}, {"alias": "c"}]}}
    lines = rules.check("dev-team-a", two)
    assert [line.split(": ")[2] for line in lines] == ["acts on project None", "acts on project other"]
    assert rules.check("dev-tenant-a", two) == []


def _labelled(resource: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in resource.items():
        if isinstance(value, dict) and LABELS.keys() <= value.keys():
            yield (*path, key)
        elif isinstance(value, dict) and key != "//":
            yield from _labelled(value, (*path, key))


def test_the_rules_know_all_that_carries_labels_or_is_protected(
    fleet_documents: Documents, documents: Documents
) -> None:
    for document in (*fleet_documents.values(), *documents.values()):
        for type_, resources in document["resource"].items():
            for resource in resources.values():
                if places := list(_labelled(resource)):
                    assert rules.LABEL_FIELDS.get(type_) in places, type_
                if resource.get("lifecycle", {}).get("prevent_destroy"):
                    assert type_ in rules.STATEFUL


def test_no_stack_of_the_repository_breaks_a_rule(fleet_documents: Documents) -> None:
    for stack, synthesized in fleet_documents.items():
        assert rules.check(stack, synthesized) == []
