"""The bill of materials: every package of the training environment, as CycloneDX JSON."""

import json
import platform
import uuid
from datetime import UTC, datetime

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.dependency import Dependency
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
    model = Component(type=ComponentType.MACHINE_LEARNING_MODEL, name=name, bom_ref="model")
    needs = {
        model: [python, *components.values()],
        **{
            components[package.name]: [components[need] for need in package.needs if need in components]
            for package in packages
        },
    }
    bom = Bom(
        components=[python, *components.values()],
        dependencies=[
            Dependency(one.bom_ref, [Dependency(other.bom_ref) for other in others])
            for one, others in needs.items()
        ],
    )
    bom.metadata.component = model
    bom.metadata.timestamp = created.astimezone(UTC)
    listed = " ".join(f"{package.name}=={package.version}" for package in packages)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {listed}")
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
