"""The rules as a whole: many, stable, documented, and each with a case that it finds."""

import json
import re
from pathlib import Path

import pytest

from plan_review.changes import stack_plan
from plan_review.context import Context
from plan_review.fleet import Fleet
from plan_review.review import Sources, review
from plan_review.rules import RULES, Severity
from plan_review.rules import document as documented
from plan_review.rules.registry import plan_rule
from plan_review.rules.reliability import canary_share
from tests.plan_review import plans
from tests.plan_review.corpus import bad, harmless

ISSUE_FAMILIES = {
    "data-loss",
    "exposure",
    "privilege",
    "governance",
    "monitoring",
    "reliability",
    "cost",
    "supply-chain",
    "ci-identity",
}


def test_there_are_forty_rules_in_nine_families() -> None:
    assert len(RULES) >= 40
    assert {rule.family for rule in RULES.values()} >= ISSUE_FAMILIES


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_every_rule_is_described(rule: object) -> None:
    found = RULES[str(getattr(rule, "id", ""))]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*/[a-z]+(-[a-z]+)*", found.id)
    assert found.title[0].isupper()
    assert not found.title.endswith(".")
    assert found.rationale.endswith(".")
    assert found.fix.endswith(".")


def test_the_documentation_is_current(root: Path) -> None:
    text = (root / documented.PATH).read_text(encoding="utf-8")
    assert text == documented.rendered(), "run: python -m plan_review.rules.document"


def test_two_rules_cannot_share_an_id() -> None:
    with pytest.raises(ValueError, match="two rules"):
        plan_rule("cost/gpu-added", Severity.INFO, title="t", rationale="r", fix="f")(
            lambda context: iter(())
        )


# Rules that no case of the corpus stands for, since stacks of this repository cannot express them well.
ELSEWHERE = {
    "data-loss/stateful-forgotten",
    "data-loss/restore-window-cut",
    "exposure/route-moved",
    "exposure/push-endpoint",
    "privilege/organization-wide",
    "governance/tag-destroyed",
    "governance/restricted-column-added",
    "monitoring/alert-window-changed",
    "monitoring/log-metric-removed",
    "reliability/fewer-replicas",
    "reliability/namespace-destroyed",
    "reliability/quota-cut",
    "reliability/deadline-cut",
    "reliability/plan-errored",
    "reliability/spreading-off",
    "reliability/health-check-changed",
    "cost/node-pool-grown",
    "cost/partition-filter-off",
    "supply-chain/artifact-foreign",
    "supply-chain/foreign-provider",
    "supply-chain/runs-commands",
    "ci-identity/trust-added",
    "ci-identity/users-changed",
    "ci-identity/deploy-guard-off",
    "promotion/code-moved",
    "promotion/feature-retyped",
    "promotion/rolled-back",
    "review/waiver-expired",
    "review/waiver-unused",
    "review/waiver-added",
}
LABELS = plans.LABELS
POOL = "principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/x"
META = {"name": "vehicle-price", "namespace": "team-pricing", "labels": LABELS}


def route(path: str, gateway: str = "models", weights: tuple[int, int] = (90, 10)) -> dict[str, object]:
    backends = [
        {"name": "vehicle-price", "weight": weights[0]},
        {"name": "vehicle-price-canary", "weight": weights[1]},
    ]
    rules = [{"matches": [{"path": {"value": path}}], "backendRefs": backends}]
    spec = {"parentRefs": [{"name": gateway}], "rules": rules}
    return {"manifest": {"kind": "HTTPRoute", "metadata": META, "spec": spec}}


def alert(window: str) -> dict[str, object]:
    language = {"query": f"rate(x[{window}]) > 3", "duration": "60s"}
    return {
        "display_name": "a",
        "user_labels": LABELS,
        "documentation": [{"content": "Owner: a. Runbook: b."}],
        "conditions": [{"condition_prometheus_query_language": [language]}],
    }


def pods(**spec: object) -> dict[str, object]:
    template = {"spec": [{"container": [{"name": "model"}], **spec}]}
    return {"metadata": [META], "spec": [{"template": [template]}]}


def health(path: str) -> dict[str, object]:
    check = {"config": {"httpHealthCheck": {"requestPath": path}}}
    return {"manifest": {"kind": "HealthCheckPolicy", "metadata": META, "spec": {"default": check}}}


def guard(*validations: str) -> dict[str, object]:
    spec = {"validations": [{"expression": text} for text in validations]}
    return {"manifest": {"kind": "ValidatingAdmissionPolicy", "metadata": META, "spec": spec}}


def settings(**more: object) -> dict[str, object]:
    model = {"version": 1, "artifact": {"digest": "sha256:" + 64 * "1"}, **more}
    return {"metadata": [META], "data": {"model.json": json.dumps(model)}}


def schema(*names: str) -> str:
    tag = '"policyTags":{"names":["projects/p/taxonomies/1/policyTags/2"]},'
    columns = ",".join(f'{{"name":"{n}",{tag if n == "pii" else ""}"type":"STRING"}}' for n in names)
    return f"[{columns}]"


