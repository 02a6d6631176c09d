"""Things that more people, or everyone, could reach."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plan_review.changes import Action, Change, Values, at, block
from plan_review.context import Context, as_list
from plan_review.diff import frozen
from plan_review.rules.registry import Hit, Severity, rule

IAM_TYPES = (
    "google_*_iam_member",
    "google_*_iam_binding",
    "google_*_iam_policy",
    "google_bigquery_dataset",
    "google_bigquery_dataset_access",
    "google_storage_*access_control",
    "google_storage_*acl",
    "google_privileged_access_manager_entitlement",
    "kubernetes_*role_binding*",
    "kubernetes_manifest",
)
# Ranges of public addresses at least this large stand for the internet.
_WIDE_PREFIX = 8
PODS = (
    "kubernetes_deployment*",
    "kubernetes_cron_job*",
    "kubernetes_job*",
    "kubernetes_pod*",
    "kubernetes_stateful_set*",
    "kubernetes_daemon*",
)


def pod_of(values: Values) -> Mapping[str, Any]:
    """Return the pod specification in a workload; empty if there is none."""
    for path in ("spec.job_template.spec.template.spec", "spec.template.spec", "spec"):
        pod = block(values, path)
        if "container" in pod:
            return pod
    return {}


def containers(values: Values) -> Iterator[Mapping[str, Any]]:
    """Yield the containers of a workload."""
    pod = pod_of(values)
    for name in ("container", "init_container"):
        yield from (c for c in as_list(pod.get(name)) if isinstance(c, Mapping))


def is_internet(cidr: Any) -> bool:
    """Return whether a range of addresses is the internet, or a large part of it."""
    if not isinstance(cidr, str):
        return False
    try:
        network = ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return False
    return network.prefixlen == 0 or (network.prefixlen <= _WIDE_PREFIX and not network.is_private)


@rule(
    "exposure/public-member",
    Severity.BLOCK,
    *IAM_TYPES,
    title="Everyone gets access",
    rationale="allUsers is the internet; allAuthenticatedUsers is anyone with a Google account.",
    fix="Grant a group or a service account of the organisation.",
)
def public_member(change: Change, context: Context) -> Iterator[Hit]:
    """Find grants to everyone."""
    for grant in context.gained(change):
        if grant.everyone:
            who, where = context.principal(grant), context.granted_on(change, grant)
            yield Hit(f"{who} gains {grant.role} on {where}", grant.principal, grant.role, grant.on)


@rule(
    "exposure/external-domain",
    Severity.BLOCK,
    *IAM_TYPES,
    title="Someone outside the organisation gets access",
    rationale="Accounts outside are not bound by the organisation's sign-in, leavers' process or contracts.",
    fix="Grant a group of the organisation; invite partners into one.",
)
def external_domain(change: Change, context: Context) -> Iterator[Hit]:
    """Find grants to addresses outside the organisation's domain."""
    for grant in context.gained(change):
        domain = grant.principal.removeprefix("domain:") if grant.principal.startswith("domain:") else ""
        email = f"all@{domain}" if domain else grant.email
        if email and not grant.principal.startswith("principal") and context.fleet.is_foreign(email):
            where = context.granted_on(change, grant)
            yield Hit(
                f"{grant.principal}, outside the organisation, gains {grant.role} on {where}",
                grant.principal,
                grant.role,
                grant.on,
            )


@rule(
    "exposure/public-access-prevention-off",
    Severity.BLOCK,
    "google_storage_bucket",
    title="A bucket may be made public, or object by object",
    rationale="Public access prevention and uniform access make a mistaken grant to everyone impossible.",
    fix='Keep public_access_prevention = "enforced" and uniform_bucket_level_access = true.',
)
def public_access_prevention_off(change: Change, context: Context) -> Iterator[Hit]:
    """Find buckets without the two guards."""
    if not change.after:
        return
    prevention = change.now("public_access_prevention")
    if prevention != "enforced" and (change.made or change.changed("public_access_prevention")):
        yield Hit(f"{context.thing(change)}: public access prevention is {prevention or 'not set'}")
    uniform = "uniform_bucket_level_access"
    if change.was(uniform) is True and change.now(uniform) is not True:
        yield Hit(f"{context.thing(change)}: uniform access off, so single objects can be opened")


