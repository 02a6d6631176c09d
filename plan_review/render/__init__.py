"""The formats of a report."""

from collections.abc import Callable, Mapping

from plan_review.render import json_document, markdown, page, sarif, text
from plan_review.report import Report

FORMATS: Mapping[str, Callable[[Report], str]] = {
    "text": text.render,
    "markdown": markdown.render,
    "json": json_document.render,
    "sarif": sarif.render,
    "html": page.render,
}

__all__ = ["FORMATS"]
