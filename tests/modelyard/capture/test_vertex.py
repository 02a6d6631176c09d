"""Registering in Vertex AI: Google's client speaks gRPC to a Model Registry that runs in this process."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1 as vertex
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
from google.longrunning import operations_pb2

from modelyard.capture.errors import PublishError
from modelyard.capture.vertex import register
from tests.modelyard.sample import HASH, NAMES, manifest

IMAGE = "europe-west1-docker.pkg.dev/example-dev/serving-images/rest@" + HASH
MODEL = "projects/example-dev/locations/europe-west1/models/flights--delay"
PATH = "/google.cloud.aiplatform.v1.ModelService/"


class Registry:
    """A Model Registry as Vertex AI's API reference describes it: models, versions, aliases, operations."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.models: dict[str, list[Any]] = {}
        self.operations: dict[str, Any] = {}
        self.requests: list[Any] = []
        self.refuses = False

    def get_model(self, request: Any, context: grpc.ServicerContext) -> Any:
        name, _, version = request.name.partition("@")
        with self.lock:
            for model in reversed(self.models.get(name, [])):
                if not version or version == model.version_id or version in model.version_aliases:
                    return model
        context.abort(grpc.StatusCode.NOT_FOUND, f"The Model does not exist: {request.name}")

    def upload_model(self, request: Any, context: grpc.ServicerContext) -> operations_pb2.Operation:
        if self.refuses:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "Permission 'aiplatform.models.upload' denied")
        with self.lock:
            self.requests.append(request)
            name = request.parent_model or f"{request.parent}/models/{request.model_id}"
            known = self.models.setdefault(name, [])
            if request.model_id and known:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, f"Model {name} already exists")
            model = vertex.Model.deserialize(vertex.Model.serialize(request.model))
            for other in known:  # an alias moves to the version that asks for it last
                other.version_aliases = [a for a in other.version_aliases if a not in model.version_aliases]
            model.name, model.version_id = name, str(len(known) + 1)
            known.append(model)
            operation = operations_pb2.Operation(name=f"{name}/operations/{len(self.operations)}")
            self.operations[operation.name] = vertex.UploadModelResponse(
                model=name, model_version_id=model.version_id
            )
        return operation

    def get_operation(self, request: Any, _context: grpc.ServicerContext) -> operations_pb2.Operation:
        done = operations_pb2.Operation(name=request.name, done=True)
        done.response.Pack(vertex.UploadModelResponse.pb(self.operations[request.name]))
        return done


@pytest.fixture
def registry() -> Iterator[tuple[Registry, Any]]:
    """A running registry, and Google's client to it."""
    served = Registry()
    model_service = grpc.method_handlers_generic_handler(
        "google.cloud.aiplatform.v1.ModelService",
        {
            "GetModel": grpc.unary_unary_rpc_method_handler(
                served.get_model, vertex.GetModelRequest.deserialize, vertex.Model.serialize
            ),
            "UploadModel": grpc.unary_unary_rpc_method_handler(
                served.upload_model,
                vertex.UploadModelRequest.deserialize,
                operations_pb2.Operation.SerializeToString,
            ),
        },
    )
    operations = grpc.method_handlers_generic_handler(
        "google.longrunning.Operations",
        {
            "GetOperation": grpc.unary_unary_rpc_method_handler(
                served.get_operation,
                operations_pb2.GetOperationRequest.FromString,
                operations_pb2.Operation.SerializeToString,
            )
        },
    )
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((model_service, operations))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        nobody: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
        try:
            yield (
                served,
                ModelServiceClient(
                    transport=ModelServiceClient.get_transport_class("grpc")(
                        channel=channel, credentials=nobody
                    )
                ),
            )
        finally:
            channel.close()
            server.stop(None).wait()


def test_a_version_is_uploaded_once(registry: tuple[Registry, Any]) -> None:
    served, service = registry
    first = register(manifest(4), NAMES, IMAGE, service, cost_center="4711")
    assert first == f"{MODEL}@1"
    assert register(manifest(4), NAMES, IMAGE, service, cost_center="4711") == first
    [request] = served.requests
    assert request.model_id == "flights--delay"
    model = request.model
    assert list(model.version_aliases) == ["v4"]
    assert model.container_spec.image_uri == IMAGE
    assert model.artifact_uri == "gs://b"
    assert model.version_description == f"Manifest {manifest(4).digest}"
    assert model.labels["version"] == "4"
    assert manifest(4).digest.removeprefix("sha256:").startswith(model.labels["manifest"])
    assert model.labels["cost_center"] == "4711"
    assert all(len(value) <= 63 for value in model.labels.values())


def test_a_later_version_is_a_version_of_the_same_model(registry: tuple[Registry, Any]) -> None:
    served, service = registry
    names = [register(manifest(version), NAMES, IMAGE, service) for version in (1, 2, 5, 2)]
    assert names == [f"{MODEL}@{number}" for number in (1, 2, 3, 2)]
    assert [request.parent_model for request in served.requests] == ["", MODEL, MODEL]


def test_other_content_under_the_same_version_is_refused(registry: tuple[Registry, Any]) -> None:
    served, service = registry
    register(manifest(1), NAMES, IMAGE, service)
    with pytest.raises(PublishError, match=r"flights/delay@1 is in Vertex AI, .*with another manifest"):
        register(manifest(1, description="another"), NAMES, IMAGE, service)
    assert len(served.requests) == 1


def test_a_refusal_of_google_is_told(registry: tuple[Registry, Any]) -> None:
    served, service = registry
    served.refuses = True
    with pytest.raises(PublishError, match=r"does not take it: .*aiplatform\.models\.upload.* denied"):
        register(manifest(1), NAMES, IMAGE, service)


def test_a_file_of_the_environments_bucket_is_found(registry: tuple[Registry, Any]) -> None:
    served, service = registry
    artifact = {"uri": "flights/delay/1/model.onnx", "digest": HASH, "format": "onnx", "size_bytes": 1}
    register(manifest(1, artifact=artifact), NAMES, IMAGE, service)
    assert served.requests[0].model.artifact_uri == f"gs://{NAMES.artifact_bucket}/flights/delay/1"


@pytest.mark.parametrize(
    ("uri", "image", "message"),
    [
        ("s3://bucket/model.onnx", IMAGE, "reads artefacts from gs:// alone"),
        ("gs://bucket/model.onnx", "example/rest:latest", "name the serving image by digest"),
    ],
)
def test_what_vertex_could_not_serve_is_refused(
    registry: tuple[Registry, Any], uri: str, image: str, message: str
) -> None:
    served, service = registry
    artifact = {"uri": uri, "digest": HASH, "format": "onnx", "size_bytes": 1}
    with pytest.raises(PublishError, match=message):
        register(manifest(1, artifact=artifact), NAMES, image, service)
    assert not served.requests
