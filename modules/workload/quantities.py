"""Sums of CPU and memory, for quotas."""

from modelyard.spec.team import Resources


def millicores(cpu: str) -> int:
    """Return `2` or `500m` in thousandths of a core."""
    return int(cpu[:-1]) if cpu.endswith("m") else 1000 * int(cpu)


def mebibytes(memory: str) -> int:
    """Return `512Mi` or `2Gi` in MiB."""
    return int(memory[:-2]) * {"Mi": 1, "Gi": 1024}[memory[-2:]]


class Quota:
    """What a namespace may request in all, added up from its workloads."""

    def __init__(self) -> None:
        self.cpu = self.memory = self.gpu = self.pods = 0

    def add(self, resources: Resources, pods: int) -> None:
        """Add `pods` pods with `resources` each."""
        self.cpu += pods * millicores(resources.cpu)
        self.memory += pods * mebibytes(resources.memory)
        self.gpu += pods * resources.gpu
        self.pods += pods

    def hard(self) -> dict[str, str]:
        """Return the quota with half as much again, so that a rolling update has room."""
        cpu, memory, pods = f"{self.cpu * 3 // 2}m", f"{self.memory * 3 // 2}Mi", str(self.pods * 3 // 2 + 2)
        limits = {
            "requests.cpu": cpu,
            "limits.cpu": cpu,
            "requests.memory": memory,
            "limits.memory": memory,
            "pods": pods,
            "services.loadbalancers": "0",
            "services.nodeports": "0",
        }
        return limits | ({"requests.nvidia.com/gpu": str(self.gpu)} if self.gpu else {})
