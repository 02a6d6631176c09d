"""The schema of one provider: derived once, cached, read one resource type at a time.

The cache is one ZIP file per provider in the user's cache folder: the protocol's answer, ready to send, and
one JSON member per resource type. ZIP checks every member it reads, so a damaged file is noticed and rebuilt.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tf.gen import tfplugin_pb2 as pb

from plan_review.standin import bindings, facts
from plan_review.standin.bindings import Json, Type
from plan_review.standin.sources import Source

NESTING = {"single": 1, "list": 2, "set": 3, "map": 4, "group": 5}
STALE_AFTER_DAYS = 30
DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, NotImplementedError)


@dataclass(slots=True)
class Attribute:
    """One argument or computed value of a block."""

    type: Type
    required: bool = False
    optional: bool = False
    computed: bool = False
    sensitive: bool = False
    write_only: bool = False
    replace: bool = False
    default: Any = None
    one_of: list[str] = field(default_factory=list)
    matches: str = ""

    @property
    def read_only(self) -> bool:
        """Whether only the provider may set it."""
        return self.computed and not self.optional


@dataclass(slots=True)
class Check:
    """A relation between arguments of one block; paths are relative to that block."""

    kind: str
    paths: list[str]
    path: str = ""


@dataclass(slots=True)
class Nested:
    """A nested block type: how often it may occur, and what it holds."""

    mode: str
    block: Block
    computed: bool = False
    replace: bool = False

    @property
    def many(self) -> bool:
        """Whether its value is a list."""
        return self.mode in ("list", "set")


@dataclass(slots=True)
class Block:
    """The arguments, nested blocks and checks of one block."""

    attributes: dict[str, Attribute]
    blocks: dict[str, Nested]
    checks: list[Check]

    @classmethod
    def parse(cls, form: Json) -> Block:
        """Build from the cached JSON form."""
        return cls(
            {name: Attribute(**attribute) for name, attribute in form.get("attributes", {}).items()},
            {
                name: Nested(
                    nested["nesting_mode"],
                    cls.parse(nested["block"]),
                    nested.get("computed", False),
                    nested.get("replace", False),
                )
                for name, nested in form.get("block_types", {}).items()
            },
            [Check(**check) for check in form.get("checks", ())],
        )


def cache_folder() -> Path:
    """Return the folder of the cached schemas: below XDG_CACHE_HOME, or the platform's usual place."""
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "modelyard" / "standin"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "modelyard" / "standin"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "modelyard" / "standin"
    return Path.home() / ".cache" / "modelyard" / "standin"


