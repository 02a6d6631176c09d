"""Behaviour of the modules that serve models, beyond their examples."""

import math

import pytest

from modelyard.naming import Names
from modelyard.spec.team import Batch, Resources, Streaming
from modules.batch_job import RETRIES, BatchJob
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
