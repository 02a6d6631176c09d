"""Error answers: `application/problem+json` (RFC 9457)."""

from http import HTTPStatus
from typing import Any

import msgspec

PROBLEM = b"application/problem+json"
TYPE = "urn:modelyard:problem:"


def problem(status: int, kind: str, detail: str, **members: Any) -> bytes:
    """Return a problem as JSON.

    Args:
        status: HTTP status.
        kind: what kind of problem it is, such as `invalid-input`.
        detail: what is wrong with this request.
        members: further members, such as `errors`.
    """
    document = {
        "type": TYPE + kind,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **members,
    }
    return msgspec.json.encode(document)
