"""The bill of materials: every package of the training environment, as CycloneDX JSON."""

import json
import platform
import uuid
from datetime import UTC, datetime

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from modelyard.capture import installed


def bill_of_materials(name: str, created: datetime) -> bytes:
    """Return the packages installed here, and which needs which, as CycloneDX 1.6 JSON.

    The same packages give the same bytes but for `created`.

    Args:
        name: the model, `team/model`.
        created: time to write into the document.
    """
    packages = installed.packages()
    components = {package.name: _component(package) for package in packages}
    python = Component(
        type=ComponentType.PLATFORM,
        name=platform.python_implementation().lower(),
        version=platform.python_version(),
        bom_ref="python",
    )
    bom = Bom(components=[python, *components.values()])
    bom.metadata.component = Component(type=ComponentType.MACHINE_LEARNING_MODEL, name=name, bom_ref="model")
    bom.metadata.timestamp = created.astimezone(UTC)
    listed = " ".join(f"{package.name}=={package.version}" for package in packages)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {listed}")
    bom.register_dependency(bom.metadata.component, [python, *components.values()])
    for package in packages:
        needed = [components[need] for need in package.needs if need in components]
        bom.register_dependency(components[package.name], needed)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def _component(package: installed.Package) -> Component:
    url = PackageURL("pypi", name=package.name, version=package.version)
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        purl=url,
        bom_ref=url.to_string(),
    )
