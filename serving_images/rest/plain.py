"""The plain protocol: rows as objects of named features."""

from typing import Any

import msgspec

from serving_images.rest.batching import Job, Reply
from serving_images.rest.http import JSON, Request
from serving_images.rest.versions import Version
from serving_images.runtime.inputs import InputError, Rows
from serving_images.runtime.model import Answer


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


def read(version: Version, request: Request) -> Rows:
    """Return the rows of a request.

    Raises:
        InputError: with what is wrong, and where.
    """
    kind = request.headers.get(b"content-type")
    if kind is not None and kind != JSON:
        check_json(kind)
    return version.inputs.read(request.body)


def check_json(kind: bytes) -> None:
    """Refuse a media type that is not JSON in UTF-8.

    Raises:
        WrongTypeError: it is another.
    """
    name, _, parameters = kind.lower().partition(b";")
    name = name.strip()
    charset = parameters.strip().replace(b'"', b"")
    if name == JSON or (name.startswith(b"application/") and name.endswith(b"+json")):
        if charset.startswith(b"charset=") and charset not in (
            b"charset=utf-8",
            b"charset=utf8",
            b"charset=us-ascii",
        ):
            raise WrongTypeError("JSON is read as UTF-8 alone")
        return
    raise WrongTypeError(f"the content is {ascii(name.decode('latin-1'))[1:-1]}; send application/json")


class WrongTypeError(Exception):
    """The content has a media type that is not read here."""


def render(job: Job) -> Reply:
    """Return the answer to a request with a list of instances, or one object."""
    version, flags = job.version, job.rows.flags
    if job.rows.single:
        return (
            _encode(
                _One(
                    version.name,
                    version.number,
                    job.ids[0],
                    job.predictions[0],
                    list(flags[0]) if flags else [],
                )
            ),
            JSON,
            b"",
        )
    listed = [list(row) for row in flags] if flags else []
    return _encode(_Many(version.name, version.number, job.ids, job.predictions, listed)), JSON, b""


def refuse(request: Request, error: InputError) -> None:
    """Answer an input that cannot be scored."""
    errors = [{"pointer": fault.pointer, "detail": fault.detail} for fault in error.faults]
    first = error.faults[0]
    detail = f"{first.pointer} {first.detail}"
    if len(errors) > 1:
        detail += f"; and {len(errors) - 1} more"
    status, kind = _ANSWERS[error.kind]
    request.refuse(status, kind, detail, errors=errors)


_ANSWERS = {
    "malformed": (400, "malformed-json"),
    "invalid": (422, "invalid-input"),
    "too-large": (422, "too-many-rows"),
}
