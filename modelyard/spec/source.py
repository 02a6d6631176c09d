"""Reads YAML and JSON files that people or strangers wrote, and remembers where everything stood.

YAML here is the part that every reader understands alike: one document of mappings, lists, text, numbers,
true, false and null. What YAML 1.1 and 1.2 read differently (`no`, `0o17`, `12:30`) must be in quotes;
anchors, tags and merge keys are refused, so that no file can expand to more than what is written in it.
"""

import codecs
import errno
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import yaml

from modelyard.spec.errors import Path, Problem, path_text, shown

YAML_LIMIT = 1 << 20
JSON_LIMIT = 5 << 20
_MAX_DEPTH = 16
_MAX_VALUES = 100_000
_MAX_DIGITS = 18
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Control characters, line breaks that editors do not count, marks that reorder text, halves of characters.
_UNWANTED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)")
# What readers of YAML 1.1 and of YAML 1.2 take for different things.
_AMBIGUOUS = re.compile(
    r"""(?ix) yes | no | on | off
    | [-+]? 0 ([0-9_]+ | o[0-7_]+ | x[0-9a-f_]+ | b[01_]+)
    | [-+]? [0-9] [0-9_]* _ [0-9_]* (\.[0-9_]*)?
    | [-+]? [0-9]+ (:[0-5]?[0-9])+ (\.[0-9]*)?
    | [-+]? (\.[0-9]+ | [0-9]+(\.[0-9]*)?) e [-+]?[0-9]+
    | [-+]? \.inf | \.nan
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2} ([t\ ].*)?"""
)
_TRUTH = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_YAML_PROBLEMS = {
    "found character that cannot start any token": "{char} cannot begin a value; write the value in quotes",
    "mapping values are not allowed in this context": "': ' is not expected here; check the indentation, "
    "or write a value that holds ': ' in quotes",
    "could not find expected ':'": "a line without ': ' stands where a key is expected",
    "did not find expected key": "the indentation fits no line above, or a quote or bracket is missing",
    "did not find expected '-' indicator": "the indentation fits no list above; expected '- '",
    "block sequence entries are not allowed in this context": "a list cannot begin here; "
    "put '- ' on a line of its own",
    "did not find expected ',' or ']'": "a list that began with [ lacks ',' or ']'",
    "did not find expected ',' or '}'": "a group that began with { lacks ',' or '}'",
    "found unexpected end of stream": "the file ends inside a quoted text",
    "found unknown escape character": "a backslash means nothing here; in single quotes it stands for itself",
    "did not find expected <document start>": "text stands after the end; check the indentation",
    "did not find expected node content": "a value is missing",
    "did not find expected alphabetic or numeric character": "& and * begin anchors, which are not used; "
    "write the value in quotes",
}


class Mark(NamedTuple):
    """Where something stands: line and column from 1, and its end, after the last character."""

    line: int
    column: int
    end_line: int
    end_column: int


class UnreadableError(Exception):
    """The file cannot be read further than this place."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line, self.column, self.message = line, column, message


@dataclass
class Document:
    """A file's content and where it stood; `data` is None where the file could not be read."""

    file: str
    text: str = ""
    data: dict[str, Any] | None = None
    problems: list[Problem] = field(default_factory=list)
    keys: dict[Path, Mark] = field(default_factory=dict)
    values: dict[Path, Mark] = field(default_factory=dict)
    flow: dict[Path, Mark] = field(default_factory=dict)
    """Mappings and lists written as `{...}` or `[...]`, from the first bracket to the last."""

    def has(self, path: Path) -> bool:
        """Return whether something is written at `path`."""
        self._locate()
        return path in self.values

    def problem(self, path: Path, message: str, *, key: bool = False) -> Problem:
        """Return a problem at the value, or the key, of `path`, or at what of the path is there."""
        self._locate()
        if key and path in self.keys:
            mark = self.keys[path]
        else:
            here = path
            while here and here not in self.values:
                here = here[:-1]
            mark = self.values.get(here, Mark(1, 1, 1, 1))
        return Problem(self.file, mark.line, mark.column, path_text(path), message)

    def written(self, path: Path) -> str:
        """Return the text of a scalar as it is written in the file."""
        mark = self.values[path]
        lines = self.text.split("\n")
        if mark.line != mark.end_line:
            return lines[mark.line - 1][mark.column - 1 :]
        return lines[mark.line - 1][mark.column - 1 : mark.end_column - 1]

    def _locate(self) -> None:
        """Find where everything stands, if reading has not."""


