"""Protection of personal and confidential data, encryption, audit and labels."""

from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.spec.base import Sensitivity
from plan_review.changes import Action, Change, Values, labels_of
from plan_review.context import Context, as_list, columns, named, policy_tags
from plan_review.masking import Masked, Unknown
from plan_review.promql import seconds
from plan_review.rules.registry import Hit, PlanHit, Severity, plan_rule, rule
from plan_review.words import as_number, in_days

_LEVELS = list(Sensitivity)
_REQUIRED_LABELS = ("environment", "team", "model", "cost_center")
_KEYS = (
    "kms_key_name",
    "encryption.default_kms_key_name",
    "encryption_configuration.kms_key_name",
    "default_encryption_configuration.kms_key_name",
    "cmek_settings.kms_key_name",
    "database_encryption.key_name",
    "disk_encryption_key.kms_key_self_link",
)


@plan_rule(
    "governance/sensitivity-lowered",
    Severity.APPROVE,
    title="A feature is declared less sensitive",
    rationale="Its column loses its policy tag or gets a weaker one: more people read it in clear.",
    fix="Let whoever is responsible for data protection approve.",
)
def sensitivity_lowered(context: Context) -> Iterator[PlanHit]:
    """Find features whose sensitivity falls between the two checkouts."""
    for team in context.changed_teams:
        for model in context.fleet.teams[team].models:
            before = context.base.sensitivity(team, model)
            after = context.fleet.sensitivity(team, model)
            for feature, level in after.items():
                old = before.get(feature)
                if old and _LEVELS.index(level) < _LEVELS.index(old):
                    yield PlanHit(
                        f"{team}/{model}: feature {feature} {old} -> {level}",
                        team=team,
                        model=model,
                        source=f"teams/{team}/team.yaml",
                    )


@rule(
    "governance/policy-tag-removed",
    Severity.BLOCK,
    "google_bigquery_table",
    title="A column loses its policy tag",
    rationale="Everyone who may read the table reads the column in clear.",
    fix="Keep the tag. If the column holds nothing sensitive any more, declare it so in the team's file.",
)
def policy_tag_removed(change: Change, context: Context) -> Iterator[Hit]:
    """Find columns that stay, but without their tag or with a weaker one."""
    if not change.kept or not isinstance(change.after.get("schema"), list) or not change.changed("schema"):
        return
    before, after = policy_tags(change.before.get("schema")), policy_tags(change.after.get("schema"))
    there = {name for name, _ in _all_columns(change.after)}
    levels = context.tag_levels
    for column, tag in before.items():
        if column in there and column not in after:
            yield Hit(
                f"{context.thing(change)}: column {column} loses its policy tag{_level(levels.get(tag))}"
            )
        elif column in after and tag in levels and after[column] in levels:
            old, new = levels[tag], levels[after[column]]
            if _LEVELS.index(new) < _LEVELS.index(old):
                yield Hit(f"{context.thing(change)}: column {column} {old} -> {new}")


def _level(level: Sensitivity | None) -> str:
    return f" ({level})" if level else ""


def _all_columns(values: Values) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from columns(values.get("schema"))


@rule(
    "governance/tag-destroyed",
    Severity.BLOCK,
    "google_data_catalog_taxonomy",
    "google_data_catalog_policy_tag",
    title="A taxonomy or policy tag is destroyed or replaced",
    rationale="Every column that carries it is open to everyone who may read the table.",
    fix="Keep the tag as long as a column carries it.",
)
def tag_destroyed(change: Change, context: Context) -> Iterator[Hit]:
    """Find tags that go, and taxonomies that no longer control access."""
    if change.gone:
        yield Hit(f"{change.action} of {context.thing(change)}: its columns would be open")
    path = "activated_policy_types"
    control = "FINE_GRAINED_ACCESS_CONTROL"
    if change.kept and control in as_list(change.was(path)) and control not in as_list(change.now(path)):
        yield Hit(f"{context.thing(change)} no longer controls access")


# From the strongest mask to none.
_MASKS = (
    "ALWAYS_NULL",
    "SHA256",
    "DEFAULT_MASKING_VALUE",
    "LAST_FOUR_CHARACTERS",
    "FIRST_FOUR_CHARACTERS",
    "EMAIL_MASK",
    "DATE_YEAR_MASK",
)


