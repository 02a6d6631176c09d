"""A batch model: a scheduled job of indexed pods that each score their share of the table."""

from collections.abc import Mapping
from dataclasses import replace

from cdktf_cdktf_provider_kubernetes import cron_job_v1
from constructs import Construct

from modelyard.spec.base import seconds
from modelyard.spec.team import Batch
from modules.workload import SCRAPED, PodShape, pod

RETRIES = 3
"""How often one shard is tried again."""


class BatchJob(Construct):
    """A CronJob with `shards` parallel pods; a shard that dies is tried again alone.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from modelyard.naming import Names
        from modelyard.spec.team import Batch, Resources
        from modules.batch_job import BatchJob
        from modules.kubernetes import provider
        from modules.workload import PodShape

        stack = TerraformStack(App(), "example")
        provider(stack, Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example"))
        shape = PodShape("registry/batch@sha256:" + 64 * "0", Resources(), "m", "model-m", ["score"], {})
        BatchJob(stack, "m", name="m", namespace="team-a", labels={"model": "m"}, version=1, shape=shape,
                 batch=Batch())
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        name: name of the job.
        namespace: where it runs.
        labels: labels of everything in it.
        version: model version, as a label of its series.
        shape: its pods; here they are not probed and never restart in place, the job starts new ones.
        batch: schedule, shards and deadline.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        namespace: str,
        labels: Mapping[str, str],
        version: int,
        shape: PodShape,
        batch: Batch,
    ) -> None:
        super().__init__(scope, construct_id)
        selector = {"app.kubernetes.io/name": name}
        marked = {**labels, **selector, "version": str(version)}
        # Kubernetes refuses `Always` in a job, and retries per shard with anything but `Never`.
        shape = replace(
            shape,
            restart_policy="Never",
            probes=False,
            # The same for all shards of a run and for those started anew; its end is the scheduled minute.
            env_from_labels={**shape.env_from_labels, "MODELYARD_RUN": "batch.kubernetes.io/job-name"},
        )
        cron_job_v1.CronJobV1(
            self,
            "cron-job",
            metadata=cron_job_v1.CronJobV1Metadata(name=name, namespace=namespace, labels=marked),
            spec=cron_job_v1.CronJobV1Spec(
                schedule=batch.schedule,
                timezone="Etc/UTC",
                # Two runs over the same table would score its rows twice.
                concurrency_policy="Forbid",
                starting_deadline_seconds=3600,
                successful_jobs_history_limit=3,
                failed_jobs_history_limit=3,
                job_template=cron_job_v1.CronJobV1SpecJobTemplate(
                    metadata=cron_job_v1.CronJobV1SpecJobTemplateMetadata(labels=marked),
                    spec=cron_job_v1.CronJobV1SpecJobTemplateSpec(
                        completion_mode="Indexed",
                        completions=batch.shards,
                        parallelism=batch.shards,
                        backoff_limit_per_index=RETRIES,
                        # The provider's default for all shards together, 6, would end the job before that.
                        backoff_limit=RETRIES * batch.shards,
                        max_failed_indexes=0,
                        active_deadline_seconds=seconds(batch.deadline),
                        ttl_seconds_after_finished="604800",
                        template=cron_job_v1.CronJobV1SpecJobTemplateSpecTemplate(
                            metadata=cron_job_v1.CronJobV1SpecJobTemplateSpecTemplateMetadata(
                                labels={**marked, **SCRAPED}
                            ),
                            spec=pod(
                                cron_job_v1, "CronJobV1SpecJobTemplateSpecTemplateSpec", shape, selector
                            ),
                        ),
                    ),
                ),
            ),
        )