@rule(
    "exposure/open-firewall",
    Severity.BLOCK,
    "google_compute_firewall",
    title="The firewall lets the internet in",
    rationale="Nothing in the network is meant to be called from outside; callers come through the gateway.",
    fix="Name the ranges that need to get in.",
)
def open_firewall(change: Change, context: Context) -> Iterator[Hit]:
    """Find rules that allow traffic from everywhere."""
    after = change.after
    if not after or not after.get("allow") or after.get("disabled") is True:
        return
    if str(after.get("direction") or "INGRESS") != "INGRESS":
        return
    ranges = [r for r in as_list(after.get("source_ranges")) if is_internet(r)]
    if not ranges and not _any_source(after):
        return
    if change.kept and all(
        not change.changed(p) for p in ("source_ranges", "allow", "disabled", "direction")
    ):
        return
    allowed = ", ".join(
        f"{block.get('protocol')}{':' + '/'.join(as_list(block.get('ports'))) if block.get('ports') else ''}"
        for block in as_list(after.get("allow"))
        if isinstance(block, Mapping)
    )
    yield Hit(f"{context.thing(change)} lets {', '.join(ranges) or 'everyone'} in on {allowed}")


def _any_source(values: Values) -> bool:
    return not any(values.get(k) for k in ("source_ranges", "source_tags", "source_service_accounts"))


@rule(
    "exposure/egress-opened",
    Severity.APPROVE,
    "google_compute_firewall",
    "kubernetes_network_policy*",
    title="Traffic may leave to the internet",
    rationale="Whoever takes over a pod could send data anywhere; models need Google's APIs alone.",
    fix="Name the ranges that are needed.",
)
def egress_opened(change: Change, context: Context) -> Iterator[Hit]:
    """Find rules that let traffic out to everywhere."""
    if change.type == "google_compute_firewall":
        after = change.after
        wide = [r for r in as_list(after.get("destination_ranges")) if is_internet(r)]
        was_wide = [r for r in as_list(change.before.get("destination_ranges")) if is_internet(r)]
        opens = bool(after.get("allow")) and after.get("direction") == "EGRESS" and wide
        if opens and not (was_wide and change.before.get("allow")):
            yield Hit(f"{context.thing(change)} lets traffic out to {', '.join(wide)}")
        return
    before, after_ranges = _ranges(change.before, "egress", "to"), _ranges(change.after, "egress", "to")
    for cidr in sorted(after_ranges - before):
        if is_internet(cidr):
            yield Hit(f"{context.thing(change)} lets traffic out to {cidr}")


def _ranges(values: Values, side: str, where: str) -> set[str]:
    """Return the address ranges of a network policy's rules; a rule that names nobody means everywhere."""
    found: set[str] = set()
    for entry in as_list(at(values, f"spec.{side}")):
        peers = as_list(entry.get(where)) if isinstance(entry, Mapping) else []
        if isinstance(entry, Mapping) and entry and not peers:
            found.add("0.0.0.0/0")
        for peer in peers:
            cidr = at(peer, "ip_block.cidr")
            if isinstance(cidr, str):
                found.add(cidr)
    return found


