"""Sums of CPU, memory and GPUs, for quotas."""

from modelyard.spec.team import Resources, cores, mebibytes


class Quota:
    """What a namespace may request in all, added up from its workloads."""

    def __init__(self) -> None:
        self.cpu = self.memory = self.gpu = self.pods = 0

    def add(self, resources: Resources, pods: int) -> None:
        """Add `pods` pods with `resources` each, and half as many again, at least one.

        A rolling update makes new pods before it takes old ones away: without room it would never end.
        """
        pods += max(1, pods // 2)
        self.cpu += pods * round(1000 * cores(resources.cpu))
        self.memory += pods * mebibytes(resources.memory)
        self.gpu += pods * resources.gpu
        self.pods += pods

    def hard(self) -> dict[str, str]:
        """Return the quota; beside the pods that were added there is room for two to look around with."""
        cpu, memory, pods = f"{self.cpu}m", f"{self.memory}Mi", str(self.pods + 2)
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
