"""Vertex AI Model Registry: a published version as a version of a Model, found by its number.

Vertex counts versions of its own; ours is the alias `v<version>`. The label `manifest` carries the first 40
digits of the manifest's digest, since a label cannot hold all 64; the description has it whole.
"""

import re
from collections.abc import Mapping
from typing import Any

from modelyard.capture.errors import PublishError
from modelyard.naming import Names, fit, labels
from modelyard.spec.manifest import Manifest

_TIMEOUT_SECONDS = 600
_MODEL_ID = 63
_IMAGE = re.compile(r"[^@]+@sha256:[0-9a-f]{64}")


def client(region: str) -> Any:
    """Return a client of the Model Registry in `region`, with the identity at hand."""
    from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

    return ModelServiceClient(client_options={"api_endpoint": f"{region}-aiplatform.googleapis.com"})


def register(
    manifest: Manifest,
    names: Names,
    image: str,
    service: Any = None,
    *,
    cost_center: str = "",
    more_labels: Mapping[str, str] | None = None,
) -> str:
    """Upload a version, once, and return its resource name, `projects/.../models/<id>@<number>`.

    Args:
        manifest: the published version; its artefact lies in a bucket.
        names: names of the environment, which has the project and the region.
        image: reference of the serving image, by digest.
        service: a `ModelServiceClient`; default: that of the environment's region.
        cost_center: label.
        more_labels: labels of the organisation's own.

    Raises:
        PublishError: the version is there with another manifest, the artefact is not in a bucket, the image
            has no digest, or Vertex AI refuses.
    """
    from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
    from google.cloud import aiplatform_v1 as vertex

    where = f"{manifest.team}/{manifest.model}@{manifest.version}"
    folder, _, _ = manifest.artifact.uri.rpartition("/")
    if "://" not in folder:
        folder = f"gs://{names.artifact_bucket}/{folder}"
    if not folder.startswith("gs://"):
        raise PublishError(f"{where}: Vertex AI reads artefacts from gs:// alone, this one is in {folder}")
    if not _IMAGE.fullmatch(image):
        raise PublishError(f"{where}: name the serving image by digest, not as {image!r}")
    service = service or client(names.region)
    parent = f"projects/{names.project}/locations/{names.region}"
    model_id = fit(f"{manifest.team}--{manifest.model}", _MODEL_ID)
    name = f"{parent}/models/{model_id}"
    alias = f"v{manifest.version}"
    own = labels(names.environment, manifest.team, cost_center or "unknown", manifest.model)
    fingerprint = manifest.digest.removeprefix("sha256:")[:40]
    model = vertex.Model(
        display_name=f"{manifest.team}/{manifest.model}",
        description=manifest.description,
        version_aliases=[alias],
        version_description=f"Manifest {manifest.digest}",
        labels={**own, "version": str(manifest.version), "manifest": fingerprint, **(more_labels or {})},
        artifact_uri=folder,
        container_spec=vertex.ModelContainerSpec(image_uri=image),
    )

    def held(version: str) -> Any:
        try:
            return service.get_model(name=f"{name}{version}")
        except NotFound:
            return None

    def same(found: Any) -> str:
        if found.labels.get("manifest") != fingerprint:
            raise PublishError(
                f"{where} is in Vertex AI, as {found.name}@{found.version_id}, with another manifest. "
                "A version never changes, so publish under a new number"
            )
        return f"{found.name}@{found.version_id}"

    try:
        if found := held(f"@{alias}"):
            return same(found)
        request = vertex.UploadModelRequest(parent=parent, model=model)
        if held(""):
            request.parent_model = name
        else:
            request.model_id = model_id
        result = service.upload_model(request=request).result(timeout=_TIMEOUT_SECONDS)
        # An alias belongs to the version that took it last: of two uploads at once the later one sees it.
        if (found := held(f"@{alias}")) and found.version_id != result.model_version_id:
            return same(found)
        return f"{name}@{result.model_version_id}"
    except (GoogleAPICallError, RetryError) as error:
        reason = getattr(error, "message", None) or error
        raise PublishError(f"{where}: Vertex AI does not take it: {reason}") from error
