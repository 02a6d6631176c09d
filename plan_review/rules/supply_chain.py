"""Code and artefacts whose origin is not pinned or not ours."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from plan_review.changes import Action, Change, Values, at
from plan_review.context import Context
from plan_review.masking import Unknown
from plan_review.rules.exposure import PODS, containers
from plan_review.rules.registry import Hit, Severity, rule

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_PROVIDERS = frozenset(
    f"registry.terraform.io/hashicorp/{name}" for name in ("google", "google-beta", "kubernetes")
) | {"terraform.io/builtin/terraform"}


def _images(values: Values) -> dict[str, str]:
    return {str(c.get("name")): c["image"] for c in containers(values) if isinstance(c.get("image"), str)}


def registry_of(image: str) -> str:
    """Return the registry and repository of an image, without the image's own name."""
    name = image.partition("@")[0]
    first, _, rest = name.partition("/")
    if not rest or not ("." in first or ":" in first or first == "localhost"):
        return f"docker.io/{name.rpartition('/')[0] or 'library'}"
    return name.rpartition("/")[0]


@rule(
    "supply-chain/image-without-digest",
    Severity.BLOCK,
    *PODS,
    title="An image is named by tag",
    rationale="A tag can be moved to another image after the review.",
    fix="Name the image by digest; the environment file holds them.",
)
def image_without_digest(change: Change, context: Context) -> Iterator[Hit]:
    """Find images without a digest."""
    before = _images(change.before)
    for name, image in _images(change.after).items():
        if not _DIGEST.search(image) and before.get(name) != image:
            yield Hit(f"{context.thing(change)}: container {name} runs {image}, which has no digest")


@rule(
    "supply-chain/foreign-registry",
    Severity.BLOCK,
    *PODS,
    title="An image comes from outside the organisation's registry",
    rationale="What is not in the registry was not built, scanned or approved here.",
    fix="Copy the image into the environment's registry and name it there by digest.",
)
def foreign_registry(change: Change, context: Context) -> Iterator[Hit]:
    """Find images of other registries than the environment's, or than before."""
    before = _images(change.before)
    environment = context.environment(change)
    for name, image in _images(change.after).items():
        if before.get(name) == image:
            continue
        registry = registry_of(image)
        if environment:
            names = environment.names
            own = f"{names.region}-docker.pkg.dev/{names.project}/{names.image_repository}"
            foreign = registry != own
        else:
            foreign = name in before and registry_of(before[name]) != registry
        if foreign:
            yield Hit(f"{context.thing(change)}: container {name} runs {image} of {registry}")


@rule(
    "supply-chain/image-changed",
    Severity.INFO,
    *PODS,
    title="A serving image changes",
    rationale="Another build of the server answers requests.",
    fix="Nothing; the image's own pull request was reviewed.",
)
def image_changed(change: Change, context: Context) -> Iterator[Hit]:
    """Find other digests of the same image."""
    before = _images(change.before)
    for name, image in _images(change.after).items():
        if change.kept and name in before and before[name] != image and _DIGEST.search(image):
            digests = [text.rpartition("sha256:")[2][:12] for text in (before[name], image)]
            yield Hit(f"{context.subject(change)}: serving image {digests[0]} -> {digests[1]}")


def _model(values: Values) -> Mapping[str, Any]:
    data = values.get("data")
    document = data.get("model.json") if isinstance(data, Mapping) else None
    return document if isinstance(document, Mapping) else {}


@rule(
    "supply-chain/artifact-without-digest",
    Severity.BLOCK,
    "kubernetes_config_map*",
    title="A model artefact is served without its digest",
    rationale="The server checks the digest before it loads the file; without one it loads what is there.",
    fix="Pin the version again with modelyard pin.",
)
def artifact_without_digest(change: Change, context: Context) -> Iterator[Hit]:
    """Find settings whose artefact has no digest."""
    model = _model(change.after)
    digest = at(model, "artifact.digest", "")
    if model and not isinstance(digest, Unknown) and not re.fullmatch(r"sha256:[0-9a-f]{64}", str(digest)):
        yield Hit(f"{context.subject(change)}: artefact {at(model, 'artifact.uri', '?')} has no digest")


@rule(
    "supply-chain/artifact-swapped",
    Severity.BLOCK,
    "kubernetes_config_map*",
    title="A model artefact changes under the same version",
    rationale="A version is what was tested; another file under its number was not.",
    fix="Publish the new file as a new version.",
)
def artifact_swapped(change: Change, context: Context) -> Iterator[Hit]:
    """Find another artefact with the same version."""
    before, after = _model(change.before), _model(change.after)
    if not before or not after or before.get("version") != after.get("version"):
        return
    for name in ("digest", "uri"):
        old, new = at(before, f"artifact.{name}"), at(after, f"artifact.{name}")
        if old != new:
            version = after.get("version")
            yield Hit(f"{context.subject(change)} version {version}: artefact {name} {old} -> {new}")


