"""Decisions that Google's and the Kubernetes provider take in code, not in their schema.

Source: the published behaviour of hashicorp/google 6.50.0 and hashicorp/kubernetes 2.38.0.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from typing import Any

from plan_review.standin import wire
from plan_review.standin.wire import Value, is_unknown

Values = dict[str, Value]
SAME_TYPE = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}
PROTECTING = {
    "deletion_protection": (True, "PROTECTED"),
    "deletion_protection_enabled": (True,),
    "delete_protection_state": ("DELETE_PROTECTION_ENABLED",),
    "deletion_policy": ("PREVENT",),
}
MANIFEST_KEYS = ("apiVersion", "kind", "metadata")


def replaced_by_code(type_name: str, planned: Values, prior: Values) -> list[list[str | int]]:
    """Return the paths whose change forces a replacement by a rule that is no plain flag."""
    rule = REPLACEMENT_RULES.get(type_name.removesuffix("_v1"))
    return rule(planned, prior) if rule else []


def protected_by(state: Values) -> str | None:
    """Return the argument of the stored state that forbids to destroy the resource, if one does."""
    for name, values in PROTECTING.items():
        if state.get(name) in values:
            return name
    return None


def _changed(planned: Values, prior: Values, name: str) -> bool:
    return bool(planned.get(name) != prior.get(name))


def _bigquery_table(planned: Values, prior: Values) -> list[list[str | int]]:
    old, new = prior.get("schema"), planned.get("schema")
    if not isinstance(old, str) or not isinstance(new, str) or old == new:
        return []
    try:
        before, after = json.loads(old), json.loads(new)
    except ValueError:
        return []
    external = bool(planned.get("external_data_configuration"))
    return [] if _columns_change_in_place(before or [], after or [], external, top=True) else [["schema"]]


def _columns_change_in_place(old: Any, new: Any, external: bool, top: bool) -> bool:
    """Whether BigQuery can alter the columns: added nullable ones, dropped top-level ones, never both."""
    if not isinstance(old, list) or not isinstance(new, list):
        return False
    before = {column.get("name"): column for column in old if isinstance(column, dict)}
    after = {column.get("name"): column for column in new if isinstance(column, dict)}
    came, went = after.keys() - before.keys(), before.keys() - after.keys()
    if any(_mode(after[name]) == "REQUIRED" for name in came):
        return False
    if went and (external or not top or came):
        return False
    return all(
        _column_changes_in_place(before[name], after[name], external) for name in before.keys() & after.keys()
    )


def _column_changes_in_place(old: dict[str, Any], new: dict[str, Any], external: bool) -> bool:
    if _column_type(old) != _column_type(new):
        return False
    if _mode(old) != _mode(new) and (_mode(old), _mode(new)) != ("REQUIRED", "NULLABLE"):
        return False
    if "fields" not in old and "fields" not in new:
        return True
    return _columns_change_in_place(old.get("fields"), new.get("fields"), external, top=False)


def _mode(column: dict[str, Any]) -> str:
    return str(column.get("mode") or "NULLABLE").upper()


def _column_type(column: dict[str, Any]) -> str:
    kind = str(column.get("type")).upper()
    return SAME_TYPE.get(kind, kind)


def _compute_subnetwork(planned: Values, prior: Values) -> list[list[str | int]]:
    """A range may grow in place, not shrink or move."""
    try:
        old = ipaddress.ip_network(str(prior.get("ip_cidr_range")))
        new = ipaddress.ip_network(str(planned.get("ip_cidr_range")))
    except ValueError:
        return []
    grows = old.version == new.version and old.subnet_of(new)  # type: ignore[arg-type]
    return [] if grows else [["ip_cidr_range"]]


def _shrinks(planned: Values, prior: Values) -> list[list[str | int]]:
    old, new = prior.get("size"), planned.get("size")
    return [["size"]] if isinstance(old, int) and isinstance(new, int) and new < old else []


def _storage_bucket(planned: Values, prior: Values) -> list[list[str | int]]:
    """A locked retention policy cannot be unlocked."""
    old, new = prior.get("retention_policy"), planned.get("retention_policy")
    if not isinstance(old, list) or not old or not old[0].get("is_locked"):
        return []
    still = isinstance(new, list) and new and new[0].get("is_locked")
    return [] if still or is_unknown(new) else [["retention_policy"]]


def _spanner_database(planned: Values, prior: Values) -> list[list[str | int]]:
    """Statements may be appended in place, not altered or removed."""
    old, new = prior.get("ddl") or [], planned.get("ddl") or []
    if not isinstance(old, list) or not isinstance(new, list):
        return []
    return [] if new[: len(old)] == old else [["ddl"]]


def _immutable(planned: Values, prior: Values) -> list[list[str | int]]:
    if prior.get("immutable") is not True:
        return []
    return [[name] for name in ("data", "binary_data", "immutable") if _changed(planned, prior, name)]


def _manifest(planned: Values, prior: Values) -> list[list[str | int]]:
    """An object of the cluster is what its version, kind, name and namespace say it is."""
    old, new = _content(prior.get("manifest")), _content(planned.get("manifest"))
    if not isinstance(old, dict) or not isinstance(new, dict):
        return []
    paths: list[list[str | int]] = [
        ["manifest", key] for key in ("apiVersion", "kind") if old.get(key) != new.get(key)
    ]
    for key in ("name", "namespace"):
        before, after = ((_metadata(content)).get(key) for content in (old, new))
        if before != after:
            paths.append(["manifest", "metadata", key])
    return paths


def _metadata(content: Values) -> Values:
    metadata = content.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _content(value: Value) -> Value:
    """The plain value inside a dynamic one."""
    return value[1] if isinstance(value, list) and len(value) == 2 and isinstance(value[0], bytes) else value


def missing_in_manifest(config: Values) -> list[str]:
    """Return the keys that a Kubernetes manifest lacks; empty while it is not known."""
    content = _content(config.get("manifest"))
    if not isinstance(content, dict):
        return []
    return [key for key in MANIFEST_KEYS if content.get(key) is None]


def plan_manifest(planned: Values, prior: Values | None) -> None:
    """Let the object follow its manifest: that is all that can be known without a cluster."""
    manifest = planned.get("manifest")
    if prior is None or _content(prior.get("manifest")) != _content(manifest):
        planned["object"] = wire.UNKNOWN if wire.has_unknown(_content(manifest)) else manifest


REPLACEMENT_RULES: dict[str, Callable[[Values, Values], list[list[str | int]]]] = {
    "google_bigquery_table": _bigquery_table,
    "google_compute_disk": _shrinks,
    "google_compute_region_disk": _shrinks,
    "google_compute_subnetwork": _compute_subnetwork,
    "google_spanner_database": _spanner_database,
    "google_storage_bucket": _storage_bucket,
    "kubernetes_config_map": _immutable,
    "kubernetes_manifest": _manifest,
    "kubernetes_secret": _immutable,
}