class JsonDocument(Document):
    """A JSON file; places are looked for only when there is a problem."""

    def _locate(self) -> None:
        if self.data is not None and not self.values:
            self.keys, self.values = _json_places(self.text)


def read_yaml(path: FilePath, file: str) -> Document:
    """Read a YAML file; problems name it `file`."""
    try:
        return parse_yaml(_read_text(path, YAML_LIMIT), file)
    except UnreadableError as error:
        return Document(file, problems=[Problem(file, error.line, error.column, "", error.message)])


def read_json(path: FilePath, file: str) -> Document:
    """Read a JSON file; problems name it `file`."""
    try:
        return parse_json(_read_text(path, JSON_LIMIT), file)
    except UnreadableError as error:
        return JsonDocument(file, problems=[Problem(file, error.line, error.column, "", error.message)])


def parse_yaml(text: str, file: str) -> Document:
    """Read YAML text; problems name it `file`."""
    document = Document(file, text)
    try:
        _check_characters(text)
        if (at := text.find("\t")) >= 0:
            raise UnreadableError(
                *_place(text, at), "A tab; YAML is indented with spaces, and only with spaces"
            )
        _Composer(document).compose()
    except UnreadableError as error:
        document.problems.append(Problem(file, error.line, error.column, "", error.message))
        document.data = None
    return document


def parse_json(text: str, file: str) -> Document:
    """Read JSON text; problems name it `file`."""
    document = JsonDocument(file, text)
    repeated = False

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        found = dict(pairs)
        repeated = repeated or len(found) < len(pairs)
        return found

    def number(written: str) -> float:
        value = float(written)
        if not math.isfinite(value):
            raise _not_finite(text, written)
        return value

    def constant(written: str) -> Any:
        raise _not_finite(text, written)

    try:
        _check_characters(text)
        if not text.strip():
            raise UnreadableError(1, 1, "The file is empty")
        if text.count(",") > _MAX_VALUES:
            raise UnreadableError(1, 1, f"The file has more than {_MAX_VALUES:,} values")
        data = json.loads(text, object_pairs_hook=object_of, parse_float=number, parse_constant=constant)
        _check_json(data, text)
        if repeated:
            raise _json_twice(text)
        if not isinstance(data, dict):
            raise UnreadableError(1, 1, f"Expected an object {{...}}, found {shown(data)}")
        document.data = data
    except json.JSONDecodeError as error:
        message = f"Not valid JSON: {error.msg[0].lower()}{error.msg[1:]}"
        document.problems.append(Problem(file, *_place(text, error.pos), "", message))
    except RecursionError:
        document.problems.append(Problem(file, 1, 1, "", _too_deep()))
    except UnreadableError as problem:
        document.problems.append(Problem(file, problem.line, problem.column, "", problem.message))
    except ValueError:  # Python's own limit on the digits of an integer
        at = re.search(r"[0-9]{4000,}", text)
        document.problems.append(
            Problem(file, *_place(text, at.start() if at else 0), "", "The number has too many digits")
        )
    return document


class _Frame:
    """A mapping or list that is being read."""

    __slots__ = ("container", "key", "path", "repeated")

    def __init__(self, container: dict[str, Any] | list[Any], path: Path) -> None:
        self.container = container
        self.path = path
        self.key: str | None = None
        self.repeated = False


