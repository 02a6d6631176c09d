"""Checks rows of named features against the signature: what training never saw is flagged or refused."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import islice
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import quote

import msgspec

from serving_images.runtime.config import NUMBERS, Config, Feature

INT64 = 1 << 63
# Largest float32 there is: models compute in these.
FLOAT32 = 3.4028234e38
# Faults told of one request.
FAULTS = 20

Flags = tuple[str, ...]
Values = tuple[Any, ...]
Kind = Literal["malformed", "invalid", "too-large"]
_NO_FLAGS: Flags = ()


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with an input; `pointer` says where, as a URI fragment (RFC 6901)."""

    pointer: str
    detail: str


class InputError(Exception):
    """An input that cannot be scored.

    Attributes:
        kind: `malformed` (no JSON), `invalid` (JSON that does not fit) or `too-large` (too many rows).
        faults: what is wrong, and where.
    """

    def __init__(self, kind: Kind, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults))
        self.kind = kind
        self.faults = tuple(faults)


class Rows(msgspec.Struct):
    """Checked rows: values in the signature's order, None where missing; and the flags of each row."""

    values: list[Values]
    flags: list[Flags] | None
    """None: no row has any."""
    single: bool
    """Whether the input was one object, not a list of instances."""


class Inputs:
    """Reads rows of one version.

    Rows like those of training are read by a decoder compiled for the signature. All else is looked at
    value by value, which tells every fault and flag.

    Args:
        config: the version's settings.
    """

    def __init__(self, config: Config) -> None:
        self._features = config.signature.features
        self._names = [feature.name for feature in self._features]
        self._known = set(self._names)
        self._reject = config.serving.out_of_range == "reject"
        self._max_rows = config.serving.max_rows
        self._categories = [set(feature.categories or ()) for feature in self._features]
        # Safe field names: a feature may be called `class` or `__init__`.
        row = msgspec.defstruct(
            "Row",
            [(f"f{index}", _usual(feature)) for index, feature in enumerate(self._features)],
            rename={f"f{index}": name for index, name in enumerate(self._names)},
            forbid_unknown_fields=True,
            frozen=True,
            gc=False,
        )
        rows = Annotated[list[row], msgspec.Meta(min_length=1, max_length=self._max_rows)]  # type: ignore[valid-type]
        request = msgspec.defstruct(
            "Request", [("instances", rows)], forbid_unknown_fields=True, frozen=True, gc=False
        )
        self._one = msgspec.json.Decoder(row).decode
        self._many: Callable[[bytes], Any] = msgspec.json.Decoder(request).decode

    def read(self, body: bytes) -> Rows:
        """Return the rows of a request: `{"instances": [{...}, ...]}`, or one object of features.

        Raises:
            InputError: with all faults, up to `FAULTS`.
        """
        many = body.find(b'"instances"', 0, 64) >= 0
        try:
            objects = self._many(body).instances if many else [self._one(body)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._look(parse(body))
        # All keys are there, none is unknown: another colon is a second value of a key, or stands in a text.
        if body.count(b":") != len(objects) * len(self._names) + many:
            return self._look(parse(body))
        values = list(map(msgspec.structs.astuple, objects))
        for row in values:
            if None in row:
                return Rows(values, [self._missing(row) for row in values], not many)
        return Rows(values, None, not many)

    def check(
        self, rows: Sequence[Any], *, where: Callable[[int, str], str] | None = None
    ) -> tuple[list[Values], list[Flags] | None]:
        """Return values and flags of rows that are plain objects, as `parse` or a message gives them.

        Args:
            rows: objects, feature -> value.
            where: pointer to a row's feature, or to the row where that is empty; default: in `instances`.

        Raises:
            InputError: with all faults, up to `FAULTS`.
        """
        if not rows:
            raise InputError("invalid", [Fault("#/instances" if where is None else "#", "holds no row")])
        if len(rows) > self._max_rows:
            pointer = "#/instances" if where is None else "#"
            said = f"holds {len(rows)} rows; at most {self._max_rows} are taken at once"
            raise InputError("too-large", [Fault(pointer, said)])
        faults: list[Fault] = []
        point = where or _in_instances
        checked = [self._row(row, index, point, faults) for index, row in enumerate(rows)]
        if faults:
            raise InputError("invalid", faults)
        flags = [flags for _, flags in checked]
        return [values for values, _ in checked], flags if any(flags) else None

    def check_one(self, row: Any) -> tuple[Values, Flags]:
        """Return values and flags of one row, a plain object that stands alone.

        Raises:
            InputError: with all faults, up to `FAULTS`.
        """
        faults: list[Fault] = []
        values, flags = self._row(row, 0, _alone, faults)
        if faults:
            raise InputError("invalid", faults)
        return values, flags

    def _look(self, document: Any) -> Rows:
        """Return the rows of a parsed request, looked at value by value."""
        if isinstance(document, dict) and "instances" in document and "instances" not in self._known:
            rows = document["instances"]
            others = [key for key in document if key != "instances"]
            if isinstance(document, _Twice):
                _refuse("#/" + escaped(document.key), "stands twice")
            if others:
                _refuse("#/" + escaped(others[0]), "is not taken beside 'instances'")
            if not isinstance(rows, list):
                _refuse("#/instances", f"must be a list of objects, but is {_word(rows)}")
            return Rows(*self.check(rows), False)
        values, flags = self.check_one(document)
        return Rows([values], [flags] if flags else None, True)

    def _row(
        self, row: Any, index: int, where: Callable[[int, str], str], faults: list[Fault]
    ) -> tuple[Values, Flags]:
        """Return values and flags of one object; append what is wrong with it to `faults`."""
        if len(faults) >= FAULTS:
            return (), _NO_FLAGS
        if not isinstance(row, dict):
            faults.append(Fault(where(index, ""), f"must be an object of features, but is {_word(row)}"))
            return (), _NO_FLAGS
        if isinstance(row, _Twice):
            faults.append(Fault(where(index, row.key), "stands twice"))
        if not row.keys() <= self._known:
            faults.extend(Fault(where(index, key), said) for key, said in islice(self._unknown(row), FAULTS))
        values: list[Any] = []
        flags: list[str] = []
        for place, feature in enumerate(self._features):
            value = row.get(feature.name)
            if value is None:
                if feature.nullable:
                    flags.append(f"missing:{feature.name}")
                else:
                    said = "is null" if feature.name in row else "is missing"
                    said += f"; it must be {_WANTED[feature.type]}"
                    faults.append(Fault(where(index, feature.name), said))
                values.append(None)
                continue
            try:
                value = _READERS[feature.type](value)
                flag = self._unusual(place, feature, value)
            except _Unfit as error:
                faults.append(Fault(where(index, feature.name), str(error)))
                continue
            values.append(value)
            if flag and self._reject:
                faults.append(Fault(where(index, feature.name), _refusal(feature, value)))
            elif flag:
                flags.append(flag)
        del faults[FAULTS:]
        return tuple(values), tuple(flags)

    def _unusual(self, place: int, feature: Feature, value: Any) -> str:
        """Return the flag of a value that training did not see; empty for one that it did."""
        if feature.range and feature.type in NUMBERS:
            low, high = feature.range
            return "" if low <= value <= high else f"out_of_range:{feature.name}"
        if feature.categories and value not in self._categories[place]:
            return f"unknown_category:{feature.name}"
        return ""

    def _unknown(self, row: dict[str, Any]) -> Iterator[tuple[str, str]]:
        for key in row:
            if key not in self._known:
                near = get_close_matches(key[:128], self._names, 1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                yield key, f"is no feature of this model{hint}"

    def _missing(self, row: Values) -> Flags:
        return tuple(f"missing:{name}" for name, value in zip(self._names, row, strict=True) if value is None)


def logged(rows: Sequence[Values], features: Sequence[Feature]) -> list[Any]:
    """Return all values of `rows`, row after row, as log entries take them; times in microseconds."""
    times = [index for index, feature in enumerate(features) if feature.type == "timestamp"]
    flat = [value for row in rows for value in row]
    for start in range(0, len(flat), len(features)) if times else ():
        for index in times:
            time = flat[start + index]
            flat[start + index] = None if time is None else round(time.timestamp() * 1_000_000)
    return flat


def _usual(feature: Feature) -> Any:
    """Return the type, for msgspec, of the values that training saw."""
    if feature.type == "string":
        usual: Any = Literal[feature.categories] if feature.categories else str
    elif feature.type in NUMBERS:
        low, high = feature.range or (-FLOAT32, FLOAT32)
        if feature.type == "float64":
            usual = Annotated[float, msgspec.Meta(ge=max(low, -FLOAT32), le=min(high, FLOAT32))]
        else:
            smallest, largest = max(math.ceil(low), -INT64), min(math.floor(high), INT64 - 1)
            usual = Annotated[int, msgspec.Meta(ge=smallest, le=largest)]
    elif feature.type == "bool":
        usual = bool
    else:
        usual = Annotated[datetime, msgspec.Meta(tz=True)]
    return usual | None if feature.nullable else usual


class _Twice(dict[str, Any]):
    """An object of which a key stands twice."""

    key = ""


def parse(body: bytes | str) -> Any:
    """Return what JSON says; an object with a key that stands twice says so when it is checked.

    Raises:
        InputError: it is no JSON (RFC 8259), nested too deep, or holds a number too long to read.
    """
    try:
        text = body if isinstance(body, str) else body.decode("utf-8")
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise InputError("malformed", [Fault("#", f"is not UTF-8, at byte {error.start}")]) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise InputError("malformed", [Fault("#", f"is no JSON: {error.msg}, at {where}")]) from None
    except RecursionError:
        raise InputError("malformed", [Fault("#", "is nested too deep")]) from None
    except ValueError as error:
        raise InputError("malformed", [Fault("#", f"is no JSON that can be read: {error}")]) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    twice = _Twice(made)
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            twice.key = key
        seen.add(key)
    return twice


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON; leave out, or send null for, what is missing")


class _Unfit(Exception):  # noqa: N818 - reads as what it says
    """A value of the wrong type or beyond what the type can hold."""


def _float(value: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise _Unfit(f"must be a number, but is {_word(value)}")
    if not -FLOAT32 <= value <= FLOAT32:
        raise _Unfit(f"is beyond the numbers that models compute with, {FLOAT32:.2g} either side of 0")
    return float(value)


def _int(value: Any) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise _Unfit(f"must be a whole number, but is {_word(value)}")
    if not -INT64 <= value < INT64:
        raise _Unfit("is beyond 64 bits")
    return int(value)


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise _Unfit(f"must be true or false, but is {_word(value)}")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _Unfit(f"must be a text, but is {_word(value)}")
    if not is_text(value):
        raise _Unfit("holds half a surrogate pair, which is no character")
    return value


def is_text(value: str) -> bool:
    """Return whether `value` can be written as UTF-8; what JSON escapes can say need not be."""
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def _time(value: Any) -> datetime:
    if type(value) is not str:
        raise _Unfit(f"must be a time such as 2026-01-31T12:00:00Z, but is {_word(value)}")
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise _Unfit(f"must be a time such as 2026-01-31T12:00:00Z, but is {_shown(value)}") from None
    if time.tzinfo is None:
        raise _Unfit("is a time without zone; append Z for UTC")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise _Unfit("is before the year 1 or after 9999") from None


_READERS: dict[str, Callable[[Any], Any]] = {
    "float64": _float,
    "int64": _int,
    "bool": _bool,
    "string": _text,
    "timestamp": _time,
}
_WANTED = {
    "float64": "a number",
    "int64": "a whole number",
    "bool": "true or false",
    "string": "a text",
    "timestamp": "a time",
}


def _refusal(feature: Feature, value: Any) -> str:
    """Say why a value that training did not see is refused."""
    if feature.range:
        low, high = feature.range
        return f"{value:g} is out of range; training saw {low:g} to {high:g}"
    near = get_close_matches(value[:64], feature.categories or (), 1)
    return f"{_shown(value)} was not in training" + (f"; did you mean '{near[0]}'?" if near else "")


def _refuse(pointer: str, detail: str) -> NoReturn:
    raise InputError("invalid", [Fault(pointer, detail)])


def _word(value: Any) -> str:
    """Say what JSON `value` is, briefly."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return "a whole number" if abs(value) > INT64 else f"the number {value}"
    if isinstance(value, float):
        return f"the number {value:g}"
    if isinstance(value, str):
        return f"the text {_shown(value)}"
    return "a list" if isinstance(value, list) else "an object"


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:40] + "...")


def _in_instances(row: int, name: str) -> str:
    return f"#/instances/{row}/{escaped(name)}" if name else f"#/instances/{row}"


def _alone(row: int, name: str) -> str:
    return f"#/{escaped(name)}" if name else "#"


def escaped(key: str) -> str:
    """Return `key` as part of a JSON pointer in a URI fragment."""
    part = key if len(key) <= 128 else key[:128] + "..."
    return quote(part.replace("~", "~0").replace("/", "~1"), safe="", errors="replace")
