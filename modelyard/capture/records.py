"""The table of model versions: one row per published version, the same on one machine and in BigQuery."""

import json
from collections.abc import Mapping
from typing import Any

from modelyard.capture.errors import PublishError
from modelyard.spec.manifest import Manifest, digest_of
from modelyard.tables import MODEL_VERSIONS, arrow_schema
from modelyard.warehouse import Warehouse


def register(document: Mapping[str, Any], warehouse: Warehouse, ref: str) -> bool:
    """Add a version's row, once; return whether it is new.

    Args:
        document: the manifest as plain JSON, as it was published: its digest is computed over just that.
        warehouse: where the row goes.
        ref: the table of model versions; `modelyard.warehouse.reference(names, MODEL_VERSIONS)`.

    Raises:
        PublishError: the version is registered with other content, or the document is not what its digest
            says.
        WarehouseError: the warehouse cannot be read or written.
    """
    actual = digest_of(dict(document))
    if document.get("digest") != actual:
        raise PublishError(f"the manifest says {document.get('digest')}, but its content has {actual}")
    manifest = Manifest.model_validate(document)
    if _same(manifest, registered(warehouse, ref, manifest.team, manifest.model, manifest.version)):
        return False
    name = f"{manifest.team}.{manifest.model}.{manifest.version}"
    warehouse.append(ref, MODEL_VERSIONS, _rows(manifest, document), name)
    # Of two publishers at once one is first: the other sees here that it was not.
    _same(manifest, registered(warehouse, ref, manifest.team, manifest.model, manifest.version))
    return True


def registered(warehouse: Warehouse, ref: str, team: str, model: str, version: int) -> dict[str, Any] | None:
    """Return the row of a version, or None; the first counts, should two publishers have met at midnight."""
    rows = warehouse.query(
        f"SELECT * FROM `{ref}` WHERE team = @team AND model = @model AND version = @version "
        "ORDER BY created, manifest_digest LIMIT 1",
        {"team": team, "model": model, "version": version},
        {ref: MODEL_VERSIONS},
    ).to_pylist()
    return rows[0] if rows else None


def _same(manifest: Manifest, row: Mapping[str, Any] | None) -> bool:
    if row is not None and row["manifest_digest"] != manifest.digest:
        raise PublishError(
            f"{manifest.team}/{manifest.model}@{manifest.version} is registered already, with manifest "
            f"{row['manifest_digest']} of {row['created']:%Y-%m-%d %H:%M} UTC; this is {manifest.digest}. "
            "A version never changes, so publish under a new number"
        )
    return row is not None


def _rows(manifest: Manifest, document: Mapping[str, Any]) -> Any:
    import pyarrow as pa

    row = {
        "team": manifest.team,
        "model": manifest.model,
        "version": manifest.version,
        "created": manifest.created,
        "manifest_digest": manifest.digest,
        "task": manifest.task.value,
        "description": manifest.description or None,
        "artifact": manifest.artifact.model_dump(mode="json"),
        "features": [
            {
                "name": feature.name,
                "type": feature.type.value,
                "unit": feature.unit or None,
                "sensitivity": feature.sensitivity.value,
            }
            for feature in manifest.signature.features
        ],
        "metrics": [
            {"name": name, "value": value, "is_primary": name == manifest.metrics.primary}
            for name, value in manifest.metrics.values.items()
        ],
        "data": {
            "uri": manifest.data.uri,
            "digest": manifest.data.digest,
            "row_count": manifest.data.rows,
        },
        "code": manifest.code.model_dump(mode="json"),
        "packages": [
            {"name": name, "version": version} for name, version in manifest.dependencies.packages.items()
        ],
        "manifest": json.dumps(document, ensure_ascii=False),
    }
    return pa.Table.from_pylist([row], schema=arrow_schema(MODEL_VERSIONS))
