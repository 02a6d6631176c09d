"""Features that a model's prediction log has and its pinned version has no more.

A log only ever gains columns. When a promotion drops a feature, `modelyard pin` notes it in
`teams/<team>/<model>.retired.json`, so that its column and the protection of its values stay.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Annotated, Literal

from pydantic import Field

from modelyard.spec.base import Spec
from modelyard.spec.errors import Problem
from modelyard.spec.explain import validated
from modelyard.spec.manifest import Feature, Manifest
from modelyard.spec.source import Document, read_json

SUFFIX = ".retired.json"


class Retired(Spec):
    """Features that earlier versions had."""

    format: Literal["modelyard.retired/1"] = "modelyard.retired/1"
    features: Annotated[tuple[Feature, ...], Field(min_length=1, max_length=10_000)]


@dataclass
class RetiredFile:
    """A model's retired features as they were read; none where the file cannot be used."""

    document: Document
    features: tuple[Feature, ...] = ()
    problems: list[Problem] = field(default_factory=list)


def retired_file(model: str) -> str:
    """Return the name of the file of a model's retired features."""
    return f"{model}{SUFFIX}"


def read_retired(path: FilePath, file: str) -> RetiredFile:
    """Read a file of retired features; problems name it `file`."""
    document = read_json(path, file)
    if document.data is None:
        return RetiredFile(document, problems=document.problems)
    retired, problems = validated(Retired, document.data, document)
    return RetiredFile(document, retired.features if retired and not problems else (), list(problems))


def conflicts(logged: tuple[Feature, ...], manifest: Manifest) -> list[tuple[int, str]]:
    """Return position and reason of each logged feature that `manifest` has with another type."""
    types = {feature.name.lower(): feature.type for feature in manifest.signature.features}
    return [
        (
            position,
            f"Feature '{feature.name}' is {feature.type} in the prediction log and "
            f"{types[feature.name.lower()]} in version {manifest.version}; a logged column keeps its type, "
            "so publish the feature under another name",
        )
        for position, feature in enumerate(logged)
        if types.get(feature.name.lower(), feature.type) is not feature.type
    ]


def after_pin(retired: tuple[Feature, ...], before: Manifest | None, now: Manifest) -> tuple[Feature, ...]:
    """Return what is retired once `now` is pinned in place of `before`."""
    present = {feature.name.lower() for feature in now.signature.features}
    known = {feature.name: feature for feature in retired}
    known |= {feature.name: feature for feature in (before.signature.features if before else ())}
    return tuple(feature for _, feature in sorted(known.items()) if feature.name.lower() not in present)


def rendered(features: tuple[Feature, ...]) -> bytes | None:
    """Return the content of the file, or None where no file is needed."""
    if not features:
        return None
    kept = {"name", "type", "sensitivity", "description"}
    document = {
        "format": Retired.model_fields["format"].default,
        "features": [feature.model_dump(mode="json", include=kept) for feature in features],
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
