"""What the changes cost a month, estimated from a dated price table.

Only what costs by being there is counted, not what costs by use. The estimate carries its assumptions.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from modelyard.spec import cron
from plan_review.changes import Action, StackPlan, Values, at
from plan_review.context import Context, as_list
from plan_review.rules.exposure import containers
from plan_review.subject import Subject
from plan_review.words import as_number, quantity

_GPU = "nvidia.com/gpu"
_GIB = 2.0**30
_MACHINE = re.compile(r"(?P<family>[a-z]\w*)-(?:custom-)?(?P<kind>[a-z]+)-(?P<size>\d+)g?(-\w+)?")
_DAYS_PER_MONTH = 365 / 12


@dataclass(frozen=True)
class Item:
    """What one resource costs a month before and after."""

    subject: Subject
    stack: str
    address: str
    what: str
    before: float
    after: float

    @property
    def delta(self) -> float:
        """How much more it costs a month."""
        return self.after - self.before


@dataclass(frozen=True)
class Estimate:
    """The monthly difference of a review, and what it rests on."""

    items: tuple[Item, ...]
    currency: str
    date: str
    region: str
    source: str
    assumptions: tuple[str, ...]

    @property
    def delta(self) -> float:
        """How much more everything costs a month."""
        return sum(item.delta for item in self.items)


@cache
def prices() -> Mapping[str, Any]:
    """Return the price table of the repository."""
    text = files("plan_review").joinpath("data/prices.yaml").read_text("utf-8")
    table: dict[str, Any] = yaml.safe_load(text)
    return table


def estimate(context: Context) -> Estimate:
    """Return what the changes under review cost a month."""
    table = prices()
    items = [item for plan in context.plans for item in _of_stack(plan, context)]
    return Estimate(
        items=tuple(sorted(items, key=lambda item: -abs(item.delta))),
        currency=table["currency"],
        date=str(table["date"]),
        region=table["region"],
        source=table["source"],
        assumptions=tuple(table["assumptions"]),
    )


def _of_stack(plan: StackPlan, context: Context) -> Iterator[Item]:
    scaled = {side: _replicas(plan, side) for side in ("before", "after")}
    pods_are_paid = _autopilot(context, plan)
    # An autoscaler's change alone changes what its deployment costs.
    moved = {
        name
        for name in {**scaled["before"], **scaled["after"]}
        if scaled["before"].get(name) != scaled["after"].get(name)
    }
    for change in plan.all():
        idle = change.action in (Action.NONE, Action.READ, Action.FORGET)
        if idle and _key(change.values) not in moved:
            continue
        before = _monthly(change.type, change.before, scaled["before"], pods_are_paid)
        after = _monthly(change.type, change.after, scaled["after"], pods_are_paid)
        if abs(after - before) >= 0.005:
            yield Item(
                context.subject(change), plan.stack, change.address, context.thing(change), before, after
            )


def _key(values: Values) -> tuple[str, str]:
    return str(at(values, "metadata.namespace", "")), str(at(values, "metadata.name", ""))


def _replicas(plan: StackPlan, side: str) -> dict[tuple[str, str], float]:
    """Return the lowest number of replicas that autoscalers keep, by namespace and deployment."""
    found = {}
    for change in plan.all():
        if change.type.startswith("kubernetes_horizontal_pod_autoscaler"):
            values = change.before if side == "before" else change.after
            name = at(values, "spec.scale_target_ref.name")
            least = as_number(at(values, "spec.min_replicas"))
            if name and least is not None:
                found[str(at(values, "metadata.namespace", "")), str(name)] = least
    return found


def _autopilot(context: Context, plan: StackPlan) -> bool:
    """Return whether pods are what costs: where nodes are paid for, pods on them cost nothing more."""
    subjects = {context.subject(change).environment for change in plan.changes}
    for name in subjects:
        facts = context.fleet.environments.get(name)
        cluster = facts.raw.get("cluster") if facts else None
        if isinstance(cluster, Mapping) and cluster.get("mode") == "standard":
            return False
    pools = any(True for _ in context.of_type("google_container_node_pool"))
    return not pools


def _monthly(
    type_: str, values: Values, scaled: Mapping[tuple[str, str], float], pods_are_paid: bool
) -> float:
    """Return what a resource costs a month just by being there."""
    if not values:
        return 0.0
    table = prices()
    hours = float(table["hours_per_month"])
    if type_ in ("kubernetes_deployment", "kubernetes_deployment_v1", "kubernetes_stateful_set_v1"):
        replicas = scaled.get(_key(values), as_number(at(values, "spec.replicas")) or 1.0)
        return hours * replicas * _pod_hour(values) if pods_are_paid else 0.0
    if type_ in ("kubernetes_cron_job", "kubernetes_cron_job_v1"):
        return _batch_hours(values) * _pod_hour(values) if pods_are_paid else 0.0
    if type_ == "google_container_node_pool":
        return hours * _nodes(values) * _node_hour(values)
    if type_ == "google_container_cluster":
        return hours * float(table["cluster_hour"])
    if type_ == "google_kms_crypto_key":
        return float(table["kms_key_month"])
    if type_ == "google_compute_forwarding_rule":
        return hours * float(table["load_balancer_hour"])
    return 0.0


def _pod_hour(values: Values) -> float:
    """Return what a pod costs an hour on Autopilot, by what its containers ask for."""
    table = prices()["autopilot"]
    total = 0.0
    for container in containers(values):
        asked = at(container, "resources.requests", {})
        asked = asked if isinstance(asked, Mapping) else {}
        total += table["vcpu"] * (quantity(asked.get("cpu")) or 0.0)
        total += table["memory_gib"] * (quantity(asked.get("memory")) or 0.0) / _GIB
        total += table["ephemeral_gib"] * (quantity(asked.get("ephemeral-storage")) or 0.0) / _GIB
        limits = at(container, "resources.limits", {})
        gpus = quantity(limits.get(_GPU)) if isinstance(limits, Mapping) else None
        total += table["gpu"]["default"] * (gpus or 0.0)
    return total


def _batch_hours(values: Values) -> float:
    """Return for how many hours a month the pods of a batch run, all shards together."""
    try:
        minutes, hours, days, months, weekdays = cron.parse(str(at(values, "spec.schedule", "")))
    except ValueError:
        return 0.0
    shards = as_number(at(values, "spec.job_template.spec.parallelism")) or 1.0
    deadline = as_number(at(values, "spec.job_template.spec.active_deadline_seconds")) or 3600.0
    share = len(days) / 31 * len(months) / 12 * len(weekdays) / 7
    runs = _DAYS_PER_MONTH * share * len(minutes) * len(hours)
    return float(runs * shards * deadline / 4 / 3600)


def _nodes(values: Values) -> float:
    """Return the lowest number of nodes of a pool; limits are per zone, and a region has three."""
    total = as_number(at(values, "autoscaling.total_min_node_count"))
    if total is not None:
        return total
    per_zone = as_number(at(values, "autoscaling.min_node_count"))
    if per_zone is None:
        per_zone = as_number(values.get("node_count")) or as_number(values.get("initial_node_count")) or 0.0
    zones = as_list(values.get("node_locations"))
    return per_zone * (len(zones) or 3)


def _node_hour(values: Values) -> float:
    """Return what a node costs an hour: machine and accelerators."""
    table = prices()
    match = _MACHINE.fullmatch(str(at(values, "node_config.machine_type", "")))
    total = 0.0
    if match and match["family"] in table["machines"]:
        price = table["machines"][match["family"]]
        vcpus = float(match["size"])
        if match["family"] in ("a2", "a3"):
            vcpus *= 12  # these are named by their accelerators
        total = vcpus * (price["vcpu"] + price["memory_gib"] * table["memory_per_vcpu"].get(match["kind"], 4))
    for block in as_list(at(values, "node_config.guest_accelerator")):
        gpu = table["autopilot"]["gpu"]
        total += gpu.get(str(at(block, "type")), gpu["default"]) * (as_number(at(block, "count")) or 0.0)
    return total * (float(table["spot_share"]) if at(values, "node_config.spot") is True else 1.0)


def by_subject(items: Sequence[Item]) -> dict[str, float]:
    """Return the monthly difference per team or model, the largest first."""
    found: dict[str, float] = {}
    for item in items:
        found[str(item.subject)] = found.get(str(item.subject), 0.0) + item.delta
    return dict(sorted(found.items(), key=lambda entry: -abs(entry[1])))