FOUND: dict[str, list[dict[str, object]]] = {
    "data-loss/stateful-forgotten": [
        plans.change("google_bigquery_table.t", {"table_id": "t"}, None, ["forget"]),
        plans.change("google_kms_crypto_key.k", {"name": "k"}, None, ["forget"]),
    ],
    "data-loss/restore-window-cut": [
        plans.change(
            "google_bigquery_dataset.d", {"max_time_travel_hours": "168"}, {"max_time_travel_hours": "48"}
        ),
        plans.change(
            "google_kms_crypto_key.k",
            {"destroy_scheduled_duration": "2592000s"},
            {"destroy_scheduled_duration": "86400s"},
        ),
    ],
    "exposure/route-moved": [
        plans.change("kubernetes_manifest.r", route("/pricing/vehicle-price"), route("/")),
        plans.change("kubernetes_manifest.s", route("/a"), route("/a", "public")),
    ],
    "exposure/push-endpoint": [
        plans.change(
            "google_pubsub_subscription.s",
            {"name": "s"},
            {"name": "s", "push_config": [{"push_endpoint": "https://elsewhere.example"}]},
        )
    ],
    "privilege/organization-wide": [
        plans.change(
            "google_folder_iam_member.m",
            None,
            {"folder": "folders/1", "role": "roles/browser", "member": "group:a@example.com"},
        )
    ],
    "governance/tag-destroyed": [
        plans.change("google_data_catalog_policy_tag.t", {"display_name": "pii"}, None),
        plans.change(
            "google_data_catalog_taxonomy.t",
            {"activated_policy_types": ["FINE_GRAINED_ACCESS_CONTROL"]},
            {"activated_policy_types": []},
        ),
    ],
    "governance/restricted-column-added": [
        plans.change("google_bigquery_table.t", {"schema": schema("a")}, {"schema": schema("a", "pii")})
    ],
    "monitoring/alert-window-changed": [
        plans.change("google_monitoring_alert_policy.a", alert("5m"), alert("1h"))
    ],
    "monitoring/log-metric-removed": [plans.change("google_logging_metric.m", {"name": "m"}, None)],
    "reliability/fewer-replicas": [
        plans.change(
            "kubernetes_horizontal_pod_autoscaler_v2.h",
            {"metadata": [META], "spec": [{"min_replicas": 6, "max_replicas": 20}]},
            {"metadata": [META], "spec": [{"min_replicas": 3, "max_replicas": 20}]},
        )
    ],
    "reliability/namespace-destroyed": [
        plans.change("kubernetes_namespace_v1.n", {"metadata": [META]}, None)
    ],
    "reliability/quota-cut": [
        plans.change(
            "kubernetes_resource_quota_v1.q",
            {"metadata": [META], "spec": [{"hard": {"cpu": "4", "memory": "8Gi"}}]},
            {"metadata": [META], "spec": [{"hard": {"cpu": "2000m", "memory": "8192Mi"}}]},
        )
    ],
    "reliability/deadline-cut": [
        plans.change(
            "google_pubsub_subscription.s",
            {"dead_letter_policy": [{"max_delivery_attempts": 20}]},
            {"dead_letter_policy": [{"max_delivery_attempts": 5}]},
        )
    ],
    "reliability/spreading-off": [
        plans.change("kubernetes_deployment_v1.d", pods(topology_spread_constraint=[{"max_skew": 1}]), pods())
    ],
    "reliability/health-check-changed": [
        plans.change("kubernetes_manifest.h", health("/readyz"), health("/"))
    ],
    "cost/node-pool-grown": [
        plans.change(
            "google_container_node_pool.p",
            None,
            {"name": "p", "node_config": [{"machine_type": "n2-standard-8"}]},
        ),
        plans.change(
            "google_container_node_pool.q",
            {"autoscaling": [{"max_node_count": 3}], "node_config": [{"spot": True}]},
            {"autoscaling": [{"max_node_count": 30}], "node_config": [{"spot": False}]},
        ),
    ],
    "cost/partition-filter-off": [
        plans.change(
            "google_bigquery_table.t", {"require_partition_filter": True}, {"require_partition_filter": False}
        )
    ],
    "supply-chain/artifact-foreign": [
        plans.change(
            "kubernetes_config_map_v1.c", settings(registry="gs://ours"), settings(registry="gs://theirs")
        )
    ],
    "supply-chain/foreign-provider": [
        plans.change("random_id.r", None, {"byte_length": 4})
        | {"provider_name": "registry.example.com/evil/random"}
    ],
    "supply-chain/runs-commands": [plans.change("null_resource.n", None, {"triggers": {}})],
    "ci-identity/trust-added": [
        plans.change("google_iam_workload_identity_pool.a", {"name": "a"}, {"name": "a"}),
        plans.change("google_iam_workload_identity_pool.b", None, {"name": "b"}),
    ],
    "ci-identity/users-changed": [
        plans.change(
            "google_service_account_iam_member.u",
            None,
            {
                "service_account_id": "serviceAccounts/modelyard-planner@p.iam.gserviceaccount.com",
                "role": "roles/iam.workloadIdentityUser",
                "member": f"{POOL}/attribute.repository/someone/else",
            },
        )
    ],
    "ci-identity/deploy-guard-off": [plans.change("kubernetes_manifest.g", guard("a", "b"), guard("a"))],
}


