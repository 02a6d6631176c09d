"""Messages in and out: what they hold, and ids that a message keeps however often it is delivered."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from serving_images.runtime.config import Config
from serving_images.runtime.inputs import Rows
from serving_images.runtime.model import Answer

# Limits of Pub/Sub on attributes: how many, and the length of a value in bytes.
ATTRIBUTES = 100
VALUE_BYTES = 1024
_PREFIX = "modelyard_"
# Arguments of the client's `publish`, which takes attributes as arguments too.
_TAKEN = {"self", "topic", "data", "ordering_key", "retry", "timeout"}


class Message(Protocol):
    """What is used of a `google.cloud.pubsub_v1.subscriber.message.Message`."""

    @property
    def data(self) -> bytes:
        """The content."""

    @property
    def attributes(self) -> Mapping[str, str]:
        """What its publisher said beside it."""

    @property
    def message_id(self) -> str:
        """Id that Pub/Sub gave it; every delivery has the same."""

    @property
    def publish_time(self) -> datetime:
        """When Pub/Sub took it; every delivery has the same."""

    @property
    def ordering_key(self) -> str:
        """Messages of one key are handled one after the other; empty: none."""

    def ack(self) -> None:
        """Say that it is done."""

    def nack(self) -> None:
        """Have it delivered again."""


def prediction_ids(subscription: str, version: int, message: Message, rows: int) -> list[str]:
    """Return the ids of the rows of a message: UUIDs of version 7 that carry when it was published.

    All but the time is a digest of subscription, model version, message and row, so every delivery gets the
    same ids. One that another version answers, of a canary or after a deployment, gets others: it may say
    something else, and an id stands for one prediction.
    """
    millisecond = int(message.publish_time.timestamp() * 1000)
    prefix = f"{millisecond >> 16:08x}-{millisecond & 0xFFFF:04x}-7"
    ids = []
    for row in range(rows):
        name = f"{subscription}\n{version}\n{message.message_id}\n{row}"
        digest = hashlib.sha256(name.encode()).hexdigest()
        variant = "89ab"[int(digest[3], 16) & 3]
        ids.append(f"{prefix}{digest[:3]}-{variant}{digest[4:7]}-{digest[7:19]}")
    return ids


def trace_of(attributes: Mapping[str, str]) -> str | None:
    """Return the trace id of W3C Trace Context, from the publisher's attribute or Google's client's."""
    parts = (attributes.get("traceparent") or attributes.get("googclient_traceparent") or "").split("-")
    if len(parts) < 4 or len(parts[1]) != 32 or not set(parts[1]) <= set("0123456789abcdef"):
        return None
    return parts[1]


class _One(msgspec.Struct, omit_defaults=True):
    model: str
    version: int
    prediction_id: str
    prediction: Answer
    flags: list[str] = []


class _Many(msgspec.Struct, omit_defaults=True):
    model: str
    version: int
    prediction_ids: list[str]
    predictions: list[Answer]
    flags: list[list[str]] = []


_encode: Any = msgspec.json.Encoder().encode


def answer(config: Config, rows: Rows, ids: list[str], predictions: list[Answer]) -> bytes:
    """Return the content of the message out, as the REST image answers the same rows."""
    flags = [list(row) for row in rows.flags] if rows.flags else []
    made: _One | _Many
    if rows.single:
        made = _One(config.model, config.version, ids[0], predictions[0], flags[0] if flags else [])
    else:
        made = _Many(config.model, config.version, ids, predictions, flags)
    return bytes(_encode(made))


def answer_attributes(config: Config, message: Message, first_id: str) -> dict[str, str]:
    """Return the attributes of the message out; they tell a repetition without reading the content."""
    attributes = {
        "prediction_id": first_id,
        "message_id": message.message_id,
        "model": config.model,
        "version": str(config.version),
    }
    if traceparent := message.attributes.get("traceparent"):
        attributes["traceparent"] = traceparent
    return attributes


def dead_letter_attributes(
    config: Config, subscription: str, message: Message, reason: str
) -> dict[str, str]:
    """Return the attributes of a dead letter: those of the message, why it is one, and where it came from."""
    own = {
        "reason": reason,
        "model": config.model,
        "version": str(config.version),
        "subscription": subscription,
        "message_id": message.message_id,
        "publish_time": message.publish_time.isoformat(),
        "ordering_key": message.ordering_key,
    }
    added = {_PREFIX + name: _cut(value) for name, value in own.items() if value}
    kept = {
        f"{_PREFIX}attribute_{name}" if name in _TAKEN else name: value
        for name, value in message.attributes.items()
        if not name.startswith(("goog", _PREFIX))  # Pub/Sub refuses the first
    }
    return dict(list(kept.items())[: ATTRIBUTES - len(added)]) | added


def _cut(text: str) -> str:
    """Return `text`, or as much of it as an attribute holds."""
    encoded = text.encode()
    if len(encoded) <= VALUE_BYTES:
        return text
    return encoded[: VALUE_BYTES - 3].decode(errors="ignore") + "..."