@rule(
    "exposure/ingress-widened",
    Severity.APPROVE,
    "kubernetes_network_policy*",
    title="More may call the pods of a team",
    rationale="A namespace starts closed; each range or namespace that is let in can call every model in it.",
    fix="Let callers come through the gateway.",
)
def ingress_widened(change: Change, context: Context) -> Iterator[Hit]:
    """Find sources that a network policy newly lets in."""
    if not change.kept:
        return
    before = {frozen(peer) for peer in _peers(change.before)}
    for peer in _peers(change.after):
        if frozen(peer) not in before:
            cidr = at(peer, "ip_block.cidr")
            labels = at(peer, "namespace_selector.match_labels") or at(peer, "pod_selector.match_labels")
            who = cidr or (f"what is labelled {_labels(labels)}" if labels else "every namespace")
            yield Hit(f"{context.thing(change)} lets {who} in")


def _labels(labels: Any) -> str:
    return ", ".join(f"{k}={v}" for k, v in labels.items()) if isinstance(labels, Mapping) else str(labels)


def _peers(values: Values) -> Iterator[Any]:
    for entry in as_list(at(values, "spec.ingress")):
        yield from as_list(entry.get("from")) if isinstance(entry, Mapping) else ()


@rule(
    "exposure/network-policy-removed",
    Severity.BLOCK,
    "kubernetes_network_policy*",
    title="A namespace is no longer closed",
    rationale="Without the policy that denies by default, every pod of every team may call the models in it.",
    fix="Keep the network policy.",
)
def network_policy_removed(change: Change, context: Context) -> Iterator[Hit]:
    """Find removed network policies, and policies that no longer cover what they did."""
    namespace = at(change.before, "metadata.namespace", "?")
    if change.action is Action.DELETE and not _namespace_goes(change, context, namespace):
        yield Hit(f"{context.thing(change)} is removed: namespace {namespace} is open")
    if change.kept:
        gone = set(as_list(change.was("spec.policy_types"))) - set(as_list(change.now("spec.policy_types")))
        for kind in sorted(gone):
            yield Hit(f"{context.thing(change)} no longer covers {kind}")


def _namespace_goes(change: Change, context: Context, namespace: Any) -> bool:
    return any(
        other.action is Action.DELETE and at(other.before, "metadata.name") == namespace
        for other in context.of_type("kubernetes_namespace", "kubernetes_namespace_v1", stack=change.stack)
    )


_CLUSTER_GUARDS = (
    ("private_cluster_config.enable_private_endpoint", True, "its API gets a public address"),
    ("private_cluster_config.enable_private_nodes", True, "its nodes get public addresses"),
    (
        "control_plane_endpoints_config.dns_endpoint_config.allow_external_traffic",
        False,
        "its API answers outside",
    ),
    (
        "master_authorized_networks_config.gcp_public_cidrs_access_enabled",
        False,
        "all of Google Cloud may call its API",
    ),
    ("anonymous_authentication_config.mode", "LIMITED", "anonymous callers may use its API"),
    ("enable_legacy_abac", False, "legacy authorization is on"),
    (
        "rbac_binding_config.enable_insecure_binding_system_authenticated",
        False,
        "roles can be given to everyone",
    ),
    (
        "rbac_binding_config.enable_insecure_binding_system_unauthenticated",
        False,
        "roles can be given to everyone",
    ),
)