class _Composer:
    """Builds a document's data from the parser's events, without recursion."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.frames: list[_Frame] = []
        self.root: Any = None
        self.broken = False

    def compose(self) -> None:
        """Fill the document."""
        documents = count = 0
        try:
            for event in yaml.parse(self.document.text, Loader=_LOADER):
                count += 1
                if count > _MAX_VALUES:
                    self._stop(event, f"The file has more than {_MAX_VALUES:,} values")
                if isinstance(event, yaml.NodeEvent):
                    self._node(event)
                elif isinstance(event, yaml.CollectionEndEvent):
                    self._close(self.frames.pop(), event)
                elif isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        self._stop(event, "A second document begins here; a file holds one, so remove '---'")
                    if event.version or event.tags:
                        self._stop(event, "Directives, lines that begin with %, are not used here")
        except yaml.MarkedYAMLError as error:
            raise _explained(error, self.document.text) from None
        except yaml.YAMLError as error:
            raise UnreadableError(1, 1, "Not valid YAML: " + " ".join(str(error).split())) from None
        if self.root is None and not self.broken:
            raise UnreadableError(
                1, 1, "The file is empty; expected keys with values, such as 'team: flight-ops'"
            )
        if not isinstance(self.root, dict) and not self.broken:
            mark = self.document.values[()]
            found = shown(self.root)
            raise UnreadableError(
                mark.line,
                mark.column,
                f"Expected keys with values, such as 'team: flight-ops'; found {found}",
            )
        self.document.data = None if self.broken else self.root

    def _node(self, event: Any) -> None:
        mark = Mark(
            event.start_mark.line + 1,
            event.start_mark.column + 1,
            event.end_mark.line + 1,
            event.end_mark.column + 1,
        )
        frame = self.frames[-1] if self.frames else None
        if isinstance(event, yaml.AliasEvent):
            self._refuse(
                mark, f"'*{event.anchor}' repeats an anchor; write the value out, or put it in defaults"
            )
        elif event.anchor is not None:
            self._refuse(mark, f"'&{event.anchor}' is an anchor, which is not used here; remove it")
        elif event.tag is not None:
            self._refuse(mark, "A tag, text that begins with '!', is not used here; remove it")
        if frame is not None and isinstance(frame.container, dict) and frame.key is None:
            self._key(frame, event, mark)
        else:
            self._value(frame, event, mark)

    def _key(self, frame: _Frame, event: Any, mark: Mark) -> None:
        if not isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
            raise UnreadableError(
                mark.line, mark.column, "A key must be plain text, followed by ': ' and its value"
            )
        key = event.value if isinstance(event, yaml.ScalarEvent) else ""
        path = (*frame.path, key)
        if key == "<<":
            self._refuse(mark, "'<<' merges a mapping, which is not used here; write the keys out")
        self._check_text(key, mark)
        frame.key = key
        frame.repeated = path in self.document.keys
        if frame.repeated:
            first = self.document.keys[path].line
            message = f"Key {shown(key)} is here twice; the first is on line {first}"
            file = self.document.file
            self.document.problems.append(Problem(file, mark.line, mark.column, path_text(path), message))
        self.document.keys.setdefault(path, mark)

    def _value(self, frame: _Frame | None, event: Any, mark: Mark) -> None:
        path: Path = ()
        if frame is not None:
            path = (*frame.path, len(frame.container) if frame.key is None else frame.key)
        value: Any = None
        if isinstance(event, yaml.ScalarEvent):
            if event.implicit[0] and not event.value and path in self.document.keys:
                mark = self.document.keys[path]  # nothing is written: point at the key
            value = self._scalar(event, path, mark)
        elif isinstance(event, yaml.CollectionStartEvent):
            value = {} if isinstance(event, yaml.MappingStartEvent) else []
            if event.flow_style:
                self.document.flow.setdefault(path, mark)
        self.document.values.setdefault(path, mark)
        if frame is None:
            self.root = value
        elif isinstance(frame.container, list):
            frame.container.append(value)
        else:
            if not frame.repeated:
                frame.container[str(frame.key)] = value
            frame.key = None
        if isinstance(event, yaml.CollectionStartEvent):
            if len(self.frames) >= _MAX_DEPTH:
                raise UnreadableError(mark.line, mark.column, _too_deep())
            self.frames.append(_Frame(value, path))

    def _close(self, frame: _Frame, event: Any) -> None:
        begin = self.document.flow.get(frame.path)
        if begin is not None:
            end = event.end_mark
            self.document.flow[frame.path] = Mark(begin.line, begin.column, end.line + 1, end.column + 1)

    def _scalar(self, event: Any, path: Path, mark: Mark) -> Any:
        text: str = event.value
        if not event.implicit[0]:
            self._check_text(text, mark)
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        wrong = None
        if _AMBIGUOUS.fullmatch(text):
            plain = _TRUTH.get(text.lower()) or _plain_number(text)
            meant = f"write {plain}, or " if plain else "write "
            wrong = (
                f'{shown(text)} is read differently by different readers of YAML; {meant}"{text}" in quotes'
            )
        elif _INT.fullmatch(text):
            if len(text) <= _MAX_DIGITS:
                return int(text)
            wrong = f'{shown(text)} is too long for a number; write "{text[:40]}" in quotes if it is text'
        elif _FLOAT.fullmatch(text) and len(text) <= 2 * _MAX_DIGITS:
            return float(text)
        if wrong:
            file = self.document.file
            self.document.problems.append(Problem(file, mark.line, mark.column, path_text(path), wrong))
        return text

    def _check_text(self, text: str, mark: Mark) -> None:
        """Escapes can write what may not stand in the file itself."""
        if found := _UNWANTED.search(text):
            raise UnreadableError(mark.line, mark.column, _unwanted(found.group()))

    def _refuse(self, mark: Mark, message: str) -> None:
        """Note what makes the content meaningless, and read on for the rest of it."""
        self.broken = True
        self.document.problems.append(Problem(self.document.file, mark.line, mark.column, "", message))

    def _stop(self, event: Any, message: str) -> None:
        raise UnreadableError(event.start_mark.line + 1, event.start_mark.column + 1, message)


def _plain_number(text: str) -> str | None:
    """Return a number as all readers understand it, if it is short."""
    try:
        number = f"{float(text):.15g}"
    except ValueError:
        return None
    return number if number.lstrip("-").replace(".", "", 1).isdigit() else None


def _explained(error: yaml.MarkedYAMLError, text: str) -> UnreadableError:
    lines = text.split("\n")
    mark = error.problem_mark or error.context_mark
    line = min(mark.line, len(lines) - 1) if mark else 0
    column = min(mark.column, len(lines[line])) if mark else 0
    char = lines[line][column : column + 1]
    problem = str(error.problem)
    words = _YAML_PROBLEMS.get(problem, problem).replace("{char}", shown(char))
    begin = error.context_mark
    opened = f" (it began on line {begin.line + 1})" if begin and begin.line < line else ""
    return UnreadableError(line + 1, column + 1, f"Not valid YAML: {words}{opened}")


def _read_text(path: FilePath, limit: int) -> str:
    raw = _read_bytes(path, limit)
    if raw.startswith(codecs.BOM_UTF8):
        raw = raw[len(codecs.BOM_UTF8) :]
    elif raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnreadableError(1, 1, "The file is UTF-16; save it as UTF-8")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        before = _one_line_end(raw[: error.start].decode())
        message = f"Byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise UnreadableError(*_place(before, len(before)), message) from None
    return _one_line_end(text)


def _one_line_end(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check_characters(text: str) -> None:
    if found := _UNWANTED.search(text):
        raise UnreadableError(*_place(text, found.start()), _unwanted(found.group()))


def _read_bytes(path: FilePath, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes; never wait for a pipe or a device."""
    try:
        # O_NONBLOCK: opening a pipe must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableError(
                    1,
                    1,
                    "A folder stands here in place of a file"
                    if stat.S_ISDIR(status.st_mode)
                    else "This is a pipe or device, not a file",
                )
            raw = b""
            while status.st_size <= limit and len(raw) <= limit and (chunk := os.read(descriptor, limit + 1)):
                raw += chunk
            if max(status.st_size, len(raw)) > limit:
                size = max(status.st_size, len(raw)) / (1 << 20)
                raise UnreadableError(
                    1, 1, f"The file has {size:.1f} MiB; at most {limit >> 20} MiB are read"
                )
            return raw
        finally:
            os.close(descriptor)
    except OSError as error:
        reason = {
            errno.ENOENT: "There is no such file",
            errno.ELOOP: "A symbolic link here leads back to itself",
            errno.EACCES: "The file may not be read: permission denied",
            errno.EISDIR: "A folder stands here in place of a file",
            errno.ENXIO: "This is a pipe or device, not a file",
        }
        message = reason.get(error.errno or 0, f"The file cannot be read: {error.strerror}")
        raise UnreadableError(1, 1, message) from None


