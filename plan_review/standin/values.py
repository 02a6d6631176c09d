"""What Google or a cluster would fill in: identifiers, links, numbers, by `tables/*_values.json`.

Everything is drawn from the configuration, so the same configuration always gets the same values.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from plan_review.standin import facts
from plan_review.standin.bindings import Json, Type
from plan_review.standin.schema import Attribute, Block
from plan_review.standin.wire import UNKNOWN, Value, is_unknown

FIELD = re.compile(r"\{(?P<name>\w+)(?:\|(?P<how>\w+))?(?::(?P<length>\d+))?\}")
FROM_PROVIDER = ("project", "region", "zone")
ATTRIBUTION = {"goog-terraform-provisioned": "true"}
DRAWN = ("digits", "hex", "uuid")


def project_number(project: str) -> str:
    """Return a project's number: twelve digits, always the same for the same project."""
    return str(10**11 + int(hashlib.sha256(project.encode()).hexdigest(), 16) % (9 * 10**11))


class Filler:
    """Fills in the computed values of one resource or data source."""

    def __init__(
        self, table: str, kind: str, type_name: str, state: dict[str, Value], provider: Json
    ) -> None:
        values = facts.load(f"{table}_values")
        self.templates: Json = values[kind].get(type_name, {})
        self.names: Json = values["names"]
        self.type_name = type_name
        self.state = state
        self.provider = provider
        known = {name: value for name, value in state.items() if isinstance(value, str | int | bool)}
        self.seed = json.dumps([type_name, known, provider.get("project")], sort_keys=True, default=str)
        self._scope = state
        self._open: set[str] = set()

    def fill(self, block: Block) -> dict[str, Value]:
        """Replace everything unknown in the state; returns the state."""
        return self._block(block, self.state, "", "")

    def _block(self, block: Block, values: dict[str, Value], prefix: str, salt: str) -> dict[str, Value]:
        for name, nested in block.blocks.items():
            inner = values.get(name)
            if is_unknown(inner):
                values[name] = self._whole_block(prefix + name, nested.block, salt) if nested.many else None
            elif isinstance(inner, list):
                for index, item in enumerate(inner):
                    self._block(nested.block, item, f"{prefix}{name}.", f"{salt}{name}.{index}.")
            elif isinstance(inner, dict):
                self._block(nested.block, inner, f"{prefix}{name}.", f"{salt}{name}.")
        if "generate_name" in values and is_unknown(values.get("name")):
            values["name"] = f"{values['generate_name'] or ''}{self._draw('hex', 5, salt)}"
        self._scope = values
        for name, attribute in block.attributes.items():
            if is_unknown(values.get(name)):
                values[name] = self.value(prefix + name, attribute, salt)
        return values

    def _whole_block(self, path: str, block: Block, salt: str) -> list[Value]:
        given = self.templates.get(path, [])
        return [self._shaped(block, item, salt) for item in given]

    def _shaped(self, block: Block, given: Json, salt: str) -> dict[str, Value]:
        shaped: dict[str, Value] = {name: self._render(given.get(name), salt) for name in block.attributes}
        for name, nested in block.blocks.items():
            inner = [self._shaped(nested.block, item, salt) for item in given.get(name, [])]
            shaped[name] = inner if nested.many else (inner[0] if inner else None)
        return shaped

    def value(self, path: str, attribute: Attribute, salt: str = "") -> Value:
        """Return the value of a computed attribute; None where Google's own choice cannot be known."""
        name = path.rpartition(".")[2]
        if path in self.templates:
            template = self.templates[path]
        elif path == "id":
            template = self._general_id()
        elif "." not in path and name in FROM_PROVIDER and self.provider.get(name):
            template = self.provider[name]
        elif name in self.names and (attribute.read_only or self.type_name.startswith("kubernetes_")):
            template = self.names[name]
        elif attribute.read_only:
            template = f"stand-in-{name}" if attribute.type == "string" else None
        else:
            return None
        rendered = self._render(template, salt)
        if attribute.type == "number" and isinstance(rendered, str) and rendered.isdigit():
            rendered = int(rendered)
        return rendered if fits(rendered, attribute.type) else blank(attribute.type)

    def _general_id(self) -> str:
        """Identifier of a type that the table does not list, after Google's usual pattern."""
        metadata = self.state.get("metadata")
        if self.type_name.startswith("kubernetes_") and isinstance(metadata, list) and metadata:
            first = metadata[0]
            name = str(first.get("name"))
            return f"{first['namespace']}/{name}" if isinstance(first.get("namespace"), str) else name
        steps = []
        if self.text("project", ""):
            steps.append("projects/{project}")
        place = next((p for p in ("location", "region", "zone") if isinstance(self.state.get(p), str)), None)
        if place:
            steps.append(f"{place}s/{{{place}}}")
        kind = self.type_name.split("_", 1)[1]
        own = next(
            (n for n in ("name", f"{kind.split('_')[-1]}_id") if isinstance(self.state.get(n), str)), None
        )
        steps.append(f"{kind}/{{{own}}}" if own else f"{kind}/{{hex:12}}")
        return "/".join(steps)

    def text(self, name: str, salt: str) -> str:
        """Return another value of the block or the resource as text; empty where there is none."""
        value = self._scope.get(name, self.state.get(name))
        if is_unknown(value) and name in self.templates and name not in self._open:
            self._open.add(name)
            value = self._render(self.templates[name], salt)
            self._open.discard(name)
        if (value is None or is_unknown(value)) and name in FROM_PROVIDER:
            value = self.provider.get(name)
        if (value is None or is_unknown(value)) and name == "location":
            value = self.provider.get("region") or "global"
        return "" if value is None or is_unknown(value) else str(value)

    def _render(self, template: Any, salt: str) -> Value:
        if isinstance(template, str):
            return FIELD.sub(lambda m: self._field(m, salt), template)
        if isinstance(template, list):
            return [self._render(item, salt) for item in template]
        if isinstance(template, Mapping):
            return {name: self._render(item, salt) for name, item in template.items()}
        return template

    def _field(self, match: re.Match[str], salt: str) -> str:
        name, how = match["name"], match["how"]
        if name in DRAWN:
            return self._draw(name, int(match["length"] or 0), salt)
        text = self.text(name, salt)
        if how == "last":
            return text.rstrip("/").rpartition("/")[2]
        return project_number(text.rpartition("/")[2]) if how == "number" else text

    def _draw(self, kind: str, length: int, salt: str) -> str:
        digest = hashlib.sha256(f"{self.seed}{salt}".encode()).hexdigest()
        if kind == "digits":
            return str(int(digest, 16))[:length]
        if kind == "uuid":
            return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))
        return digest[:length]


