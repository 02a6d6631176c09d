"""Models that would be down, or closer to it."""

from collections.abc import Iterator, Mapping
from typing import Any

from plan_review.changes import Action, Change, Values, at
from plan_review.context import Context, as_list
from plan_review.rules.exposure import PODS, containers
from plan_review.rules.registry import Hit, PlanHit, Severity, plan_rule, rule
from plan_review.words import as_number, quantity

_AUTOSCALER = "kubernetes_horizontal_pod_autoscaler*"
_BUDGET = "kubernetes_pod_disruption_budget*"
_SERVING = ("kubernetes_deployment*", "kubernetes_service", "kubernetes_service_v1", "kubernetes_manifest")
# A canary may grow by this many points at once.
MAX_CANARY_STEP = 25


def _workload_stays(change: Change, context: Context) -> bool:
    """Return whether the deployment that a budget or autoscaler belongs to is still there."""
    name, namespace = (at(change.values, f"metadata.{key}") for key in ("name", "namespace"))
    types = ("kubernetes_deployment", "kubernetes_deployment_v1", "kubernetes_stateful_set_v1")
    return any(
        bool(workload.after)
        and at(workload.after, "metadata.name") == name
        and at(workload.after, "metadata.namespace") == namespace
        for workload in context.of_type(*types, stack=change.stack)
    )


@rule(
    "reliability/single-replica",
    Severity.APPROVE,
    _AUTOSCALER,
    "kubernetes_deployment*",
    title="A model runs on a single replica",
    rationale="One node that is drained, or one crash, takes the model down.",
    fix="Keep at least two replicas.",
)
def single_replica(change: Change, context: Context) -> Iterator[Hit]:
    """Find fewer than two replicas where there were more."""
    if change.type.startswith("kubernetes_deployment") and _scaled(change, context):
        return
    path = "spec.min_replicas" if "autoscaler" in change.type else "spec.replicas"
    before, after = as_number(change.was(path)), as_number(change.now(path))
    if change.kept and before and before >= 2 and after is not None and after < 2:
        yield Hit(f"{context.subject(change)}: replicas {before:g} -> {after:g}")


def _scaled(change: Change, context: Context) -> bool:
    """Return whether an autoscaler decides on a deployment's replicas."""
    name = at(change.values, "metadata.name")
    types = ("kubernetes_horizontal_pod_autoscaler_v2", "kubernetes_horizontal_pod_autoscaler_v1")
    return any(
        bool(scaler.after) and at(scaler.after, "spec.scale_target_ref.name") == name
        for scaler in context.of_type(*types, stack=change.stack)
    )


@rule(
    "reliability/fewer-replicas",
    Severity.WARN,
    _AUTOSCALER,
    title="A model gets less room to scale",
    rationale="Load that it took before may be more than it can take.",
    fix="Compare with the replicas of the last weeks on the dashboard.",
)
def fewer_replicas(change: Change, context: Context) -> Iterator[Hit]:
    """Find lower bounds of autoscalers, other than down to one."""
    if not change.kept:
        return
    for name, least in (("min", 2), ("max", 0)):
        before, after = (
            as_number(v) for v in (change.was(f"spec.{name}_replicas"), change.now(f"spec.{name}_replicas"))
        )
        if before and after and least <= after < before:
            yield Hit(f"{context.subject(change)}: {name} replicas {before:g} -> {after:g}")


@rule(
    "reliability/disruption-budget-off",
    Severity.APPROVE,
    _BUDGET,
    title="All replicas of a model may be taken away at once",
    rationale="A node upgrade drains pods; the budget is what keeps some of them.",
    fix="Keep the disruption budget at one unavailable pod.",
)
def disruption_budget_off(change: Change, context: Context) -> Iterator[Hit]:
    """Find budgets that go, or that allow everything."""
    if change.action is Action.DELETE and _workload_stays(change, context):
        yield Hit(f"{context.subject(change)} loses its disruption budget")
    if not change.kept:
        return
    before, after = change.was("spec.max_unavailable"), change.now("spec.max_unavailable")
    if after is not None and _share(after) > _share(before):
        yield Hit(f"{context.subject(change)}: unavailable pods allowed {before or 'none'} -> {after}")
    least, now = change.was("spec.min_available"), change.now("spec.min_available")
    if least is not None and after is None and _share(now) < _share(least):
        yield Hit(f"{context.subject(change)}: pods kept at least {least} -> {now or 'none'}")


