"""Modelyard: what infrastructure, serving images and training code share."""

import os

# onnxruntime would report its use to its maker, and keep a database for that in the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
