"""The Markdown documents of the checkout, taken apart."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```([\w-]*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS_GOOGLE = "# needs Google"


@dataclass(frozen=True)
class Document:
    """One Markdown file."""

    path: str
    text: str

    @property
    def prose(self) -> str:
        """The text without its fenced blocks; lines keep their numbers."""
        return FENCE.sub(lambda block: "\n" * block[0].count("\n"), self.text)

    def line(self, offset: int) -> str:
        """Return `file:line` of an offset in the prose."""
        return f"{self.path}:{self.prose.count(chr(10), 0, offset) + 1}"

    def blocks(self, *languages: str) -> Iterator[str]:
        """Yield the fenced blocks of some languages."""
        yield from (body for language, body in FENCE.findall(self.text) if language in languages)


@dataclass(frozen=True)
class Command:
    """One line for a shell, comments and continuations taken away."""

    document: str
    text: str
    needs_google: bool


@cache
def files() -> frozenset[str]:
    """Return the paths of all files that are, or could be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        encoding="utf-8",
    ).stdout
    return frozenset(name for name in listed.split("\0") if name and (ROOT / name).is_file())


@cache
def documents() -> tuple[Document, ...]:
    """Return all Markdown files."""
    names = sorted(name for name in files() if name.endswith(".md"))
    return tuple(Document(name, (ROOT / name).read_text("utf-8")) for name in names)


def commands() -> Iterator[Command]:
    """Yield what README, CONTRIBUTING and everything under docs tell people to type, in order."""
    for document in documents():
        if document.path.startswith("docs/") or document.path in ("README.md", "CONTRIBUTING.md"):
            for block in document.blocks("sh", "console"):
                needs_google = block.startswith(NEEDS_GOOGLE)
                for line in block.replace("\\\n", " ").splitlines():
                    text = re.sub(r"(^|\s+)#\s.*$", "", line.removeprefix("$ ")).strip()
                    if text:
                        yield Command(document.path, re.sub(r"\s+", " ", text), needs_google)
