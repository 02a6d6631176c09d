"""Data that would be lost, now or sooner than today."""

from collections.abc import Iterator, Mapping
from typing import Any

from plan_review.changes import Action, Change, Values, at, block
from plan_review.context import Context, as_list, columns
from plan_review.masking import Unknown
from plan_review.rules.registry import Hit, PlanHit, Severity, plan_rule, rule
from plan_review.words import as_number, in_days

# What holds data, and what is lost with it.
STATEFUL: Mapping[str, str] = {
    "google_artifact_registry_repository": "every image in it would be lost, those that are served too",
    "google_bigquery_dataset": "every table in it would be lost",
    "google_bigquery_table": "every row in it would be lost",
    "google_bigtable_instance": "every table in it would be lost",
    "google_compute_disk": "what is on it would be lost",
    "google_container_cluster": "every workload of every team in it would stop",
    "google_filestore_instance": "every file on it would be lost",
    "google_firestore_database": "every document in it would be lost",
    "google_kms_crypto_key": "what it encrypts could never be read again",
    "google_kms_key_ring": "what its keys encrypt could never be read again",
    "google_logging_project_bucket_config": "the audit logs in it would be lost",
    "google_project": "everything in it would be lost",
    "google_pubsub_subscription": "messages that nobody has read would be lost",
    "google_pubsub_topic": "its subscriptions would get nothing more",
    "google_redis_instance": "what is stored in it would be lost",
    "google_secret_manager_secret": "every version of it would be lost",
    "google_spanner_database": "every row in it would be lost",
    "google_sql_database": "every row in it would be lost",
    "google_sql_database_instance": "every database on it would be lost",
    "google_storage_bucket": "every object in it would be lost",
    "google_storage_managed_folder": "the artefacts in it could be lost",
    "kubernetes_persistent_volume_claim": "what is on its volume would be lost",
    "kubernetes_persistent_volume_claim_v1": "what is on its volume would be lost",
    "kubernetes_stateful_set_v1": "its pods' volumes could be lost",
}


def what_is_lost(change: Change, context: Context) -> str:
    """Return what would be lost with a resource, as far as its settings tell."""
    if change.type == "google_bigquery_table":
        kept = as_number(change.was("time_partitioning.expiration_ms"))
        rows = "predictions" if context.subject(change).model else "rows"
        if kept:
            return f"{in_days(kept / 1000)} of {rows} would be lost"
        return f"all {rows} in it would be lost"
    return STATEFUL[change.type]


def forced_by(change: Change) -> str:
    """Return why a resource is replaced, in words."""
    paths = [
        ".".join(str(step) for step in path if not isinstance(step, int)) for path in change.replace_paths
    ]
    if paths:
        return f" because {', '.join(dict.fromkeys(paths))} cannot be changed in place"
    return " because it is tainted" if change.reason == "replace_because_tainted" else ""


@rule(
    "data-loss/stateful-destroyed",
    Severity.BLOCK,
    *STATEFUL,
    title="Something that holds data is destroyed",
    rationale="What is destroyed with its data does not come back with the next apply.",
    fix="Keep the resource. If it must go, save its data first and add a waiver that says where it is.",
)
def stateful_destroyed(change: Change, context: Context) -> Iterator[Hit]:
    """Find destroyed resources that hold data."""
    if change.action is Action.DELETE:
        yield Hit(f"destroys {context.thing(change)}: {what_is_lost(change, context)}")


@rule(
    "data-loss/stateful-replaced",
    Severity.BLOCK,
    *STATEFUL,
    title="Something that holds data is replaced",
    rationale="Replacing destroys the old one with its data and makes an empty one under the same name.",
    fix="Undo the change of the attribute that forces it, or make a second resource and move the data.",
)
def stateful_replaced(change: Change, context: Context) -> Iterator[Hit]:
    """Find replaced resources that hold data."""
    if change.action is Action.REPLACE:
        refused = (change.stack, change.address) in context.protection.after
        more = "; prevent_destroy makes Terraform refuse it" if refused else ""
        yield Hit(
            f"replaces {context.thing(change)}{forced_by(change)}: {what_is_lost(change, context)}{more}"
        )


