"""The images that serve, score, and watch models. Their code runs on a laptop as it does in the images."""

import os

# onnxruntime would report its use to its maker, and keep a database for that in the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
