"""The packages that are installed here, read once as long as nothing is installed or removed."""

import functools
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Package:
    """An installed package."""

    name: str
    """Its name, normalized as package indexes do."""
    version: str
    needs: tuple[str, ...]
    """Names of the packages that it needs without extras, whether they are installed or not."""


def packages() -> tuple[Package, ...]:
    """Return all installed packages by name."""
    return _packages(_state())


def packages_by_module() -> Mapping[str, list[str]]:
    """Return top-level module -> names of the packages that have it."""
    return _by_module(_state())


def _state() -> tuple[tuple[str, int], ...]:
    """Return what changes when a package is installed or removed: the times of the folders."""
    return tuple((path, os.stat(path).st_mtime_ns) for path in sys.path if os.path.isdir(path))


@functools.lru_cache(maxsize=1)
def _packages(state: tuple[tuple[str, int], ...]) -> tuple[Package, ...]:
    found = {
        name: Package(name, distribution.version, tuple(_needs(distribution)))
        for distribution in metadata.distributions()
        if (name := _normal(distribution.metadata["Name"] or ""))
    }
    return tuple(package for _, package in sorted(found.items()))


@functools.lru_cache(maxsize=1)
def _by_module(state: tuple[tuple[str, int], ...]) -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _needs(distribution: metadata.Distribution) -> list[str]:
    plain = [text for text in distribution.requires or () if "extra ==" not in text]
    return sorted({_normal(re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0]) for text in plain})


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
