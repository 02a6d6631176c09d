"""Enters published versions into what people and machines search: the table of versions, and Vertex AI."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.capture.errors import PublishError
from modelyard.naming import Names
from modelyard.spec.environment import Environment
from modelyard.spec.errors import SpecError, nearest
from modelyard.spec.load import environment_names, load_environment
from modelyard.spec.manifest import Manifest

LOCAL = "local"


@dataclass(frozen=True)
class Catalog:
    """The environment that versions are published for; None where a checkout has no environments."""

    root: Path
    environment: Environment | None

    @property
    def in_cloud(self) -> bool:
        """Whether versions are entered in Google Cloud, not on this machine."""
        return self.environment is not None and not self.environment.stand_in

    def registry(self, given: str | Path | None) -> str:
        """Return where model files go: `given`, else `MODELYARD_REGISTRY`, else the environment's bucket.

        On this machine that is `.modelyard/registry` in the checkout.
        """
        if named := given or os.environ.get("MODELYARD_REGISTRY"):
            return str(named)
        if self.environment is not None and self.in_cloud:
            return f"gs://{Names.of(self.environment).artifact_bucket}"
        return str(self.root / ".modelyard" / "registry")

    def enter(self, document: Mapping[str, Any], registry: str) -> None:
        """Enter a version, once; to enter it again is to do nothing.

        Without an environment there is no table. In the cloud, the version is also entered into the Vertex
        AI Model Registry.

        Raises:
            PublishError: it is entered already with other content, or cannot be entered.
        """
        if self.environment is None:
            return
        from modelyard import warehouse
        from modelyard.capture import records, vertex
        from modelyard.tables import MODEL_VERSIONS
        from modelyard.warehouse.names import reference

        names = Names.of(self.environment)
        if self.in_cloud:
            tables: warehouse.Warehouse = warehouse.bigquery(names.project)
        else:
            beside = (
                None if os.environ.get("MODELYARD_WAREHOUSE") or "://" in registry else Path(registry).parent
            )
            tables = warehouse.local(beside / "warehouse" if beside else None)
        try:
            records.register(document, tables, reference(names, MODEL_VERSIONS))
        except warehouse.WarehouseError as error:
            raise PublishError(
                f"The version is in the registry, but not in the table of versions: {error}. Publish it again"
            ) from None
        if self.in_cloud:
            manifest = Manifest.model_validate(document)
            kind = "rest" if manifest.online or manifest.artifact.format == "onnx" else "batch"
            vertex.register(manifest, names, names.image(kind, getattr(self.environment.images, kind)))


def catalog(given: str | None, root: Path) -> Catalog:
    """Return the catalog of an environment: `given`, else `MODELYARD_ENVIRONMENT`, else `local`.

    Args:
        given: name of a file in `environments/` of the checkout.
        root: the checkout.

    Raises:
        PublishError: there is no such environment, or its file has problems.
    """
    known = environment_names(root)
    name = given or os.environ.get("MODELYARD_ENVIRONMENT")
    if name is None and LOCAL not in known:
        return Catalog(root, None)
    if name is not None and name not in known:
        there = f"there are {', '.join(known)}" if known else "there is none"
        raise PublishError(
            f"environment: there is no environments/{name}.yaml in {root.name}; {there}."
            f"{nearest(name, known)}"
        )
    try:
        return Catalog(root, load_environment(root, name or LOCAL))
    except SpecError as error:
        raise PublishError(str(error)) from None
