"""Alerts on what the teams share: cluster, network, keys, logs, and the monitoring itself."""

from collections.abc import Callable
from dataclasses import dataclass

from modelyard.monitors.alert import Alert, Family, LogCondition, PromqlCondition, Runbook, Tile
from modelyard.monitors.latency import FAULTS
from modelyard.monitors.promql import (
    DAY,
    FLEET_USE,
    HOUR,
    LOG_LAG,
    LOG_ROWS,
    MONITOR_LAST_RUN,
    PREDICTIONS,
    REQUEST_SECONDS,
    REQUESTS,
    number,
    series,
)
from modelyard.monitors.values import FEATURE_PSI, INVALID_SHARE, LOSS, VOLUME_RATIO, Value
from modelyard.naming import Names
from modelyard.spec.base import Severity
from modelyard.spec.environment import Environment

NODE_CPU = "kubernetes_io:node_cpu_allocatable_utilization"
NODE_MEMORY = "kubernetes_io:node_memory_allocatable_utilization"
NAT_DROPPED = "router_googleapis_com:nat_dropped_sent_packets_count"
EXPORT_ERRORS = "logging_googleapis_com:exports_error_count"


@dataclass(frozen=True)
class PlatformMonitor:
    """One thing of the platform that is measured and compared with a fixed threshold."""

    key: str
    title: str
    says: str
    severity: Severity
    unit: str
    series: Callable[[Names], str]
    threshold: float
    runbook: Runbook
    for_seconds: int = 0

    def condition(self, names: Names) -> PromqlCondition:
        """Return what raises the alert."""
        return PromqlCondition(f"{self.series(names)} > {number(self.threshold)}", self.for_seconds)

    def tile(self, names: Names) -> Tile | None:
        """Return the chart with the alert's threshold line."""
        return Tile(self.title, self.series(names), self.unit, self.threshold)


@dataclass(frozen=True)
class EventMonitor:
    """One kind of audit-log entry that is an alert by itself."""

    key: str
    title: str
    says: str
    severity: Severity
    filter: Callable[[Names], str]
    runbook: Runbook

    def condition(self, names: Names) -> LogCondition:
        """Return what raises the alert."""
        log = f'logName="projects/{names.project}/logs/cloudaudit.googleapis.com%2Factivity"'
        return LogCondition(f"{log} AND {self.filter(names)}")

    def tile(self, names: Names) -> Tile | None:
        """Return nothing: an event has no series."""
        return None


def platform_alerts(environment: Environment) -> tuple[Alert, ...]:
    """Return the alerts on what the teams of `environment` share; the platform engineers own them."""
    names = Names.of(environment)
    told = environment.platform_channels
    escalation = next(channel.name for channel in told if Severity.CRITICAL in channel.severities)
    return tuple(
        Alert(
            key=monitor.key,
            family=Family.PLATFORM,
            title=monitor.title,
            summary=monitor.says,
            condition=monitor.condition(names),
            severity=monitor.severity,
            team="platform",
            owner=environment.groups.platform,
            escalation=escalation,
            runbook=monitor.runbook.filled(
                project=names.project,
                cluster=names.cluster,
                region=names.region,
                namespace=names.system_namespace,
            ),
            tile=monitor.tile(names),
        )
        for monitor in MONITORS
    )


def fleet_tiles(names: Names) -> tuple[Tile, ...]:
    """Return the charts of the fleet: use, the models that stand out in each respect, and the platform."""
    failed = f"sum by (team, model) (rate({series(REQUESTS, 300, code=FAULTS)}))"
    every = f"sum by (team, model) (rate({series(REQUESTS, 300)}))"
    buckets = f"sum by (team, model, le) (rate({series(f'{REQUEST_SECONDS}_bucket', 300)}))"
    return (
        Tile("Predictions per team", f"sum by (team) (rate({series(PREDICTIONS, 300)}))", "1/s"),
        Tile("Share of failed requests, ten highest", f"topk(10, {failed} / {every})", "10^2.%"),
        Tile("95th percentile, ten slowest", f"topk(10, 1000 * histogram_quantile(0.95, {buckets}))", "ms"),
        Tile("Use against the usual, ten lowest", f"bottomk(10, {_latest(VOLUME_RATIO)})", "10^2.%"),
        Tile("Invalid values, ten highest", f"topk(10, {_latest(INVALID_SHARE)})", "10^2.%"),
        Tile("Drift of a feature, ten highest", f"topk(10, {_latest(FEATURE_PSI)})", "1"),
        Tile("Loss of performance, ten highest", f"topk(10, {_latest(LOSS)})", "10^2.%"),
        *(tile for tile in (monitor.tile(names) for monitor in MONITORS) if tile),
    )