def _share(value: Any) -> float:
    """Return an amount of pods, percentages weighing more than small numbers."""
    text = str(value or 0)
    found = as_number(text.removesuffix("%")) or 0.0
    return found * 10 if text.endswith("%") else found


@rule(
    "reliability/autoscaler-removed",
    Severity.APPROVE,
    _AUTOSCALER,
    title="A model no longer scales with its load",
    rationale="More load than its fixed replicas take makes it slow, then unavailable.",
    fix="Keep the autoscaler.",
)
def autoscaler_removed(change: Change, context: Context) -> Iterator[Hit]:
    """Find autoscalers that go although their deployment stays."""
    if change.action is Action.DELETE and _workload_stays(change, context):
        yield Hit(f"{context.subject(change)} loses its autoscaler")


@rule(
    "reliability/probe-removed",
    Severity.APPROVE,
    *PODS,
    title="A probe is removed",
    rationale="Requests reach pods that cannot answer yet, and pods that hang are never restarted.",
    fix="Keep startup, readiness and liveness probes.",
)
def probe_removed(change: Change, context: Context) -> Iterator[Hit]:
    """Find containers that lose a probe."""
    after = {str(c.get("name")): c for c in containers(change.after)}
    for old in containers(change.before) if change.kept else ():
        container = after.get(str(old.get("name")))
        for probe in ("startup_probe", "readiness_probe", "liveness_probe"):
            if container is not None and old.get(probe) and not container.get(probe):
                name = probe.removesuffix("_probe")
                yield Hit(f"{context.thing(change)}: container {old.get('name')} loses its {name} probe")


def canary_share(values: Values) -> float | None:
    """Return the share of a route's requests that goes to the canary in percent; None if it is no route.

    Rules that match a header are for those who ask for the canary by name, and do not count.
    """
    if at(values, "manifest.kind") != "HTTPRoute":
        return None
    shares = [0.0]
    for entry in as_list(at(values, "manifest.spec.rules")):
        if any(at(match, "headers") for match in as_list(at(entry, "matches", []))):
            continue
        weights = {
            str(b.get("name")): as_number(b.get("weight", 1)) or 0.0
            for b in as_list(at(entry, "backendRefs"))
        }
        total = sum(weights.values())
        canary = sum(weight for name, weight in weights.items() if name.endswith("-canary"))
        if total:
            shares.append(100 * canary / total)
    return max(shares)


@rule(
    "reliability/canary-jump",
    Severity.APPROVE,
    "kubernetes_manifest",
    title="A canary gets much more traffic at once",
    rationale=f"A bad version should hurt few callers first; steps of up to {MAX_CANARY_STEP} points do.",
    fix="Raise canary.percent in steps, and look at the dashboard between them.",
)
def canary_jump(change: Change, context: Context) -> Iterator[Hit]:
    """Find large steps of a canary's share."""
    before, after = canary_share(change.before) or 0.0, canary_share(change.after)
    if after is not None and after - before > MAX_CANARY_STEP:
        yield Hit(f"{context.subject(change)}: canary {before:g} % -> {after:g} %")


@rule(
    "reliability/canary-step",
    Severity.INFO,
    "kubernetes_manifest",
    title="A canary gets another share of the traffic",
    rationale="The step is small enough to watch.",
    fix="Nothing; look at the dashboard after the apply.",
)
def canary_step(change: Change, context: Context) -> Iterator[Hit]:
    """Find small steps of a canary's share."""
    before, after = canary_share(change.before) or 0.0, canary_share(change.after)
    if after is not None and after != before and after - before <= MAX_CANARY_STEP:
        yield Hit(f"{context.subject(change)}: canary {before:g} % -> {after:g} %")


@rule(
    "reliability/stops-serving",
    Severity.APPROVE,
    *_SERVING,
    "kubernetes_cron_job*",
    title="A model is no longer served, or is interrupted",
    rationale="Callers get errors from the apply on; a replaced deployment is down until its pods are ready.",
    fix="Tell the callers first; change what forces the replacement in a second deployment beside it.",
)
def stops_serving(change: Change, context: Context) -> Iterator[Hit]:
    """Find destroyed and replaced workloads, services and routes."""
    if change.type == "kubernetes_manifest" and at(change.values, "manifest.kind") not in (
        "HTTPRoute",
        "Gateway",
    ):
        return
    name = context.name(change)
    # A canary comes and goes by design.
    if name.endswith("-canary"):
        return
    if change.action is Action.DELETE:
        yield Hit(f"{context.thing(change)} is removed: {context.subject(change)} is no longer served by it")
    if change.action is Action.REPLACE:
        yield Hit(f"{context.thing(change)} is replaced: {context.subject(change)} is interrupted")


