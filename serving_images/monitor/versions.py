"""Manifests of the versions that a log may hold: baselines, signature, test metrics."""

import json
import logging
from collections.abc import Mapping, Sequence

from modelyard.monitors.measuring import Watched
from modelyard.monitors.measuring.sql import table
from modelyard.spec.manifest import Manifest
from modelyard.tables import MODEL_VERSIONS
from modelyard.warehouse import Warehouse

log = logging.getLogger(__name__)
Manifests = dict[int, Manifest]


def manifests(
    warehouse: Warehouse, models: Sequence[Watched], pinned: Mapping[tuple[str, str], Sequence[Manifest]]
) -> dict[tuple[str, str], Manifests]:
    """Return the manifests of all versions of `models`, by team and model, then version.

    From the table of model versions, and those at hand in `pinned`, which win. A manifest that cannot be
    read is left out: rows of that version are only counted.
    """
    found: dict[tuple[str, str], Manifests] = {(model.team, model.model): {} for model in models}
    for metadata in {model.metadata for model in models}:
        ref = f"{metadata}.model_versions"
        statement = (
            f"SELECT team, model, version, manifest FROM {table(ref)} "
            "QUALIFY ROW_NUMBER() OVER (PARTITION BY team, model, version ORDER BY created DESC) = 1"
        )
        for row in warehouse.query(statement, {}, {ref: MODEL_VERSIONS}).to_pylist():
            held = found.get((row["team"], row["model"]))
            if held is not None:
                try:
                    held[row["version"]] = Manifest.model_validate(json.loads(row["manifest"]))
                except ValueError as error:
                    which = f"{row['team']}/{row['model']} version {row['version']}"
                    log.error("manifest of %s cannot be read: %s", which, error)
    for key, at_hand in pinned.items():
        if key in found:
            found[key].update({manifest.version: manifest for manifest in at_hand})
    return found