def _latest(value: Value) -> str:
    return f"max by (team, model) ({value.last(DAY)})"


def _nodes(metric: str) -> Callable[[Names], str]:
    def query(names: Names) -> str:
        labels = {"monitored_resource": "k8s_node", "cluster_name": names.cluster}
        if metric == NODE_MEMORY:
            labels["memory_type"] = "non-evictable"  # the page cache is given back when it is needed
        return f"avg by (cluster_name) ({series(metric, **labels)})"

    return query


def _nat(names: Names) -> str:
    dropped = series(NAT_DROPPED, 300, monitored_resource="nat_gateway", reason="OUT_OF_RESOURCES")
    return f"sum by (gateway_name) (rate({dropped}))"


def _since_last_run(names: Names) -> str:
    # Where no run is known at all, the time since the last is at least the range looked at.
    last_runs = series(MONITOR_LAST_RUN, DAY + HOUR)
    return f"(time() - max(last_over_time({last_runs})) or {DAY + HOUR} * absent_over_time({last_runs}))"


def _fleet_unused(names: Names) -> str:
    return f"1 - min(last_over_time({series(FLEET_USE, 2 * HOUR)}))"


def _dropped(names: Names) -> str:
    return f"sum by (team, model) (increase({series(LOG_ROWS, 600, state='dropped')}))"


def _lag(names: Names) -> str:
    return f"max by (team, model) ({series(LOG_LAG)})"


def _export_errors(names: Names) -> str:
    return f"sum by (name) (increase({series(EXPORT_ERRORS, 600, monitored_resource='logging_sink')}))"


def _key_change(names: Names) -> str:
    return (
        'protoPayload.serviceName="cloudkms.googleapis.com" AND '
        '(protoPayload.methodName="DestroyCryptoKeyVersion" OR '
        '(protoPayload.methodName="UpdateCryptoKeyVersion" AND '
        'protoPayload.request.cryptoKeyVersion.state="DISABLED"))'
    )


def _iam_change(names: Names) -> str:
    # Google's own agents change the policy when an interface is enabled or an elevation granted.
    agents = "@(system|gcp-sa-pam[.]iam)[.]gserviceaccount[.]com$"
    return (
        'resource.type="project" AND protoPayload.methodName="SetIamPolicy" AND '
        f'protoPayload.authenticationInfo.principalEmail!~"{agents}"'
    )


def _logging_change(names: Names) -> str:
    return (
        'protoPayload.serviceName="logging.googleapis.com" AND '
        'protoPayload.methodName=~"ConfigServiceV2[.](Update|Delete)(Sink|Bucket)$"'
    )