@rule(
    "data-loss/stateful-forgotten",
    Severity.APPROVE,
    *STATEFUL,
    title="Something that holds data leaves Terraform's care",
    rationale="It stays, but nothing here protects, encrypts or watches it any more.",
    fix="Say in the pull request who takes care of it from now on.",
)
def stateful_forgotten(change: Change, context: Context) -> Iterator[Hit]:
    """Find forgotten resources that hold data."""
    if change.action is Action.FORGET:
        yield Hit(f"{context.thing(change)} is no longer managed here; it stays as it is")


# Type -> (path, unit in seconds, what is kept). Absent means that it is kept for ever.
_RETENTION: Mapping[str, tuple[tuple[str, float, str], ...]] = {
    "google_bigquery_dataset": (
        ("default_partition_expiration_ms", 1 / 1000, "new tables"),
        ("default_table_expiration_ms", 1 / 1000, "whole tables"),
    ),
    "google_bigquery_table": (("time_partitioning.expiration_ms", 1 / 1000, ""),),
}
# The same, where absent means the service's short default or none: less is kept, or may be deleted sooner.
_MINIMUM: Mapping[str, tuple[tuple[str, float, str], ...]] = {
    "google_pubsub_subscription": (("message_retention_duration", 1, "messages"),),
    "google_pubsub_topic": (("message_retention_duration", 1, "messages"),),
    "google_storage_bucket": (
        ("retention_policy.retention_period", 1, "objects, before they may be deleted,"),
        ("soft_delete_policy.retention_duration_seconds", 1, "deleted objects"),
    ),
}


def _length(values: Values, path: str, unit: float) -> float | None:
    value = at(values, path)
    if isinstance(value, str):
        value = value.removesuffix("s")
    found = as_number(value)
    return found * unit if found else None


@rule(
    "data-loss/retention-cut",
    Severity.APPROVE,
    *_RETENTION,
    *_MINIMUM,
    title="Data is kept for a shorter time",
    rationale="Data older than the new limit is deleted soon after the apply, and cannot be restored.",
    fix="Keep the time, or say in the pull request why the data may go.",
)
def retention_cut(change: Change, context: Context) -> Iterator[Hit]:
    """Find shorter retention, and expiry where there was none."""
    if not change.kept:
        return
    for table, for_ever in ((_RETENTION, True), (_MINIMUM, False)):
        for path, unit, what in table.get(change.type, ()):
            if isinstance(change.now(path), Unknown):
                continue
            before, after = _length(change.before, path, unit), _length(change.after, path, unit)
            words = [in_days(x) if x else "for ever" if for_ever else "nothing" for x in (before, after)]
            endless = float("inf") if for_ever else 0.0
            if (after or endless) < (before or endless):
                of = f" of {what.rstrip(',')}" if what else ""
                yield Hit(f"{context.thing(change)}: retention{of} {words[0]} -> {words[1]}")
    if (
        change.type == "google_bigquery_table"
        and change.now("expiration_time")
        and not change.was("expiration_time")
    ):
        yield Hit(f"{context.thing(change)} gets a day on which it deletes itself")


def _deletions(values: Values) -> dict[str, float]:
    """Return what a bucket deletes after how many days, by the conditions of its lifecycle rules."""
    found: dict[str, float] = {}
    for entry in as_list(values.get("lifecycle_rule")):
        if at(entry, "action.type") != "Delete":
            continue
        condition = block(entry, "condition")
        ages = [
            as_number(condition.get(n)) for n in ("age", "days_since_noncurrent_time") if condition.get(n)
        ]
        versions = "old versions" if condition.get("with_state") == "ARCHIVED" else "objects"
        days = max((age for age in ages if age is not None), default=0.0)
        found[versions] = min(days, found.get(versions, days))
    return found