def fits(value: Value, kind: Type) -> bool:
    """Whether a filled-in value is of the attribute's type, as far as the tables can go wrong."""
    if value is None:
        return False
    if isinstance(kind, str):
        wanted = {"string": str, "bool": bool, "number": int | float}.get(kind, object)
        return isinstance(value, wanted) and not (kind == "number" and isinstance(value, bool))
    if kind[0] in ("list", "set"):
        return isinstance(value, list) and all(_member_fits(item, kind[1]) for item in value)
    return isinstance(value, dict)


def _member_fits(value: Value, kind: Type) -> bool:
    if isinstance(kind, list) and kind[0] == "object":
        return isinstance(value, dict) and value.keys() == kind[1].keys()
    return fits(value, kind)


def blank(kind: Type) -> Value:
    """Return the least value of a type: nothing is claimed by it."""
    if kind == "number":
        return 0
    if kind == "bool":
        return False
    if isinstance(kind, str):
        return "" if kind == "string" else None
    if kind[0] in ("list", "set", "tuple"):
        return []
    return {name: blank(inner) for name, inner in kind[1].items()} if kind[0] == "object" else {}


def planned_early(
    table: str, type_name: str, block: Block, planned: dict[str, Value], provider: Json
) -> None:
    """Set what the provider already knows at plan time: its own project and region, and merged labels."""
    for name in FROM_PROVIDER:
        if name in block.attributes and is_unknown(planned.get(name)) and provider.get(name) is not None:
            planned[name] = provider[name]
    early = facts.load(f"{table}_values")["planned"].get(type_name, ())
    if early:
        filler = Filler(table, "types", type_name, planned, provider)
        for name in early:
            if is_unknown(planned.get(name)) and _inputs_known(filler, filler.templates[name]):
                planned[name] = filler.value(name, block.attributes[name])


def _inputs_known(filler: Filler, template: str) -> bool:
    return all(
        match["name"] in DRAWN or not is_unknown(filler.state.get(match["name"]))
        for match in FIELD.finditer(template)
    )


def merge_labels(
    block: Block, planned: dict[str, Value], prior: dict[str, Value] | None, provider: Json
) -> None:
    """Compute `terraform_labels` and `effective_labels` as Google's provider does."""
    if "terraform_labels" not in block.attributes:
        return
    own = planned.get("labels" if "labels" in block.attributes else "resource_labels")
    if is_unknown(own) or is_unknown(provider.get("default_labels")):
        merged: Value = UNKNOWN
    else:
        merged = {**(provider.get("default_labels") or {}), **(own or {})}
        if _attributed(prior, provider):
            merged = {**ATTRIBUTION, **merged}
    for name in ("terraform_labels", "effective_labels"):
        if name in block.attributes:
            planned[name] = merged


def _attributed(prior: dict[str, Value] | None, provider: Json) -> bool:
    """Whether the label that marks Terraform's resources is there: added at creation, kept afterwards."""
    if provider.get("add_terraform_attribution_label") is False:
        return False
    if prior is None or provider.get("terraform_attribution_label_addition_strategy") == "PROACTIVE":
        return True
    return bool(ATTRIBUTION.keys() & (prior.get("terraform_labels") or {}).keys())


def identifier_template(table: str, type_name: str) -> str:
    """Return the template of a resource type's identifier; empty for a type that the table does not list."""
    template = facts.load(f"{table}_values")["types"].get(type_name, {}).get("id", "")
    return str(template)