def _check_json(data: Any, text: str) -> None:
    """Refuse unwanted characters that escapes wrote, and deep nesting."""
    level: list[Any] = [data]
    depth = 0
    while level:
        depth += any(isinstance(value, dict | list) for value in level)
        if depth > _MAX_DEPTH:
            raise UnreadableError(1, 1, _too_deep())
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str) and (found := _UNWANTED.search(value)):
                escape = re.search(rf"(?i)\\u{ord(found.group()):04x}|\\[bf]", text)
                raise UnreadableError(
                    *_place(text, escape.start() if escape else 0), _unwanted(found.group())
                )
        level = inner


_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


def _json_places(text: str) -> tuple[dict[Path, Mark], dict[Path, Mark]]:
    """Return where the keys and values of a valid JSON text stand."""
    keys: dict[Path, Mark] = {}
    values: dict[Path, Mark] = {}
    for path, is_key, mark in _json_tokens(text):
        (keys if is_key else values).setdefault(path, mark)
    return keys, values


def _json_twice(text: str) -> UnreadableError:
    """Return the error of the first key that is in its object a second time."""
    seen: dict[Path, int] = {}
    for path, is_key, mark in _json_tokens(text):
        if is_key and path in seen:
            message = f"Key {shown(path[-1])} is here twice; the first is on line {seen[path]}"
            return UnreadableError(mark.line, mark.column, message)
        if is_key:
            seen[path] = mark.line
    return UnreadableError(1, 1, "A key is here twice")


