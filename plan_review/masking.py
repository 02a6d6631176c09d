"""Takes secrets out of plan values before anything else sees them.

Terraform marks what its providers know to be sensitive; names and forms of values tell of the rest. A masked
value can still be compared with another, so that a changed secret is seen to have changed, but it cannot be
read back.
"""

import hashlib
import hmac
import itertools
import json
import os
import re
from functools import lru_cache
from typing import Any

# One key per process: equal secrets compare equal, and no digest that leaves the process can be tried out.
_KEY = os.urandom(32)


class Unknown:
    """A value that is known only after apply."""

    def __repr__(self) -> str:
        return "(known after apply)"


UNKNOWN = Unknown()


class Masked:
    """A sensitive value: comparable, not readable."""

    __slots__ = ("_token",)

    def __init__(self, value: Any) -> None:
        text = json.dumps(value, sort_keys=True, default=str)
        self._token = hmac.digest(_KEY, text.encode("utf-8", "surrogatepass"), hashlib.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Masked) and other._token == self._token

    def __hash__(self) -> int:
        return hash(self._token)

    def __repr__(self) -> str:
        return "(sensitive)"


_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_SECRET_WORDS = frozenset(
    (
        "password",
        "passwords",
        "passwd",
        "pwd",
        "passphrase",
        "secret",
        "secrets",
        "token",
        "tokens",
        "credential",
        "credentials",
        "apikey",
    )
)
_SECRET_PAIRS = frozenset(
    (first, "key") for first in ("private", "api", "access", "secret", "signing", "license", "auth", "shared")
)
# What follows a secret's name when the value only describes it: its name, where it lies, how long it lives.
_DESCRIBES = re.compile(
    r"names?|ids?|uri|url|path|ref|type|enabled|lifetime|ttl|period|versions?|seconds|class|scopes?|format"
    r"|audience|mode|rotation|expiration|project|provider|issuer"
)
# Below these names every text is secret, whatever its own name.
_WHOLE = frozenset(("passwords", "credentials", "secrets", "tokens"))
_FORMS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\bya29\.[\w-]{20,}"
    r"|\bAIza[\w-]{30,}"
    r"|\bgh[pousr]_\w{30,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}"
    r"|\bxox[abpors]-[\w-]{10,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\."
    r"|://[^/\s:@]+:[^/\s@]+@"
    r"|(?i:\b(?:password|passwd|secret|token|api_?key)\b\s*[=:]\s*[^\s,;]{6,})"
)


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Return whether a value of this name is taken for a secret."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or _DESCRIBES.fullmatch(words[-1]):
        return False
    return bool(_SECRET_WORDS.intersection(words)) or any(
        pair in _SECRET_PAIRS for pair in itertools.pairwise(words)
    )


def is_secret_value(text: str) -> bool:
    """Return whether a text has the form of a key, a token, or holds a password."""
    return len(text) > 10 and _FORMS.search(text) is not None


def scrub(text: str) -> str:
    """Return a free text, such as an error message, with what looks like a secret taken out."""
    return _FORMS.sub("(sensitive)", text)


def clean(
    value: Any, unknown: Any = False, sensitive: Any = False, name: str = "", whole: bool = False
) -> Any:
    """Return `value` without secrets, with unknown parts as `UNKNOWN` and JSON texts parsed.

    Args:
        value: a value of a plan.
        unknown: its part of `after_unknown`: true, or a structure that says which parts are unknown.
        sensitive: its part of `before_sensitive` or `after_sensitive`, of the same form.
        name: its attribute's name.
        whole: whether every text in it is secret.
    """
    if unknown is True:
        return UNKNOWN
    if sensitive is True:
        return None if value is None else Masked(value)
    if isinstance(value, str):
        return _clean_text(value, name, whole)
    if isinstance(value, dict) or isinstance(unknown, dict):
        return _clean_mapping(value or {}, unknown, sensitive, name, whole)
    if isinstance(value, list):
        marks = unknown if isinstance(unknown, list) else ()
        secrets = sensitive if isinstance(sensitive, list) else ()
        return [
            clean(
                element,
                marks[i] if i < len(marks) else False,
                secrets[i] if i < len(secrets) else False,
                name,
                whole,
            )
            for i, element in enumerate(value)
        ]
    return value


def _clean_text(value: str, name: str, whole: bool) -> Any:
    if not value:
        return value
    if whole or is_secret_name(name):
        return Masked(value)
    if value[0] in "{[" and value[-1] in "}]":
        parsed = _parsed(value)
        if parsed is not None:
            return parsed
    return Masked(value) if is_secret_value(value) else value


# Many tables have one schema: the same text is parsed once, and nobody changes what comes of it.
@lru_cache(maxsize=2048)
def _parsed(text: str) -> Any:
    """Return a JSON object or list without secrets; None if the text is neither."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return clean(parsed) if isinstance(parsed, dict | list) else None


def _clean_mapping(
    value: dict[str, Any], unknown: Any, sensitive: Any, name: str, whole: bool
) -> dict[str, Any]:
    marks = unknown if isinstance(unknown, dict) else {}
    secrets = sensitive if isinstance(sensitive, dict) else {}
    whole = whole or name.lower() in _WHOLE
    secret_kind = value.get("kind") == "Secret"
    labelled = value.get("name")
    named_secret = isinstance(labelled, str) and "value" in value and is_secret_name(labelled)
    out = {}
    for key, inner in value.items():
        below = whole or (secret_kind and key in ("data", "stringData")) or (named_secret and key == "value")
        out[key] = clean(inner, marks.get(key, False), secrets.get(key, False), key, below)
    for key, mark in marks.items():
        if key not in value and mark:
            out[key] = clean(None, mark, False, key, whole)
    return out