MONITORS: tuple[PlatformMonitor | EventMonitor, ...] = (
    PlatformMonitor(
        key="platform-node-cpu",
        title="CPU of the nodes in use",
        says="The nodes use more than 90 % of their CPU: new pods wait, and those that run slow down.",
        severity=Severity.ERROR,
        unit="10^2.%",
        series=_nodes(NODE_CPU),
        threshold=0.9,
        for_seconds=900,
        runbook=Runbook(
            meaning="The cluster has little CPU left. Deployments and autoscaling of all teams may stall.",
            causes=(
                "Several models scaled out together, or a large batch runs.",
                "A node pool is at its maximum, or the project at its quota of CPUs.",
                "A zone has no machines of the type asked for.",
            ),
            steps=(
                "See who waits: `kubectl get pods -A --field-selector=status.phase=Pending`, and their "
                "Events.",
                "See the autoscaler's reasons: `kubectl -n kube-system get configmap "
                "cluster-autoscaler-status -o yaml`.",
                "Raise `max_nodes` of the pool in the environment file, or ask for quota: `gcloud compute "
                "regions describe {region} --project={project}`.",
            ),
        ),
    ),
    PlatformMonitor(
        key="platform-node-memory",
        title="Memory of the nodes in use",
        says="The nodes use more than 90 % of their memory: pods are about to be evicted.",
        severity=Severity.ERROR,
        unit="10^2.%",
        series=_nodes(NODE_MEMORY),
        threshold=0.9,
        for_seconds=900,
        runbook=Runbook(
            meaning="The cluster has little memory left. Pods of any team may be evicted and start "
            "elsewhere.",
            causes=(
                "Several models scaled out together, or a large batch runs.",
                "A node pool is at its maximum, or the project at its quota.",
                "Something outside the teams' quotas grows: a system component, a daemon.",
            ),
            steps=(
                "See who uses it: `kubectl top pods -A --sort-by=memory | head -20`.",
                "See what was evicted: `kubectl get events -A --field-selector=reason=Evicted`.",
                "Raise `max_nodes` of the pool in the environment file, or choose machines with more memory.",
            ),
        ),
    ),
    PlatformMonitor(
        key="platform-nat-ports",
        title="Packets dropped for want of a NAT port",
        says="Connections to the outside fail: the NAT gateway has no port left.",
        severity=Severity.ERROR,
        unit="1/s",
        series=_nat,
        threshold=0,
        for_seconds=300,
        runbook=Runbook(
            meaning="Pods cannot open connections to the outside. Google's own services do not go this way.",
            causes=(
                "A pod opens many connections to one address and keeps none.",
                "More nodes than before share the gateway's addresses.",
                "Something calls the outside that should not: see the firewall's log.",
            ),
            steps=(
                "See which node opens them: in Metrics Explorer, "
                "`compute.googleapis.com/nat/allocated_ports` by instance.",
                "See where to: the NAT gateway's log, `resource.type=nat_gateway`, by destination.",
                "If it is meant, give the gateway more ports per machine or more addresses, in the "
                "foundation stack.",
            ),
        ),
    ),
    PlatformMonitor(
        key="platform-monitor-job",
        title="Time since the monitor job's last run",
        says="The monitor job has not completed a run for 2 hours: usage, quality, drift and performance of "
        "all models are unwatched.",
        severity=Severity.CRITICAL,
        unit="s",
        series=_since_last_run,
        threshold=2 * HOUR,
        for_seconds=300,
        runbook=Runbook(
            meaning="Silence from the monitors means nothing now. Latency alerts of services still work.",
            causes=(
                "The job fails: a query, a permission, or an image that cannot be pulled.",
                "The job runs longer than its schedule allows.",
                "BigQuery refuses the queries: quota, or a table that is missing.",
                "The job is suspended, or was never deployed.",
            ),
            steps=(
                "See its last runs and their logs: `kubectl -n {namespace} get jobs`, then `kubectl -n "
                "{namespace} logs job/NAME`.",
                "See what it says of itself: the newest rows of `monitor_runs` with `succeeded = false`.",
                "Start it by hand: `kubectl -n {namespace} create job --from=cronjob/monitor "
                "monitor-by-hand`. It computes the windows that were missed.",
            ),
        ),
    ),
    PlatformMonitor(
        key="platform-fleet-silent",
        title="Use that the whole fleet lacks, as a share of the usual",
        says="Half of the models get less than a tenth of their usual predictions.",
        severity=Severity.CRITICAL,
        unit="10^2.%",
        series=_fleet_unused,
        threshold=0.9,
        runbook=Runbook(
            meaning="Something that all models share is broken, or nobody works today. While the whole fleet "
            "is asked less, models are judged by the fleet, so that each does not alert by itself.",
            causes=(
                "The way to the models is broken: gateway, certificate, name server, network policy.",
                "Prediction logs do not arrive, so that use is not seen: platform-log-lag is open too.",
                "A system that calls many models is down.",
                "A holiday on which next to nobody calls.",
            ),
            steps=(
                "Call one model through the gateway. If it does not answer, look at the gateway: `kubectl -n "
                "modelyard-gateway describe gateway models`.",
                "If it answers, see whether the logs arrive: the newest `time` in one prediction log.",
                "Ask the owners of the largest callers. If today is a holiday, close the alert with that "
                "cause.",
            ),
        ),
    ),
    PlatformMonitor(
        key="platform-log-dropped",
        title="Prediction-log rows dropped",
        says="Rows of a prediction log were dropped: those predictions cannot be explained later.",
        severity=Severity.CRITICAL,
        unit="1",
        series=_dropped,
        threshold=0,
        runbook=Runbook(
            meaning="Predictions were answered without being logged, since the model is set to keep serving. "
            "They are missing from monitoring, measurement and audit, for good.",
            causes=(
                "BigQuery cannot be reached or refuses the rows, and the disk filled up meanwhile.",
                "The table's schema lacks a column that a new version logs.",
                "Much more traffic than the log's disk was made for.",
                "The disk of the node fails, or the process that writes to it cannot be started.",
            ),
            steps=(
                "See why the shipper fails: the lines of `serving_images.prediction_log` in the logs of "
                "a pod of the model that the alert names.",
                "See whether the team's stack was deployed after the version was pinned: the log table must "
                "have the new features.",
                "Note the time and the count in the incident: an auditor will ask.",
            ),
        ),
    ),
    PlatformMonitor(
        key="platform-log-lag",
        title="Age of the oldest log row not yet sent",
        says="A prediction log is more than 15 minutes behind.",
        severity=Severity.ERROR,
        unit="s",
        series=_lag,
        threshold=900,
        for_seconds=600,
        runbook=Runbook(
            meaning="Nothing is lost yet: rows wait on disk. Monitors see the model as it was some time ago.",
            causes=(
                "BigQuery cannot be reached or refuses the rows.",
                "The shipper was restarted again and again: memory, or a row it cannot send.",
                "More traffic than one shipper sends.",
            ),
            steps=(
                "See why the shipper fails: the lines of `serving_images.prediction_log` in the logs of "
                "a pod of the model that the alert names.",
                "See how long the disk lasts: rows per second times the lag, against the volume's size.",
                "See whether other models lag too: then look at BigQuery's quotas and status first.",
            ),
        ),
    ),
    PlatformMonitor(
        key="platform-audit-sink",
        title="Log entries that could not be exported",
        says="A log sink fails to deliver: the audit trail has a gap that grows.",
        severity=Severity.ERROR,
        unit="1",
        series=_export_errors,
        threshold=0,
        for_seconds=300,
        runbook=Runbook(
            meaning="Audit logs do not reach the place where they are kept. Entries stay 30 days at their "
            "source, so there is time, not much.",
            causes=(
                "The sink's identity lost its role on the destination.",
                "The destination was removed, or its key was disabled.",
                "The destination's quota is used up.",
            ),
            steps=(
                "See the sink and its identity: `gcloud logging sinks list --project={project}`.",
                "See the reason: log entries with `logName:sink_error`.",
                "Deploy the foundation stack again: it restores destination and role. Then copy the missing "
                "time: `gcloud logging copy`.",
            ),
        ),
    ),
    EventMonitor(
        key="platform-key-change",
        title="Encryption key disabled or scheduled for destruction",
        says="A version of an encryption key was disabled or scheduled for destruction.",
        severity=Severity.CRITICAL,
        filter=_key_change,
        runbook=Runbook(
            meaning="Data under that key can no longer be read. Destruction is final after the waiting time "
            "that the key was made with.",
            causes=(
                "Somebody cleaned up versions that looked old: data written under them still needs them.",
                "An answer to an incident.",
                "An attack.",
            ),
            steps=(
                "See who did it: `protoPayload.authenticationInfo.principalEmail` of the log entry. Ask "
                "them.",
                "Unless it is meant, restore it at once: `gcloud kms keys versions restore`, then `gcloud "
                "kms keys versions enable`, with the name in the entry.",
                "If nobody knows the change, treat it as a security incident: take the identity's roles "
                "away.",
            ),
        ),
    ),
    EventMonitor(
        key="platform-iam-change",
        title="Access to the project changed",
        says="The access policy of the project was changed.",
        severity=Severity.WARNING,
        filter=_iam_change,
        runbook=Runbook(
            meaning="Somebody was given or lost a role on what all teams share. If no reviewed deployment "
            "did it, somebody has access that nobody approved, and the next deployment does not take it "
            "away.",
            causes=(
                "A reviewed deployment: a new team, or a changed group.",
                "An engineer mended something in a hurry.",
                "Another tool manages the same project.",
                "An attack.",
            ),
            steps=(
                "See who changed what: `protoPayload.authenticationInfo.principalEmail` and "
                "`protoPayload.serviceData.policyDelta` of the log entry.",
                "Compare with the last deployments of `foundation`, `operations` and the tenant stacks. If "
                "it is in one of their plans, close the alert.",
                "Otherwise ask whoever did it, and remove it: `gcloud projects remove-iam-policy-binding "
                "{project}` with that member and role.",
            ),
        ),
    ),
    EventMonitor(
        key="platform-logging-change",
        title="Audit logging changed",
        says="A log sink or log bucket of the project was changed or deleted.",
        severity=Severity.CRITICAL,
        filter=_logging_change,
        runbook=Runbook(
            meaning="The audit trail may end here. Who hides something begins with the logs.",
            causes=(
                "A reviewed deployment that changes the retention of audit logs.",
                "An engineer cut the cost of logging.",
                "Another tool manages the same project.",
                "An attack.",
            ),
            steps=(
                "See who did it: `protoPayload.authenticationInfo.principalEmail` of the log entry. Ask "
                "them.",
                "Unless a reviewed deployment did it, deploy the foundation stack again: it restores sinks, "
                "buckets and retention.",
                "If nobody knows the change, treat it as a security incident: take the identity's roles "
                "away.",
            ),
        ),
    ),
)
