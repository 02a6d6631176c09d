"""Grants of access, read out of the many resource types that make them: who gets which role on what."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from modelyard.iam import EVERYONE
from plan_review.changes import Change, Values, at
from plan_review.masking import Masked, Unknown

_IAM = re.compile(r"google_(?P<kind>.+)_iam_(?P<form>member|binding|policy)")
_NOT_TARGET = frozenset(("role", "member", "members", "policy_data", "condition", "etag", "id"))
# Attributes that name what a grant is on, outermost first; what is not here follows in the resource's order.
_ORDER = ("project", "location", "region", "dataset_id", "table_id", "bucket", "managed_folder", "repository")
_WORDS = {"bigquery_table": "table", "bigquery_dataset": "dataset", "storage_bucket": "bucket"}
# Members of Kubernetes' groups that stand for everyone.
_KUBERNETES_EVERYONE = frozenset(("system:anonymous", "system:unauthenticated", "system:authenticated"))


class Grant(NamedTuple):
    """Who gets which role on what; `condition` is empty where it holds always."""

    principal: str
    role: str
    on: str
    kind: str
    condition: str = ""

    @property
    def email(self) -> str:
        """Address of the principal; empty if it has none."""
        address = self.principal.partition(":")[2] or self.principal
        return address if "@" in address else ""

    @property
    def everyone(self) -> bool:
        """Whether anyone at all, or anyone with an account, is meant."""
        name = self.principal.rpartition(":")[2] if ":" in self.principal else self.principal
        return name in EVERYONE or self.principal.partition(":")[2] in _KUBERNETES_EVERYONE

    @property
    def account_project(self) -> str:
        """Project of the service account that is granted; empty if it is none."""
        domain = self.email.rpartition("@")[2]
        project = domain.removesuffix(".iam.gserviceaccount.com")
        return project if project != domain else ""


def grants(type_: str, values: Values) -> set[Grant]:
    """Return the grants that a resource of `type_` with `values` makes."""
    if not values:
        return set()
    match = _IAM.fullmatch(type_)
    if match:
        return set(_iam(match["kind"], match["form"], values))
    reader = _READERS.get(type_)
    return set(reader(values)) if reader else set()


def makes_grants(type_: str) -> bool:
    """Return whether resources of `type_` grant access."""
    return type_ in _READERS or _IAM.fullmatch(type_) is not None


def gained(change: Change) -> list[Grant]:
    """Return the grants that are there after the change and were not before."""
    return sorted(grants(change.type, change.after) - grants(change.type, change.before))


def lost(change: Change) -> list[Grant]:
    """Return the grants that were there before the change and are not after."""
    return sorted(grants(change.type, change.before) - grants(change.type, change.after))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else repr(value)


def _iam(kind: str, form: str, values: Values) -> Iterator[Grant]:
    on = target(kind, values)
    if form == "policy":
        bindings = at(values, "policy_data.bindings", [])
        for binding in bindings if isinstance(bindings, list) else ():
            condition = _condition(binding.get("condition"))
            for member in binding.get("members") or ():
                yield Grant(_text(member), _text(binding.get("role")), on, kind, condition)
        return
    members = [values.get("member")] if form == "member" else values.get("members")
    if isinstance(members, Unknown | Masked):
        members = [members]
    for member in members or ():
        yield Grant(_text(member), _text(values.get("role")), on, kind, _condition(values.get("condition")))


def _condition(value: Any) -> str:
    block = value[0] if isinstance(value, list) and value else value
    return _text(block.get("expression")) if isinstance(block, Mapping) else ""


def target(kind: str, values: Values) -> str:
    """Return what a grant is on, such as `project acme` or `table acme.logs.prices`."""
    named = {key: _text(value) for key, value in values.items() if key not in _NOT_TARGET and _is_name(value)}
    if kind == "project":
        return f"project {named.get('project', '?')}"
    if kind == "bigquery_table":
        return "table " + ".".join(named.get(key, "?") for key in ("project", "dataset_id", "table_id"))
    if kind == "bigquery_dataset":
        return "dataset " + ".".join(named.get(key, "?") for key in ("project", "dataset_id"))
    if kind in ("storage_bucket", "storage_managed_folder"):
        return f"gs://{named.get('bucket', '?')}/{named.get('managed_folder', '')}"
    # What is last names the thing; where it carries a whole path, that says it all.
    ordered = sorted(named, key=lambda key: _ORDER.index(key) if key in _ORDER else len(_ORDER))
    whole = next((named[key] for key in reversed(ordered) if "/" in named[key]), None)
    return f"{_WORDS.get(kind, kind.replace('_', ' '))} {whole or '/'.join(named[key] for key in ordered)}"


def _is_name(value: Any) -> bool:
    return isinstance(value, str | Unknown) and value != ""


def _dataset_access(values: Values) -> Iterator[Grant]:
    on = target("bigquery_dataset", values)
    yield from _access_entry(values, on)


def _dataset(values: Values) -> Iterator[Grant]:
    on = target("bigquery_dataset", values)
    entries = values.get("access")
    for entry in entries if isinstance(entries, list) else ():
        yield from _access_entry(entry, on)


_ENTRY_PREFIX = {"user_by_email": "user:", "group_by_email": "group:", "domain": "domain:", "iam_member": ""}


def _access_entry(entry: Mapping[str, Any], on: str) -> Iterator[Grant]:
    role = _text(entry.get("role")) or "authorized to read"
    for name, prefix in _ENTRY_PREFIX.items():
        if value := _text(entry.get(name)):
            if name == "user_by_email" and value.endswith("gserviceaccount.com"):
                prefix = "serviceAccount:"
            yield Grant(prefix + value, role, on, "bigquery_dataset")
    if group := _text(entry.get("special_group")):
        yield Grant(group, role, on, "bigquery_dataset")
    for name in ("dataset", "view", "routine"):
        inner = at(entry, f"{name}.dataset") or at(entry, name)
        if isinstance(inner, Mapping):
            parts = (_text(inner.get(key)) for key in ("project_id", "dataset_id", "table_id", "routine_id"))
            yield Grant(f"views of {'.'.join(filter(None, parts))}", role, on, "bigquery_dataset")


def _bucket_entity(values: Values) -> Iterator[Grant]:
    entity = _text(values.get("entity"))
    if entity:
        yield Grant(
            entity.replace("user-", "user:").replace("group-", "group:"),
            _text(values.get("role")),
            target("storage_bucket", values),
            "storage_bucket",
        )


def _bucket_acl(values: Values) -> Iterator[Grant]:
    on = target("storage_bucket", values)
    for entry in values.get("role_entity") or ():
        role, _, entity = _text(entry).partition(":")
        yield Grant(entity.replace("user-", "user:").replace("group-", "group:"), role, on, "storage_bucket")
    if "public" in _text(values.get("predefined_acl")).lower():
        yield Grant("allUsers", _text(values.get("predefined_acl")), on, "storage_bucket")


def _role_binding(values: Values) -> Iterator[Grant]:
    namespace = _text(at(values, "metadata.namespace"))
    on = f"namespace {namespace}" if namespace else "the whole cluster"
    role = f"{_text(at(values, 'role_ref.kind'))}/{_text(at(values, 'role_ref.name'))}"
    subjects = values.get("subject")
    for subject in subjects if isinstance(subjects, list) else ():
        name = "/".join(filter(None, (_text(subject.get("namespace")), _text(subject.get("name")))))
        yield Grant(f"{_text(subject.get('kind'))}:{name}", role, on, "kubernetes")


def _manifest(values: Values) -> Iterator[Grant]:
    manifest = values.get("manifest")
    if not isinstance(manifest, Mapping) or manifest.get("kind") not in ("RoleBinding", "ClusterRoleBinding"):
        return
    yield from _role_binding(
        {
            "metadata": manifest.get("metadata"),
            "role_ref": manifest.get("roleRef"),
            "subject": manifest.get("subjects"),
        }
    )


def _entitlement(values: Values) -> Iterator[Grant]:
    on = f"{_text(values.get('parent'))}, for a while and on approval"
    roles = at(values, "privileged_access.gcp_iam_access.role_bindings", [])
    users = values.get("eligible_users")
    for block in users if isinstance(users, list) else ():
        for principal in block.get("principals") or ():
            for binding in roles if isinstance(roles, list) else ():
                yield Grant(_text(principal), _text(binding.get("role")), on, "entitlement")


_READERS = {
    "google_bigquery_dataset": _dataset,
    "google_bigquery_dataset_access": _dataset_access,
    "google_storage_bucket_access_control": _bucket_entity,
    "google_storage_default_object_access_control": _bucket_entity,
    "google_storage_object_access_control": _bucket_entity,
    "google_storage_bucket_acl": _bucket_acl,
    "google_storage_default_object_acl": _bucket_acl,
    "google_privileged_access_manager_entitlement": _entitlement,
    "kubernetes_role_binding": _role_binding,
    "kubernetes_role_binding_v1": _role_binding,
    "kubernetes_cluster_role_binding": _role_binding,
    "kubernetes_cluster_role_binding_v1": _role_binding,
    "kubernetes_manifest": _manifest,
}
