"""Refuses synthesized stacks that would run or read something when Terraform merely plans them.

A pull request decides what its stacks hold. Where they are planned with an identity, even one that only
reads, they must hold nothing but resources of the pinned providers: no program, no other provider, no file,
no foreign state. `python -m plan_review.guard STACK cdk.tf.json` exits with 2 if they do. Run it from a
checkout that was reviewed.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from plan_review.errors import ReviewError

PROVIDERS = frozenset(("google", "kubernetes"))
_SOURCES = {
    "google": frozenset(("google", "hashicorp/google", "registry.terraform.io/hashicorp/google")),
    "kubernetes": frozenset(
        ("kubernetes", "hashicorp/kubernetes", "registry.terraform.io/hashicorp/kubernetes")
    ),
}
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_SECTIONS = frozenset(
    ("//", "terraform", "provider", "resource", "data", "output", "locals", "moved", "removed")
)
# What a provider may be told; anything else could name a program, a file or another server.
_GOOGLE = frozenset(
    ("project", "region", "zone", "alias", "default_labels", "user_project_override", "billing_project")
)
_KUBERNETES = frozenset(("host", "exec", "alias"))
_HOST = re.compile(
    r"https://([a-z0-9-]+-)?connectgateway\.googleapis\.com/v1/projects/[0-9]+/locations/[a-z0-9-]+"
    r"/gkeMemberships/[a-z0-9-]+"
)
_EXEC = {
    "api_version": "client.authentication.k8s.io/v1beta1",
    "args": ["--use_application_default_credentials"],
    "command": "gke-gcloud-auth-plugin",
}
# Functions that read files of the machine.
_READS = re.compile(r"\b(file\w*|templatefile|pathexpand|abspath)\s*\(")
_TEMPLATE = re.compile(r"(?<!\$)\$\{(.*?)\}", re.DOTALL)
# Data sources that look at something of Google; none that runs a program or calls an address.
_DATA = re.compile(r"google_[a-z0-9_]+")


def problems(stack: str, document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a stack holds that it must not."""
    for section in sorted(set(document) - _SECTIONS):
        yield f"section '{section}' is not allowed"
    yield from _terraform(stack, document.get("terraform") or {})
    yield from _providers(document.get("provider") or {})
    for type_ in sorted(document.get("data") or {}):
        if not _DATA.fullmatch(type_):
            yield f"data source {type_} is not allowed"
    for type_, group in (document.get("resource") or {}).items():
        if type_.partition("_")[0] not in PROVIDERS:
            yield f"resource {type_} is of no pinned provider"
        for name, body in group.items():
            for block in ("provisioner", "connection"):
                if block in body:
                    yield f"{type_}.{name}: {block} is not allowed"
    if any(_READS.search(inner) for text in _texts(document) for inner in _TEMPLATE.findall(text)):
        yield "a template reads a file"


def _terraform(stack: str, block: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(set(block) - {"backend", "required_providers", "required_version"}):
        yield f"terraform.{key} is not allowed"
    for name, needed in (block.get("required_providers") or {}).items():
        source = needed.get("source", name) if isinstance(needed, Mapping) else name
        version = needed.get("version") if isinstance(needed, Mapping) else needed
        if source not in _SOURCES.get(name, frozenset()):
            yield f"provider {name} of {source} is not allowed"
        elif not _VERSION.fullmatch(str(version)):
            yield f"provider {name} is not pinned to one version"
    backend = block.get("backend") or {}
    settings = backend.get("gcs")
    if set(backend) != {"gcs"} or not isinstance(settings, Mapping):
        yield "the state must be in Cloud Storage"
    elif set(settings) - {"bucket", "prefix"} or settings.get("prefix") != stack:
        yield f"the state must be under the prefix {stack}"


def _providers(blocks: Mapping[str, Any]) -> Iterator[str]:
    for name, configured in blocks.items():
        if name not in PROVIDERS:
            yield f"provider {name} is not allowed"
            continue
        allowed = _GOOGLE if name == "google" else _KUBERNETES
        for block in configured if isinstance(configured, list) else [configured]:
            for key in sorted(set(block) - allowed):
                yield f"provider {name}: {key} is not allowed"
            if name == "kubernetes":
                yield from _cluster(block)


def _cluster(block: Mapping[str, Any]) -> Iterator[str]:
    if not _HOST.fullmatch(str(block.get("host"))):
        yield "provider kubernetes: host is not the cluster behind Connect Gateway"
    programs = block.get("exec")
    if [programs] != [[_EXEC]] and programs != _EXEC:
        yield "provider kubernetes: exec runs another program"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def check(stack: str, path: Path) -> None:
    """Refuse a synthesized stack that may not be planned with an identity.

    Raises:
        ReviewError: it holds what it must not, or cannot be read.
    """
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise ReviewError(str(path), "this is no synthesized stack.") from None
    if not isinstance(document, dict):
        raise ReviewError(str(path), "this is no synthesized stack.")
    # Terraform reads every file of a folder.
    beside = [other.name for other in path.parent.iterdir() if ".tf" in other.name and other != path]
    found = [f"{', '.join(sorted(beside))} stands beside it"] if beside else []
    found += problems(stack, document)
    if found:
        raise ReviewError(str(path), "; ".join(found[:20]) + ".", "It is not planned with any identity.")


def main() -> int:
    """Check the stack that the command line names; return the exit code."""
    if len(sys.argv) != 3:
        print("usage: python -m plan_review.guard STACK cdk.tf.json", file=sys.stderr)
        return 2
    try:
        check(sys.argv[1], Path(sys.argv[2]))
    except ReviewError as error:
        print(f"guard: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
