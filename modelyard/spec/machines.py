"""What fits on the nodes of a cluster."""

import re
from collections.abc import Iterator

from modelyard.spec.base import Finding
from modelyard.spec.environment import Cluster, NodePool
from modelyard.spec.team import Resources, cores, mebibytes

# GiB per core of Compute Engine's predefined machine types, the most that any family has.
_GIB_PER_CORE = {"standard": 4, "highmem": 8, "highcpu": 2}
_PREDEFINED = re.compile(r"[a-z][a-z0-9]*-(standard|highmem|highcpu)-([0-9]+)")
# Autopilot's largest pod of its general-purpose class.
_AUTOPILOT_CORES, _AUTOPILOT_GIB = 30, 110


def resource_findings(resources: Resources, cluster: Cluster, environment: str) -> Iterator[Finding]:
    """Yield what a container asks for that no node of the cluster has."""
    if cluster.mode == "autopilot":
        if not resources.gpu:
            most = f"Autopilot, which {environment} uses, gives a pod at most"
            if cores(resources.cpu) > _AUTOPILOT_CORES:
                yield Finding(("cpu",), f"{most} {_AUTOPILOT_CORES} cores")
            if mebibytes(resources.memory) > _AUTOPILOT_GIB * 1024:
                yield Finding(("memory",), f"{most} {_AUTOPILOT_GIB}Gi")
        return
    pools = [pool for pool in cluster.node_pools if _gpus(pool, resources.gpu_type) >= resources.gpu]
    if not pools:
        kinds = sorted({pool.gpu.type for pool in cluster.node_pools if pool.gpu})
        if not kinds:
            yield Finding(("gpu",), f"The node pools of {environment} have no GPUs")
        elif resources.gpu_type not in kinds:
            has = f"The node pools of {environment} have {', '.join(kinds)}"
            yield Finding(("gpu_type",), f"{has}, not {resources.gpu_type}")
        else:
            most_gpus = max(_gpus(pool, resources.gpu_type) for pool in cluster.node_pools)
            yield Finding(("gpu",), f"The node pools of {environment} have {most_gpus} GPUs per node at most")
        return
    sizes = [_size(pool.machine_type) for pool in pools]
    if None in sizes:
        return  # a machine type of unknown size may well be large enough
    known = [size for size in sizes if size]
    if cores(resources.cpu) >= (most_cores := max(size[0] for size in known)):
        yield Finding(
            ("cpu",), f"A node of {environment} has {most_cores} cores, and needs part of them itself"
        )
    elif mebibytes(resources.memory) >= 1024 * (most_gib := max(size[1] for size in known)):
        yield Finding(("memory",), f"A node of {environment} has {most_gib}Gi, and needs part of it itself")


def _gpus(pool: NodePool, kind: str) -> int:
    return pool.gpu.count if pool.gpu and pool.gpu.type == kind else 0


def _size(machine_type: str) -> tuple[int, int] | None:
    """Return cores and GiB of a predefined machine type."""
    match = _PREDEFINED.fullmatch(machine_type)
    return (int(match[2]), int(match[2]) * _GIB_PER_CORE[match[1]]) if match else None