def _json_tokens(text: str) -> Iterator[tuple[Path, bool, Mark]]:
    """Yield (path, whether it is a key, place) of each key and value of a valid JSON text."""
    stack: list[str | int | None] = []  # the current key or index of each open object or array
    line, start = 1, 0
    after_colon = False
    position = 0
    for match in _JSON_TOKEN.finditer(text):
        line += text.count("\n", position, match.start())
        if "\n" in text[position : match.start()]:
            start = text.rfind("\n", position, match.start()) + 1
        position = match.start()
        token = match.group()
        column = match.start() - start + 1
        mark = Mark(line, column, line, column + len(token))
        path: Path = tuple(part for part in stack if part is not None)
        if token in "}]":
            stack.pop()
            after_colon = False
        elif token == ",":
            last = stack[-1]
            stack[-1] = last + 1 if isinstance(last, int) else None
            after_colon = False
        elif token == ":":
            after_colon = True
        elif stack and not isinstance(stack[-1], int) and not after_colon:
            stack[-1] = json.loads(token)
            yield (*path, str(stack[-1])), True, mark
        else:
            yield path, False, mark
            after_colon = False
            if token in "{[":
                stack.append(None if token == "{" else 0)


def _not_finite(text: str, written: str) -> UnreadableError:
    at = max(text.find(written), 0)
    return UnreadableError(*_place(text, at), f"{shown(written)} is not a finite number")


def _place(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _too_deep() -> str:
    return f"Lists and groups are nested more than {_MAX_DEPTH} deep"


def _unwanted(character: str) -> str:
    return f"Character U+{ord(character):04X} is not allowed; remove it"
