"""Read back from an identifier what `terraform import` is told, by the same tables that make identifiers."""

from __future__ import annotations

import re

from plan_review.standin import wire
from plan_review.standin.bindings import Json
from plan_review.standin.schema import Block
from plan_review.standin.values import DRAWN, FIELD, identifier_template

MANIFEST_PART = re.compile(r"(apiVersion|kind|namespace|name)=([^,]+)")


class IdentifierError(Exception):
    """An identifier that does not fit the resource type; the message says which form is expected."""


def parse_identifier(table: str, type_name: str, block: Block, identifier: str, provider: Json) -> Json:
    """Return the attributes that an identifier tells. Raises IdentifierError if it does not fit."""
    if type_name == "kubernetes_manifest":
        return _manifest(identifier)
    if "metadata" in block.blocks:
        return _metadata(block, identifier)
    template = identifier_template(table, type_name)
    known = _by_template(template, identifier) or _by_position(template, identifier)
    if template and known is None:
        raise IdentifierError(f"{identifier!r} is no identifier of {type_name}: expected {template}")
    known = {name: value for name, value in (known or {}).items() if name in block.attributes}
    for name in ("project", "region", "location"):
        if name in block.attributes and name not in known and isinstance(provider.get(name), str):
            known[name] = provider[name]
    return {**known, "id": identifier}


def _by_template(template: str, identifier: str) -> Json | None:
    pattern, end, seen = "", 0, set()
    for match in FIELD.finditer(template):
        name = match["name"]
        pattern += re.escape(template[end : match.start()])
        if name in DRAWN or name in seen:
            pattern += "[^/]+"
        else:
            # a reference to a parent may hold slashes itself
            pattern += (
                f"(?P<{name}>.+)"
                if match.end() == len(template) or match.start() == 0
                else f"(?P<{name}>[^/]+)"
            )
            seen.add(name)
        end = match.end()
    found = re.fullmatch(pattern + re.escape(template[end:]), identifier) if template else None
    return found.groupdict() if found else None


def _by_position(template: str, identifier: str) -> Json | None:
    """The short forms: `project/name` or `name` for `projects/{project}/things/{name}`."""
    names = [match["name"] for match in FIELD.finditer(template) if match["name"] not in DRAWN]
    parts = identifier.split("/")
    for skipped in range(len(names)):
        if len(parts) == len(names) - skipped and set(names[:skipped]) <= {"project", "location", "region"}:
            return dict(zip(names[skipped:], parts, strict=True))
    return None


def _metadata(block: Block, identifier: str) -> Json:
    namespace, _, name = identifier.rpartition("/")
    metadata = wire.empty(block.blocks["metadata"].block)
    metadata["name"] = name
    if "namespace" in metadata:
        metadata["namespace"] = namespace or "default"
    elif namespace:
        raise IdentifierError(
            f"{identifier!r}: this kind of object has no namespace; expected its name alone"
        )
    return {"id": identifier, "metadata": [metadata]}


def _manifest(identifier: str) -> Json:
    parts = dict(MANIFEST_PART.findall(identifier))
    if not {"apiVersion", "kind", "name"} <= parts.keys():
        raise IdentifierError(f"{identifier!r}: expected apiVersion=...,kind=...,namespace=...,name=...")
    metadata = {key: parts[key] for key in ("name", "namespace") if key in parts}
    manifest = wire.dynamic({"apiVersion": parts["apiVersion"], "kind": parts["kind"], "metadata": metadata})
    return {"manifest": manifest, "object": manifest}
