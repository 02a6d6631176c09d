"""Posts a report as the one comment of a pull request (GitHub) or merge request (GitLab), and updates it."""

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from plan_review.errors import ReviewError
from plan_review.render.markdown import MARKER, MAX_CHARACTERS

_TIMEOUT_SECONDS = 30
_PAGE_SIZE = 100
_MOST_PAGES = 50


def post(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """Write `text` as the comment of the request that this pipeline runs for; return what was done.

    Raises:
        ReviewError: this is no such pipeline, or the code host refuses.
    """
    if not text.startswith(MARKER) or len(text) > MAX_CHARACTERS:
        raise ReviewError("report", "this is no report in Markdown.", "Make it with --format markdown.")
    if environ.get("GITHUB_ACTIONS"):
        return _github(text, environ)
    if environ.get("GITLAB_CI"):
        return _gitlab(text, environ)
    raise ReviewError("review-comment", "this is neither GitHub Actions nor GitLab CI.")


def _needed(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if not value:
        raise ReviewError(name, "this variable is not set, but needed to comment.")
    return value


def _github(text: str, environ: Mapping[str, str]) -> str:
    try:
        event = json.loads(Path(_needed(environ, "GITHUB_EVENT_PATH")).read_bytes())
        number = int(event["pull_request"]["number"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ReviewError("GITHUB_EVENT_PATH", "this workflow does not run for a pull request.") from None
    server = environ.get("GITHUB_API_URL", "https://api.github.com")
    issues = f"{server}/repos/{_needed(environ, 'GITHUB_REPOSITORY')}/issues"
    headers = {
        "Authorization": f"Bearer {_needed(environ, 'GITHUB_TOKEN')}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    old = _find(f"{issues}/{number}/comments", headers, page_parameter="page")
    if old is None:
        _call("POST", f"{issues}/{number}/comments", headers, {"body": text})
        return f"Commented on pull request {number}"
    _call("PATCH", f"{issues}/comments/{old}", headers, {"body": text})
    return f"Updated the comment on pull request {number}"


def _gitlab(text: str, environ: Mapping[str, str]) -> str:
    number = _needed(environ, "CI_MERGE_REQUEST_IID")
    project = urllib.parse.quote(_needed(environ, "CI_PROJECT_ID"), safe="")
    notes = f"{_needed(environ, 'CI_API_V4_URL')}/projects/{project}/merge_requests/{number}/notes"
    headers = {"PRIVATE-TOKEN": _needed(environ, "MODELYARD_GITLAB_TOKEN")}
    old = _find(notes, headers, page_parameter="page")
    if old is None:
        _call("POST", notes, headers, {"body": text})
        return f"Commented on merge request {number}"
    _call("PUT", f"{notes}/{old}", headers, {"body": text})
    return f"Updated the comment on merge request {number}"


def _find(url: str, headers: Mapping[str, str], page_parameter: str) -> int | None:
    """Return the id of our comment, if there is one."""
    for comment in _pages(url, headers, page_parameter):
        if str(comment.get("body", "")).startswith(MARKER):
            return int(comment["id"])
    return None


def _pages(url: str, headers: Mapping[str, str], parameter: str) -> Iterator[dict[str, Any]]:
    for page in range(1, _MOST_PAGES + 1):
        found = _call("GET", f"{url}?per_page={_PAGE_SIZE}&{parameter}={page}", headers)
        yield from found
        if len(found) < _PAGE_SIZE:
            return


def _call(method: str, url: str, headers: Mapping[str, str], body: Mapping[str, Any] | None = None) -> Any:
    if urllib.parse.urlsplit(url).scheme not in ("https", "http"):
        raise ReviewError(url, "this is no address of a code host.")
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(
        url, data, {**headers, "Content-Type": "application/json"}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        hint = "May its token write comments?" if error.code in (401, 403, 404) else ""
        raise ReviewError(
            f"{method} {url}", f"the code host answers {error.code} {error.reason}.", hint
        ) from None
    except (urllib.error.URLError, ValueError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise ReviewError(f"{method} {url}", f"the code host does not answer: {reason}.") from None
