"""Links of all Markdown files lead somewhere, and the paths that they name are there."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from tests.docs.documents import ROOT, Document, documents, files

LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^()\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
# What a reader of these documents makes himself.
MADE_BY_READERS = {
    "docs/guides/adding-a-module.md": ("modules/log_metric",),
    "docs/guides/first-model.md": ("examples/housing", "teams/housing"),
    "docs/guides/onboarding-a-team.md": ("teams/returns",),
}
HOSTS = ("pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org", "registry.terraform" + ".io")


def slugs(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    found: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        anchors.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return anchors


def broken_links(document: Document) -> Iterator[str]:
    """Yield each relative link of a document that leads nowhere."""
    prose = CODE.sub(lambda code: " " * len(code[0]), document.prose)
    for link in LINK.finditer(prose):
        target, _, anchor = link[1].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        place = (ROOT / document.path).parent / target
        if not place.resolve().is_relative_to(ROOT) or not place.exists():
            yield f"{document.line(link.start())}: {link[1]} leads nowhere"
        elif anchor:
            page = Document("", place.read_text("utf-8")) if target else document
            if anchor not in slugs(page.prose):
                yield f"{document.line(link.start())}: {target or 'this page'} has no heading #{anchor}"


def missing_paths(document: Document, known: frozenset[str]) -> Iterator[str]:
    """Yield each path in backticks that looks like one of the repository and is not there."""
    tops = {PurePosixPath(name).parts[0] for name in known if "/" in name}
    made = MADE_BY_READERS.get(document.path, ())
    for code in CODE.finditer(document.prose):
        path = re.split(r"::|:\d", code[1])[0].rstrip("/")
        if not re.fullmatch(r"[\w.<>*/-]+/[\w.<>*/-]*", code[1].partition("::")[0].partition(":")[0]):
            continue
        if path.split("/")[0] not in tops or any(path.startswith(folder) for folder in made):
            continue
        # Where a part is a placeholder, the folder must be there; the file need not.
        place = path.rpartition("/")[0] if "<" in path else path
        pattern = re.escape(re.sub(r"<[\w -]+>", "*", place)).replace(r"\*", "[^/]*")
        if not any(re.match(rf"{pattern}(/|$)", name) for name in known):
            yield f"{document.line(code.start())}: there is no {code[1]}"


def test_links_lead_somewhere() -> None:
    assert not [problem for document in documents() for problem in broken_links(document)]


def test_paths_are_there() -> None:
    known = files()
    assert not [problem for document in documents() for problem in missing_paths(document, known)]


def test_no_path_of_a_machine_and_no_registry() -> None:
    machine = re.compile(r"(?:^|[\s\"'=`(])(/(?:root|home|Users|work|tmp)/[\w.-]+)", re.MULTILINE)
    found = [
        f"{document.path}: {path}" for document in documents() for path in machine.findall(document.text)
    ]
    found += [f"{document.path}: {h}" for document in documents() for h in HOSTS if h in document.text]
    assert not found


def test_every_guide_reference_and_decision_is_in_an_index() -> None:
    index = {
        path: (ROOT / path).read_text("utf-8") for path in ("docs/README.md", "docs/decisions/README.md")
    }
    for document in documents():
        folder, name = str(PurePosixPath(document.path).parent), PurePosixPath(document.path).name
        if folder in ("docs/guides", "docs/reference"):
            assert f"({folder.removeprefix('docs/')}/{name})" in index["docs/README.md"], document.path
        if folder == "docs/decisions" and name != "README.md":
            title = document.text.splitlines()[0].partition(": ")[2]
            assert f"({name}) | {title} |" in index["docs/decisions/README.md"], document.path


def test_the_team_file_of_the_readme_is_the_examples() -> None:
    readme = next(document for document in documents() if document.path == "README.md")
    (shown,) = readme.blocks("yaml")
    modeline, _, team_file = (ROOT / "teams/flight-ops/team.yaml").read_text("utf-8").partition("\n")
    assert modeline.startswith("# yaml-language-server") and shown == team_file


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[a](no/such.md)", "x.md:1: no/such.md leads nowhere"),
        ("\n[a](#nowhere)\n# Here", "x.md:2: this page has no heading #nowhere"),
        ("[a](LICENSE#x)", "x.md:1: LICENSE has no heading #x"),
        ("[a](../../../outside.md)", "x.md:1: ../../../outside.md leads nowhere"),
    ],
)
def test_a_broken_link_is_found(text: str, says: str) -> None:
    assert list(broken_links(_document(text))) == [says]


@pytest.mark.parametrize(
    "text", ["[a](#a-b)\n# A `b`!", "[a](https://example.com/x)", "`[a](x)`", "```\n[a](x)\n```"]
)
def test_a_good_link_is_passed_over(text: str) -> None:
    assert not list(broken_links(_document(text)))


def test_a_missing_path_is_found() -> None:
    known = frozenset({"modelyard/spec/load.py", "teams/a/team.yaml"})
    good = (
        "`modelyard/spec/` `modelyard/spec/load.py::load` `modelyard/spec/load.py:3` `and/or`"
        " `teams/<team>/team.yaml` `teams/<team>/stack.py`"
    )
    assert not list(missing_paths(_document(good), known))
    assert list(missing_paths(_document("\n`modelyard/spce/load.py`"), known)) == [
        "x.md:2: there is no modelyard/spce/load.py"
    ]


def _document(text: str) -> Document:
    return Document(Path("x.md").as_posix(), text)