@rule(
    "governance/masking-off",
    Severity.BLOCK,
    "google_bigquery_datapolicy_data_policy",
    title="Masking of protected columns is switched off or weakened",
    rationale="Readers without a grant see values, or more of them, in place of a mask.",
    fix="Keep the masking policy.",
)
def masking_off(change: Change, context: Context) -> Iterator[Hit]:
    """Find masking policies that go or show more."""
    if change.action is Action.DELETE:
        yield Hit(f"masking policy {context.name(change)} is removed")
    if not change.kept:
        return
    if change.was("data_policy_type") == "DATA_MASKING_POLICY" != change.now("data_policy_type"):
        yield Hit(f"masking policy {context.name(change)} masks no longer")
    path = "data_masking_policy.predefined_expression"
    before, after = change.was(path), change.now(path)
    if before in _MASKS and after in _MASKS and _MASKS.index(after) > _MASKS.index(before):
        yield Hit(f"masking policy {context.name(change)}: {before} -> {after} shows more")


@rule(
    "governance/audit-logs-off",
    Severity.BLOCK,
    "google_*_iam_audit_config",
    title="Audit logs are switched off",
    rationale="Who read which data can no longer be said afterwards.",
    fix="Keep ADMIN_READ, DATA_READ and DATA_WRITE for all services, with no exempted members.",
)
def audit_logs_off(change: Change, context: Context) -> Iterator[Hit]:
    """Find audit configurations that go, log less, or exempt someone."""
    where = change.values.get("project") or context.subject(change)
    service = change.values.get("service")
    if change.action is Action.DELETE:
        yield Hit(f"audit logs of {service} on {where} off")
    if not change.kept:
        return
    before = named(as_list(change.before.get("audit_log_config")), "log_type")
    after = named(as_list(change.after.get("audit_log_config")), "log_type")
    for kind, block in before.items():
        if kind not in after:
            yield Hit(f"audit logs {kind} of {service} on {where} off")
            continue
        exempt = set(as_list(after[kind].get("exempted_members"))) - set(
            as_list(block.get("exempted_members"))
        )
        if exempt:
            yield Hit(f"audit logs {kind} of {service} on {where} no longer show {', '.join(sorted(exempt))}")


@rule(
    "governance/audit-retention-cut",
    Severity.APPROVE,
    "google_logging_*_bucket_config",
    title="Audit logs expire sooner",
    rationale="Older entries are deleted; an incident found later cannot be traced.",
    fix="Keep the time that the organisation's policy asks for.",
)
def audit_retention_cut(change: Change, context: Context) -> Iterator[Hit]:
    """Find shorter retention of log buckets."""
    before, after = as_number(change.was("retention_days")), as_number(change.now("retention_days"))
    if change.kept and before and (after or 30) < before:
        yield Hit(f"{context.thing(change)}: retention {before:g} -> {after or 30:g} days")
    if change.kept and change.was("locked") is True and change.now("locked") is not True:
        yield Hit(f"{context.thing(change)} is unlocked: its retention can be cut")


@rule(
    "governance/log-sink-changed",
    Severity.APPROVE,
    "google_logging_*_sink",
    "google_logging_*_exclusion",
    title="Logs go elsewhere, or some are left out",
    rationale="An audit log that does not arrive is no audit log.",
    fix="Keep the sink's filter and destination; add no exclusions.",
)
def log_sink_changed(change: Change, context: Context) -> Iterator[Hit]:
    """Find sinks that go or change what they pass on, and new exclusions."""
    if "exclusion" in change.type:
        if change.made:
            yield Hit(f"logs that match {change.now('filter')} are thrown away")
        return
    if change.action is Action.DELETE:
        yield Hit(f"{context.thing(change)} is removed: its logs arrive nowhere")
    if not change.kept:
        return
    for name in ("filter", "destination", "disabled"):
        if change.changed(name) and not isinstance(change.now(name), Unknown):
            yield Hit(f"{context.thing(change)}: {name} changed")
    if len(as_list(change.after.get("exclusions"))) > len(as_list(change.before.get("exclusions"))):
        yield Hit(f"{context.thing(change)} leaves more out")


@rule(
    "governance/customer-key-removed",
    Severity.BLOCK,
    "google_*",
    title="Data is no longer encrypted with the organisation's key",
    rationale="Without the customer key access cannot be withdrawn by disabling it.",
    fix="Keep the key of modelyard.naming.",
)
def customer_key_removed(change: Change, context: Context) -> Iterator[Hit]:
    """Find resources that lose their key, or get one of another project."""
    if not change.kept:
        return
    for path in _KEYS:
        before, after = change.was(path), change.now(path)
        if not isinstance(before, str) or not before or isinstance(after, Unknown | Masked):
            continue
        if not after:
            yield Hit(f"{context.thing(change)}: encryption with {before} off")
        elif _project(before) != _project(after):
            yield Hit(f"{context.thing(change)}: key {before} -> {after}, of another project")
    if change.was("database_encryption.state") == "ENCRYPTED" != change.now("database_encryption.state"):
        yield Hit(f"{context.thing(change)}: encryption of secrets off")