@rule(
    "exposure/public-endpoint",
    Severity.BLOCK,
    "google_container_cluster",
    "google_sql_database_instance",
    "google_compute_instance*",
    title="Something gets an address on the internet",
    rationale="An address on the internet is scanned within minutes.",
    fix="Keep endpoints private; reach the cluster through Connect Gateway.",
)
def public_endpoint(change: Change, context: Context) -> Iterator[Hit]:
    """Find clusters, databases and machines that can be reached from outside."""
    if change.type == "google_container_cluster" and change.after:
        for path, safe, words in _CLUSTER_GUARDS:
            if change.kept and change.was(path) == safe and change.now(path) != safe:
                yield Hit(f"{context.thing(change)}: {words} ({path})")
        blocks = at(change.after, "master_authorized_networks_config.cidr_blocks", [])
        old = {
            str(at(b, "cidr_block"))
            for b in as_list(at(change.before, "master_authorized_networks_config.cidr_blocks"))
        }
        for block in as_list(blocks):
            if is_internet(at(block, "cidr_block")) and at(block, "cidr_block") not in old:
                yield Hit(f"{context.thing(change)}: {at(block, 'cidr_block')} may call its API")
        if (
            change.kept
            and change.was("master_authorized_networks_config")
            and not change.now("master_authorized_networks_config")
        ):
            yield Hit(f"{context.thing(change)}: the list of who may call its API is gone")
    if change.type == "google_sql_database_instance":
        path = "settings.ip_configuration.ipv4_enabled"
        if change.now(path) is True and change.was(path) is not True:
            yield Hit(f"{context.thing(change)} gets a public address")
    if change.type.startswith("google_compute_instance"):
        for interface in as_list(change.after.get("network_interface")):
            if isinstance(interface, Mapping) and interface.get("access_config") and not _had_address(change):
                yield Hit(f"{context.thing(change)} gets a public address")


def _had_address(change: Change) -> bool:
    return any(
        isinstance(i, Mapping) and i.get("access_config")
        for i in as_list(change.before.get("network_interface"))
    )


_INTERNAL_CLASSES = frozenset(("gke-l7-rilb", "gke-l7-cross-regional-internal-managed-mc", "gke-l7-rilb-mc"))
_INTERNAL = (
    ("networking.gke.io/load-balancer-type", "Internal"),
    ("cloud.google.com/load-balancer-type", "Internal"),
)


@rule(
    "exposure/public-service",
    Severity.BLOCK,
    "kubernetes_service*",
    "kubernetes_ingress*",
    "kubernetes_manifest",
    title="A model can be called from outside",
    rationale="Models are called through the internal gateway, which knows who calls.",
    fix="Use type ClusterIP and a route of the shared gateway.",
)
def public_service(change: Change, context: Context) -> Iterator[Hit]:
    """Find load balancers, node ports and gateways that face the internet."""
    if not change.after:
        return
    if change.type.startswith("kubernetes_service") and "account" not in change.type:
        kind = change.now("spec.type")
        notes = at(change.after, "metadata.annotations", {})
        internal = isinstance(notes, Mapping) and any(notes.get(k) == v for k, v in _INTERNAL)
        if kind in ("LoadBalancer", "NodePort") and not internal and (change.was("spec.type") != kind):
            yield Hit(
                f"{context.thing(change)} becomes a {kind}, which can be reached from outside the cluster"
            )
    elif change.type.startswith("kubernetes_ingress") and change.made:
        yield Hit(f"{context.thing(change)}: an ingress beside the shared internal gateway")
    elif change.type == "kubernetes_manifest" and change.now("manifest.kind") == "Gateway":
        path = "manifest.spec.gatewayClassName"
        if change.now(path) not in _INTERNAL_CLASSES and change.was(path) != change.now(path):
            yield Hit(f"{context.thing(change)}: gateway class {change.now(path)} faces the internet")


@rule(
    "exposure/route-moved",
    Severity.APPROVE,
    "kubernetes_manifest",
    title="A route goes through another gateway, or answers to other paths",
    rationale="Callers lose their address, and another gateway may be open to more people.",
    fix="Keep the shared gateway and the path /<team>/<model>.",
)
def route_moved(change: Change, context: Context) -> Iterator[Hit]:
    """Find routes with another parent or other paths."""
    if change.kept and change.now("manifest.kind") == "HTTPRoute":
        parents = [frozen(at(v, "manifest.spec.parentRefs", [])) for v in (change.before, change.after)]
        if parents[0] != parents[1]:
            yield Hit(f"{context.thing(change)} moves to another gateway")
        before, after = _paths(change.before), _paths(change.after)
        if before and before != after:
            yield Hit(
                f"{context.thing(change)}: path {', '.join(sorted(before))} -> {', '.join(sorted(after))}"
            )


