"""The estimate follows the price table, and says that it is one."""

from pathlib import Path
from typing import Any

import pytest

from plan_review.cost import prices
from plan_review.plan import PlanFile
from plan_review.report import Report
from plan_review.review import Sources, review
from tests.plan_review import plans

META = {"name": "m", "namespace": "n", "labels": plans.LABELS}


def deployment(cpu: str, memory: str, replicas: int = 1, gpus: int = 0) -> dict[str, Any]:
    resources: dict[str, Any] = {"requests": {"cpu": cpu, "memory": memory}}
    if gpus:
        resources["limits"] = {"nvidia.com/gpu": str(gpus)}
    container = {"name": "model", "resources": [resources]}
    template = {"spec": [{"container": [container]}]}
    return {"metadata": [META], "spec": [{"replicas": str(replicas), "template": [template]}]}


def scaler(least: int) -> dict[str, Any]:
    target = [{"name": "m", "kind": "Deployment"}]
    return {
        "metadata": [META],
        "spec": [{"min_replicas": least, "max_replicas": 20, "scale_target_ref": target}],
    }


def delta(*changes: dict[str, Any], root: Path | None = None, stack: str = "dev-team-pricing") -> Report:
    plan: PlanFile = plans.plan(*changes, stack=stack)
    return review([plan], Sources(root=root))


def test_a_pod_costs_what_it_asks_for() -> None:
    table = prices()
    expected = (
        table["hours_per_month"] * 2 * (2 * table["autopilot"]["vcpu"] + 4 * table["autopilot"]["memory_gib"])
    )
    report = delta(plans.change("kubernetes_deployment_v1.d", None, deployment("2000m", "4Gi", 2)))
    assert report.cost.delta == pytest.approx(expected)


def test_an_autoscaler_decides_on_replicas() -> None:
    pods = deployment("1", "1Gi", 3)
    report = delta(
        plans.change("kubernetes_deployment_v1.d", pods, pods),
        plans.change("kubernetes_horizontal_pod_autoscaler_v2.h", scaler(2), scaler(6)),
    )
    assert len(report.cost.items) == 1
    item = report.cost.items[0]
    assert item.after == pytest.approx(3 * item.before)


def test_nodes_cost_and_pods_on_them_do_not(inputs: Path) -> None:
    pool = {
        "name": "gpu",
        "node_locations": ["a", "b"],
        "autoscaling": [{"min_node_count": 1}],
        "node_config": [
            {"machine_type": "n2-standard-8", "guest_accelerator": [{"type": "nvidia-l4", "count": 1}]}
        ],
    }
    table = prices()
    machine = table["machines"]["n2"]
    hour = 8 * (machine["vcpu"] + 4 * machine["memory_gib"]) + table["autopilot"]["gpu"]["nvidia-l4"]
    report = delta(plans.change("google_container_node_pool.p", None, pool))
    assert report.cost.delta == pytest.approx(table["hours_per_month"] * 2 * hour)
    pods = plans.change("kubernetes_deployment_v1.d", None, deployment("1", "1Gi"))
    labels = {**plans.LABELS, "environment": "prod"}
    pods["change"]["after"]["metadata"] = [{**META, "labels": labels}]
    assert delta(pods, root=inputs, stack="prod-team-pricing").cost.delta == 0


def test_a_spot_pool_costs_less() -> None:
    def pool(spot: bool) -> dict[str, Any]:
        return {
            "name": "p",
            "autoscaling": [{"min_node_count": 1}],
            "node_config": [{"machine_type": "e2-standard-4", "spot": spot}],
        }

    report = delta(plans.change("google_container_node_pool.p", pool(True), pool(False)))
    assert report.cost.items[0].before == pytest.approx(report.cost.items[0].after * prices()["spot_share"])


def test_a_batch_costs_while_it_runs() -> None:
    def job(schedule: str) -> dict[str, Any]:
        container = {"name": "model", "resources": [{"requests": {"cpu": "1", "memory": "1Gi"}}]}
        inner = {
            "parallelism": 2,
            "active_deadline_seconds": 3600,
            "template": [{"spec": [{"container": [container]}]}],
        }
        return {"metadata": [META], "spec": [{"schedule": schedule, "job_template": [{"spec": [inner]}]}]}

    report = delta(plans.change("kubernetes_cron_job_v1.j", job("0 3 * * *"), job("0 3 * * 1")))
    item = report.cost.items[0]
    assert item.before == pytest.approx(7 * item.after)


def test_the_estimate_says_what_it_is() -> None:
    report = delta(plans.change("google_kms_crypto_key.k", None, {"name": "k"}))
    assert report.cost.delta == pytest.approx(prices()["kms_key_month"])
    assert report.cost.assumptions
    assert report.cost.source.startswith("https://")
    assert report.cost.date == "2026-11-01"


def test_gpus_cost_even_without_a_kind() -> None:
    with_gpu = delta(
        plans.change("kubernetes_deployment_v1.d", None, deployment("1", "1Gi", gpus=1))
    ).cost.delta
    without = delta(plans.change("kubernetes_deployment_v1.d", None, deployment("1", "1Gi"))).cost.delta
    assert with_gpu - without == pytest.approx(
        prices()["hours_per_month"] * prices()["autopilot"]["gpu"]["default"]
    )
