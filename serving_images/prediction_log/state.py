"""What the shipper has sent: written by it after each acknowledgement, read by the server for its counts."""

import os
from pathlib import Path

import msgspec

FILE = "shipper.json"


class ShipperState(msgspec.Struct):
    """Counts over the folder's life, by key, in rows."""

    sent: dict[str, int] = {}
    """Acknowledged by the store."""
    failed: dict[str, int] = {}
    """Refused by the store for good, or unreadable: see the quarantine."""
    partial: dict[str, list[str]] = {}
    """Keys already done of segments that are still there: they are not sent again."""
    error: str | None = None
    """Why the store does not take rows; None while it does."""
    error_time: float = 0.0
    """Since when, seconds since 1970."""

    def __post_init__(self) -> None:
        """Copy: msgspec shares no default, but callers may share theirs."""
        self.sent, self.failed = dict(self.sent), dict(self.failed)


_decode = msgspec.json.Decoder(ShipperState).decode
_encode = msgspec.json.Encoder().encode


def read(folder: Path) -> ShipperState:
    """Return the state; an empty one where there is none or it cannot be read."""
    try:
        return _decode((folder / FILE).read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return ShipperState()


def write(folder: Path, state: ShipperState) -> None:
    """Replace the state at once."""
    part = folder / f".{FILE}"
    part.write_bytes(_encode(state))
    os.replace(part, folder / FILE)
