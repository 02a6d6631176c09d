"""Pods as every model runs them: non-root, read-only, without privileges, with requests, limits and probes.

REST deployments, stream workers and batch jobs differ in the resource around the pod, not in the pod. The
bindings give each resource its own classes for the same fields, so the functions here take the classes'
common prefix.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from cdktf_cdktf_provider_kubernetes import config_map_v1
from constructs import Construct

from modelyard.spec.team import Resources
from modelyard.terraform_text import literal

# Distroless' "nonroot" user and group.
USER = 65532
HTTP_PORT = 8080
CONFIG_PATH = "/etc/modelyard"
LOG_PATH = "/var/lib/modelyard/log"
MOUNTS = {"config": CONFIG_PATH, "log": LOG_PATH, "tmp": "/tmp"}
SCRAPED = {"modelyard.dev/metrics": "true"}


@dataclass(frozen=True)
class PodShape:
    """What differs between the pods of models.

    Attributes:
        image: reference by digest.
        resources: of the main container.
        config_map: name of the ConfigMap that holds `model.json`, by reference where it is made beside;
            empty: none is mounted.
        config_digest: digest of its text: pods restart when it changes.
        service_account: Kubernetes service account.
        args: arguments of the image's entry point.
        env: environment variables.
        probes: whether the container answers HTTP probes on `HTTP_PORT`.
        restart_policy: `Always`, or `Never` for jobs.
        log_gib: size of the volume that holds the write-ahead prediction log, in GiB; 0: no such volume.
        grace_seconds: time to finish what is in flight after a stop was asked for.
        calls_cluster: whether the pod gets a token of the cluster's API.
        env_from_labels: environment variables that hold the value of one of the pod's labels.
    """

    image: str
    resources: Resources
    config_map: str
    service_account: str
    args: Sequence[str]
    env: Mapping[str, str]
    config_digest: str = ""
    probes: bool = True
    restart_policy: str = "Always"
    log_gib: int = 2
    grace_seconds: int = 60
    calls_cluster: bool = False
    env_from_labels: Mapping[str, str] = field(default_factory=dict)


def config_map(
    scope: Construct,
    construct_id: str,
    *,
    name: str,
    namespace: str,
    labels: Mapping[str, str],
    text: str,
    file: str = "model.json",
) -> tuple[str, str]:
    """Add a ConfigMap that holds one file; return a reference to its name, and the digest of the text.

    The reference makes pods wait for the text that they shall read: those of a new version would otherwise
    start while the ConfigMap still holds the old one's.
    """
    made = config_map_v1.ConfigMapV1(
        scope,
        construct_id,
        metadata=config_map_v1.ConfigMapV1Metadata(name=name, namespace=namespace, labels=dict(labels)),
        data={file: literal(text)},
    )
    return made.metadata.name, hashlib.sha256(text.encode()).hexdigest()[:16]


def pod(module: ModuleType, prefix: str, shape: PodShape, selector: Mapping[str, str]) -> Any:
    """Return a pod specification.

    Args:
        module: submodule of the Kubernetes bindings, such as `deployment_v1`.
        prefix: prefix of its pod classes, such as `DeploymentV1SpecTemplateSpec`.
        shape: what differs between models.
        selector: labels of the pods, to spread them over zones.
    """

    def of(name: str) -> Callable[..., Any]:
        return getattr(module, prefix + name)  # type: ignore[no-any-return]

    volumes = {"tmp": of("Volume")(name="tmp", empty_dir=of("VolumeEmptyDir")(size_limit="256Mi"))}
    if shape.log_gib:
        size = f"{shape.log_gib}Gi"
        volumes["log"] = of("Volume")(name="log", empty_dir=of("VolumeEmptyDir")(size_limit=size))
    if shape.config_map:
        volumes["config"] = of("Volume")(
            name="config", config_map=of("VolumeConfigMap")(name=shape.config_map)
        )
    main = of("Container")(
        name="model",
        image=shape.image,
        image_pull_policy="Always",
        args=list(shape.args),
        env=_env(of, shape),
        port=[of("ContainerPort")(name="http", container_port=HTTP_PORT)],
        resources=of("ContainerResources")(
            requests=amounts(shape.resources), limits=amounts(shape.resources)
        ),
        security_context=_locked_down(of),
        volume_mount=[
            of("ContainerVolumeMount")(name=name, mount_path=path, read_only=name == "config")
            for name, path in MOUNTS.items()
            if name in volumes
        ],
        **(_probes(of) if shape.probes else {}),
    )
    gpu = shape.resources.gpu > 0
    return of("")(
        service_account_name=shape.service_account,
        # Workload Identity goes through the metadata server: that takes no token of the cluster's API.
        automount_service_account_token=shape.calls_cluster,
        enable_service_links=False,
        restart_policy=shape.restart_policy,
        termination_grace_period_seconds=shape.grace_seconds,
        security_context=of("SecurityContext")(
            run_as_non_root=True,
            run_as_user=str(USER),
            run_as_group=str(USER),
            fs_group=str(USER),
            seccomp_profile=of("SecurityContextSeccompProfile")(type="RuntimeDefault"),
        ),
        container=[main],
        volume=[volumes[name] for name in MOUNTS if name in volumes],
        # Autopilot makes nodes of this kind; node pools with GPUs carry the label too.
        node_selector={"cloud.google.com/gke-accelerator": shape.resources.gpu_type} if gpu else None,
        toleration=[of("Toleration")(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")]
        if gpu
        else None,
        topology_spread_constraint=[
            of("TopologySpreadConstraint")(
                max_skew=1,
                topology_key="topology.kubernetes.io/zone",
                when_unsatisfiable="ScheduleAnyway",
                label_selector=[of("TopologySpreadConstraintLabelSelector")(match_labels=dict(selector))],
            )
        ],
    )


def _env(of: Callable[[str], Callable[..., Any]], shape: PodShape) -> list[Any]:
    fixed = [of("ContainerEnv")(name=key, value=value) for key, value in sorted(shape.env.items())]
    return fixed + [
        of("ContainerEnv")(
            name=key,
            value_from=of("ContainerEnvValueFrom")(
                field_ref=of("ContainerEnvValueFromFieldRef")(field_path=f"metadata.labels['{label}']")
            ),
        )
        for key, label in sorted(shape.env_from_labels.items())
    ]


def amounts(resources: Resources) -> dict[str, str]:
    """Return `resources` as Kubernetes takes them, for requests and limits alike."""
    plain = {"cpu": resources.cpu, "memory": resources.memory, "ephemeral-storage": "4Gi"}
    return plain | ({"nvidia.com/gpu": str(resources.gpu)} if resources.gpu else {})


def _locked_down(of: Callable[[str], Callable[..., Any]]) -> Any:
    return of("ContainerSecurityContext")(
        allow_privilege_escalation=False,
        privileged=False,
        read_only_root_filesystem=True,
        run_as_non_root=True,
        run_as_user=str(USER),
        capabilities=of("ContainerSecurityContextCapabilities")(drop=["ALL"]),
        seccomp_profile=of("ContainerSecurityContextSeccompProfile")(type="RuntimeDefault"),
    )


def _probes(of: Callable[[str], Callable[..., Any]]) -> dict[str, Any]:
    def probe(kind: str, path: str, period: int, failures: int) -> Any:
        get = of(f"Container{kind}HttpGet")(path=path, port="http")
        return of(f"Container{kind}")(
            http_get=get, period_seconds=period, timeout_seconds=2, failure_threshold=failures
        )

    return {
        # Two minutes to fetch and check the artefact, then quick to notice.
        "startup_probe": probe("StartupProbe", "/readyz", 2, 60),
        "readiness_probe": probe("ReadinessProbe", "/readyz", 5, 2),
        "liveness_probe": probe("LivenessProbe", "/healthz", 10, 3),
    }