def _paths(values: Values) -> set[str]:
    return {
        str(at(match, "path.value", "/"))
        for entry in as_list(at(values, "manifest.spec.rules"))
        for match in as_list(at(entry, "matches", []))
    }


@rule(
    "exposure/push-endpoint",
    Severity.APPROVE,
    "google_pubsub_subscription",
    title="Messages are pushed to an address",
    rationale="Whoever owns the address gets every message.",
    fix="Let the worker pull; or say in the pull request whose address it is.",
)
def push_endpoint(change: Change, context: Context) -> Iterator[Hit]:
    """Find subscriptions that begin to push somewhere."""
    path = "push_config.push_endpoint"
    if change.now(path) and change.now(path) != change.was(path):
        yield Hit(f"{context.thing(change)} sends every message to {change.now(path)}")


_CONTAINER_GUARDS: Sequence[tuple[str, Any, str]] = (
    ("security_context.privileged", False, "runs privileged"),
    ("security_context.allow_privilege_escalation", False, "may gain privileges"),
    ("security_context.run_as_non_root", True, "may run as root"),
    ("security_context.read_only_root_filesystem", True, "may write to its file system"),
)


@rule(
    "exposure/pod-less-confined",
    Severity.BLOCK,
    *PODS,
    title="A pod is less confined",
    rationale="A model server that is taken over should find no root, no host and nothing to write to.",
    fix="Keep the module's security context.",
)
def pod_less_confined(change: Change, context: Context) -> Iterator[Hit]:
    """Find pods that lose a restriction, or reach into their host."""
    before = {str(c.get("name")): c for c in containers(change.before)}
    for container in containers(change.after):
        old = before.get(str(container.get("name")), {})
        for path, safe, words in _CONTAINER_GUARDS:
            lowered = at(old, path) == safe and at(container, path) != safe
            if lowered or (not old and isinstance(safe, bool) and at(container, path) is (not safe)):
                yield Hit(f"{context.thing(change)}: container {container.get('name')} {words}")
        gained = set(as_list(at(container, "security_context.capabilities.add"))) - set(
            as_list(at(old, "security_context.capabilities.add"))
        )
        if gained:
            more = ", ".join(sorted(gained))
            yield Hit(f"{context.thing(change)}: container {container.get('name')} gains {more}")
    pod, old_pod = pod_of(change.after), pod_of(change.before)
    for name in ("host_network", "host_pid", "host_ipc"):
        if pod.get(name) is True and old_pod.get(name) is not True:
            yield Hit(f"{context.thing(change)}: {name} on")
    old_paths = _host_paths(old_pod)
    for path in sorted(_host_paths(pod) - old_paths):
        yield Hit(f"{context.thing(change)} mounts {path} of its node")


def _host_paths(pod: Mapping[str, Any]) -> set[str]:
    volumes = as_list(pod.get("volume"))
    return {str(at(v, "host_path.path")) for v in volumes if at(v, "host_path.path")}


_LEVELS = ("privileged", "baseline", "restricted")


@rule(
    "exposure/pod-security-lowered",
    Severity.BLOCK,
    "kubernetes_namespace*",
    title="A namespace admits less confined pods",
    rationale="The namespace's level is what refuses a privileged pod, whoever deploys it.",
    fix="Keep pod-security.kubernetes.io/enforce: restricted.",
)
def pod_security_lowered(change: Change, context: Context) -> Iterator[Hit]:
    """Find namespaces whose pod security level falls."""
    key = "pod-security.kubernetes.io/enforce"
    before, after = (at(v, "metadata.labels", {}) for v in (change.before, change.after))
    if not change.kept or not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return
    levels = [_LEVELS.index(x[key]) if x.get(key) in _LEVELS else 0 for x in (before, after)]
    if levels[1] < levels[0]:
        yield Hit(f"{context.thing(change)}: pod security {before[key]} -> {after.get(key, 'nothing')}")
