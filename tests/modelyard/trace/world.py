"""A model with a past: published, signed, deployed twice, asked. On local files or on BigQuery's API."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

import modelyard.warehouse
from modelyard.artifacts.digests import digest_of as digest_of_bytes
from modelyard.artifacts.signing import sign, signing_key
from modelyard.capture.records import register
from modelyard.naming import Names
from modelyard.spec.base import Sensitivity
from modelyard.spec.manifest import digest_of
from modelyard.tables import DEPLOYMENTS, MODEL_VERSIONS, Table, arrow_schema, prediction_log
from modelyard.trace import Place, cloud_place, local_place
from modelyard.warehouse import Warehouse, reference
from modelyard.warehouse.folders import LocalWarehouse
from tests.bigquery_emulator import create_table
from tests.modelyard.sample import HASH, NAMES, deployed, environment, manifest

# The first 48 bits are the time: this one was asked for on 2026-03-02, 10:00:00 UTC.
ID = "019cadfa-9480-7345-8678-9abcdef01234"
ASKED = datetime(2026, 3, 2, 10, tzinfo=UTC)
IMAGE = "sha256:" + "a" * 64
MODEL_FILE = b"the trained model"


@dataclass
class World:
    """Where things are."""

    warehouse: Warehouse
    names: Names
    registry: Path
    log: Table
    client: Any = None
    documents: dict[int, dict[str, Any]] = field(default_factory=dict)

    def ref(self, table: Table) -> str:
        return reference(self.names, table)

    @property
    def log_ref(self) -> str:
        own = self.names.team("flights")
        return f"{own.project}.{own.dataset}.{own.model('delay').log_table}"

    def place(self, declared: Mapping[str, Sensitivity] | None = None) -> Place:
        """The place, with what the team file says about features."""

        def said(_environment: str, _team: str, _model: str) -> Mapping[str, Sensitivity]:
            return declared or {}

        if self.client is None:
            assert isinstance(self.warehouse, LocalWarehouse)
            return local_place(self.warehouse, self.registry, said)
        tenants = {
            "parent": "folders/1",
            "billing_account": "012345-6789AB-CDEF01",
            "prefix": self.names.tenant_prefix,
        }
        team, _model, _names = deployed(sensitivity=declared or {})
        made = cloud_place(self.warehouse, environment(project=self.names.project, tenants=tenants), [team])
        assert made.registry == f"gs://{self.names.project}-model-artifacts"
        return replace(made, registry=str(self.registry))  # no bucket runs here

    def publish(self, version: int, **changes: Any) -> dict[str, Any]:
        """Put the model's file into the registry, signed, and its row into the table of versions."""
        folder = self.registry / f"flights/delay/{version}"
        folder.mkdir(parents=True)
        bundle, key = sign(
            {"model.onnx": MODEL_FILE}, signing_key(self.registry, {"HOME": str(self.registry)})
        )
        (folder / "model.onnx").write_bytes(MODEL_FILE)
        (folder / "model.sig").write_bytes(bundle)
        document = manifest(version).model_dump(mode="json", exclude_none=True) | {
            "artifact": {
                "uri": f"flights/delay/{version}/model.onnx",
                "digest": digest_of_bytes(MODEL_FILE),
                "format": "onnx",
                "size_bytes": len(MODEL_FILE),
            },
            "signing": {
                "bundle": {"uri": f"flights/delay/{version}/model.sig", "digest": digest_of_bytes(bundle)},
                "public_key": key,
            },
            "dependencies": {"python": "3.11.9", "packages": {f"package-{n}": f"{n}.0" for n in range(12)}},
            **changes,
        }
        document["digest"] = digest_of(document)
        register(document, self.warehouse, self.ref(MODEL_VERSIONS))
        self.documents[version] = document
        return document

    def deploy(self, name: str, time: datetime, versions: Mapping[int, int], **changes: Any) -> None:
        """Record a deployment of versions with their shares of the traffic."""
        row = {
            "deployment_id": name,
            "time": time,
            "environment": "dev",
            "actor": "deployer@example.com",
            "approved_by": ["ann@example.com", "bob@example.com"],
            "repository": "example/models",
            "commit": "c" * 40,
            "stacks": ["dev-team-flights"],
            "models": [
                {
                    "team": "flights",
                    "model": "delay",
                    "version": version,
                    "manifest_digest": self.documents.get(version, {}).get("digest", HASH),
                    "image_digest": IMAGE,
                    "percent": percent,
                }
                for version, percent in versions.items()
            ],
            "plan_digest": HASH,
            "succeeded": True,
            **changes,
        }
        rows = pa.Table.from_pylist([row], schema=arrow_schema(DEPLOYMENTS))
        self.warehouse.append(self.ref(DEPLOYMENTS), DEPLOYMENTS, rows, name)

    def predict(self, name: str = "first", **changes: Any) -> None:
        """Log a prediction of version 1."""
        row = {
            "prediction_id": ID,
            "time": ASKED + timedelta(milliseconds=7),
            "team": "flights",
            "model": "delay",
            "version": 1,
            "pattern": "rest",
            "caller": "caller@example.com",
            "features": {"distance": 812.5, "carrier": "AA", "age": 41},
            "prediction": 12.25,
            "latency_ms": 1.5,
            "flags": ["out_of_range:distance"],
            "image_digest": IMAGE,
            "code_digest": None,
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            **changes,
        }
        self.warehouse.append(
            self.log_ref, self.log, pa.Table.from_pylist([row], schema=arrow_schema(self.log)), name
        )


def world(folder: Path, client: Any = None) -> World:
    """Return a world with nothing in it, local or, given a client, in BigQuery."""
    _team, model, names = deployed()
    log = prediction_log(model, names)
    registry = folder / "registry"
    if client is None:
        return World(modelyard.warehouse.local(folder / "warehouse"), NAMES, registry, log)
    made = World(
        modelyard.warehouse.bigquery(client.project, client),
        replace(NAMES, project=client.project, tenant_prefix=client.project),
        registry,
        log,
        client,
    )
    for ref, table in tables(made):
        create_table(client, ref, table)
    return made


def tables(made: World) -> Iterable[tuple[str, Table]]:
    """The tables of a world, with their references."""
    yield made.log_ref, made.log
    for table in (MODEL_VERSIONS, DEPLOYMENTS):
        yield made.ref(table), table


def past(folder: Path, client: Any = None) -> World:
    """Return a world in which version 1 was published, deployed, and asked."""
    made = world(folder, client)
    made.publish(1)
    made.deploy("deployment-1", ASKED - timedelta(days=3), {1: 100})
    made.predict()
    return made
