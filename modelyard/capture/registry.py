"""The registry of published versions: `<registry>/<team>/<model>/<version>/`, a manifest and its files.

The files' names carry their digests, so files of different content never meet; that the manifest can be
created once makes a version exist, whole, for one of several publishers. What a publisher leaves behind that
came too late, or was interrupted, no manifest names.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from modelyard.artifacts.stores import Store, create_or_same
from modelyard.capture.errors import PublishError
from modelyard.capture.rendering import render

Document = dict[str, Any]
MANIFEST = "manifest.json"
# Parts of a manifest that may differ between two runs that made the same version.
_PROVENANCE = {"bom", "code", "created", "digest", "environment", "signing", "version"}


def versions(store: Store, name: str) -> list[int]:
    """Return the published versions of the model `name`, ascending."""
    parts = [path.removeprefix(f"{name}/").split("/") for path in store.names(name)]
    return sorted(int(part[0]) for part in parts if part[1:] == [MANIFEST] and part[0].isdigit())


def add(
    store: Store,
    name: str,
    version: int | None,
    files: Mapping[str, bytes],
    document: Callable[[int], Document],
) -> tuple[Document, bool]:
    """Register a version, unless the same was registered before; return its manifest, and whether it is new.

    Args:
        store: the registry.
        name: `team/model`.
        version: its number; None: the next free one.
        files: name -> content of the files that the manifest names; the first is the model file.
        document: makes the manifest of a version.

    Raises:
        PublishError: the version is there with other content.
    """
    if version is not None:
        return _create(store, name, version, files, document(version))
    known = versions(store, name)
    model_file = next(iter(files))
    same_model = {path for path in store.names(name) if path.endswith(f"/{model_file}")}
    for held_version in reversed(known):
        if f"{name}/{held_version}/{model_file}" in same_model:
            held = _held(store, name, held_version)
            if not differences(held, document(held_version)):
                return held, False
    number = max(known, default=0) + 1
    while True:
        try:
            return _create(store, name, number, files, document(number))
        except PublishError:
            number += 1  # another publisher took the number in the meantime


def _create(
    store: Store, name: str, version: int, files: Mapping[str, bytes], document: Document
) -> tuple[Document, bool]:
    if version in versions(store, name):
        return _same(store, name, version, document), False
    for file, content in files.items():
        create_or_same(store, f"{name}/{version}/{file}", content)
    if store.create(f"{name}/{version}/{MANIFEST}", render(document).encode()):
        return document, True
    return _same(store, name, version, document), False


def _same(store: Store, name: str, version: int, document: Document) -> Document:
    held = _held(store, name, version)
    if changed := differences(held, document):
        raise PublishError(
            f"{name}@{version} is published already, with other {', '.join(changed)}. A version never "
            "changes: publish under a new number, or leave the number out"
        )
    return held


def _held(store: Store, name: str, version: int) -> Document:
    held: Document = json.loads(store.read(f"{name}/{version}/{MANIFEST}"))
    return held


def differences(held: Document, document: Document) -> list[str]:
    """Return the parts in which two manifests differ, other than where and when they were made."""
    keys = (held.keys() | document.keys()) - _PROVENANCE
    return sorted(key for key in keys if held.get(key) != document.get(key))