@rule(
    "data-loss/lifecycle-deletes-sooner",
    Severity.APPROVE,
    "google_storage_bucket",
    title="A bucket deletes objects sooner",
    rationale="Lifecycle rules delete without asking, within a day of the apply.",
    fix="Keep the age, or say in the pull request why the objects may go.",
)
def lifecycle_deletes_sooner(change: Change, context: Context) -> Iterator[Hit]:
    """Find new or earlier deletion by lifecycle rules."""
    if not change.kept:
        return
    before, after = _deletions(change.before), _deletions(change.after)
    for what, days in after.items():
        if days < before.get(what, float("inf")):
            was = f"after {before[what]:g} days" if what in before else "never"
            yield Hit(f"{context.thing(change)} deletes {what} after {days:g} days (before: {was})")


@rule(
    "data-loss/protection-off",
    Severity.APPROVE,
    "google_*",
    "kubernetes_*",
    title="Protection against destruction is switched off",
    rationale="The next change may destroy the resource without anything that stops it.",
    fix="Keep the protection on. If the resource shall go, say so in the pull request.",
)
def protection_off(change: Change, context: Context) -> Iterator[Hit]:
    """Find deletion protection that is switched off."""
    if not change.kept:
        return
    for name in ("deletion_protection", "deletion_protection_enabled"):
        if change.was(name) is True and change.now(name) is False:
            yield Hit(f"{context.thing(change)}: {name} off")
    if change.was("deletion_policy") in ("PREVENT", "ABANDON") and change.now("deletion_policy") == "DELETE":
        yield Hit(f"{context.thing(change)}: deletion policy {change.was('deletion_policy')} -> DELETE")


@plan_rule(
    "data-loss/prevent-destroy-off",
    Severity.APPROVE,
    title="Terraform no longer refuses to destroy a resource",
    rationale="prevent_destroy stands between a renamed construct and lost data; no plan shows it.",
    fix="Keep lifecycle prevent_destroy on what holds data.",
)
def prevent_destroy_off(context: Context) -> Iterator[PlanHit]:
    """Find resources that stay, but lose lifecycle prevent_destroy."""
    gone = {(c.stack, c.address) for c in context.changes() if c.action is Action.DELETE}
    known = {(c.stack, c.address): c for plan in context.plans for c in plan.all()}
    for where in sorted(context.protection.before - context.protection.after - gone):
        change = known.get(where)
        if change is not None:
            subject = context.subject(change)
            yield PlanHit(
                f"{context.thing(change)}: lifecycle prevent_destroy removed",
                *where,
                team=subject.team,
                model=subject.model,
            )


@rule(
    "data-loss/force-destroy",
    Severity.BLOCK,
    "google_*",
    title="Destroying deletes the contents too",
    rationale="With it on, destroying a bucket, folder or dataset deletes everything in it at once.",
    fix="Leave force_destroy and delete_contents_on_destroy off; empty it by hand if it shall go.",
)
def force_destroy(change: Change, context: Context) -> Iterator[Hit]:
    """Find deletion of contents that is switched on."""
    for name in ("force_destroy", "delete_contents_on_destroy"):
        if change.now(name) is True and change.was(name) is not True:
            yield Hit(f"{context.thing(change)}: {name} on")


@rule(
    "data-loss/versioning-off",
    Severity.APPROVE,
    "google_storage_bucket",
    title="A bucket stops keeping old versions",
    rationale="An overwritten or deleted object cannot be restored any more.",
    fix="Leave versioning on, and limit old versions by a lifecycle rule.",
)
def versioning_off(change: Change, context: Context) -> Iterator[Hit]:
    """Find object versioning that is switched off."""
    if (
        change.kept
        and change.was("versioning.enabled") is True
        and change.now("versioning.enabled") is not True
    ):
        yield Hit(f"{context.thing(change)}: versioning off")


