"""Edits a team file's text in place, so that comments and formatting stay as people wrote them."""

import codecs
import json
import re
from pathlib import Path
from typing import Any

from cli.errors import CommandError
from modelyard.spec.errors import Path as YamlPath
from modelyard.spec.errors import SpecError, nearest
from modelyard.spec.source import Mark, parse_yaml, read_yaml

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9@._-]*")
_NOT_PLAIN = {"yes", "no", "on", "off", "true", "false", "null"}


def scalar(text: str) -> str:
    """Return text as YAML writes it, in quotes where it needs them."""
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_PLAIN:
        return text
    return json.dumps(text, ensure_ascii=False)


class TeamFile:
    """The text of a `team.yaml`; each edit is checked against the data it should lead to.

    Raises:
        SpecError: the file cannot be read.
    """

    def __init__(self, path: Path, shown: str) -> None:
        self.shown = shown
        self._document = read_yaml(path, shown)
        if self._document.data is None:
            raise SpecError(self._document.problems)
        raw = path.read_bytes()
        self._bom = raw.startswith(codecs.BOM_UTF8)
        self._newline = "\r\n" if b"\r\n" in raw else "\n"

    @property
    def content(self) -> bytes:
        """The file's bytes, with the line ends it had."""
        text = self._document.text.replace("\n", self._newline)
        return (codecs.BOM_UTF8 if self._bom else b"") + text.encode()

    @property
    def models(self) -> list[dict[str, Any]]:
        """The entries under `models` that are groups of keys."""
        assert self._document.data is not None
        models = self._document.data.get("models")
        return [model for model in models if isinstance(model, dict)] if isinstance(models, list) else []

    def index(self, name: str) -> int:
        """Return the position of a model.

        Raises:
            CommandError: the team has no such model.
        """
        assert self._document.data is not None
        models = self._document.data.get("models")
        names = [m.get("name") if isinstance(m, dict) else None for m in models] if models else []
        if name not in names:
            known = [str(other) for other in names if other]
            have = f"has {', '.join(known)}" if known else "has no models"
            raise CommandError(
                f"There is no model '{name}' in {self.shown}, which {have}.{nearest(name, known)}"
            )
        return names.index(name)

    def set_version(self, index: int, version: int) -> None:
        """Write another version of a model."""
        expected = self._expected()
        expected["models"][index]["version"] = version
        mark = self._document.values[("models", index, "version")]
        self._splice(mark, str(version))
        self._check(expected)

    def set_canary(self, index: int, version: int, percent: int) -> None:
        """Write a canary's version; a canary that is there keeps its percentage."""
        expected = self._expected()
        model = expected["models"][index]
        base: YamlPath = ("models", index)
        if isinstance(model.get("canary"), dict) and "version" in model["canary"]:
            model["canary"]["version"] = version
            self._splice(self._document.values[(*base, "canary", "version")], str(version))
        else:
            if "canary" in model:
                self.remove_canary(index)
            model["canary"] = {"version": version, "percent": percent}
            self._insert_key((*base, "version"), f"canary: {{version: {version}, percent: {percent}}}")
        self._check(expected)

    def remove_canary(self, index: int) -> None:
        """Remove a model's canary."""
        expected = self._expected()
        del expected["models"][index]["canary"]
        path: YamlPath = ("models", index, "canary")
        key = self._document.keys[path]
        if path[:-1] in self._document.flow:
            self._cut_flow(path)
        else:
            lines = self._document.text.split("\n")
            if lines[key.line - 1][: key.column - 1].strip():
                raise self._by_hand("remove the model's canary")
            del lines[key.line - 1 : self._last_line(path)]
            self._set("\n".join(lines))
        self._check(expected)

    def add_model(self, entry: dict[str, Any]) -> None:
        """Append a model, written in the manner of those before it."""
        expected = self._expected()
        existing = expected.get("models") or []
        if not isinstance(existing, list):
            raise self._by_hand("add the model")
        expected["models"] = [*existing, entry]
        text = self._document.text if self._document.text.endswith("\n") else self._document.text + "\n"
        lines = text.split("\n")
        path: YamlPath = ("models",)
        flow = self._document.flow.get(path)
        if flow and existing:
            end = Mark(flow.end_line, flow.end_column - 1, flow.end_line, flow.end_column - 1)
            self._splice(end, f", {{{_inline(entry)}}}")
        elif flow:
            before = _offset(text, flow.line, flow.column)
            after = text[_offset(text, flow.end_line, flow.end_column) :]
            self._set(text[:before].rstrip(" ") + "\n" + "\n".join(_block(entry, "  ")) + after)
        elif existing:
            dash = self._document.values[path].column - 1
            last = self._last_line(("models", len(existing) - 1))
            spaced = len(existing) > 1 and not lines[self._document.values[("models", 1)].line - 2].strip()
            lines[last:last] = [*([""] if spaced else []), *_block(entry, " " * dash)]
            self._set("\n".join(lines))
        else:
            raise self._by_hand("add the model")
        self._check(expected)

    def _expected(self) -> dict[str, Any]:
        """Return a copy of the data, to hold an edit against."""
        copy: dict[str, Any] = json.loads(json.dumps(self._document.data))
        return copy

    def _check(self, expected: dict[str, Any]) -> None:
        if self._document.data != expected:
            raise self._by_hand("make this change")

    def _by_hand(self, what: str) -> CommandError:
        return CommandError(f"{self.shown} is written in a way that this command cannot edit; {what} by hand")

    def _set(self, text: str) -> None:
        self._document = parse_yaml(text, self.shown)

    def _splice(self, mark: Mark, new: str) -> None:
        text = self._document.text
        start, end = _offset(text, mark.line, mark.column), _offset(text, mark.end_line, mark.end_column)
        self._set(text[:start] + new + text[end:])

    def _insert_key(self, after: YamlPath, new: str) -> None:
        """Insert a key after another one of the same group."""
        mark, key = self._document.values[after], self._document.keys[after]
        if after[:-1] in self._document.flow:
            end = Mark(mark.end_line, mark.end_column, mark.end_line, mark.end_column)
            self._splice(end, f", {new}")
        else:
            lines = self._document.text.split("\n")
            lines[mark.end_line : mark.end_line] = [" " * (key.column - 1) + new]
            self._set("\n".join(lines))

    def _cut_flow(self, path: YamlPath) -> None:
        """Remove a key of a group in braces, with the comma that belongs to it."""
        text = self._document.text
        key, value = self._document.keys[path], self._end(path)
        start, end = _offset(text, key.line, key.column), _offset(text, *value)
        if before := re.search(r",\s*$", text[:start]):
            start = before.start()
        elif after := re.match(r"\s*,\s*", text[end:]):
            end += after.end()
        self._set(text[:start] + text[end:])

    def _end(self, path: YamlPath) -> tuple[int, int]:
        mark = self._document.flow.get(path) or self._document.values[path]
        return mark.end_line, mark.end_column

    def _last_line(self, path: YamlPath) -> int:
        """Return the last line of what stands at `path`."""
        last = 0
        for other, mark in [*self._document.values.items(), *self._document.flow.items()]:
            if other[: len(path)] == path and (other in self._document.flow or not self._is_block(other)):
                # A block of text ends at the beginning of the line after it.
                end = mark.end_line - (mark.end_column == 1 and mark.end_line > mark.line)
                last = max(last, end)
        last = max(last, self._document.values[path].line)
        lines = self._document.text.split("\n")
        while last > 1 and not lines[last - 1].strip():
            last -= 1
        return last

    def _is_block(self, path: YamlPath) -> bool:
        """Return whether a group or list without brackets stands at `path`; its own end is not known."""
        value: Any = self._document.data
        for part in path:
            value = value[part]
        return isinstance(value, dict | list) and path not in self._document.flow


def _offset(text: str, line: int, column: int) -> int:
    position = 0
    for _ in range(line - 1):
        position = text.index("\n", position) + 1
    return position + column - 1


def _inline(entry: dict[str, Any]) -> str:
    return ", ".join(f"{key}: {_value(value)}" for key, value in entry.items())


def _block(entry: dict[str, Any], indent: str) -> list[str]:
    lines = [f"{key}: {_value(value)}" for key, value in entry.items()]
    comment = f"pinned in {entry['name']}.json"
    at = list(entry).index("version")
    lines[at] = f"{lines[at]:<24} # {comment}"
    return [f"{indent}{'- ' if i == 0 else '  '}{line}" for i, line in enumerate(lines)]


def _value(value: Any) -> str:
    if isinstance(value, str):
        return scalar(value)
    if isinstance(value, dict):
        return "{" + _inline(value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return json.dumps(value)
