"""Reports are safe whatever names and values say, short enough, and well formed."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plan_review.plan import PlanFile
from plan_review.render import FORMATS, markdown, page, safe
from plan_review.report import Report
from plan_review.review import Sources, review
from tests.plan_review import plans

HOSTILE = [
    "@everyone look",
    "`code` `` ``` break",
    "a | b | c",
    "<script>alert(1)</script>",
    "</details></main><img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/x.png)",
    "https://evil.example www.evil.example",
    "# heading",
    "- item\n- item",
    "1. item",
    "-->\n/merge\n<!--",
    "&lt;b&gt; &#64;everyone",
    "\u202egnp.exe \u200b\u2066",
    "\x1b[31mred\x1b[0m \x07",
    "#123 GH-1 !45 ~6 %7 &8 $9",
    "a\r\nb\tc",
    "'\"; onclick=alert(1)",
]


def hostile_report(text: str) -> Report:
    labels = {"environment": "dev", "team": text, "model": text, "cost_center": text}
    return review(
        [
            plans.plan(
                plans.change(
                    f"google_storage_bucket_iam_member.{text}",
                    None,
                    {"bucket": text, "role": text, "member": "allUsers"},
                ),
                plans.change(
                    "google_bigquery_table.t",
                    {"table_id": text, "labels": labels, "x": text},
                    {"table_id": text, "labels": labels, "x": text + "2", text: text},
                ),
                plans.change(
                    "google_storage_bucket.b",
                    {"name": text, "force_destroy": False},
                    {"name": text, "force_destroy": True},
                ),
                plans.change(f'google_thing.t["{text}"]', {"a": 1}, {"a": 1}, previous_address=text),
                plans.change("google_kms_crypto_key.k", {"name": text, "labels": labels}, None),
                stack=text,
                output_changes={
                    text: {"actions": ["create"], "before": None, "after": text, "after_unknown": False}
                },
            )
        ],
        Sources(base=text, head=text, notes=(text,)),
    )


class Tags(HTMLParser):
    """Collects the elements and attributes of a page, and checks that they nest."""

    VOID = frozenset(("meta", "br", "img", "link", "input", "hr"))
    OPTIONAL = frozenset(("td", "th", "tr", "li", "p"))

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open[-1] != tag and self.open[-1] in self.OPTIONAL:
            self.open.pop()
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def parsed(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    tags.close()
    assert not [tag for tag in tags.open if tag not in Tags.OPTIONAL]
    return tags


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("form", FORMATS)
def test_hostile_text_is_shown_as_text(text: str, form: str) -> None:
    shown = FORMATS[form](hostile_report(text))
    shown.encode("utf-8", "surrogatepass")
    # Programs read JSON; people read the others.
    hidden = "" if form in ("json", "sarif") else r"\u202a-\u202e\u2066-\u2069"
    assert not re.search(rf"[\x00-\x08\x0b-\x1f\x7f{hidden}]", shown)


@pytest.mark.parametrize("text", HOSTILE)
def test_html_holds_nothing_that_runs_or_loads(text: str) -> None:
    tags = parsed(page.render(hostile_report(text)))
    assert not tags.tags & {"script", "img", "iframe", "link", "object", "embed", "form", "base", "a", "svg"}
    assert not [name for name in tags.attributes if name.startswith("on") or name in ("src", "href", "style")]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_holds_no_markup_of_others(text: str) -> None:
    shown = markdown.render(hostile_report(text))
    outside = re.sub(r"(`+) ?.*? ?\1(?!`)", "", shown)
    assert "<script" not in outside
    assert "<img" not in outside
    assert not re.search(r"@\w", outside), "nobody is notified"
    assert not re.search(r"(?<!\\)\]\(", outside), "no link"
    assert "://" not in outside
    assert not re.search(r"^/\w", shown, re.MULTILINE), "no command"
    own = {"details", "/details", "summary", "/summary", "sub", "/sub", "!-- modelyard-review --"}
    assert set(re.findall(r"<([^<>]+)>", outside)) <= own


@given(st.text(max_size=60))
def test_code_in_markdown_cannot_be_left(text: str) -> None:
    shown = safe.code(text)
    fence = re.match(r"`+", shown)
    assert fence
    inner = shown[len(fence[0]) : -len(fence[0])]
    assert shown.endswith(fence[0])
    assert fence[0] not in re.findall(r"`+", inner)
    assert "\n" not in shown


@given(st.text(max_size=60))
def test_markup_cannot_be_left(text: str) -> None:
    shown = safe.markup(text)
    assert not set(shown) & set("<>\"'")


def large_report(resources: int, width: int = 40) -> Report:
    changes = []
    for i in range(resources):
        labels = {**plans.LABELS, "model": f"model-{i}"}
        table = {
            "table_id": f"log_{i}",
            "labels": labels,
            "note": "é" * width,
            "time_partitioning": [{"expiration_ms": 86_400_000 * (400 + i)}],
        }
        after = {
            **table,
            "note": f"{i}" + "ü" * width,
            "time_partitioning": [{"expiration_ms": 86_400_000 * 30}],
        }
        changes.append(plans.change(f"google_bigquery_table.log_{i}", table, after))
    return review([plans.plan(*changes)], Sources())


@pytest.mark.parametrize("resources", [1, 300, 5000])
def test_markdown_is_never_too_long(resources: int) -> None:
    shown = markdown.render(large_report(resources))
    assert len(shown.encode()) <= markdown.MAX_CHARACTERS
    assert shown.startswith(markdown.MARKER)
    assert shown.count("<details>") == shown.count("</details>")


def test_what_is_left_out_is_counted_and_named() -> None:
    shown = markdown.render(large_report(2000))
    left = re.search(r"Left out for length: (\d+) changed resources", shown)
    assert left
    listed = len(re.findall(r"^- change `", shown, re.MULTILINE))
    assert int(left[1]) + listed == 2000


def test_the_first_line_says_it_all() -> None:
    for form in ("text", "markdown"):
        shown = FORMATS[form](large_report(3))
        first = shown.removeprefix(markdown.MARKER).strip().splitlines()[0]
        assert "Needs a named approver" in first
        assert "3 to change" in first
        assert "pricing" in shown


def test_json_has_everything() -> None:
    document = json.loads(FORMATS["json"](large_report(300)))
    assert document["format"] == "modelyard.review/1"
    assert document["verdict"] == "approve"
    assert document["exit_code"] == 3
    assert len(document["findings"]) == 300
    assert len(document["differences"]) == 300
    assert document["cost"]["estimate"] is True


# The parts of the SARIF 2.1.0 schema that code hosts ask for.
SARIF: dict[str, Any] = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "$schema": {"type": "string", "format": "uri"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "properties": {
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name", "rules"],
                                "properties": {
                                    "rules": {
                                        "type": "array",
                                        "items": {
                                            "type": "object",
                                            "required": ["id", "shortDescription"],
                                            "properties": {
                                                "shortDescription": {"type": "object", "required": ["text"]},
                                                "defaultConfiguration": {
                                                    "properties": {
                                                        "level": {
                                                            "enum": ["none", "note", "warning", "error"]
                                                        }
                                                    }
                                                },
                                            },
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["message", "ruleId", "ruleIndex", "level", "locations"],
                            "properties": {
                                "message": {"type": "object", "required": ["text"]},
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "locations": {
                                    "type": "array",
                                    "minItems": 1,
                                    "items": {
                                        "type": "object",
                                        "required": ["physicalLocation"],
                                        "properties": {
                                            "physicalLocation": {
                                                "type": "object",
                                                "required": ["artifactLocation", "region"],
                                                "properties": {
                                                    "artifactLocation": {
                                                        "required": ["uri"],
                                                        "properties": {"uri": {"pattern": "^[^/].*"}},
                                                    },
                                                    "region": {
                                                        "required": ["startLine"],
                                                        "properties": {
                                                            "startLine": {"type": "integer", "minimum": 1}
                                                        },
                                                    },
                                                },
                                            }
                                        },
                                    },
                                },
                                "suppressions": {
                                    "items": {
                                        "required": ["kind"],
                                        "properties": {"kind": {"enum": ["inSource", "external"]}},
                                    }
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


@pytest.mark.parametrize(
    "report", [large_report(3), hostile_report("<b>@x|`"), review([plans.plan()], Sources())]
)
def test_sarif_has_the_form_that_code_hosts_take(report: Report) -> None:
    document = json.loads(FORMATS["sarif"](report))
    jsonschema.validate(document, SARIF)
    run = document["runs"][0]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert len(run["results"]) == len(report.findings)


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    shown = page.render(large_report(40))
    assert shown.startswith("<!doctype html>")
    assert "default-src 'none'" in shown
    assert "prefers-color-scheme:dark" in shown
    assert "@media print" in shown
    assert "width=device-width" in shown
    assert not re.search(
        r"url\(|@import|https?://", shown.replace("https://cloud.google.com/pricing/list", "")
    )
    parsed(shown)


def test_nothing_to_do_is_said() -> None:
    report = review([plans.plan()], Sources())
    assert report.exit_code == 0
    assert "Nothing to stop" in report.headline
    assert "touches nothing" in report.headline


def test_the_digest_is_of_what_would_be_done() -> None:
    def digest(size: int, stack: str = "dev-catalog") -> str:
        change = plans.change("google_thing.t", {"size": 1, "password": "a-secret-word"}, {"size": size})
        plan: PlanFile = plans.plan(change, stack=stack)
        return review([plan], Sources()).digest

    assert digest(2) == digest(2)
    assert len({digest(2), digest(3), digest(2, "prod-catalog")}) == 3
