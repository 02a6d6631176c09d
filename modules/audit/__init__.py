"""Who did what, kept where nobody can shorten it: audit logs of an environment and its teams in one place."""

from collections.abc import Sequence

from cdktf import ITerraformDependable
from cdktf_cdktf_provider_google.data_google_logging_project_cmek_settings import (
    DataGoogleLoggingProjectCmekSettings,
)
from cdktf_cdktf_provider_google.kms_crypto_key_iam_member import KmsCryptoKeyIamMember
from cdktf_cdktf_provider_google.logging_project_bucket_config import (
    LoggingProjectBucketConfig,
    LoggingProjectBucketConfigCmekSettings,
)
from cdktf_cdktf_provider_google.logging_project_sink import LoggingProjectSink
from cdktf_cdktf_provider_google.project_iam_audit_config import (
    ProjectIamAuditConfig,
    ProjectIamAuditConfigAuditLogConfig,
)
from cdktf_cdktf_provider_google.project_iam_member import ProjectIamMember, ProjectIamMemberCondition
from constructs import Construct

from modelyard.naming import Names

LOG_TYPES = ("ADMIN_READ", "DATA_READ", "DATA_WRITE")
_KINDS = ("activity", "data_access", "policy", "system_event")
FILTER = " OR ".join(f'log_id("cloudaudit.googleapis.com/{kind}")' for kind in _KINDS)


class AuditTrail(Construct):
    """Data-access audit logs of a project, all services, sent to the environment's log bucket.

    The bucket belongs to the environment, so that no identity of a team can touch what is logged of it.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.audit import AuditTrail

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-a")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        AuditTrail(stack, "audit", names=names, project="example-a")
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment that has the log bucket.
        project: project whose logs are sent there.
        depends_on: what must be there before: the project, and the log bucket.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: Names,
        project: str,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        bucket = f"locations/{names.region}/buckets/{names.log_bucket}"
        ProjectIamAuditConfig(
            self,
            "data-access",
            project=project,
            service="allServices",
            audit_log_config=[ProjectIamAuditConfigAuditLogConfig(log_type=kind) for kind in LOG_TYPES],
            depends_on=list(depends_on),
        )
        sink = LoggingProjectSink(
            self,
            "sink",
            project=project,
            name="modelyard-audit",
            description="Audit logs to the environment's log bucket.",
            destination=f"logging.googleapis.com/projects/{names.project}/{bucket}",
            filter=FILTER,
            unique_writer_identity=True,
            depends_on=list(depends_on),
        )
        if project != names.project:
            ProjectIamMember(
                self,
                "sink-writes",
                project=names.project,
                role="roles/logging.bucketWriter",
                member=sink.writer_identity,
                condition=ProjectIamMemberCondition(
                    title="audit log bucket only", expression=f"resource.name.endsWith('{bucket}')"
                ),
            )


class AuditLogBucket(Construct):
    """The log bucket of an environment, with a customer key and a retention of its own.

    Example:
        ```python
        from cdktf import App, TerraformStack
        from cdktf_cdktf_provider_google.provider import GoogleProvider
        from modelyard.naming import Names
        from modules.audit import AuditLogBucket

        stack = TerraformStack(App(), "example")
        GoogleProvider(stack, "google", project="example-dev")
        names = Names("dev", "example-dev", "123456789", "europe-west1", "EU", "example")
        AuditLogBucket(stack, "audit-logs", names=names, retention_days=400)
        ```

    Args:
        scope: parent.
        construct_id: id in the parent.
        names: names of the environment.
        retention_days: days for which logs are kept.
        depends_on: what must be there before: the Logging API, and the key `logs`.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        names: Names,
        retention_days: int,
        depends_on: Sequence[ITerraformDependable] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        # Logging alone says which agent it encrypts with: its name differs between older and newer projects.
        settings = DataGoogleLoggingProjectCmekSettings(
            self, "settings", project=names.project, depends_on=list(depends_on)
        )
        grant = KmsCryptoKeyIamMember(
            self,
            "key",
            crypto_key_id=names.key("logs"),
            role="roles/cloudkms.cryptoKeyEncrypterDecrypter",
            member=f"serviceAccount:{settings.service_account_id}",
        )
        self.bucket = LoggingProjectBucketConfig(
            self,
            "bucket",
            project=names.project,
            location=names.region,
            bucket_id=names.log_bucket,
            description="Audit logs of the environment and its teams.",
            retention_days=retention_days,
            cmek_settings=LoggingProjectBucketConfigCmekSettings(kms_key_name=names.key("logs")),
            lifecycle={"prevent_destroy": True},
            depends_on=[grant],
        )
