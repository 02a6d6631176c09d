"""The provider itself: Terraform's protocol 6, answered from schema, configuration and state.

Nothing is stored here. State lives in Terraform, and each connection has its own provider configuration, so
one running provider serves many stacks at the same time.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import grpc
from tf.gen import tfplugin_pb2 as pb

from plan_review.standin import planning, special, validation, values, wire
from plan_review.standin.bindings import Json
from plan_review.standin.importing import IdentifierError, parse_identifier
from plan_review.standin.schema import Block, Schema

SERVICE = "tfplugin6.Provider"
IMPORTED = b"imported"
REMEMBERED_CONNECTIONS = 4096
ENVIRONMENT = {
    "project": ("GOOGLE_PROJECT", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"),
    "region": ("GOOGLE_REGION", "GCLOUD_REGION", "CLOUDSDK_COMPUTE_REGION"),
    "zone": ("GOOGLE_ZONE", "GCLOUD_ZONE", "CLOUDSDK_COMPUTE_ZONE"),
}


class Provider:
    """Answers the protocol's requests for one source.

    Args:
        schema: of the source.
        data_folder: where the Terraform that started this process keeps what it knows of its backend; None
            where Terraforms attach, which `launch` keeps from buckets.
    """

    def __init__(self, schema: Schema, data_folder: Path | None = None) -> None:
        self.schema = schema
        self.data_folder = data_folder
        self.table = schema.source.facts
        self._configured: OrderedDict[str, Json] = OrderedDict()
        self._lock = Lock()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the gRPC handler of all methods; the ones that are not there answer "unimplemented"."""
        methods: dict[str, tuple[Any, Callable[[Any, Any, str], None]]] = {
            "GetMetadata": (pb.GetMetadata, self._metadata),
            "ValidateProviderConfig": (pb.ValidateProviderConfig, self._accept),
            "ConfigureProvider": (pb.ConfigureProvider, self._configure),
            "ValidateResourceConfig": (pb.ValidateResourceConfig, self._validate_resource),
            "ValidateDataResourceConfig": (pb.ValidateDataResourceConfig, self._validate_data_source),
            "UpgradeResourceState": (pb.UpgradeResourceState, self._upgrade),
            "ReadResource": (pb.ReadResource, self._read),
            "PlanResourceChange": (pb.PlanResourceChange, self._plan),
            "ApplyResourceChange": (pb.ApplyResourceChange, self._apply),
            "ImportResourceState": (pb.ImportResourceState, self._import),
            "ReadDataSource": (pb.ReadDataSource, self._read_data_source),
            "GetFunctions": (pb.GetFunctions, self._accept),
            "StopProvider": (pb.StopProvider, self._accept),
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                _guarded(answer, message.Response),
                request_deserializer=message.Request.FromString,
                response_serializer=message.Response.SerializeToString,
            )
            for name, (message, answer) in methods.items()
        }
        handlers["GetProviderSchema"] = grpc.unary_unary_rpc_method_handler(
            lambda request, context: self.schema.answer,  # serialised when it was cached
            request_deserializer=pb.GetProviderSchema.Request.FromString,
            response_serializer=lambda answer: answer,
        )
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _accept(self, response: Any, request: Any, peer: str) -> None:
        """Nothing to object to, nothing to tell."""

    def _metadata(self, response: Any, request: Any, peer: str) -> None:
        response.server_capabilities.get_provider_schema_optional = True
        for type_name in self.schema.resource_types():
            response.resources.add(type_name=type_name)
        for type_name in self.schema.data_source_types():
            response.data_sources.add(type_name=type_name)

    def _configure(self, response: Any, request: Any, peer: str) -> None:
        if self.data_folder is not None and (kept := _kept_in(self.data_folder)) is not None:
            problem = f"The stand-in provider works on no state in a '{kept}' backend"
            mend = (
                "What it makes up must not get into a shared state. To plan with Google's provider, unset "
                "TF_CLI_CONFIG_FILE, remove .terraform.lock.hcl and run `terraform init` again."
            )
            self._report(response, [validation.Problem(problem, mend, [])])
            return
        config: Json = wire.decode(request.config) or {}
        if self.table == "google":
            for name, variables in ENVIRONMENT.items():
                if config.get(name) is None:
                    config[name] = next((os.environ[v] for v in variables if os.environ.get(v)), None)
            zone = config.get("zone")
            if config.get("region") is None and isinstance(zone, str):
                config["region"] = zone.rpartition("-")[0]
        with self._lock:
            self._configured[peer] = config
            while len(self._configured) > REMEMBERED_CONNECTIONS:
                self._configured.popitem(last=False)

    def _config_of(self, peer: str) -> Json:
        with self._lock:
            return self._configured.get(peer, {})

    def _validate_resource(self, response: Any, request: Any, peer: str) -> None:
        block = self.schema.resource(request.type_name)
        self._report(response, validation.check(request.type_name, block, wire.decode(request.config)))

    def _validate_data_source(self, response: Any, request: Any, peer: str) -> None:
        block = self.schema.data_source(request.type_name)
        self._report(response, validation.check(request.type_name, block, wire.decode(request.config)))

    @staticmethod
    def _report(response: Any, problems: list[validation.Problem]) -> None:
        for problem in problems:
            response.diagnostics.add(
                severity=pb.Diagnostic.ERROR,
                summary=problem.summary,
                detail=problem.detail,
                attribute=wire.path(problem.path),
            )

    def _upgrade(self, response: Any, request: Any, peer: str) -> None:
        stored = request.raw_state.json
        state = json.loads(stored) if stored else None
        fitted = (
            wire.conform(state, self.schema.resource(request.type_name)) if isinstance(state, dict) else None
        )
        response.upgraded_state.json = stored if fitted is state else json.dumps(fitted).encode()

    def _read(self, response: Any, request: Any, peer: str) -> None:
        response.new_state.CopyFrom(request.current_state)
        response.private = request.private

    def _plan(self, response: Any, request: Any, peer: str) -> None:
        proposed = wire.decode(request.proposed_new_state)
        response.planned_private = request.prior_private
        if proposed is None:
            response.planned_state.CopyFrom(request.proposed_new_state)
            return
        type_name, provider = request.type_name, self._config_of(peer)
        block = self.schema.resource(type_name)
        prior, config = wire.decode(request.prior_state), wire.decode(request.config)
        planned = planning.plan_block(block, config, proposed, prior)
        self._report(response, self._undecided(type_name, block, planned, provider))
        values.merge_labels(block, planned, prior, provider)
        values.planned_early(self.table, type_name, block, planned, provider)
        if type_name == "kubernetes_manifest":
            special.plan_manifest(planned, prior)
        response.planned_state.CopyFrom(wire.encode(planned))
        response.legacy_type_system = True  # as the real providers: defaults fill in what is left out
        if prior is not None:
            imported = request.prior_private == IMPORTED
            paths = planning.replacements(block, planned, prior, imported)
            if not imported:
                paths += [
                    path for path in special.replaced_by_code(type_name, planned, prior) if path not in paths
                ]
            for path in paths:
                response.requires_replace.append(wire.path(path))

    def _undecided(
        self, type_name: str, block: Block, planned: Json, provider: Json
    ) -> list[validation.Problem]:
        """What neither the resource nor the provider names; the real provider refuses that too."""
        problems: list[validation.Problem] = []
        if self.table != "google":
            return problems
        template = values.identifier_template(self.table, type_name)
        for name in ("project", "region"):
            attribute = block.attributes.get(name)
            if attribute is None or not attribute.optional or not wire.is_unknown(planned.get(name)):
                continue
            if provider.get(name) is None and (name == "project" or f"{{{name}}}" in template):
                problems.append(
                    validation.Problem(
                        f"{name}: required field is not set",
                        f"Set {name} in this resource or in the provider's configuration.",
                        [name],
                    )
                )
        return problems

    def _apply(self, response: Any, request: Any, peer: str) -> None:
        planned = wire.decode(request.planned_state)
        prior = wire.decode(request.prior_state)
        response.legacy_type_system = True
        if planned is None:
            guard = special.protected_by(prior) if prior else None
            if guard is None:
                response.new_state.CopyFrom(request.planned_state)
                return
            response.new_state.CopyFrom(request.prior_state)
            response.private = request.planned_private
            response.diagnostics.add(
                severity=pb.Diagnostic.ERROR,
                summary=f"cannot destroy {request.type_name} without changing {guard} first",
                detail=f"{guard} is {prior[guard]!r} in the state of {prior.get('id')}. Change it and apply; "
                "only then can the resource be destroyed or replaced.",
            )
            return
        if request.type_name == "kubernetes_manifest" and wire.is_unknown(planned.get("object")):
            planned["object"] = planned["manifest"]
        block = self.schema.resource(request.type_name)
        filler = values.Filler(self.table, "types", request.type_name, planned, self._config_of(peer))
        response.new_state.CopyFrom(wire.encode(filler.fill(block)))

    def _import(self, response: Any, request: Any, peer: str) -> None:
        block, provider = self.schema.resource(request.type_name), self._config_of(peer)
        try:
            known = parse_identifier(self.table, request.type_name, block, request.id, provider)
        except IdentifierError as problem:
            self._report(response, [validation.Problem(str(problem), "", [])])
            return
        state = {**wire.empty(block), **known}
        for name, attribute in block.attributes.items():
            if attribute.read_only and state.get(name) is None:
                state[name] = wire.UNKNOWN
        filled = values.Filler(self.table, "types", request.type_name, state, provider).fill(block)
        response.imported_resources.add(
            type_name=request.type_name, state=wire.encode(filled), private=IMPORTED
        )

    def _read_data_source(self, response: Any, request: Any, peer: str) -> None:
        block, config = self.schema.data_source(request.type_name), wire.decode(request.config)
        state = planning.plan_block(block, config, config, None)
        filler = values.Filler(self.table, "data", request.type_name, state, self._config_of(peer))
        response.state.CopyFrom(wire.encode(filler.fill(block)))


def _kept_in(data_folder: Path) -> str | None:
    """Return the type of the backend, None for local files."""
    try:
        kept = json.loads((data_folder / "terraform.tfstate").read_text("utf-8"))["backend"]["type"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if kept == "local" else str(kept)


def _guarded(
    answer: Callable[[Any, Any, str], None], response_type: Any
) -> Callable[[Any, grpc.ServicerContext], Any]:
    """Turn a fault of the stand-in into a diagnostic that says so, rather than a broken connection."""

    def answered(request: Any, context: grpc.ServicerContext) -> Any:
        response = response_type()
        try:
            answer(response, request, context.peer())
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            response = response_type()
            subject = getattr(request, "type_name", "")
            if not hasattr(response, "diagnostics"):
                raise
            response.diagnostics.add(
                severity=pb.Diagnostic.ERROR,
                summary=f"The stand-in provider failed on {subject}"
                if subject
                else "The stand-in provider failed",
                detail=f"{type(error).__name__}: {error}. The stand-in is at fault.",
            )
        return response

    return answered
