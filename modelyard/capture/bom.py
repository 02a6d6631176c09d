"""The bill of materials: every package of the training environment, as CycloneDX JSON."""

import json
import platform
import re
import uuid
from datetime import UTC, datetime
from importlib import metadata

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # that of URLs, RFC 4122


def bill_of_materials(name: str, created: datetime) -> bytes:
    """Return the packages installed here, and which needs which, as CycloneDX 1.6 JSON.

    The same packages give the same bytes but for `created`.

    Args:
        name: the model, `team/model`.
        created: time to write into the document.
    """
    installed = {_normal(d.metadata["Name"]): d for d in metadata.distributions() if d.metadata["Name"]}
    components = {
        name: Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=distribution.version,
            purl=PackageURL("pypi", name=name, version=distribution.version),
            bom_ref=f"pkg:pypi/{name}@{distribution.version}",
        )
        for name, distribution in sorted(installed.items())
    }
    python = Component(
        type=ComponentType.PLATFORM,
        name=platform.python_implementation().lower(),
        version=platform.python_version(),
        bom_ref="python",
    )
    bom = Bom(components=[python, *components.values()])
    bom.metadata.component = Component(type=ComponentType.MACHINE_LEARNING_MODEL, name=name, bom_ref="model")
    bom.metadata.timestamp = created.astimezone(UTC)
    bom.serial_number = uuid.uuid5(
        _NAMESPACE, " ".join([name, *(f"{c.name}=={c.version}" for c in components.values())])
    )
    bom.register_dependency(bom.metadata.component, [python, *components.values()])
    for name, component in components.items():
        needed = {
            _normal(re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0]) for text in _required(installed[name])
        }
        bom.register_dependency(component, [components[n] for n in sorted(needed) if n in components])
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def _required(distribution: metadata.Distribution) -> list[str]:
    return [text for text in distribution.requires or () if "extra ==" not in text]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
