"""Reads the threshold out of an alert's query: `((series > 250) and (guard)) unless (silenced)` has 250."""

import re
from dataclasses import dataclass
from functools import lru_cache

_END = re.compile(
    r"^(?P<series>.*\S)\s*(?P<sign>>=|<=|==|!=|>|<)\s*(?:bool\s+)?"
    r"(?P<value>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)\s*$",
    re.DOTALL,
)
_VERSIONS = re.compile(r'version\s*=~?\s*"[^"]*"')
_WINDOWS = re.compile(r"\[(\d+[smhdw](?:\d+[smhdw])*)(?::[^\]]*)?\]")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True)
class Condition:
    """A query taken apart: what is measured, how it is compared, and what else must hold."""

    series: str
    sign: str
    value: float
    guard: str = ""

    @property
    def above(self) -> bool:
        """Whether values above the threshold raise the alert."""
        return self.sign.startswith(">")

    def looser_than(self, other: "Condition") -> bool:
        """Return whether this fires later than `other`, which compares the same way."""
        return self.value > other.value if self.above else self.value < other.value


@lru_cache(maxsize=65_536)
def parse(query: str) -> Condition | None:
    """Return the parts of `query`, or None where it compares with no number."""
    main, guards = _unwrapped(query.strip()), list[str]()
    while (parts := _split(main))[1]:
        main = _unwrapped(parts[0])
        guards.insert(0, parts[1])
    match = _END.match(main)
    if not match or _depth(match["series"]) != 0:
        return None
    return Condition(match["series"].strip(), match["sign"], float(match["value"]), " ".join(guards))


def without_versions(query: str) -> str:
    """Return `query` as it is for every model version: a promotion changes the version it selects."""
    return _VERSIONS.sub('version="*"', query)


def without_windows(query: str) -> str:
    """Return `query` with every range left out."""
    return _WINDOWS.sub("[]", query)


def windows(query: str) -> list[str]:
    """Return the ranges in `query`, such as `5m`, in their order."""
    return _WINDOWS.findall(query)


def seconds(duration: str) -> float | None:
    """Return the length of `5m`, `1h30m` or `300s` in seconds; None if it is no duration."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhdw])", duration)
    if not parts or "".join(a + b for a, b in parts) != duration:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _scan(text: str) -> list[int]:
    """Return the depth of brackets at each character, counting none inside quotes."""
    depths, depth, quote, skip = [], 0, "", False
    for character in text:
        if skip:
            skip = False
        elif quote:
            skip = character == "\\"
            if character == quote:
                quote = ""
        elif character in "\"'`":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        depths.append(depth + (1 if quote else 0))
    return depths


def _depth(text: str) -> int:
    depths = _scan(text)
    return depths[-1] if depths else 0


def _unwrapped(text: str) -> str:
    """Return `text` without brackets around the whole of it."""
    while text.startswith("(") and text.endswith(")"):
        if any(depth == 0 for depth in _scan(text)[:-1]):
            return text
        text = text[1:-1].strip()
    return text


def _split(text: str) -> tuple[str, str]:
    """Return `text` up to its first `and` or `unless` outside brackets, and what follows that."""
    depths = _scan(text)
    for match in re.finditer(r"\b(and|unless)\b", text):
        if depths[match.start()] == 0:
            rest = text[match.end() :].strip()
            return text[: match.start()].strip(), rest if match[1] == "and" else f"unless {rest}"
    return text, ""
