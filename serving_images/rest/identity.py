"""Who asks, and in which trace: from headers that what stands before the server sets."""

import os
import re
from urllib.parse import unquote

CALLER_VARIABLE = "MODELYARD_CALLER_HEADER"
ANONYMOUS = "anonymous"

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_XFCC_URI = re.compile(r"(?:^|;)URI=\"?([^;\"]+)", re.IGNORECASE)
_NO_TRACE = b"0" * 32


class Callers:
    """Reads the caller from the header that `MODELYARD_CALLER_HEADER` names.

    A header says who asks only where the proxy before the server verifies the caller and sets it, and where
    nobody reaches the server but through the proxy. Without the variable every caller is `anonymous`.

    Args:
        header: name of the header, such as `x-goog-authenticated-user-email` or
            `x-forwarded-client-cert`; empty: there is none.
    """

    def __init__(self, header: str | None = None) -> None:
        name = os.environ.get(CALLER_VARIABLE, "") if header is None else header
        self._header = name.strip().lower().encode("latin-1")

    def __call__(self, headers: dict[bytes, bytes]) -> str:
        """Return the caller."""
        value = headers.get(self._header) if self._header else None
        if not value:
            return ANONYMOUS
        text = value.decode("latin-1")
        if self._header == b"x-forwarded-client-cert":
            # The last element is of the proxy nearest to the server.
            found = _XFCC_URI.findall(text.rsplit(",", 1)[-1])
            text = unquote(found[-1]) if found else ""
        elif self._header == b"x-goog-authenticated-user-email":
            text = text.rpartition(":")[2]
        return text if text and len(text) <= 256 and text.isascii() and text.isprintable() else ANONYMOUS


def trace_of(headers: dict[bytes, bytes]) -> str | None:
    """Return the trace id of a W3C `traceparent`; None where there is none that is valid."""
    value = headers.get(b"traceparent")
    if value is None:
        return None
    found = _TRACEPARENT.match(value)
    if not found or found[1] == _NO_TRACE or value.startswith(b"ff"):
        return None
    return found[1].decode()