@rule(
    "reliability/namespace-destroyed",
    Severity.BLOCK,
    "kubernetes_namespace*",
    title="A namespace is destroyed or replaced",
    rationale="Kubernetes deletes everything in it at once.",
    fix="Keep the namespace; remove the models one by one.",
)
def namespace_destroyed(change: Change, context: Context) -> Iterator[Hit]:
    """Find namespaces that go."""
    if change.gone:
        yield Hit(f"{change.action} of {context.thing(change)}: every model in it stops")


@rule(
    "reliability/quota-cut",
    Severity.WARN,
    "kubernetes_resource_quota*",
    title="A team gets less of the cluster",
    rationale="Pods that no longer fit are not started again after a crash or an upgrade.",
    fix="Compare with what the team uses now.",
)
def quota_cut(change: Change, context: Context) -> Iterator[Hit]:
    """Find lower quotas."""
    before, after = change.was("spec.hard", {}), change.now("spec.hard", {})
    if not change.kept or not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return
    # A quota follows what the team's models ask for: a model that goes takes its share along.
    if any(
        c.action is Action.DELETE
        for c in context.of_type("kubernetes_deployment_v1", "kubernetes_cron_job_v1", stack=change.stack)
    ):
        return
    for name, amount in after.items():
        old, new = quantity(before.get(name)), quantity(amount)
        if old is not None and new is not None and new < old * 0.999:
            yield Hit(f"{context.subject(change)}: quota of {name} {before.get(name)} -> {amount}")


@rule(
    "reliability/resources-cut",
    Severity.WARN,
    *PODS,
    title="A container gets much less CPU or memory",
    rationale="Less memory than it needs kills it again and again; less CPU makes it slow.",
    fix="Compare with what it used in the last weeks.",
)
def resources_cut(change: Change, context: Context) -> Iterator[Hit]:
    """Find requests that fall by more than half."""
    before = {str(c.get("name")): c for c in containers(change.before)}
    for container in containers(change.after) if change.kept else ():
        old = before.get(str(container.get("name")), {})
        for name in ("cpu", "memory"):
            amounts = [
                at(c, f"resources.limits.{name}") or at(c, f"resources.requests.{name}")
                for c in (old, container)
            ]
            was, now = (quantity(amount) for amount in amounts)
            if was and now and now < was / 2:
                yield Hit(f"{context.subject(change)}: {name} {amounts[0]} -> {amounts[1]}")


@rule(
    "reliability/rollout-unsafe",
    Severity.APPROVE,
    "kubernetes_deployment*",
    title="A new version replaces the old one all at once",
    rationale="If it does not start, nothing is left that answers.",
    fix="Keep RollingUpdate with max_unavailable 0.",
)
def rollout_unsafe(change: Change, context: Context) -> Iterator[Hit]:
    """Find strategies that stop old pods before new ones are ready."""
    if not change.kept:
        return
    if change.now("spec.strategy.type") == "Recreate" != change.was("spec.strategy.type"):
        yield Hit(f"{context.thing(change)}: strategy Recreate, so all pods stop first")
    path = "spec.strategy.rolling_update.max_unavailable"
    if change.was(path) is not None and _share(change.now(path)) > _share(change.was(path)):
        yield Hit(
            f"{context.thing(change)}: unavailable while rolling out {change.was(path)} -> {change.now(path)}"
        )


@rule(
    "reliability/batch-suspended",
    Severity.APPROVE,
    "kubernetes_cron_job*",
    title="A batch no longer runs, or runs twice",
    rationale="Whoever reads its predictions reads old ones, or each row twice.",
    fix="Keep suspend off and concurrency at Forbid.",
)
def batch_suspended(change: Change, context: Context) -> Iterator[Hit]:
    """Find suspended batches and batches that may overlap."""
    if change.now("spec.suspend") is True and change.was("spec.suspend") is not True:
        yield Hit(f"{context.thing(change)} is suspended")
    path = "spec.concurrency_policy"
    if change.kept and change.was(path) == "Forbid" != change.now(path):
        yield Hit(f"{context.thing(change)}: concurrency Forbid -> {change.now(path)}, so runs may overlap")


