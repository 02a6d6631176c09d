"""Publishing from training code: one call captures what serving, monitoring and an audit need to know."""

from modelyard.capture.errors import PublishError
from modelyard.capture.frames import About, categorize, encode
from modelyard.capture.provenance import package_url
from modelyard.capture.publishing import Published, main, publish
from modelyard.spec.base import Sensitivity
from modelyard.spec.manifest import Metrics, Prediction

__all__ = [
    "About",
    "Metrics",
    "Prediction",
    "PublishError",
    "Published",
    "Sensitivity",
    "categorize",
    "encode",
    "main",
    "package_url",
    "publish",
]
