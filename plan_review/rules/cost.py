"""Changes that cost more, and amounts that no longer raise an alert."""

from collections.abc import Iterator

from plan_review.changes import Action, Change, at
from plan_review.context import Context, as_list
from plan_review.rules.exposure import PODS, containers
from plan_review.rules.registry import Hit, Severity, rule
from plan_review.words import as_number, quantity

_GPU = "nvidia.com/gpu"


@rule(
    "cost/gpu-added",
    Severity.APPROVE,
    "google_container_node_pool",
    *PODS,
    title="GPUs are added",
    rationale="One GPU costs as much as dozens of cores, whether it is used or not.",
    fix="Let whoever pays approve; let the pool scale to zero.",
)
def gpu_added(change: Change, context: Context) -> Iterator[Hit]:
    """Find node pools with accelerators and pods that ask for more GPUs."""
    if change.type == "google_container_node_pool":
        before = _accelerators(change, "before")
        for kind, amount in _accelerators(change, "after").items():
            if amount > before.get(kind, 0):
                nodes = change.now("autoscaling.max_node_count") or change.now(
                    "autoscaling.total_max_node_count"
                )
                more = f", up to {nodes} nodes per zone" if nodes else ""
                yield Hit(f"{context.thing(change)}: {amount:g} x {kind} per node{more}")
        return
    old = sum(quantity(at(c, "resources.limits", {}).get(_GPU)) or 0 for c in containers(change.before))
    new = sum(quantity(at(c, "resources.limits", {}).get(_GPU)) or 0 for c in containers(change.after))
    if new > old:
        yield Hit(f"{context.subject(change)}: GPUs per pod {old:g} -> {new:g}")


def _accelerators(change: Change, side: str) -> dict[str, float]:
    values = change.before if side == "before" else change.after
    blocks = as_list(at(values, "node_config.guest_accelerator"))
    return {str(b.get("type")): as_number(b.get("count")) or 0.0 for b in blocks if isinstance(b, dict)}


@rule(
    "cost/node-pool-grown",
    Severity.WARN,
    "google_container_node_pool",
    title="A node pool is added or may grow",
    rationale="Nodes cost whether pods fill them or not.",
    fix="Compare with what the pods ask for.",
)
def node_pool_grown(change: Change, context: Context) -> Iterator[Hit]:
    """Find new node pools, larger machines and higher limits."""
    if change.action is Action.CREATE:
        machine = change.now("node_config.machine_type")
        yield Hit(f"{context.thing(change)} is added: {machine}")
    if not change.kept:
        return
    for name in ("min_node_count", "max_node_count", "total_min_node_count", "total_max_node_count"):
        before, after = (
            as_number(change.was(f"autoscaling.{name}")),
            as_number(change.now(f"autoscaling.{name}")),
        )
        if before is not None and after is not None and after > before:
            yield Hit(f"{context.thing(change)}: {name} {before:g} -> {after:g}")
    if change.changed("node_config.machine_type"):
        kinds = f"{change.was('node_config.machine_type')} -> {change.now('node_config.machine_type')}"
        yield Hit(f"{context.thing(change)}: machines {kinds}")
    if change.was("node_config.spot") is True and change.now("node_config.spot") is not True:
        yield Hit(f"{context.thing(change)}: spot off, so nodes cost two to five times as much")


@rule(
    "cost/min-replicas-up",
    Severity.WARN,
    "kubernetes_horizontal_pod_autoscaler*",
    title="More replicas run all the time",
    rationale="The lowest number of replicas is paid for day and night.",
    fix="Raise the maximum instead, where load comes in peaks.",
)
def min_replicas_up(change: Change, context: Context) -> Iterator[Hit]:
    """Find higher minimums of autoscalers."""
    before, after = as_number(change.was("spec.min_replicas")), as_number(change.now("spec.min_replicas"))
    if change.kept and before and after and after > before:
        yield Hit(f"{context.subject(change)}: min replicas {before:g} -> {after:g}")


@rule(
    "cost/resources-up",
    Severity.WARN,
    *PODS,
    title="A container asks for at least twice as much",
    rationale="Requests are paid for whether they are used or not, in every replica.",
    fix="Compare with what it used in the last weeks.",
)
def resources_up(change: Change, context: Context) -> Iterator[Hit]:
    """Find requests that at least double."""
    before = {str(c.get("name")): c for c in containers(change.before)}
    for container in containers(change.after) if change.kept else ():
        old = before.get(str(container.get("name")), {})
        for name in ("cpu", "memory"):
            amounts = [at(c, f"resources.requests.{name}") for c in (old, container)]
            was, now = (quantity(amount) for amount in amounts)
            if was and now and now >= 2 * was:
                yield Hit(f"{context.subject(change)}: {name} {amounts[0]} -> {amounts[1]}")


@rule(
    "cost/budget-removed",
    Severity.APPROVE,
    "google_billing_budget",
    title="A budget is removed or silent",
    rationale="Nobody is told before the invoice comes.",
    fix="Keep the budget, its thresholds and its channel.",
)
def budget_removed(change: Change, context: Context) -> Iterator[Hit]:
    """Find budgets that go, or tell nobody."""
    if change.action is Action.DELETE:
        yield Hit(f"{context.thing(change)} is removed")
    if not change.kept:
        return
    path = "all_updates_rule.monitoring_notification_channels"
    if as_list(change.was(path)) and change.now(path) in (None, []):
        yield Hit(f"{context.thing(change)} tells nobody")
    if len(as_list(change.after.get("threshold_rules"))) < len(as_list(change.before.get("threshold_rules"))):
        yield Hit(f"{context.thing(change)} has fewer thresholds")


@rule(
    "cost/budget-raised",
    Severity.WARN,
    "google_billing_budget",
    title="A budget is raised",
    rationale="Alerts on cost come later.",
    fix="Let whoever pays approve.",
)
def budget_raised(change: Change, context: Context) -> Iterator[Hit]:
    """Find higher amounts."""
    path = "amount.specified_amount.units"
    before, after = as_number(change.was(path)), as_number(change.now(path))
    if change.kept and before and after and after > before:
        currency = change.now("amount.specified_amount.currency_code", "")
        yield Hit(f"{context.thing(change)}: {before:g} -> {after:g} {currency} a month")


@rule(
    "cost/partition-filter-off",
    Severity.WARN,
    "google_bigquery_table",
    title="A query may read the whole table",
    rationale="Without a filter on the partition each query pays for every day that is kept.",
    fix="Keep require_partition_filter on.",
)
def partition_filter_off(change: Change, context: Context) -> Iterator[Hit]:
    """Find tables that no longer ask for a partition filter."""
    if (
        change.kept
        and change.was("require_partition_filter") is True
        and change.now("require_partition_filter") is not True
    ):
        yield Hit(f"{context.thing(change)} no longer asks for a partition filter")