@rule(
    "reliability/batch-schedule-changed",
    Severity.INFO,
    "kubernetes_cron_job*",
    title="A batch runs at other times",
    rationale="Whoever waits for its predictions should know.",
    fix="Tell those who read the predictions.",
)
def batch_schedule_changed(change: Change, context: Context) -> Iterator[Hit]:
    """Find other schedules and deadlines."""
    if change.kept and change.changed("spec.schedule"):
        before, after = change.was("spec.schedule"), change.now("spec.schedule")
        yield Hit(f'{context.subject(change)}: schedule "{before}" -> "{after}"')


@rule(
    "reliability/deadline-cut",
    Severity.WARN,
    "kubernetes_cron_job*",
    "google_pubsub_subscription",
    title="Less time to finish",
    rationale="A run or message that takes longer than today's usual is given up.",
    fix="Compare with the longest run of the last weeks.",
)
def deadline_cut(change: Change, context: Context) -> Iterator[Hit]:
    """Find shorter deadlines of batches, and fewer attempts at messages."""
    if not change.kept:
        return
    for path in (
        "spec.job_template.spec.active_deadline_seconds",
        "ack_deadline_seconds",
        "dead_letter_policy.max_delivery_attempts",
    ):
        before, after = as_number(change.was(path)), as_number(change.now(path))
        if before and after and after < before:
            yield Hit(f"{context.subject(change)}: {path.rpartition('.')[2]} {before:g} -> {after:g}")


@rule(
    "reliability/cluster-upgrades",
    Severity.APPROVE,
    "google_container_cluster",
    title="The cluster is upgraded earlier, or at any time",
    rationale="Upgrades drain nodes; new versions come with their own faults.",
    fix="Keep the release channel and the maintenance window.",
)
def cluster_upgrades(change: Change, context: Context) -> Iterator[Hit]:
    """Find earlier release channels and removed maintenance windows."""
    if not change.kept:
        return
    order = ("EXTENDED", "STABLE", "REGULAR", "RAPID")
    before, after = change.was("release_channel.channel"), change.now("release_channel.channel")
    if before in order and after in order and order.index(after) > order.index(before):
        yield Hit(f"{context.thing(change)}: release channel {before} -> {after}")
    if change.was("maintenance_policy") and not change.now("maintenance_policy"):
        yield Hit(f"{context.thing(change)}: maintenance at any time")


@rule(
    "reliability/spreading-off",
    Severity.WARN,
    "kubernetes_deployment*",
    title="Replicas may all stand in one zone",
    rationale="One zone that fails takes the model down.",
    fix="Keep the topology spread constraint.",
)
def spreading_off(change: Change, context: Context) -> Iterator[Hit]:
    """Find deployments that lose their spreading over zones."""
    path = "spec.template.spec.topology_spread_constraint"
    if change.kept and change.was(path) and not change.now(path):
        yield Hit(f"{context.thing(change)} is no longer spread over zones")


@rule(
    "reliability/health-check-changed",
    Severity.APPROVE,
    "kubernetes_manifest",
    title="The load balancer checks another address, or none",
    rationale="If the check never answers, no request arrives; without one, broken pods get some.",
    fix="Keep the health check at /readyz.",
)
def health_check_changed(change: Change, context: Context) -> Iterator[Hit]:
    """Find health checks that go or ask for something else."""
    if at(change.values, "manifest.kind") != "HealthCheckPolicy" or change.name.endswith("canary"):
        return
    if (
        change.action is Action.DELETE
        and not context.name(change).endswith("-canary")
        and _serves(change, context)
    ):
        yield Hit(f"{context.subject(change)} loses its health check")
    path = "manifest.spec.default.config.httpHealthCheck.requestPath"
    if change.kept and change.changed(path):
        yield Hit(f"{context.subject(change)}: health check {change.was(path)} -> {change.now(path)}")


def _serves(change: Change, context: Context) -> bool:
    name = at(change.before, "manifest.spec.targetRef.name")
    services = context.of_type("kubernetes_service_v1", "kubernetes_service", stack=change.stack)
    return any(bool(s.after) and at(s.after, "metadata.name") == name for s in services)


@plan_rule(
    "reliability/plan-errored",
    Severity.BLOCK,
    title="The plan did not come to its end",
    rationale="A plan that ended with an error may lack changes: what it shows is not what would be applied.",
    fix="Mend what Terraform reports, plan again, and review that plan.",
)
def plan_errored(context: Context) -> Iterator[PlanHit]:
    """Find plans that ended with an error."""
    for plan in context.plans:
        if plan.errored:
            yield PlanHit(f"The plan of {plan.stack} ended with an error", stack=plan.stack)
