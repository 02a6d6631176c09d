"""Behaviour of the modules that serve models, beyond their examples."""

import math

import pytest

from modelyard.naming import Names
from modelyard.spec.team import Batch, Resources, Streaming
from modules.batch_job import RETRIES, BatchJob
from modules.monitor_job import MonitorJob
from modules.namespace.egress import GOOGLE_APIS, METADATA_SERVER, RESOLVERS
from modules.streaming_worker import StreamTopics
from modules.workload import PodShape
from modules.workload.quantities import Quota
from tests.modules.synthesis import Resources as Made
from tests.modules.synthesis import synthesized

NAMES = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")


@pytest.mark.parametrize("shards", [1, 8])
def test_each_shard_of_a_batch_is_tried_again_whatever_the_others_need(shards: int) -> None:
    shape = PodShape("registry/batch@sha256:0", Resources(), "m", "model-m", ["score"], {})
    resources = synthesized(
        lambda stack: BatchJob(
            stack, "m", name="m", namespace="n", labels={}, version=1, shape=shape, batch=Batch(shards=shards)
        )
    )
    job = resources["kubernetes_cron_job_v1"]["m/cron-job"]["spec"]["job_template"]["spec"]
    assert job["backoff_limit_per_index"] == RETRIES
    # The job as a whole fails at more failures than this: never before one shard had all its retries.
    assert job["backoff_limit"] >= job["completions"] * RETRIES
    # What Kubernetes asks of a job with retries per index.
    assert job["completion_mode"] == "Indexed"
    pod = job["template"]["spec"]
    assert pod["restart_policy"] == "Never"
    assert "startup_probe" not in pod["container"][0]


def test_all_shards_of_a_run_know_its_name() -> None:
    shape = PodShape("registry/batch@sha256:0", Resources(), "m", "model-m", ["score"], {"A": "b"})
    resources = synthesized(
        lambda stack: BatchJob(
            stack, "m", name="m", namespace="n", labels={}, version=1, shape=shape, batch=Batch()
        )
    )
    job = resources["kubernetes_cron_job_v1"]["m/cron-job"]["spec"]["job_template"]["spec"]
    plain, run = job["template"]["spec"]["container"][0]["env"]
    assert plain == {"name": "A", "value": "b"}
    assert run["name"] == "MODELYARD_RUN"
    path = run["value_from"]["field_ref"]["field_path"]
    assert path == "metadata.labels['batch.kubernetes.io/job-name']"


def monitor() -> Made:
    return synthesized(
        lambda stack: MonitorJob(
            stack, "m", names=NAMES, labels={}, image="r/monitor@sha256:0", control_plane="10.0.0.0/28"
        )
    )


def test_the_monitor_reads_one_config_map_of_the_cluster_and_no_more() -> None:
    made = monitor()
    (role,) = made["kubernetes_cluster_role_v1"].values()
    assert role["rule"] == [
        {"api_groups": [""], "resources": ["namespaces"], "verbs": ["list"]},
        {
            "api_groups": [""],
            "resource_names": ["modelyard-monitoring"],
            "resources": ["configmaps"],
            "verbs": ["get"],
        },
    ]
    (binding,) = made["kubernetes_cluster_role_binding_v1"].values()
    (account,) = made["kubernetes_service_account_v1"].values()
    assert binding["subject"] == [
        {"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": "modelyard-system"}
    ]
    pool = NAMES.workload_member("modelyard-system", account["metadata"]["name"])
    assert pool == "serviceAccount:example-dev.svc.id.goog[modelyard-system/monitor]"


def test_the_monitor_runs_alone_and_without_what_it_does_not_need() -> None:
    (job,) = monitor()["kubernetes_cron_job_v1"].values()
    assert job["spec"]["concurrency_policy"] == "Forbid"
    pod = job["spec"]["job_template"]["spec"]["template"]["spec"]
    (container,) = pod["container"]
    assert [volume["name"] for volume in pod["volume"]] == ["tmp"]
    assert [mount["mount_path"] for mount in container["volume_mount"]] == ["/tmp"]
    assert container["args"] == ["run"]
    assert not {name for name in container if name.endswith("_probe")}
    assert pod["automount_service_account_token"] is True
    assert container["security_context"]["read_only_root_filesystem"] is True


def test_the_monitor_gets_out_to_google_and_the_cluster_alone() -> None:
    (policy,) = monitor()["kubernetes_network_policy_v1"].values()
    assert policy["spec"]["policy_types"] == ["Egress"]
    ways = {
        block["ip_block"]["cidr"]: [port["port"] for port in rule["ports"]]
        for rule in policy["spec"]["egress"]
        for block in rule["to"]
        if "ip_block" in block
    }
    assert ways["10.0.0.0/28"] == ["443"]
    assert set(ways) == {"10.0.0.0/28", *GOOGLE_APIS, *METADATA_SERVER, *RESOLVERS}


def publishers(*groups: str) -> Made:
    return synthesized(
        lambda stack: StreamTopics(
            stack,
            "m",
            names=NAMES.team("a").model("m"),
            labels={},
            streaming=Streaming(),
            worker="serviceAccount:m@example-a.iam.gserviceaccount.com",
            project_number="1",
            publishers=[f"group:{group}@example.com" for group in groups],
        )
    )


def test_a_new_publisher_replaces_the_grant_of_no_other() -> None:
    before = publishers("b", "c")["google_pubsub_topic_iam_member"]
    after = publishers("c", "a", "b", "a")["google_pubsub_topic_iam_member"]
    assert before.items() <= after.items()
    new = after.keys() - before.keys()
    assert [after[path]["member"] for path in new] == ["group:a@example.com"]


@pytest.mark.parametrize("replicas", [1, 2, 3, 5, 9, 100])
def test_a_quota_has_room_for_a_rolling_update_at_full_scale(replicas: int) -> None:
    quota = Quota()
    quota.add(Resources(cpu="2", memory="3Gi", gpu=1), replicas)
    # Kubernetes makes a quarter more pods, rounded up, before it takes the first away.
    pods = replicas + math.ceil(replicas / 4)
    hard = quota.hard()
    assert int(hard["requests.cpu"].removesuffix("m")) >= pods * 2000
    assert int(hard["requests.memory"].removesuffix("Mi")) >= pods * 3 * 1024
    assert int(hard["requests.nvidia.com/gpu"]) >= pods
    assert int(hard["pods"]) >= pods
