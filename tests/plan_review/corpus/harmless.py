"""Changes that a review must let pass: nothing it says of them may be above "info"."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tests.plan_review.corpus.bad import (
    CARE,
    DIGEST,
    FOUNDATION,
    PLATFORM,
    PRICING,
    TENANT,
    _promoted,
)
from tests.plan_review.corpus.case import (
    Case,
    Stack,
    add,
    container,
    edit_manifest,
    environment,
    every,
    like,
    on_input,
    on_stack,
    one,
    remove,
    replace,
    rows,
    team,
)

Edit = TypeVar("Edit")
CASES: list[Case] = []
OPS = "prod-team-flight-ops"


def _case(made: Callable[[Edit], Case]) -> Callable[[Edit], Edit]:
    def keep(edit: Edit) -> Edit:
        CASES.append(made(edit))
        return edit

    return keep


@_case(on_input("a comment", PRICING, "info"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), "# UTC", "# UTC, all year")


@_case(on_input("another description", PRICING, "info"))
def _(root: Path) -> None:
    replace(
        team(root, "pricing"),
        "description: Price offered to a seller",
        "description: Price offered to sellers",
    )


@_case(on_input("a new team", "prod-team-new-lines", "info"))
def _(root: Path) -> None:
    _new_team(root)


@_case(on_input("a new team's project", "prod-tenant-new-lines", "info"))
def _(root: Path) -> None:
    _new_team(root)


def _new_team(root: Path) -> None:
    shutil.copytree(root / "teams" / "flight-ops", root / "teams" / "new-lines")
    replace(team(root, "new-lines"), "team: flight-ops", "team: new-lines")
    text = team(root, "new-lines").read_text(encoding="utf-8")
    text = text.replace("flight-ops@example.com", "new-lines@example.com").replace(
        "pager-flight-ops", "platform"
    )
    team(root, "new-lines").write_text(text, encoding="utf-8")
    for path in (root / "teams" / "new-lines").glob("*.json"):
        edit_manifest(path, lambda manifest: manifest.update(team="new-lines"))


@_case(on_input("a new model", OPS, "info"))
def _(root: Path) -> None:
    home = root / "teams" / "flight-ops"
    source = home / "arrival-delay.json"
    edit_manifest(source, lambda manifest: manifest.update(model="taxi-time"), home / "taxi-time.json")
    version = json.loads(source.read_text(encoding="utf-8"))["version"]
    path = team(root, "flight-ops")
    more = f"  - {{name: taxi-time, pattern: rest, version: {version}}}\n"
    path.write_text(path.read_text(encoding="utf-8").rstrip("\n") + "\n" + more, encoding="utf-8")


@_case(on_input("a clean promotion", PRICING, "info", "promotion/version"))
def _(root: Path) -> None:
    def better(manifest: dict[str, Any]) -> None:
        metrics = manifest["metrics"]
        metrics["values"][metrics["primary"]] *= 1.01 if metrics["higher_is_better"] else 0.99
        manifest["code"] |= {"dirty": False, "diff_digest": None}

    _promoted(root, better)


@_case(on_input("a stricter alert", PRICING, "info", "monitoring/alert-tightened"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), "{threshold: 120, error_rate", "{threshold: 100, error_rate")


@_case(on_input("an alert that pages", PRICING, "info"))
def _(root: Path) -> None:
    replace(
        team(root, "pricing"),
        "quality: {threshold: 0.02, severity: error}",
        "quality: {threshold: 0.02, severity: critical}",
    )


@_case(on_input("an alert more", PRICING, "info"))
def _(root: Path) -> None:
    replace(
        team(root, "pricing"),
        "drift: {threshold: 0.1, severity: error}",
        "drift: {threshold: 0.05, severity: error}",
    )


@_case(on_input("more room to scale", PRICING, "info"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), "max: 20, target_cpu", "max: 30, target_cpu")


@_case(on_input("a small step of a canary", PRICING, "info", "reliability/canary-step"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), "percent: 10}", "percent: 30}")


@_case(on_input("a new build of the server", PRICING, "info", "supply-chain/image-changed"))
def _(root: Path) -> None:
    text = environment(root).read_text(encoding="utf-8")
    environment(root).write_text(text.replace("sha256:" + 64 * "3", DIGEST), encoding="utf-8")


@_case(on_input("a batch an hour later", PRICING, "info", "reliability/batch-schedule-changed"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), '"30 4 * * 1-5"', '"30 5 * * 1-5"')


@_case(on_input("predictions are kept longer", PRICING, "info"))
def _(root: Path) -> None:
    replace(environment(root), "predictions: 730", "predictions: 800")


@_case(on_input("audit logs are kept longer", FOUNDATION, "info"))
def _(root: Path) -> None:
    replace(environment(root), "audit_logs: 730", "audit_logs: 1000")


@_case(on_input("a reader less", PRICING, "info", "privilege/grant-removed"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), 'log_readers: ["group:lending@example.com"]', "log_readers: []")


@_case(on_input("a lower budget", PRICING, "info"))
def _(root: Path) -> None:
    replace(team(root, "pricing"), "monthly_budget: 900", "monthly_budget: 700")


@_case(on_input("other stakeholders", PRICING, "info"))
def _(root: Path) -> None:
    replace(
        team(root, "pricing"), "stakeholders: [used-cars@example.com]", "stakeholders: [sales@example.com]"
    )


@_case(on_input("another maintenance window", PLATFORM, "info"))
def _(root: Path) -> None:
    replace(environment(root), 'maintenance_start: "21:00"', 'maintenance_start: "22:00"')


@_case(on_input("a slower release channel elsewhere", PRICING, "info"))
def _(root: Path) -> None:
    replace(environment(root), "release_channel: STABLE", "release_channel: REGULAR")


@_case(on_input("a smaller backlog per replica", CARE, "info"))
def _(root: Path) -> None:
    replace(team(root, "fleet-care"), "max_backlog: 500", "max_backlog: 400")


@_case(on_stack("the same schema in another order", PRICING, "info"))
def _(stack: Stack) -> None:
    table = one(stack, "google_bigquery_table", "vehicle_price")
    table["schema"] = json.dumps([dict(reversed(column.items())) for column in rows(table)], indent=2)


@_case(on_stack("a column more", PRICING, "info"))
def _(stack: Stack) -> None:
    table = one(stack, "google_bigquery_table", "vehicle_price")
    column = {"name": "session", "type": "STRING", "mode": "NULLABLE", "description": "Session of the caller"}
    table["schema"] = json.dumps([*rows(table), column])


@_case(on_stack("permissions in another order", TENANT, "info"))
def _(stack: Stack) -> None:
    one(stack, "google_project_iam_custom_role", "deployer-role")["permissions"].reverse()


@_case(on_stack("a label on everything", PRICING, "info"))
def _(stack: Stack) -> None:
    for type_ in ("google_bigquery_table", "google_bigquery_dataset"):
        for body in every(stack, type_).values():
            body["labels"]["programme"] = "lakehouse"


@_case(on_stack("a resource is moved", PRICING, "info"))
def _(stack: Stack) -> None:
    tables = stack["resource"]["google_bigquery_table"]
    old = next(name for name in tables if "vehicle_price" in name)
    tables["renamed_log"] = tables.pop(old)
    stack["moved"] = [{"from": f"google_bigquery_table.{old}", "to": "google_bigquery_table.renamed_log"}]
    text = json.dumps(stack).replace(f"google_bigquery_table.{old}", "google_bigquery_table.renamed_log")
    moved = json.loads(text)
    moved["moved"] = stack["moved"]
    stack.clear()
    stack.update(moved)


@_case(on_stack("fewer may get in", FOUNDATION, "info"))
def _(stack: Stack) -> None:
    one(stack, "google_compute_firewall", "allow-ingress-health-checks")["source_ranges"] = ["35.191.0.0/16"]


@_case(on_stack("keys are rotated monthly", FOUNDATION, "info"))
def _(stack: Stack) -> None:
    one(stack, "google_kms_crypto_key", "keys_bigquery")["rotation_period"] = f"{30 * 86_400}s"


@_case(on_stack("a better runbook", PRICING, "info"))
def _(stack: Stack) -> None:
    alert = one(stack, "google_monitoring_alert_policy", "vehicle-price_alerts_latency-p95")
    alert["documentation"]["content"] += "\n\nAsk the gateway's owners too."


@_case(on_stack("a setting in the environment of a container", PRICING, "info"))
def _(stack: Stack) -> None:
    model = container(one(stack, "kubernetes_deployment_v1", "stable"))
    model["env"].append({"name": "LOG_LEVEL", "value": "info"})


@_case(on_stack("a larger quota", PRICING, "info"))
def _(stack: Stack) -> None:
    hard = one(stack, "kubernetes_resource_quota_v1")["spec"]["hard"]
    hard["pods"] = str(int(hard["pods"]) + 50)


@_case(on_stack("a role less", PRICING, "info", "privilege/grant-removed"))
def _(stack: Stack) -> None:
    remove(stack, "google_project_iam_member", "personas_viewer")


@_case(on_stack("the model's own identity may write metrics", PRICING, "info", "privilege/grant-added"))
def _(stack: Stack) -> None:
    member = "serviceAccount:model-vehicle-price@example-prod-pricing.iam.gserviceaccount.com"
    body = {"project": "example-prod-pricing", "role": "roles/monitoring.metricWriter", "member": member}
    add(stack, "google_project_iam_member", body)


@_case(on_stack("old versions of artefacts go later", FOUNDATION, "info"))
def _(stack: Stack) -> None:
    rule = one(stack, "google_storage_bucket")["lifecycle_rule"][0]
    rule["condition"]["days_since_noncurrent_time"] += 100


@_case(on_stack("another alert", PRICING, "info"))
def _(stack: Stack) -> None:
    body = copy.deepcopy(like(stack, "google_monitoring_alert_policy", "vehicle-price_alerts_latency-p95"))
    add(stack, "google_monitoring_alert_policy", body | {"display_name": "pricing/vehicle-price: seeded"})
