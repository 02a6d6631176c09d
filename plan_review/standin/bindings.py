"""Derive a provider's schema from its cdktf bindings.

The bindings package carries generated JavaScript and type declarations. Three things in them describe a
block completely: the table of arguments (`isBlock`, `type`, `storageClassType`), the getters of the output
classes (which also name what only the provider sets), and the interfaces (what is required).
What the generator threw away comes from the tables read by `facts`.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
Type: TypeAlias = Any  # Terraform's JSON form of a type: "string" or ["list", "string"]

ARGUMENT = re.compile(
    r'^\s*(?:"(?P<quoted>[^"]+)"|(?P<bare>\w+)): \{\s*value: (?P<value>.*?),'
    r"\s*isBlock: (?P<block>true|false),"
    r'\s*type: "(?P<kind>\w+)",\s*storageClassType: "(?P<storage>\w+)",?\s*\}',
    re.M | re.S,
)
STRUCT = re.compile(r"^function (\w+)ToHclTerraform\(struct\) \{(.*?)^\}", re.M | re.S)
CLASS = re.compile(r"^class (\w+) extends cdktf\.(\w+) \{(.*?)^\}", re.M | re.S)
GETTER = re.compile(
    r"return (?P<set>cdktf\.Fn\.tolist\()?(?:cdktf\.Token\.as\w+\()*(?:cdktf\.Fn\.tolist\()?"
    r"this\.get(?P<kind>\w*?)Attribute\('(?P<name>\w+)'\)"
)
MEMBER = re.compile(r'this\._\w+ = new (?P<cls>[\w.]+)\(this, "(?P<name>\w+)"(?:, (?P<set>true|false))?\)')
INTERFACE = re.compile(r"^export interface (\w+)[^{\n]*\{(.*?)^\}", re.M | re.S)
PROPERTY = re.compile(r"^\s+readonly (\w+)(\?)?: ", re.M)
INPUT = re.compile(r"(?:this\._|struct\.)(\w+)")
TOP = re.compile(r"synthesizeHclAttributes\(\) \{(.*?)^    \}", re.M | re.S)
RESOURCE_TYPE = re.compile(r"terraformResourceType: '(\w+)'")
PROVIDER_VERSION = re.compile(r"providerVersion: '([^']+)'")
SPLIT_REFERENCE = re.compile(r"\(0, (?:index_)?structs\d*_\d+\.(\w+)\)|(?:index_)?structs\d*_\d+\.(?=\w)")

STORAGE_TYPES: dict[str, Type] = {
    "string": "string",
    "number": "number",
    "boolean": "bool",
    "any": "dynamic",
    "stringList": ["list", "string"],
    "numberList": ["list", "number"],
    "stringMap": ["map", "string"],
    "numberMap": ["map", "number"],
    "booleanMap": ["map", "bool"],
    "anyMap": ["map", "dynamic"],
    "stringListList": ["list", ["list", "string"]],
    "stringMapList": ["list", ["map", "string"]],
}
GETTER_TYPES: dict[str, Type] = {
    "String": "string",
    "Number": "number",
    "Boolean": "bool",
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
    "StringMap": ["map", "string"],
    "NumberMap": ["map", "number"],
    "BooleanMap": ["map", "bool"],
    "AnyMap": ["map", "string"],
}
CLASS_TYPES: dict[str, Type] = {
    "cdktf.StringMap": ["map", "string"],
    "cdktf.BooleanMap": ["map", "bool"],
    "cdktf.NumberMap": ["map", "number"],
    "cdktf.AnyMap": ["map", "string"],
    "cdktf.StringMapList": ["list", ["map", "string"]],
    "cdktf.NumberMapList": ["list", ["map", "number"]],
}
META_ARGUMENTS = {"alias"}


@dataclass
class Derived:
    """A provider's schema in Terraform's JSON form, as far as the bindings tell it."""

    provider_version: str
    provider: Json
    resources: dict[str, Json]
    data_sources: dict[str, Json]
    doubts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Member:
    """What an output class says of one attribute: a plain type, or a nested class."""

    type: Type = None
    cls: str = ""
    in_set: bool = False


def _lower(name: str) -> str:
    return name[0].lower() + name[1:]


def _struct_of(storage: str) -> str:
    return storage[:-4] if storage.endswith("List") else storage


def _as_set(kind: str, of: Type) -> Type:
    return ["set", of[1]] if kind == "set" and isinstance(of, list) else of


class _Module:
    """One folder of the bindings: one resource type or data source."""

    def __init__(self, script: str, declarations: str) -> None:
        script = SPLIT_REFERENCE.sub(lambda m: m[1] or "", script)
        self.structs = {m[1]: m[2] for m in STRUCT.finditer(script)}
        self.classes = {m[1]: (m[2], m[3]) for m in CLASS.finditer(script)}
        self.required = {
            m[1]: {p[1] for p in PROPERTY.finditer(m[2]) if not p[2]}
            for m in INTERFACE.finditer(declarations)
        }
        self.doubts: list[str] = []

    def members(self, cls: str) -> dict[str, _Member]:
        body = self.classes.get(cls, ("", ""))[1]
        found: dict[str, _Member] = {}
        for m in GETTER.finditer(body):
            kind = GETTER_TYPES.get(m["kind"])
            if kind is None:
                self.doubts.append(
                    f"{cls}.{m['name']}: unknown getter get{m['kind']}Attribute, taken as string"
                )
                kind = "string"
            in_set = "tolist(" in m[0] and isinstance(kind, list) and kind[0] == "list"
            found[m["name"]] = _Member(type=["set", kind[1]] if in_set else kind)
        for m in MEMBER.finditer(body):
            found[m["name"]] = _Member(cls=m["cls"], in_set=m["set"] == "true")
        return found

    def member_type(self, member: _Member) -> Type:
        cls = member.cls
        if not cls:
            return member.type
        if cls in CLASS_TYPES:
            return CLASS_TYPES[cls]
        base = self.classes.get(cls, ("?", ""))[0]
        if base == "ComplexList":
            return ["set" if member.in_set else "list", self.output_type(cls[:-4])]
        if base == "ComplexMap":
            return ["map", self.output_type(cls[:-3])]
        if cls.endswith("OutputReference"):
            return ["list", self.output_type(cls.removesuffix("OutputReference"))]
        self.doubts.append(f"{cls}: unknown class, taken as string")
        return "string"

    def output_type(self, struct: str) -> Type:
        members = self.members(struct + "OutputReference")
        return ["object", {name: self.member_type(member) for name, member in members.items()}]

    def argument_type(self, struct: str) -> Type:
        """Type of an argument whose value is an object (a block written as an attribute)."""
        of: Json = {}
        for m in ARGUMENT.finditer(self.structs.get(_lower(struct), "")):
            of[m["quoted"] or m["bare"]] = self.storage_type(m["kind"], m["storage"])
        for name, member in self.members(struct + "OutputReference").items():
            of.setdefault(name, self.member_type(member))
        return ["object", of]

    def storage_type(self, kind: str, storage: str) -> Type:
        if storage in STORAGE_TYPES:
            return _as_set(kind, STORAGE_TYPES[storage])
        return [kind if kind in ("list", "set", "map") else "list", self.argument_type(_struct_of(storage))]

    def nested(self, kind: str, storage: str, member: _Member | None, required: bool) -> Json | None:
        struct = _struct_of(storage) if _lower(_struct_of(storage)) in self.structs else storage
        if _lower(struct) not in self.structs:
            return None
        block = self.block(
            ARGUMENT.finditer(self.structs[_lower(struct)]),
            self.members(struct + "OutputReference"),
            self.required.get(struct, set()),
        )
        if kind == "struct":
            return {"nesting_mode": "single", "block": block}
        nested: Json = {"nesting_mode": kind, "block": block}
        if required:
            nested["min_items"] = 1
        if member and member.cls.endswith("OutputReference"):
            nested["max_items"] = 1
        return nested

    def block(
        self, arguments: Iterable[re.Match[str]], members: dict[str, _Member], required: set[str]
    ) -> Json:
        attributes: Json = {}
        blocks: Json = {}
        for m in arguments:
            name = m["quoted"] or m["bare"]
            given = INPUT.search(m["value"])
            needed = bool(given and given[1] in required)
            if m["kind"] == "struct" or m["block"] == "true":
                nested = self.nested(m["kind"], m["storage"], members.get(name), needed)
                if nested is None:
                    self.doubts.append(f"{name}: no struct {m['storage']}, left out")
                else:
                    blocks[name] = nested
                continue
            attributes[name] = {"type": self.storage_type(m["kind"], m["storage"])}
            attributes[name]["required" if needed else "optional"] = True
        for name, member in members.items():
            if name not in attributes and name not in blocks:
                attributes[name] = {"type": self.member_type(member), "computed": True}
        block: Json = {}
        if attributes:
            block["attributes"] = attributes
        if blocks:
            block["block_types"] = blocks
        return block

    def top(self, cls: str) -> Json:
        arguments = TOP.search(self.classes[cls][1])
        return self.block(
            ARGUMENT.finditer(arguments[1] if arguments else ""),
            self.members(cls),
            self.required.get(cls + "Config", set()),
        )


def _folders(archive: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (folder, JavaScript, declarations) of each module in the archive."""
    texts: dict[str, list[str]] = {}
    with tarfile.open(archive) as tar:
        for entry in tar:
            parts = entry.name.split("/")
            if len(parts) < 4 or parts[1] != "lib" or parts[-1].startswith("index-structs"):
                continue
            which = 1 if entry.name.endswith(".d.ts") else 0 if entry.name.endswith(".js") else None
            content = tar.extractfile(entry) if which is not None else None
            if which is not None and content is not None:
                texts.setdefault(parts[2], ["", ""])[which] += content.read().decode() + "\n"
    for folder, (script, declarations) in texts.items():
        yield folder, script, declarations


def derive(archive: Path) -> Derived:
    """Read the whole archive (2 to 4 s for Google's) and return the schema it describes.

    Raises OSError, tarfile.TarError for an unreadable archive and ValueError for one without a provider.
    """
    derived = Derived("", {}, {}, {})
    for folder, script, declarations in _folders(archive):
        module = _Module(script, declarations)
        for cls, (base, body) in module.classes.items():
            if base == "TerraformProvider":
                derived.provider = module.top(cls)
                for meta in META_ARGUMENTS:
                    derived.provider.get("attributes", {}).pop(meta, None)
                version = PROVIDER_VERSION.search(body)
                derived.provider_version = version[1] if version else ""
            elif base in ("TerraformResource", "TerraformDataSource"):
                type_name = RESOURCE_TYPE.search(body)
                if type_name is None:
                    module.doubts.append(f"{cls}: no resource type, left out")
                    continue
                kind = derived.resources if base == "TerraformResource" else derived.data_sources
                kind[type_name[1]] = module.top(cls)
        derived.doubts += [f"{folder}: {doubt}" for doubt in module.doubts]
    if not derived.provider_version:
        raise ValueError(f"{archive.name} holds no provider")
    return derived