def _schema_changes(change: Change) -> bool:
    """Return whether a table has another schema, and it is known."""
    known = change.kept and isinstance(change.after.get("schema"), list)
    return known and bool(change.before.get("schema") != change.after["schema"])


def _schema(values: Values) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return the columns of a table by their name as BigQuery compares it."""
    return {name.lower(): (name, field) for name, field in columns(values.get("schema"))}


@rule(
    "data-loss/column-removed",
    Severity.BLOCK,
    "google_bigquery_table",
    title="A column is removed from a table",
    rationale="Schemas only grow: removing a column replaces the table, or loses the column's values.",
    fix="Keep the column; nothing needs to write to it any more.",
)
def column_removed(change: Change, context: Context) -> Iterator[Hit]:
    """Find columns that are there no more."""
    if not _schema_changes(change):
        return
    after = _schema(change.after)
    for key, (name, _) in _schema(change.before).items():
        if key not in after:
            yield Hit(f"{context.thing(change)} loses column {name}")


_TYPE_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "STRUCT": "RECORD"}


@rule(
    "data-loss/column-retyped",
    Severity.BLOCK,
    "google_bigquery_table",
    title="A column changes its type or becomes stricter",
    rationale="BigQuery cannot change it in place: the table would be replaced, its rows lost.",
    fix="Add a column under a new name.",
)
def column_retyped(change: Change, context: Context) -> Iterator[Hit]:
    """Find changed types and modes, and new columns that old rows cannot have."""
    if not _schema_changes(change):
        return
    before = _schema(change.before)
    for key, (name, field) in _schema(change.after).items():
        mode = str(field.get("mode") or "NULLABLE").upper()
        if key not in before:
            if mode == "REQUIRED" and change.before.get("schema"):
                yield Hit(
                    f"{context.thing(change)}: new column {name} is REQUIRED, which old rows cannot meet"
                )
            continue
        old = before[key][1]
        types = [_TYPE_NAMES.get(t, t) for t in (str(f.get("type", "")).upper() for f in (old, field))]
        old_mode = str(old.get("mode") or "NULLABLE").upper()
        if types[0] != types[1]:
            yield Hit(f"{context.thing(change)}: column {name} {types[0]} -> {types[1]}")
        elif old_mode != mode and (old_mode, mode) != ("REQUIRED", "NULLABLE"):
            yield Hit(f"{context.thing(change)}: column {name} {old_mode} -> {mode}")


@rule(
    "data-loss/dead-letters-off",
    Severity.APPROVE,
    "google_pubsub_subscription",
    title="Messages that cannot be processed are no longer kept",
    rationale="Without a dead-letter topic a bad message blocks the stream until it expires, and is lost.",
    fix="Keep the dead-letter policy.",
)
def dead_letters_off(change: Change, context: Context) -> Iterator[Hit]:
    """Find subscriptions that lose their dead-letter policy."""
    topic = "dead_letter_policy.dead_letter_topic"
    if change.kept and change.was(topic) and not change.now(topic):
        yield Hit(f"{context.thing(change)} loses its dead-letter topic")


@rule(
    "data-loss/restore-window-cut",
    Severity.WARN,
    "google_bigquery_dataset",
    "google_kms_crypto_key",
    title="Less time to undo a deletion",
    rationale="Deleted rows, or a key that was destroyed by mistake, can be restored for a shorter time.",
    fix="Keep the longest time that the service offers.",
)
def restore_window_cut(change: Change, context: Context) -> Iterator[Hit]:
    """Find shorter time travel of datasets and shorter delays of key destruction."""
    if not change.kept:
        return
    for path, unit in (("max_time_travel_hours", 3600), ("destroy_scheduled_duration", 1)):
        before, after = _length(change.before, path, unit), _length(change.after, path, unit)
        if before and after and after < before:
            days = [in_days(value) for value in (before, after)]
            yield Hit(f"{context.thing(change)}: time to restore {days[0]} -> {days[1]}")
