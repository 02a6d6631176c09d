"""The providers that the stand-in can play, and where their bindings are installed."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


class StandinError(Exception):
    """Something the person at the keyboard can mend; the message says what and how."""


@dataclass(frozen=True, slots=True)
class Source:
    """One Terraform provider and the cdktf bindings package that carries its schema."""

    name: str
    address: str
    package: str
    facts: str

    @property
    def installed(self) -> bool:
        """Whether the bindings package can be found, without importing it (an import takes ten seconds)."""
        return importlib.util.find_spec(self.package) is not None

    @property
    def bindings_version(self) -> str:
        """Version of the installed bindings package."""
        return version(self.package.replace("_", "-"))

    @property
    def archive(self) -> Path:
        """The jsii archive inside the bindings package. Raises StandinError if it is missing."""
        spec = importlib.util.find_spec(self.package)
        folders = (spec.submodule_search_locations or []) if spec else []
        for folder in folders:
            for archive in sorted(Path(folder, "_jsii").glob("*.jsii.tgz")):
                return archive
        raise StandinError(
            f"the bindings package {self.package} is not installed, or has no _jsii/*.jsii.tgz: "
            f"install {self.package.replace('_', '-')}"
        )


ALL = (
    Source("google", "hashicorp/google", "cdktf_cdktf_provider_google", "google"),
    Source("google-beta", "hashicorp/google-beta", "cdktf_cdktf_provider_google_beta", "google"),
    Source("kubernetes", "hashicorp/kubernetes", "cdktf_cdktf_provider_kubernetes", "kubernetes"),
)


def installed() -> list[Source]:
    """Return the sources whose bindings are installed. Raises StandinError if there is none."""
    found = [source for source in ALL if source.installed]
    if not found:
        names = ", ".join(source.package.replace("_", "-") for source in ALL)
        raise StandinError(f"no provider bindings are installed: install at least one of {names}")
    return found