@cache
def _code_digest() -> str:
    digest = hashlib.sha256()
    for module in (bindings, facts):
        digest.update(Path(module.__file__ or "").read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()


def _cache_file(source: Source) -> Path:
    key = hashlib.sha256(
        f"{_code_digest()} {source.archive.stat().st_size}".encode() + facts.read(source.facts)
    )
    return cache_folder() / f"{source.name}-{source.bindings_version}-{key.hexdigest()[:16]}.zip"


class Schema:
    """The schema of one provider, read from its cache file."""

    def __init__(self, source: Source, file: Path) -> None:
        self.source = source
        self._zip = zipfile.ZipFile(file)
        meta: Json = json.loads(self._zip.read("meta.json"))
        self.provider_version: str = meta["provider_version"]
        self.answer = self._zip.read("schema.pb")
        self._names = set(self._zip.namelist())
        self._resources: dict[str, Block] = {}
        self._data_sources: dict[str, Block] = {}

    def _member(self, member: str) -> Json:
        parsed: Json = json.loads(self._zip.read(member))
        return parsed

    def resource(self, type_name: str) -> Block:
        """Return the block of a resource type. Raises KeyError for an unknown one."""
        block = self._resources.get(type_name)
        if block is None:
            block = self._resources[type_name] = Block.parse(self._member(f"resources/{type_name}.json"))
        return block

    def data_source(self, type_name: str) -> Block:
        """Return the block of a data source. Raises KeyError for an unknown one."""
        block = self._data_sources.get(type_name)
        if block is None:
            block = self._data_sources[type_name] = Block.parse(
                self._member(f"data_sources/{type_name}.json")
            )
        return block

    def provider(self) -> Block:
        """Return the block of the provider's own configuration."""
        return Block.parse(self._member("provider.json"))

    def resource_types(self) -> list[str]:
        """Return the names of all resource types."""
        return sorted(self._in("resources/"))

    def data_source_types(self) -> list[str]:
        """Return the names of all data sources."""
        return sorted(self._in("data_sources/"))

    def _in(self, folder: str) -> Iterator[str]:
        return (name[len(folder) : -len(".json")] for name in self._names if name.startswith(folder))


def load(source: Source) -> Schema:
    """Return the provider's schema: from the cache, or derived now (a few seconds, said on stderr).

    Where the cache cannot be written, as in a home folder that is read-only, it is derived at each start.

    Raises StandinError if the bindings are missing, ValueError if they hold no provider.
    """
    file = _cache_file(source)
    with contextlib.suppress(*DAMAGE):
        return _open(source, file)
    try:
        with _locked(file.parent):
            with contextlib.suppress(*DAMAGE):  # another process may have built it while we waited
                return _open(source, file)
            _build(source, file)
            return _open(source, file)
    except OSError as error:
        where = f"{error.filename or file}: {error.strerror}"
        print(f"Schemas cannot be kept: {where}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="modelyard-schema-", ignore_cleanup_errors=True) as folder:
        _build(source, Path(folder) / file.name)
        return _open(source, Path(folder) / file.name)  # stays open when the folder is gone


def _open(source: Source, file: Path) -> Schema:
    schema = Schema(source, file)
    with contextlib.suppress(OSError):
        os.utime(file)  # keeps it from being swept as stale
    return schema


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time build; elsewhere than POSIX several may, which only costs time."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(folder / ".lock", "w") as lock:
        if os.name == "posix":
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(source: Source, file: Path) -> None:
    print(
        f"Deriving the schema of {source.address} from {source.package} {source.bindings_version} "
        "(once, some seconds) ...",
        file=sys.stderr,
        flush=True,
    )
    started = time.monotonic()
    derived = bindings.derive(source.archive)
    table = facts.load(source.facts)
    for type_name, block in derived.resources.items():
        facts.add(type_name, block, table)
    for type_name, block in derived.data_sources.items():
        facts.add_to_data_source(type_name, block, table)
    for doubt in derived.doubts:
        print(f"  in doubt: {doubt}", file=sys.stderr)
    _write(file, derived)
    _sweep(file.parent)
    print(
        f"  {len(derived.resources)} resource types, {len(derived.data_sources)} data sources "
        f"in {time.monotonic() - started:.1f} s",
        file=sys.stderr,
        flush=True,
    )


def _write(file: Path, derived: bindings.Derived) -> None:
    handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".part")
    try:
        with (
            os.fdopen(handle, "wb") as stream,
            zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        ):
            archive.writestr("meta.json", json.dumps({"provider_version": derived.provider_version}))
            archive.writestr("schema.pb", _answer(derived), zipfile.ZIP_STORED)
            archive.writestr("provider.json", json.dumps(derived.provider))
            for folder, blocks in (("resources", derived.resources), ("data_sources", derived.data_sources)):
                for type_name, block in blocks.items():
                    archive.writestr(f"{folder}/{type_name}.json", json.dumps(block))
        os.replace(temporary, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _sweep(folder: Path) -> None:
    """Remove cached schemas that nobody used for a month."""
    limit = time.time() - STALE_AFTER_DAYS * 86400
    for old in [*folder.glob("*.zip"), *folder.glob("*.part")]:
        with contextlib.suppress(OSError):
            if old.stat().st_mtime < limit:
                old.unlink()


def _answer(derived: bindings.Derived) -> bytes:
    """The answer to GetProviderSchema, serialised."""
    message = pb.GetProviderSchema.Response(
        provider=pb.Schema(block=_block_message(derived.provider)),
        server_capabilities=pb.ServerCapabilities(get_provider_schema_optional=True),
    )
    for type_name, block in derived.resources.items():
        message.resource_schemas[type_name].CopyFrom(pb.Schema(block=_block_message(block)))
    for type_name, block in derived.data_sources.items():
        message.data_source_schemas[type_name].CopyFrom(pb.Schema(block=_block_message(block)))
    return bytes(message.SerializeToString(deterministic=True))


def _block_message(block: Json) -> pb.Schema.Block:
    message = pb.Schema.Block()
    for name, attribute in sorted(block.get("attributes", {}).items()):
        message.attributes.add(
            name=name,
            type=json.dumps(attribute["type"], separators=(",", ":")).encode(),
            required=attribute.get("required", False),
            optional=attribute.get("optional", False),
            computed=attribute.get("computed", False),
            sensitive=attribute.get("sensitive", False),
        )
    for name, nested in sorted(block.get("block_types", {}).items()):
        message.block_types.add(
            type_name=name,
            block=_block_message(nested["block"]),
            nesting=NESTING[nested["nesting_mode"]],
            min_items=0 if nested.get("computed") else nested.get("min_items", 0),
            max_items=nested.get("max_items", 0),
        )
    return message
