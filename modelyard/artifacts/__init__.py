"""Where model files lie: write-once stores, fetching by digest, and signatures.

A server imports this without any client of a cloud; the client of a store is imported when one is opened.
"""

from modelyard.artifacts.errors import ArtifactError, NameTaken, NotStored
from modelyard.artifacts.fetching import fetch, fetch_signed
from modelyard.artifacts.signing import verify
from modelyard.artifacts.stores import Store, open_store

__all__ = [
    "ArtifactError",
    "NameTaken",
    "NotStored",
    "Store",
    "fetch",
    "fetch_signed",
    "open_store",
    "verify",
]