@rule(
    "supply-chain/artifact-foreign",
    Severity.BLOCK,
    "kubernetes_config_map*",
    title="Model artefacts come from another bucket",
    rationale="The organisation's bucket is versioned, encrypted and written by the training pipeline alone.",
    fix="Publish the artefact into the environment's bucket.",
)
def artifact_foreign(change: Change, context: Context) -> Iterator[Hit]:
    """Find another registry of artefacts than before."""
    before, after = _model(change.before), _model(change.after)
    old, new = before.get("registry"), after.get("registry")
    if old and new and old != new:
        yield Hit(f"{context.subject(change)}: artefacts from {new} (before: {old})")


@rule(
    "supply-chain/admission-weakened",
    Severity.BLOCK,
    "google_binary_authorization_policy",
    "google_container_cluster",
    "kubernetes_manifest",
    title="The cluster admits images that were refused",
    rationale="Admission is what stops an image that did not come through the registry.",
    fix="Keep enforcement on, and the registry as the only allowed source.",
)
def admission_weakened(change: Change, context: Context) -> Iterator[Hit]:
    """Find weaker image admission."""
    if change.type == "google_container_cluster":
        path = "binary_authorization.evaluation_mode"
        if (
            change.kept
            and change.was(path) not in (None, "DISABLED")
            and change.now(path) in (None, "DISABLED")
        ):
            yield Hit(f"{context.thing(change)}: image admission off")
        return
    if change.type == "kubernetes_manifest":
        yield from _policies(change, context)
        return
    if change.action is Action.DELETE:
        yield Hit("the image admission policy is removed")
    if not change.kept:
        return
    rule_now = "default_admission_rule"
    if (
        change.was(f"{rule_now}.evaluation_mode")
        != "ALWAYS_ALLOW"
        == change.now(f"{rule_now}.evaluation_mode")
    ):
        yield Hit("every image is admitted")
    enforced = "ENFORCED_BLOCK_AND_AUDIT_LOG"
    if change.was(f"{rule_now}.enforcement_mode") == enforced != change.now(f"{rule_now}.enforcement_mode"):
        yield Hit("images that break the policy are only logged")
    before, after = (_patterns(v) for v in (change.before, change.after))
    for pattern in sorted(after - before):
        yield Hit(f"images of {pattern} are admitted")


def _patterns(values: Values) -> set[str]:
    blocks = values.get("admission_whitelist_patterns")
    return {str(at(b, "name_pattern")) for b in (blocks if isinstance(blocks, list) else [])}


def _policies(change: Change, context: Context) -> Iterator[Hit]:
    kind = str(at(change.values, "manifest.kind"))
    if kind not in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        return
    if change.action is Action.DELETE:
        yield Hit(f"admission policy {context.name(change)} is removed")
    path = "manifest.spec.validationActions"
    if change.kept and "Deny" in (change.was(path) or ()) and "Deny" not in (change.now(path) or ()):
        yield Hit(f"admission policy {context.name(change)} no longer denies")
    path = "manifest.spec.failurePolicy"
    if change.kept and change.was(path) == "Fail" != change.now(path):
        yield Hit(f"admission policy {context.name(change)} lets pass what it cannot judge")


@rule(
    "supply-chain/registry-weakened",
    Severity.APPROVE,
    "google_artifact_registry_repository",
    title="The image registry protects less",
    rationale="Mutable tags and unscanned images make it harder to say what runs.",
    fix="Keep immutable tags and scanning.",
)
def registry_weakened(change: Change, context: Context) -> Iterator[Hit]:
    """Find mutable tags and scanning switched off."""
    if not change.kept:
        return
    if (
        change.was("docker_config.immutable_tags") is True
        and change.now("docker_config.immutable_tags") is not True
    ):
        yield Hit(f"{context.thing(change)}: tags can be moved")
    path = "vulnerability_scanning_config.enablement_config"
    if change.changed(path) and change.now(path) == "DISABLED":
        yield Hit(f"{context.thing(change)}: images are not scanned")


@rule(
    "supply-chain/foreign-provider",
    Severity.BLOCK,
    "*",
    title="A Terraform provider from elsewhere is used",
    rationale="A provider is a program that runs with the deployer's rights.",
    fix="Use the pinned providers of the project.",
)
def foreign_provider(change: Change, context: Context) -> Iterator[Hit]:
    """Find resources of providers other than the pinned ones."""
    if change.after and change.provider and change.provider not in _PROVIDERS and change.made:
        yield Hit(f"{change.address} is made by provider {change.provider}")


@rule(
    "supply-chain/runs-commands",
    Severity.BLOCK,
    "null_resource",
    "terraform_data",
    "external",
    title="Terraform would run commands",
    rationale="Provisioners run with the deployer's rights, and no plan shows what they do.",
    fix="Use a resource of a provider.",
)
def runs_commands(change: Change, context: Context) -> Iterator[Hit]:
    """Find resources whose purpose is to run something."""
    if change.made:
        yield Hit(f"{change.address} may run commands where Terraform runs")