def _project(key: Any) -> str:
    parts = str(key).split("/")
    return parts[1] if len(parts) > 1 else ""


@rule(
    "governance/key-rotation-off",
    Severity.BLOCK,
    "google_kms_crypto_key",
    title="A key is no longer rotated",
    rationale="One key version encrypts ever more data; if it leaks, all of that is open.",
    fix="Keep rotation_period, 90 days.",
)
def key_rotation_off(change: Change, context: Context) -> Iterator[Hit]:
    """Find keys that lose their rotation."""
    if change.kept and change.was("rotation_period") and not change.now("rotation_period"):
        yield Hit(f"{context.thing(change)}: key rotation off")


@rule(
    "governance/key-rotation-slower",
    Severity.APPROVE,
    "google_kms_crypto_key",
    title="A key is rotated less often",
    rationale="Each version encrypts more data, so a leak costs more.",
    fix="Keep 90 days or less.",
)
def key_rotation_slower(change: Change, context: Context) -> Iterator[Hit]:
    """Find longer rotation periods."""
    times = [seconds(str(v.get("rotation_period") or "")) for v in (change.before, change.after)]
    if change.kept and times[0] and times[1] and times[1] > times[0]:
        yield Hit(f"{context.thing(change)}: rotation every {in_days(times[0])} -> {in_days(times[1])}")


@rule(
    "governance/residency-widened",
    Severity.BLOCK,
    "google_pubsub_topic",
    "google_bigquery_dataset",
    "google_storage_bucket",
    "google_logging_project_bucket_config",
    title="Data may lie in another region",
    rationale="Where data lies is what the environment promises in data_residency.",
    fix="Keep the regions of the environment.",
)
def residency_widened(change: Change, context: Context) -> Iterator[Hit]:
    """Find other locations, and topics that may store messages in more regions."""
    if not change.kept:
        return
    before, after = change.was("location"), change.now("location")
    if isinstance(before, str) and isinstance(after, str) and before.lower() != after.lower():
        yield Hit(f"{context.thing(change)}: location {before} -> {after}")
    path = "message_storage_policy.allowed_persistence_regions"
    old, new = set(as_list(change.was(path))), set(as_list(change.now(path)))
    if old and (not new or new - old):
        more = ", ".join(sorted(new - old)) or "anywhere"
        yield Hit(f"{context.thing(change)}: messages may be stored in {more}")


@rule(
    "governance/labels-lost",
    Severity.WARN,
    "google_*",
    "kubernetes_*",
    title="A resource loses a label that says whose it is",
    rationale="Costs, alerts and this review find owners by labels.",
    fix="Pass labels=stack.labels() to the module.",
)
def labels_lost(change: Change, context: Context) -> Iterator[Hit]:
    """Find required labels that go."""
    if not change.kept or not change.labels:
        return
    before = labels_of(change.before)
    gone = [name for name in _REQUIRED_LABELS if name in before and name not in change.labels]
    if gone:
        yield Hit(f"{context.thing(change)} loses the labels {', '.join(gone)}")


@plan_rule(
    "governance/cost-center-changed",
    Severity.WARN,
    title="Someone else pays",
    rationale="Costs of the team are booked on another cost centre from the apply on.",
    fix="Let both cost centres know.",
)
def cost_center_changed(context: Context) -> Iterator[PlanHit]:
    """Find teams whose resources get another cost centre."""
    found: dict[str, tuple[str, str, Change]] = {}
    for change in context.changes():
        before, after = (labels_of(v).get("cost_center", "") for v in (change.before, change.after))
        if before and after and before != after:
            found.setdefault(str(context.subject(change)).partition("/")[0], (before, after, change))
    for who, (before, after, change) in sorted(found.items()):
        subject = context.subject(change)
        name = f"team {subject.team}" if subject.team else who
        yield PlanHit(f"cost centre of {name}: {before} -> {after}", change.stack, team=subject.team)


@rule(
    "governance/restricted-column-added",
    Severity.INFO,
    "google_bigquery_table",
    title="A log begins to hold protected data",
    rationale="Who reads it in clear is named in the team's file; the reviewer should know it is there.",
    fix="Nothing, if the model needs it.",
)
def restricted_column_added(change: Change, context: Context) -> Iterator[Hit]:
    """Find new columns that carry a policy tag."""
    if not change.kept or not change.changed("schema"):
        return
    before = {name for name, _ in _all_columns(change.before)}
    added = [column for column in policy_tags(change.after.get("schema")) if column not in before]
    if added and before:
        yield Hit(f"{context.thing(change)} gains protected columns: {', '.join(added)}")
