"""One comment per request, updated in place; a real server stands for the code host."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from plan_review.comment import post
from plan_review.errors import ReviewError
from plan_review.render.markdown import MARKER

TEXT = f"{MARKER}\n## Blocked\n"


class Host(BaseHTTPRequestHandler):
    """The comments of one request, in pages, as GitHub and GitLab keep them."""

    comments: ClassVar[list[dict[str, Any]]] = []
    tokens: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        size, page = int(query["per_page"][0]), int(query["page"][0])
        self._answer(200, self.comments[(page - 1) * size : page * size])

    def do_POST(self) -> None:
        self.comments.append({"id": len(self.comments) + 1, "body": self._body()["body"]})
        self._answer(201, self.comments[-1])

    def do_PATCH(self) -> None:
        number = int(self.path.rpartition("/")[2])
        found = next(comment for comment in self.comments if comment["id"] == number)
        found["body"] = self._body()["body"]
        self._answer(200, found)

    def do_PUT(self) -> None:
        self.do_PATCH()

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return body

    def _answer(self, code: int, body: Any) -> None:
        self.tokens.add(self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN") or "")
        if "forbidden" in self.path:
            code, body = 403, {"message": "no"}
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def host() -> Iterator[str]:
    Host.comments.clear()
    Host.tokens.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def github(host: str, tmp_path: Path) -> dict[str, str]:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7}}))
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_API_URL": host,
        "GITHUB_REPOSITORY": "example/models",
        "GITHUB_TOKEN": "a-token",
    }


@pytest.fixture
def gitlab(host: str) -> dict[str, str]:
    return {
        "GITLAB_CI": "true",
        "CI_API_V4_URL": host,
        "CI_PROJECT_ID": "12",
        "CI_MERGE_REQUEST_IID": "7",
        "MODELYARD_GITLAB_TOKEN": "a-token",
    }


@pytest.mark.parametrize("provider", ["github", "gitlab"])
def test_one_comment_is_written_and_then_updated(provider: str, request: pytest.FixtureRequest) -> None:
    environ = request.getfixturevalue(provider)
    Host.comments.extend({"id": i, "body": "someone else's"} for i in range(1, 251))
    assert post(TEXT, environ).startswith("Commented")
    assert post(TEXT + "again", environ).startswith("Updated")
    ours = [comment["body"] for comment in Host.comments if comment["body"].startswith(MARKER)]
    assert ours == [TEXT + "again"]
    assert Host.tokens <= {"Bearer a-token", "a-token"}


def test_someone_who_quotes_our_comment_is_left_alone(github: dict[str, str]) -> None:
    Host.comments.append({"id": 1, "body": f"> {TEXT}"})
    post(TEXT, github)
    assert Host.comments[0]["body"] == f"> {TEXT}"
    assert len(Host.comments) == 2


def test_a_refusal_is_told_without_the_token(github: dict[str, str]) -> None:
    with pytest.raises(ReviewError, match="403") as error:
        post(TEXT, github | {"GITHUB_REPOSITORY": "example/forbidden"})
    assert "a-token" not in str(error.value)


def test_a_host_that_does_not_answer_is_told(github: dict[str, str]) -> None:
    with pytest.raises(ReviewError, match="does not answer"):
        post(TEXT, github | {"GITHUB_API_URL": "http://127.0.0.1:1"})


def test_other_places_and_texts_are_refused(github: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ReviewError, match="neither GitHub"):
        post(TEXT, {})
    with pytest.raises(ReviewError, match="no report"):
        post("hello", github)
    with pytest.raises(ReviewError, match="no report"):
        post(TEXT + "x" * 70_000, github)
    event = tmp_path / "push.json"
    event.write_text('{"ref": "refs/heads/main"}')
    with pytest.raises(ReviewError, match="not run for a pull request"):
        post(TEXT, github | {"GITHUB_EVENT_PATH": str(event)})
    with pytest.raises(ReviewError, match="GITHUB_TOKEN"):
        post(TEXT, {name: value for name, value in github.items() if name != "GITHUB_TOKEN"})