@pytest.mark.parametrize("rule", sorted(FOUND))
def test_rules_that_the_corpus_lacks_find_theirs(rule: str) -> None:
    for change in FOUND[rule]:
        if change["change"]["actions"] == ["no-op"]:  # type: ignore[index]
            continue
        beside = [other for other in FOUND[rule] if other is not change]
        report = review([plans.plan(change, *beside)], Sources())
        hits = [f for f in report.findings if f.rule.id == rule and f.address == change["address"]]
        assert hits, change["address"]
        # What stays as it is, is nothing to find.
        before = change["change"]["before"]  # type: ignore[index]
        if before is not None:
            same = plans.change(str(change["address"]), before, before, ["update"])
            again = review([plans.plan(same)], Sources())
            assert rule not in {f.rule.id for f in again.findings}


def test_every_rule_has_a_case() -> None:
    covered = {rule for case in (*bad.CASES, *harmless.CASES) for rule in case.rules}
    assert set(RULES) - covered <= ELSEWHERE
    apart = {rule for rule in ELSEWHERE if rule.startswith(("promotion/", "review/"))}
    assert ELSEWHERE - apart - {"reliability/plan-errored"} == set(FOUND)


def test_a_plan_that_ended_with_an_error_is_blocked() -> None:
    report = review([plans.plan(errored=True)], Sources())
    assert report.exit_code == 4
    assert [finding.rule.id for finding in report.findings] == ["reliability/plan-errored"]


def test_a_header_match_does_not_count_as_traffic() -> None:
    values = route("/a", weights=(90, 10))
    forced = {
        "matches": [{"headers": [{"name": "x-modelyard-canary"}]}],
        "backendRefs": [{"name": "vehicle-price-canary", "weight": 1}],
    }
    values["manifest"]["spec"]["rules"].append(forced)  # type: ignore[index]
    assert canary_share(values) == 10


def test_who_someone_is_comes_from_the_checkout(inputs: Path) -> None:
    grant = {
        "project": "example-prod-pricing",
        "dataset_id": "modelyard_prod_predictions",
        "table_id": "credit_default",
        "role": "roles/bigquery.dataViewer",
        "member": "group:flight-ops@example.com",
    }
    plan = plans.plan(
        plans.change("google_bigquery_table_iam_member.m", None, grant), stack="prod-team-pricing"
    )
    report = review([plan], Sources(root=inputs))
    found = next(f for f in report.findings if f.rule.id == "privilege/cross-team")
    assert found.message.startswith(
        "team flight-ops (group:flight-ops@example.com) gains roles/bigquery.dataViewer "
        "on the log of pricing/credit-default, which holds pii ("
    )
    assert (found.principal, found.role) == ("group:flight-ops@example.com", "roles/bigquery.dataViewer")
    assert found.resource == "table example-prod-pricing.modelyard_prod_predictions.credit_default"


def test_outsiders_are_known_by_the_organisation(inputs: Path) -> None:
    fleet = Fleet(inputs)
    assert fleet.is_foreign("a@gmail.com")
    assert fleet.is_foreign("a@example.org")
    assert fleet.is_foreign("a@notexample.com")
    assert not fleet.is_foreign("a@example.com")
    assert not fleet.is_foreign("a@sub.example.com")
    assert fleet.is_foreign("x@elsewhere-prod.iam.gserviceaccount.com")
    assert not fleet.is_foreign("x@example-prod-pricing.iam.gserviceaccount.com")
    assert not fleet.is_foreign("service-1@gcp-sa-pubsub.iam.gserviceaccount.com")
    assert not fleet.is_foreign("service-1@gs-project-accounts.iam.gserviceaccount.com")
    assert not fleet.is_foreign("1@cloudservices.gserviceaccount.com")
    assert not Fleet().is_foreign("a@example.org")


def test_subjects_come_from_labels_stacks_and_names() -> None:
    plan = plans.plan(
        plans.change("google_bigquery_table.log", None, {"table_id": "vehicle_price", "labels": LABELS}),
        plans.change(
            "google_bigquery_table_iam_member.m", None, {"table_id": "vehicle_price", "member": "x"}
        ),
        plans.change("google_service_account.a", None, {"account_id": "model-vehicle-price"}),
        plans.change("google_project_iam_member.p", None, {"project": "p", "member": "x"}),
    )
    context = Context([stack_plan(plan)])
    subjects = {change.type: str(context.subject(change)) for change in context.changes()}
    assert subjects == {
        "google_bigquery_table": "pricing/vehicle-price",
        "google_bigquery_table_iam_member": "pricing/vehicle-price",
        "google_service_account": "pricing/vehicle-price",
        "google_project_iam_member": "team pricing",
    }
